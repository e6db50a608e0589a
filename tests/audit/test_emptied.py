"""A partition that is emptied alone takes no row of the others with it."""

import datetime as dt
import re

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
        "row/public.parts/?key=1",
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
    for page in ("row/public.parts/?key=1", "row/public.parts/?key=1&at=2999-01-01T00:00"):
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


def test_the_life_of_a_row_ends_where_its_table_was_emptied(audit, execute, client_as, server):
    execute("create table items (id int primary key, name text)")
    audit.watch("items")
    execute("insert into items values (1, 'a'), (2, 'b')")
    execute("truncate items")
    execute("insert into items values (1, 'again')")
    execute("delete from items where id = 1")
    execute("truncate items")
    (first, _) = sorted(audit.statements(operation="truncate"), key=lambda line: line.id)
    client = client_as("auditor")

    def told(address):
        text = client.get(f"/servers/{server.name}/audit/row/public.items/?{address}").content.decode()
        return text, re.findall(r">(Inserted|Updated|Deleted|Gone: the whole table was emptied)</a>", text)

    text, deeds = told("key=1")
    assert deeds == ["Deleted", "Inserted", "Gone: the whole table was emptied", "Inserted"]
    assert f'href="/servers/{server.name}/audit/statement/{first.id}/">Gone' in text
    assert told("key=2")[1] == ["Gone: the whole table was emptied", "Inserted"]
    assert "It was gone: the whole table was <a" in told("key=2&at=2999-01-01T00:00")[0]
    assert "It had been deleted, or had got another key." in told("key=1&at=2999-01-01T00:00")[0]


def test_rows_that_a_partition_brought_are_told(parts, execute, client_as, server, target):
    record_definitions(target.connection, server)
    execute("create table parts_50 partition of parts for values from (50) to (60)")
    execute("insert into parts values (51, 'new')")
    record_definitions(target.connection, server)
    words = "Rows that it brought are not in the log until they change."

    def shown(page):
        return client_as("auditor").get(f"/servers/{server.name}/audit/{page}").content.decode()

    assert words not in shown("table/public.parts/?at=2999-01-01T00:00")
    execute("create table old (id int primary key, name text)")
    execute("insert into old values (71, 'old')")
    execute("alter table parts attach partition old for values from (70) to (80)")
    (told,) = record_definitions(target.connection, server)
    assert "partition attached: public.old FOR VALUES FROM (70) TO (80)" in told
    for page in (
        "table/public.parts/?at=2999-01-01T00:00",
        "row/public.parts/?key=71&at=2999-01-01T00:00",
        "table/public.parts/?at=2000-01-01T00:00&and=2999-01-01T00:00",
    ):
        assert words in shown(page), page
    assert words not in shown("table/public.parts/?at=2000-01-01T00:00")


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
