"""Changes of a table's definition are in the log: what changed, whether dbadmin may make event triggers or not."""

import re

import pytest

from audit.models import SeenDefinition
from dbadmin.connections import Session
from tests.audit.conftest import Watcher
from tests.carrying_out import carry_out, log_of, operation

pytestmark = pytest.mark.servers

MOMENT = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"


@pytest.fixture
def plain(execute, postgres, target, server):
    """Somebody who is no superuser and looks after the server."""
    execute(f"create role plain login password '{postgres.password}'")
    execute(f'grant create on database "{target.database}" to plain; grant create on schema public to plain')
    server.seal_dsn("operate_dsn", postgres.dsn_for(target.database, "plain"))
    server.save()
    with postgres.connect(target.database, "plain") as connection:
        yield Watcher(server, Session(connection))
    execute("drop owned by plain cascade; drop role plain")


@pytest.fixture
def watched(plain):
    plain.session.connection.execute("create table items (id int primary key, name text)")
    plain.watch("items")
    look(plain)
    return plain


def look(watcher):
    run = carry_out(operation("seal_log", watcher.server))
    assert run.status == "succeeded", run.message
    return run


def told(watcher):
    """The lines on definitions, without their moments."""
    rows = watcher.session.rows(
        "select note, session_role, watched_id from dbadmin_audit.statement where operation = 'A' order by id"
    )
    return [(re.sub(MOMENT, "…", row.note), row.session_role, row.watched_id) for row in rows]


SEEN = "{} public.items, seen between … and … UTC, by whom is not known"


@pytest.mark.parametrize(
    ("statement", "change"),
    [
        ("alter table items add note text default 'x' not null", "column added: note text not null default 'x'::text"),
        ("alter table items rename name to title", "column changed: name text → title text"),
        ("alter table items alter name type varchar(20)", "column changed: name text → name character varying(20)"),
        ("alter table items drop name", "column dropped: name text"),
        (
            "create index named on items (name)",
            "index added: CREATE INDEX named ON public.items USING btree (name)",
        ),
        ("alter table items add constraint few check (id < 9)", "constraint added: few CHECK ((id < 9))"),
        ("alter table items rename to goods", "name changed: public.items → public.goods"),
        ("alter table items enable row level security", "row security changed: off → on"),
        ("create policy mine on items for select using (id = 1)", "policy added: mine for select using (id = 1)"),
        (
            "grant select on items to public",
            "privileges added: {plain=arwdDxt/plain,=r/plain}",
        ),
        (
            "create rule r as on insert to items do also nothing",
            "rule added: CREATE RULE r AS ON INSERT TO public.items DO NOTHING;",
        ),
        ("alter table items set (fillfactor = 70)", "storage options added: fillfactor=70"),
        ("create table more () inherits (items)", "partition added: public.more"),
    ],
)  # fmt: skip
def test_a_change_is_a_line_of_the_log(watched, statement, change):
    watched.session.connection.execute(statement)
    run = look(watched)
    if "privileges" in change:  # newer versions know one more
        change = change.replace("arwdDxt", privileges(watched))
    line = f"{SEEN.format('ALTER TABLE')}: {change}"
    assert told(watched) == [(line, "unknown", 1)]
    assert any(
        text.startswith("Recorded a change of a table's definition. ALTER TABLE") for text in log_of(run)
    )
    look(watched)
    assert len(told(watched)) == 1


def privileges(watcher):
    return "arwdDxtm" if watcher.session.connection.info.server_version >= 170000 else "arwdDxt"


def test_what_is_seen_is_sealed_and_found_as_a_definition(watched):
    watched.session.connection.execute("alter table items add note text")
    run = look(watched)
    assert "Sealed 1 statement with 0 row images in 1 seal." in log_of(run)
    (line,) = watched.statements(operation="definition")
    assert (line.person, line.note) == ("unknown", line.note)
    assert line.note.endswith("UTC, by whom is not known: column added: note text")


def test_several_changes_are_one_line_and_a_dropped_table_is_told_once(watched):
    execute = watched.session.connection.execute
    execute("alter table items drop name, add a int, add b int")
    look(watched)
    execute("drop table items")
    look(watched)
    look(watched)
    assert [line for line, _, _ in told(watched)] == [
        SEEN.format("ALTER TABLE") + ": column dropped: name text; column added: a integer; column added: b integer",
        SEEN.format("DROP TABLE"),
    ]  # fmt: skip


def test_what_dbadmin_does_to_watch_a_table_is_no_change(watched):
    watched.watch("items", skip_unchanged=False)
    look(watched)
    assert told(watched) == []


def test_a_table_that_is_altered_right_now_is_looked_at_later(watched, postgres, target):
    with postgres.connect(target.database, "postgres") as other:
        other.autocommit = False
        other.execute("alter table items add note text")
        look(watched)
        other.commit()
    look(watched)
    assert [line for line, _, _ in told(watched)] == [
        SEEN.format("ALTER TABLE") + ": column added: note text"
    ]


TOLD = (
    "What changed in public.{}, seen between … and … UTC, who did it is in the lines of that time, where the server"
    " told it: {}"
)


def test_event_triggers_tell_who_altered_a_table_and_the_next_look_tells_what(audit, execute, server):
    execute("create table items (id int primary key, name text)")
    audit.watch("items")
    look(audit)
    execute("alter table items add note text")
    look(audit)
    look(audit)
    assert told(audit) == [
        ("ALTER TABLE public.items", "postgres", 1),
        (TOLD.format("items", "column added: note text"), "unknown", 1),
    ]
    execute("drop event trigger dbadmin_audit_ddl")
    execute("alter table items add more text")
    look(audit)
    assert [line for line, _, _ in told(audit)][2:] == [
        SEEN.format("ALTER TABLE") + ": column added: more text"
    ]
    assert SeenDefinition.objects.get(server=server).definition["column 4"] == "more text"


@pytest.mark.parametrize(
    ("before", "statement", "change"),
    [
        (
            "create index named on items (name)",
            "drop index named",
            "index dropped: CREATE INDEX named ON public.items USING btree (name)",
        ),
        (
            "create policy mine on items using (id = 1)",
            "drop policy mine on items",
            "policy dropped: mine for all using (id = 1)",
        ),
        (
            "create rule r as on insert to items do also nothing",
            "drop rule r on items",
            "rule dropped: CREATE RULE r AS ON INSERT TO public.items DO NOTHING;",
        ),
        (
            "grant select on items to postgres",
            "revoke delete on items from postgres",
            "privileges changed: {{postgres={all}/postgres}} → {{postgres={less}/postgres}}",
        ),
    ],
)
def test_what_no_event_trigger_tells_is_told_by_the_next_look(audit, execute, before, statement, change):
    execute("create table items (id int primary key, name text)")
    execute(before)
    audit.watch("items")
    look(audit)
    execute(statement)
    look(audit)
    granted = privileges(audit)
    change = (
        change.format(all=granted, less=granted.replace("d", "", 1)) if "privileges" in change else change
    )
    assert told(audit) == [(TOLD.format("items", change), "unknown", 1)]


def test_a_dropped_table_is_told_once_by_who_dropped_it(audit, execute):
    execute("create table items (id int primary key, name text)")
    audit.watch("items")
    look(audit)
    execute("drop table items")
    look(audit)
    look(audit)
    assert told(audit) == [("DROP TABLE public.items", "postgres", 1)]


def test_partitions_that_left_are_told_where_event_triggers_are_too(audit, execute):
    """With it the server forgets whose it was; its rows are gone from the watched table."""
    execute("create table parts (id int primary key) partition by range (id)")
    for low in (0, 10, 20):
        execute(f"create table parts_{low} partition of parts for values from ({low}) to ({low + 10})")
    audit.watch("parts")
    look(audit)
    execute("insert into parts values (1), (11), (21)")
    execute("drop table parts_0")
    execute("alter table parts detach partition parts_10")
    look(audit)
    look(audit)
    gone = (
        "partition dropped: public.parts_0 FOR VALUES FROM (0) TO (10);"
        " partition detached: public.parts_10 FOR VALUES FROM (10) TO (20)"
    )
    assert sorted(line for line, _, _ in told(audit)) == [
        "ALTER TABLE public.parts",
        TOLD.format("parts", gone),
    ]
