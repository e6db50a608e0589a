"""A partition that is emptied alone takes no row of the others with it."""

import datetime as dt

import pytest

from audit import comparing
from audit.definitions import record_definitions
from audit.moments import row_at

pytestmark = pytest.mark.servers
ALONE = "Partition public.parts_0 was"


@pytest.fixture
def parts(audit, execute):
    execute("create table parts (id int primary key, name text) partition by range (id)")
    for low in (0, 10):
        execute(f"create table parts_{low} partition of parts for values from ({low}) to ({low + 10})")
    audit.watch("parts")
    execute("insert into parts values (1, 'a'), (11, 'b')")
    return audit


def as_now(audit, key):
    (table,) = audit.state.active()
    return row_at(audit.session.rows, audit.state, table, key, dt.datetime.now(dt.UTC)).new


def test_the_others_keep_their_rows(parts, execute, client_as, server):
    before = parts.session.value("select clock_timestamp()")
    execute("truncate parts_0")
    (line,) = parts.statements(operation="truncate")
    assert (line.note, line.images) == ("TRUNCATE public.parts_0", 0)
    assert as_now(parts, "11") == {"id": "11", "name": "b"}
    (table,) = parts.state.active()
    rows, now = parts.session.rows, dt.datetime.now(dt.UTC)
    assert [key for key, _ in comparing.table_at(rows, parts.state, table, now, "").rows] == ["1", "11"]
    assert comparing.between(rows, parts.state, table, before, now).changes == []
    pages = [
        "table/public.parts/?at=2999-01-01T00:00",
        f"table/public.parts/?at={before:%Y-%m-%dT%H:%M:%S}&and=2999-01-01T00:00",
        "row/public.parts/?key=1&at=2999-01-01T00:00",
        "row/public.parts/?key=1&at=2000-01-01T00:00&and=2999-01-01T00:00",
    ]
    for page in pages:
        shown = client_as("auditor").get(f"/servers/{server.name}/audit/{page}").content.decode()
        assert ALONE in shown, page
        assert (
            "Whether a row lay in it the log does not tell: it is shown as its last change left it." in shown
        )
    page = "table/public.parts/?at=2000-01-01T00:00"
    assert ALONE not in client_as("auditor").get(f"/servers/{server.name}/audit/{page}").content.decode()


def test_a_row_that_was_written_since_is_in_no_doubt(parts, execute, client_as, server):
    execute("truncate parts_0; insert into parts values (1, 'again')")
    page = "row/public.parts/?key=1&at=2999-01-01T00:00"
    shown = client_as("auditor").get(f"/servers/{server.name}/audit/{page}").content.decode()
    assert ALONE not in shown


def test_the_whole_table_takes_all(parts, execute, client_as, server):
    execute("truncate parts")
    assert {line.note for line in parts.statements(operation="truncate")} == {
        None, "TRUNCATE public.parts_0", "TRUNCATE public.parts_10",
    }  # fmt: skip
    assert [as_now(parts, key) for key in ("1", "11")] == [None, None]
    page = "table/public.parts/?at=2999-01-01T00:00"
    assert ALONE not in client_as("auditor").get(f"/servers/{server.name}/audit/{page}").content.decode()


@pytest.mark.parametrize(
    ("statement", "became"),
    [("drop table parts_0", "dropped"), ("alter table parts detach partition parts_0", "detached")],
)
def test_partitions_that_left_are_told_beside_the_rows_that_may_have_lain_in_them(
    parts, execute, client_as, server, target, statement, became
):
    record_definitions(target.connection, server)
    execute(statement)
    record_definitions(target.connection, server)
    for page in (
        "table/public.parts/?at=2999-01-01T00:00",
        "row/public.parts/?key=1&at=2999-01-01T00:00",
    ):
        shown = client_as("auditor").get(f"/servers/{server.name}/audit/{page}").content.decode()
        assert f">{became}</a> before " in shown, page
        assert ALONE in shown
    page = "table/public.parts/?at=2000-01-01T00:00"
    assert ALONE not in client_as("auditor").get(f"/servers/{server.name}/audit/{page}").content.decode()
