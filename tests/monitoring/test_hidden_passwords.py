"""What a session wrote into a statement stays its own where it is a password."""

import pytest

from tests.monitoring.test_probe_locks import wait_for

pytestmark = pytest.mark.servers


def test_the_last_statement_of_a_session_is_shown_without_its_password(read, connection, postgres, database):
    setter = connection()
    setter.execute("begin")
    setter.execute("create role short_lived password 'kept secret'")
    idle = f"select state like 'idle in%' from pg_stat_activity where pid = {setter.info.backend_pid}"
    wait_for(postgres, database, idle)
    try:
        for probe, column in (("sessions", "query"), ("idle_in_transaction", "last_query")):
            (row,) = [row for row in read(probe).rows if row.pid == setter.info.backend_pid]
            assert getattr(row, column) == "create role short_lived password '***'", probe
    finally:
        setter.execute("rollback")
