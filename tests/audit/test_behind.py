"""A search that goes from row to row says what to run, as long as that would help."""

import html
import re

import pytest

from audit import inside, mapping
from audit.behind import Behind, behind
from audit.search import Filter
from tests.carrying_out import carry_out, operation

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.servers]

ROW_BY_ROW = "Looked row by row back to"


@pytest.fixture
def goods(audit, execute, monkeypatch):
    """More statements than one look of a page opens; a page has no time for a second."""
    execute("create table goods (id int primary key, name text)")
    audit.watch("goods")
    execute("do $$ begin for i in 1..1300 loop insert into goods values (i, 'thing ' || i); end loop; end $$")
    monkeypatch.setattr(inside, "SECONDS", -1)
    return audit


def said(client_as, role, query="text=thing 1299&source=data"):
    """What stands below the list."""
    answer = client_as(role).get(f"/servers/shop/audit/?{query}")
    text = answer.content.decode()
    found = re.search(r'<p class="empty pad">(.*?)</p>', text)
    return ROW_BY_ROW in text, html.unescape(found[1]) if found else ""


UNPREPARED = "What it looked through is not prepared for such a search yet. "


def test_who_may_run_it_gets_a_link_and_others_are_told(goods, execute, client_as, server):
    address = f"/servers/{server}/do/index_log/?database=&create_extension=on"
    link = f'<a class="button small" href="{address}">Index the log…</a>'
    assert said(client_as, "admin") == (
        True,
        f"{UNPREPARED}{link} prepares it; on a schedule it stays so.",
    )
    assert said(client_as, "auditor") == (
        True,
        f"{UNPREPARED}Ask an operator to run <em>Index the audit log</em>, best on a schedule.",
    )
    execute("create extension pg_trgm")
    assert "create_extension" not in said(client_as, "admin")[1]
    carry_out(operation("index_log", server))
    assert said(client_as, "admin") == (True, "")


def test_what_no_index_finds_is_not_promised(goods, client_as):
    assert said(client_as, "admin", "text=zz&source=data") == (True, "")
    assert said(client_as, "admin", "text=thing&key=1&table=goods&source=data") == (False, "")


@pytest.mark.parametrize(
    "wanted", [{"person": "nobody"}, {"table": "goods"}, {"operation": "delete"}, {"column": "name"}]
)
def test_the_map_is_behind_until_it_reaches_what_was_looked_at(goods, execute, server, wanted):
    def is_behind():
        (top,) = execute("select max(id) from dbadmin_audit.statement").fetchone()
        return behind(goods.session.rows, goods.state, Filter(**wanted), top)

    assert is_behind() == Behind()
    carry_out(operation("index_log", server))
    assert is_behind() is None
    execute("insert into goods values (0, 'late')")
    assert is_behind() == Behind()
    assert mapping.through(goods.session.rows) > 0


@pytest.mark.parametrize("schema", ["public", "dbadmin_audit"])
def test_the_extension_is_made_where_it_can_be_and_the_texts_are_found(
    goods, execute, client_as, server, schema
):
    if schema != "public":
        execute("alter schema public rename to other; set search_path = other")
    run = carry_out(operation("index_log", server, create_extension=True))
    assert run.status == "succeeded", run.message
    query = "select extnamespace::regnamespace::text from pg_extension where extname = 'pg_trgm'"
    assert execute(query).fetchone() == (schema,)
    assert said(client_as, "admin") == (True, "")
    execute("delete from goods where id = 1299")
    assert carry_out(operation("index_log", server)).status == "succeeded"
