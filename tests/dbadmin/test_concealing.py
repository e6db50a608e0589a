"""Passwords are taken out of statements, connection strings and addresses, and nothing else is."""

import pytest

from dbadmin.concealing import in_statement, in_written


@pytest.mark.parametrize(
    ("told", "shown"),
    [
        ("alter role a password 'x y'", "alter role a password '***'"),
        ("CREATE ROLE a PASSWORD E'it''s'", "CREATE ROLE a PASSWORD '***'"),
        ("create user mapping for a server s options (user 'a', password 'x')",
         "create user mapping for a server s options (user 'a', password '***')"),
        ("alter role a password 'cut off in the mid", "alter role a password '***'"),
        ("create subscription s connection 'host=h password=x dbname=d' publication p",
         "create subscription s connection 'host=h password=*** dbname=d' publication p"),
        ("select dblink_connect('postgresql://bob:x@h/d')", "select dblink_connect('postgresql://bob:***@h/d')"),
        ("do $$ begin perform f(password => 'x'); end $$", "do $$ begin perform f(password => '***'); end $$"),
        ("select set_config('app.secret_token=', 'x', false)", "select set_config('app.secret_token=', 'x', false)"),
        ("alter system set primary_conninfo = 'user=r password=''it is'' host=h'",
         "alter system set primary_conninfo = 'user=r password=*** host=h'"),
        ("update account set password = $1, token = crypt($2, salt) where password <> old_password",
         "update account set password = $1, token = crypt($2, salt) where password <> old_password"),
        ("select 'https://h/a' as address, password_changed_at from account",
         "select 'https://h/a' as address, password_changed_at from account"),
    ],
)  # fmt: skip
def test_a_statement_keeps_all_but_its_passwords(told, shown):
    assert in_statement(told) == shown


@pytest.mark.parametrize(
    ("told", "shown"),
    [
        ("host=h user=replicator password=x sslmode=require", "host=h user=replicator password=*** sslmode=require"),
        (r"user=r password = 'it\'s' host=h", "user=r password = *** host=h"),
        ("postgres://r:x@h:5432/d?sslmode=require", "postgres://r:***@h:5432/d?sslmode=require"),
        ("postgres://r@h/d?password=x&sslmode=require", "postgres://r@h/d?password=***&sslmode=require"),
        ("AWS_SECRET_ACCESS_KEY=x cp %p /a", "AWS_SECRET_ACCESS_KEY=*** cp %p /a"),
        ("PGPASSWORD=x pg_receivewal", "PGPASSWORD=*** pg_receivewal"),
        ("passwordcheck, pg_stat_statements", "passwordcheck, pg_stat_statements"),
        ("scram-sha-256", "scram-sha-256"),
        ("user=r passfile=/home/r/.pgpass host=h", "user=r passfile=/home/r/.pgpass host=h"),
    ],
)  # fmt: skip
def test_a_setting_keeps_all_but_its_passwords(told, shown):
    assert in_written(told) == shown
