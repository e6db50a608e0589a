"""An update of one row is one line of the log, and is found and read as any other."""

import pytest

from audit import changes, inside, search
from audit.moments import row_at
from tests.audit.conftest import letters

pytestmark = pytest.mark.servers


def lines(execute, table):
    return execute(f"select count(*) from dbadmin_audit.{table}").fetchone()[0]


@pytest.fixture
def parts(audit, execute):
    execute("create table parts (area int, id text, name text, price numeric, primary key (area, id))")
    audit.watch("parts")
    execute("insert into parts select 1, 'p' || n, 'n' || n, n from generate_series(1, 4) n")
    return audit


def test_before_and_after_lie_in_one_line_if_the_key_stays(parts, execute):
    execute("update parts set price = 9.50 where id = 'p1'")
    assert (lines(execute, "pairs_1"), lines(execute, "rows_1")) == (1, 4)
    execute("update parts set id = 'p9' where id = 'p1'")
    execute("update parts set price = 1")
    assert (lines(execute, "pairs_1"), lines(execute, "rows_1")) == (1, 4 + 2 + 8)
    first = {"area": "1", "id": "p1", "name": "n1", "price": "1"}
    assert parts.told()[4:6] == [
        ("update", first, first | {"price": "9.50"}),
        ("update", first | {"price": "9.50"}, first | {"id": "p9", "price": "9.50"}),
    ]
    assert letters(parts) == "I4 U1 U1 U4"
    assert [letters(parts, table="parts", key=key) for key in ("1,p1", "1,p9")] == ["I4 U1 U1", "U1 U4"]


def test_an_update_that_changes_nothing_is_left_out_or_is_such_a_line_as_was_chosen(parts, execute):
    execute("update parts set price = price where id = 'p1'; update parts set price = 0 where id = 'p7'")
    assert letters(parts) == "I4"
    parts.watch("parts", skip_unchanged=False)
    execute("update parts set price = price where id = 'p1'; update parts set price = 0 where id = 'p7'")
    assert letters(parts) == "I4 U1"
    assert lines(execute, "pairs_1") == 1


def test_a_table_without_a_key_has_them_too(audit, execute):
    execute("create table notes (text text)")
    audit.watch("notes")
    execute("insert into notes values ('a'); update notes set text = 'b'")
    assert lines(execute, "pairs_1") == 1
    assert audit.told()[1] == ("update", {"text": "a"}, {"text": "b"})


@pytest.mark.parametrize(
    ("columns", "choices"),
    [(", ".join(f"c_{n} int" for n in range(100)), {}), ("kept name", {}), ("pin text", {"hashed": "pin"})],
)
def test_a_row_that_is_too_wide_or_holds_secrets_takes_two_lines(audit, execute, columns, choices):
    execute(f"create table wide (id int primary key, note text, {columns})")
    audit.watch("wide", **choices)
    execute("insert into wide values (1, 'a'); update wide set note = 'b'")
    assert execute("select to_regclass('dbadmin_audit.pairs_1')").fetchone() == (None,)
    (change,) = audit.changes()[1:]
    assert (change.kind, change.old["note"], change.new["note"], change.changed) == (
        "update",
        "a",
        "b",
        ["note"],
    )


def test_is_found_by_what_was_there_before_and_after(parts, execute):
    execute("set app.current_user_id = 'maria'; update parts set name = 'was here' where id = 'p2'")
    execute("update parts set name = 'is gone' where id = 'p2'")
    for wanted, found in (
        ({"text": "was here"}, 2), ({"text": "n2"}, 2), ({"text": "is gone"}, 1), ({"column": "name"}, 2),
        ({"column": "price"}, 0), ({"of": "name", "value": "was here", "how": "equals"}, 2),
        ({"of": "name", "value": "was here", "how": "equals", "person": "maria", "key": "1,p2", "table": "parts"}, 2),
    ):  # fmt: skip
        page = inside.find(parts.session.rows, parts.state, search.Filter(**wanted))
        assert len(page.statements) == found, wanted


def test_the_life_of_a_row_is_a_walk_down_indexes(parts, execute):
    execute("update parts set price = 5 where id = 'p3'; analyze; set enable_seqscan = off")
    asked = []

    def rows(query, params=None):
        asked.append(query if isinstance(query, str) else query.as_string(None))
        return parts.session.rows(query, params)

    found = changes.life(rows, parts.state, parts.state.watched[1], "1,p3")
    assert [(change.kind, change.new["price"]) for change in found] == [("update", "5"), ("insert", "3")]
    (life,) = [each for each in asked if "lateral" in each and "other_side" in each]
    plan = "\n".join(row[0] for row in parts.session.rows(f"explain {life}"))
    assert "Seq Scan" not in plan
    for index in ("pairs_1_default_c1_left_statement_id_idx", "rows_1_default_c1_left_statement_id_idx"):
        assert index in plan


@pytest.mark.parametrize(
    ("kind", "old", "new"), [("varchar(40)", "a", "b"), ("cidr", "10.0.0.0/8", "10.1.0.0/16")]
)
def test_a_row_that_got_another_key_leaves_the_old_one_whatever_the_type(
    audit, execute, target, kind, old, new
):
    execute(f"create table keyed (code {kind} primary key, name text)")
    audit.watch("keyed")
    execute(f"insert into keyed values ('{old}', 'x')")
    execute(f"update keyed set code = '{new}'")
    state = audit.state
    table, now = state.table("public", "keyed"), target.value("select clock_timestamp()")
    assert row_at(target.rows, state, table, old, now).new is None
    assert row_at(target.rows, state, table, new, now).new == {"code": new, "name": "x"}
    keys = "select count(*) from pg_indexes where schemaname = 'dbadmin_audit' and indexname = 'rows_1_key'"
    assert target.value(keys) == 1
