"""Every change of a watched table is in the log, exactly, however it was made."""

import pytest

pytestmark = pytest.mark.servers


@pytest.fixture
def users(audit, execute):
    execute("create table users (id int primary key, name text, score numeric, seen timestamptz)")
    audit.watch("users")
    return audit


def user(number, name, score=None, seen=None):
    return {"id": str(number), "name": name, "score": score, "seen": seen}


def test_records_insert_update_and_delete(users, execute):
    execute("insert into users values (1, 'Ada', 1.10)")
    execute("update users set name = 'Ada L.' where id = 1")
    execute("delete from users")
    assert users.told() == [
        ("insert", None, user(1, "Ada", "1.10")),
        ("update", user(1, "Ada", "1.10"), user(1, "Ada L.", "1.10")),
        ("delete", user(1, "Ada L.", "1.10"), None),
    ]


def test_says_who_when_and_from_where(users, execute, target):
    execute("set application_name = 'shop'")
    execute("set app.current_user_id = '42'")
    execute("insert into users values (1, 'Ada')")
    (statement,) = users.statements()
    assert (statement.session_role, statement.set_role, statement.app_user) == ("postgres", None, "42")
    assert (statement.application, statement.client, statement.person) == ("shop", "127.0.0.1", "42")
    assert statement.xid == str(int(target.value("select pg_current_xact_id()::text")) - 1)
    assert abs((target.value("select clock_timestamp()") - statement.at).total_seconds()) < 10


def test_one_statement_of_many_rows_is_one_line(users, execute):
    execute("insert into users select g, 'n' || g from generate_series(1, 1000) g")
    execute("update users set score = id")
    insert, update = users.statements()
    assert (insert.images, update.images) == (1000, 2000)
    assert [c.kind for c in users.changes()[1000:]] == ["update"] * 1000
    assert users.changes()[1999].changed == ["score"]


def test_survives_columns_renamed_dropped_and_added(users, execute):
    execute("insert into users values (1, 'Ada', 1)")
    execute("alter table users rename name to full_name")
    execute("update users set full_name = 'Ada L.'")
    execute("alter table users drop score")
    execute("alter table users add email text default 'none'")
    execute("delete from users")
    kinds = [(kind, sorted(old or {}), sorted(new or {})) for kind, old, new in users.told()]
    assert kinds == [
        ("insert", [], ["id", "name", "score", "seen"]),
        ("update", ["full_name", "id", "score", "seen"], ["full_name", "id", "score", "seen"]),
        ("delete", ["email", "full_name", "id", "seen"], []),
    ]


def test_renewed_capture_knows_the_new_columns(users, execute):
    execute("alter table users drop score")
    execute("alter table users rename name to full_name")
    execute("insert into users values (1, 'Ada')")
    users.watch("users")
    execute("insert into users values (2, 'Bob')")
    first, second = users.statements(operation="insert")
    assert (first.shape_id, second.shape_id) == (0, 2)
    assert [new["full_name"] for _, _, new in users.told()] == ["Ada", "Bob"]


def test_leaves_out_updates_that_change_nothing(users, execute):
    execute("insert into users values (1, 'Ada')")
    execute("update users set name = name")
    execute("update users set name = 'x' where false")
    assert [s.operation for s in users.statements()] == ["I"]
