"""A table at a moment, and what differs between two moments, from the log alone."""

import datetime as dt
import html
import re
from urllib.parse import urlencode

import pytest

from audit import comparing, search
from audit.moments import row_at

pytestmark = pytest.mark.servers


@pytest.fixture
def told(audit, execute, target):
    """A table with a past, and the moments between."""
    execute("create table items (id int primary key, name text)")
    audit.watch("items")
    moments = [target.value("select clock_timestamp()")]
    for statement in (
        "insert into items select g, 'n' || g from generate_series(1, 60) g",
        "update items set name = 'changed' where id <= 3; delete from items where id = 4",
        (
            "update items set name = 'n3' where id = 3; alter table items add more text;"
            " update items set more = 'm' where id = 5"
        ),
        "update items set id = 100 where id = 6",
        "truncate items",
    ):
        execute(statement)
        moments.append(target.value("select clock_timestamp()"))
    return moments


def between(audit, target, low, high):
    found = comparing.between(target.rows, audit.state, audit.state.active()[0], low, high)
    return [(one.kind, one.old, one.new) for one in found.changes], found.emptied_at is not None


def test_names_what_differs_between_two_moments(audit, target, told):
    changed = {"id": "1", "name": "n1"}, {"id": "1", "name": "changed"}
    second = {"id": "2", "name": "n2"}, {"id": "2", "name": "changed"}
    found, _ = between(audit, target, told[1], told[3])
    assert found == [
        ("update", *changed),
        ("update", *second),
        ("delete", {"id": "4", "name": "n4"}, None),
        ("update", {"id": "5", "name": "n5", "more": None}, {"id": "5", "name": "n5", "more": "m"}),
    ]
    assert len(between(audit, target, told[0], told[1])[0]) == 60
    found, _ = between(audit, target, told[3], told[4])
    assert [kind for kind, _, _ in found] == ["delete", "insert"]
    found, was_emptied = between(audit, target, told[4], told[5])
    assert (found, was_emptied) == ([], True)


def test_rows_that_differ_come_by_the_worth_of_their_keys(audit, target, told):
    found = comparing.between(target.rows, audit.state, audit.state.active()[0], told[0], told[1])
    assert [change.key["id"] for change in found.changes] == [str(number) for number in range(1, 61)]


def test_shows_the_table_as_it_was_page_by_page(audit, target, told):
    table, state = audit.state.active()[0], audit.state

    def rows_at(moment):
        found, after = {}, ""
        while True:
            page = comparing.table_at(target.rows, state, table, moment, after)
            found |= dict(page.rows)
            after = page.later
            if not after:
                return found

    assert rows_at(told[0]) == {}
    assert rows_at(told[1]) == {str(n): {"id": str(n), "name": f"n{n}"} for n in range(1, 61)}
    assert "4" not in rows_at(told[2])
    assert rows_at(told[2])["3"]["name"] == "changed"


def test_a_comparison_is_bounded(audit, target, told, monkeypatch):
    monkeypatch.setattr(comparing, "MOST", 10)
    with pytest.raises(search.BadFilter) as refusal:
        between(audit, target, told[0], told[1])
    assert str(refusal.value) == "More than 10 rows changed between these moments. Choose nearer ones."


def test_both_have_a_page_for_auditors(audit, told, client_as):
    at, later = (moment.astimezone(dt.UTC).isoformat() for moment in (told[1], told[2]))
    client = client_as("auditor")
    text = client.get(
        f"/servers/shop/audit/table/public.items/?{urlencode({'at': at, 'and': later})}"
    ).content.decode()
    assert "4 rows differ" in text
    assert "<del>n1</del> <ins>changed</ins>" in text
    text = client.get(f"/servers/shop/audit/table/public.items/?{urlencode({'at': at})}").content.decode()
    assert "<td>n25</td>" in text
    assert "First rows" not in text
    rest = re.search(r'href="([^"]*)" rel="next">Next rows', text)[1]
    text = client.get(f"/servers/shop/audit/table/public.items/{html.unescape(rest)}").content.decode()
    assert "<td>n26</td>" in text
    assert "First rows" in text
    query = urlencode({"key": "1", "at": at, "and": later})
    assert (
        "<del>n1</del> <ins>changed</ins>"
        in client.get(f"/servers/shop/audit/row/public.items/?{query}").content.decode()
    )
    assert client_as("viewer").get("/servers/shop/audit/table/public.items/").status_code == 403


@pytest.fixture
def kept(audit, execute, target):
    """Rows that were there before their table was watched, and the moments between their changes."""
    execute(
        "create table items (id int primary key, name text); insert into items values (1, 'a'), (2, 'b'), (3, 'c')"
    )
    moments = [target.value("select clock_timestamp()")]
    audit.watch("items")
    for statement in (
        "select",
        "update items set name = 'A' where id = 1; delete from items where id = 2",
        "insert into items values (4, 'd'); update items set id = 30 where id = 3",
    ):
        execute(statement)
        moments.append(target.value("select clock_timestamp()"))
    return moments


def test_a_row_is_known_before_its_first_change_which_found_it_so(audit, target, kept):
    table, state = audit.state.active()[0], audit.state

    def row(key, moment):
        found = row_at(target.rows, state, table, key, moment)
        return found and found.new

    before, watched, _, last = kept
    assert [row(key, watched) for key in "1234"] == [
        {"id": "1", "name": "a"}, {"id": "2", "name": "b"}, {"id": "3", "name": "c"}, None,
    ]  # fmt: skip
    assert [row(key, last) for key in ("1", "2", "3", "30")] == [
        {"id": "1", "name": "A"}, None, None, {"id": "30", "name": "c"},
    ]  # fmt: skip
    assert [row(key, before) for key in "1234"] == [None] * 4
    page = comparing.table_at(target.rows, state, table, watched, "")
    assert [key for key, _ in page.rows] == ["1", "2", "3"]


def test_a_row_that_changed_for_the_first_time_between_two_moments_is_shown_as_changed(
    audit, kept, client_as
):
    at, later = (moment.astimezone(dt.UTC).isoformat() for moment in kept[1:3])
    address = f"/servers/shop/audit/row/public.items/?{urlencode({'key': '1', 'at': at, 'and': later})}"
    text = client_as("auditor").get(address).content.decode()
    assert '<tr class="same"><th scope="row">id</th>' in text
    assert text.count("<del>a</del> <ins>A</ins>") == 2


def test_a_table_without_a_key_is_not_compared_as_if_all_its_rows_were_one(audit, execute, target):
    execute("create table notes (body text)")
    audit.watch("notes")
    began = target.value("select clock_timestamp()")
    execute("insert into notes values ('a'), ('b')")
    with pytest.raises(search.BadFilter) as refusal:
        between(audit, target, began, target.value("select clock_timestamp()"))
    assert str(refusal.value) == "public.notes has no key in the log: its rows cannot be told apart."
