"""The settings of a server are those that its other sessions get, not those that our reading sets for itself."""

from importlib import import_module

import pytest
from django.apps import apps
from django.utils import timezone

from dbadmin.connections import Session, connect, limit
from dbadmin.models import StoredReading
from dbadmin.pools import LIMITS
from dbadmin.probes import PROBES
from monitoring.models import Mark

pytestmark = pytest.mark.servers


def test_limits_of_our_own_session_are_not_taken_for_the_servers(read, target):
    target.rows("alter system set work_mem = '5MB'")
    target.rows("select pg_reload_conf()")
    try:
        limit(target.connection)
        with_limits = {row.name: row for row in PROBES["settings"].read(target).rows}
        assert target.value("show work_mem") == LIMITS["work_mem"]
        assert (with_limits["lock_timeout"].value, with_limits["lock_timeout"].is_changed) == ("0", False)
        assert (with_limits["default_transaction_read_only"].value, with_limits["lock_timeout"].source) == (
            "off",
            "default",
        )
        until_it_is(read, "work_mem", "5MB")
    finally:
        target.rows("set default_transaction_read_only = off")
        target.rows("alter system reset work_mem")
        target.rows("select pg_reload_conf()")


def until_it_is(read, name, value):
    """The server reads its files a moment after it was told to."""
    for _ in range(50):
        (row,) = [row for row in read("settings").rows if row.name == name]
        if row.value == value:
            return
    raise AssertionError(f"{name} is {row.value}, not {value}")


def test_values_are_written_as_the_server_itself_writes_them(postgres):
    """On a session without limits of its own: there SHOW tells what the reading tells."""
    with postgres.connect() as connection:
        session = Session(connection)
        shown = dict(
            connection.execute(
                "select name, current_setting(name) from pg_settings"
                " where unit is not null and name not like 'tcp_keepalives%'"  # SHOW asks the socket for these
            ).fetchall()
        )
        said = {row.name: row for row in PROBES["settings"].read(session).rows}
    assert {name: said[name].value for name in shown} == shown
    assert said["shared_buffers"].built_in in {"8MB", "128MB"}, "the smaller one until PostgreSQL 14"
    assert said["wal_buffers"].built_in == "-1"
    assert said["autovacuum_vacuum_cost_delay"].built_in == "2ms"


@pytest.mark.django_db
def test_what_each_client_chooses_is_unknown(server):
    with connect(server, "monitor", read_only=True) as connection:
        rows = PROBES["settings"].read(Session(connection, server)).rows
    (row,) = [row for row in rows if row.name == "application_name"]
    assert (row.value, row.is_changed) == (None, None)


def test_permissions_are_told_in_octal_digits_on_both_sides(target):
    rows = {row.name: row for row in PROBES["settings"].read(target).rows}
    assert (rows["log_file_mode"].value, rows["log_file_mode"].built_in) == ("0600", "0600")
    assert not rows["log_file_mode"].is_changed
    assert rows["unix_socket_permissions"].built_in == "0777"


def test_the_command_that_tells_a_passphrase_is_not_told(read, target):
    target.rows("alter system set ssl_passphrase_command = 'echo of the key'")
    target.rows("select pg_reload_conf()")
    try:
        until_it_is(read, "ssl_passphrase_command", "***")
    finally:
        target.rows("alter system reset ssl_passphrase_command")
        target.rows("select pg_reload_conf()")


@pytest.mark.django_db
def test_passwords_that_the_store_has_from_before_are_taken_out_of_it(server):
    moved = import_module("monitoring.migrations.0006_hide_passwords")
    facts = {"setting": "primary_conninfo", "before": "empty", "after": "password=x host=h"}
    for kind, text in (
        ("setting", "primary_conninfo was changed from empty to password=x host=h."),
        ("deploy", "token=x"),
    ):
        Mark.objects.create(server=server, at=timezone.now(), kind=kind, text=text, facts=facts)
    now = timezone.now()
    StoredReading.objects.create(
        server=server, probe="settings", taken_at=now, asked_at=now, took_ms=1, version=1, body=b""
    )
    moved.hide(apps, None)
    assert not StoredReading.objects.exists()  # else what is hidden now would pass for a change
    assert [(mark.text, mark.facts["after"]) for mark in Mark.objects.order_by("id")] == [
        ("primary_conninfo was changed from empty to password=*** host=h.", "password=*** host=h"),
        ("token=x", "password=x host=h"),
    ]


def test_what_nobody_changed_is_not_told_as_changed(target):
    """Over TCP the server reads the first three from the socket, others from its database, or says nothing twice."""
    rows = {row.name: row for row in PROBES["settings"].read(target).rows}
    found_out = [
        *("tcp_keepalives_count", "tcp_keepalives_idle", "tcp_keepalives_interval", "server_encoding"),
        *("client_encoding", "external_pid_file", "wal_buffers", "data_directory", "timezone_abbreviations"),
    ]
    assert {name: rows[name].is_changed for name in found_out} == dict.fromkeys(found_out, False)
    assert rows["port"].is_changed
    changed = [row.is_changed for row in rows.values() if not row.pending_count]
    assert changed == sorted(changed, key=lambda each: (each is None, not each))
