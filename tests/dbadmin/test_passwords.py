"""Passwords that a server tells in a text are neither shown nor kept."""

import json

import pytest

from dbadmin.connections import Session
from dbadmin.passwords import without_passwords
from dbadmin.probes import PROBES


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("user=rep password=Lky/F5H=h sslmode=prefer", "user=rep password=*** sslmode=prefer"),
        (r"host=h password='a \' b' user=rep", "host=h password=*** user=rep"),
        ("alter role a password 'it''s' valid until 'now'", "alter role a password '***' valid until 'now'"),
        ("alter role a PASSWORD $q$it's$q$", "alter role a PASSWORD '***'"),
        ("alter role a password 'cut off in the mid", "alter role a password '***'"),
        (
            "create subscription s connection 'host=h password=''a b'' user=u' publication p",
            "create subscription s connection 'host=h password=*** user=u' publication p",
        ),
        (
            "select dblink('dbname=d password=abc', 'select 1')",
            "select dblink('dbname=d password=***', 'select 1')",
        ),
        ("postgresql://rep:p%40s@h:5432/d", "postgresql://rep:***@h:5432/d"),
        ("PGPASSWORD=abc wal-g wal-push %p", "PGPASSWORD=*** wal-g wal-push %p"),
        ("AWS_SECRET_ACCESS_KEY='a b' wal-g wal-push %p", "AWS_SECRET_ACCESS_KEY=*** wal-g wal-push %p"),
        (
            "pgbackrest --repo1-cipher-pass=abc archive-push %p",
            "pgbackrest --repo1-cipher-pass=*** archive-push %p",
        ),
    ],
)
def test_a_password_is_hidden_wherever_it_stands(text, shown):
    assert without_passwords(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "select * from users where user = $1 and password = $2",
        "update t set token = $1 from s where t.secret = s.secret",
        "postgresql://rep@h/d",
        "password_encryption",
        "public.password_resets",
    ],
)
def test_what_is_none_stays(text):
    assert without_passwords(text) == text


@pytest.mark.servers
def test_settings_tell_no_password_of_the_primary(new_postgres):
    """A standby's primary_conninfo is shown to every member of pg_monitor."""
    postgres = new_postgres(primary_conninfo="host=h user=rep password=kept-secret sslmode=prefer")
    with postgres.connect(user="dbadmin_monitor") as connection:
        answer = PROBES["settings"].read(Session(connection))
    (row,) = [row for row in answer.rows if row.name == "primary_conninfo"]
    assert row.value == "host=h user=rep password=*** sslmode=prefer"
    assert "kept-secret" not in json.dumps([list(row) for row in answer.rows], default=str)


@pytest.mark.servers
def test_activity_tells_no_password_of_a_statement(target, postgres, database):
    with postgres.connect(database) as other:
        other.execute("create role seller_of_tickets password 'kept-secret'")
        queries = [row.query for row in PROBES["sessions"].read(target).rows]
        other.execute("drop role seller_of_tickets")
    assert "create role seller_of_tickets password '***'" in queries
    assert not [query for query in queries if query and "kept-secret" in query]
