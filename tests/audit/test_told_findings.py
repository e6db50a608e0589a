"""What a check of the seals found is told where the log is read, not only on the page of seals."""

import pytest

from tests.carrying_out import carry_out, operation

pytestmark = pytest.mark.servers

STATEMENT, ROWS = "dbadmin_audit.statement", "dbadmin_audit.rows_1"
BANNER = "The audit log differs from its seals in 2 places, by the check at"
OF_THE_STATEMENT = "<strong>Statement 3 was altered: who, when, what or how many.</strong>"
OF_THE_ROW = "<strong>Row 4 (after) of statement 1 was altered.</strong>"


@pytest.fixture
def sealed(audit, execute, server):
    execute("create table items (id int primary key, name text)")
    audit.watch("items")
    execute("insert into items select g, 'n' || g from generate_series(1, 5) g")
    for number in (2, 3):
        execute(f"update items set name = 'later' where id = {number}")
        assert carry_out(operation("seal_log", server)).status == "succeeded"


@pytest.fixture
def shown(client_as, server):
    def shown(address):
        text = client_as("auditor").get(f"/servers/{server.name}/audit/{address}").content.decode()
        return [one for one in (BANNER, OF_THE_STATEMENT, OF_THE_ROW) if one in text]

    return shown


def check(server, **params):
    return carry_out(operation("verify_seals", server, **params)).status


def test_each_page_of_the_log_tells_it_and_those_of_a_statement_what_concerns_them(
    sealed, shown, execute, server
):
    execute(f"update {STATEMENT} set app_user = 'joe' where id = 3")
    execute(f"update {ROWS} set c2 = 'forged' where statement_id = 1 and n = 4")
    assert shown("") == []
    assert check(server) == "refused"
    for address in ("", "people/", "row/public.items/?key=2", "table/public.items/", "statement/2/"):
        assert shown(address) == [BANNER], address
    assert shown("statement/3/") == shown("statement/3/1/") == [BANNER, OF_THE_STATEMENT]
    assert shown("statement/1/4/") == [BANNER, OF_THE_ROW]


def test_it_stands_until_a_check_of_as_many_seals_finds_nothing(sealed, shown, execute, server, client_as):
    execute(f"update {STATEMENT} set app_user = 'joe' where id = 3")
    execute(f"update {ROWS} set c2 = 'forged' where statement_id = 1 and n = 4")
    assert check(server) == "refused"
    execute(f"update {STATEMENT} set app_user = null where id = 3")
    assert check(server, last=1) == "succeeded"
    assert shown("statement/3/") == [BANNER, OF_THE_STATEMENT]
    seals = client_as("auditor").get(f"/servers/{server.name}/audit/seals/").content.decode()
    assert "The last check read fewer seals." in seals
    execute(f"update {STATEMENT} set set_role = 'joe' where id = 3")
    assert check(server, last=1) == "refused"
    assert shown("statement/1/4/") == [BANNER, OF_THE_ROW]
    execute(f"update {STATEMENT} set set_role = null where id = 3")
    execute(f"update {ROWS} set c2 = 'n4' where statement_id = 1 and n = 4")
    assert check(server) == "succeeded"
    assert shown("statement/3/") == shown("") == []
