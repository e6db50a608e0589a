"""Whoever owns the server can change what capture stands on: it is told, recorded, named by a verification, and
mended."""

import subprocess

import pytest
from django.utils.html import escape

from audit.foundations import faults
from audit.gaps import find_gaps
from audit.models import Seal
from backups import logical
from dbadmin.connections import Session
from dbadmin.operations import Refused
from dbadmin.probes import PROBES
from tests.carrying_out import carry_out, log_of, operation

pytestmark = [pytest.mark.servers, pytest.mark.django_db(transaction=True)]

OTHER = (
    "Function dbadmin_audit.{} is not the one that was installed: what is recorded, or found, may be wrong"
)
TEXT = "create or replace function dbadmin_audit.{} language sql {} as $$select {}$$"
NOTHING = "create function nothing() returns trigger language plpgsql as 'begin return null; end';"
STRANGE = "{} of dbadmin_audit.statement is none of dbadmin's: it can keep changes out of the log"
SET_BACK = (
    "The sequence dbadmin_audit.statement_id was set back: it stands at 1, and the log goes up to statement 2; the next"
    " statements get numbers of others, and their rows cannot be told apart"
)
EVENT = "Event trigger dbadmin_audit_ddl is {}: changes of tables, and new partitions, are seen only when dbadmin looks"
#: Tampering -> what is said, and what mends it.
CRITICAL = {
    TEXT.format("loose_insert(relation oid, operation text, types oid[]) returns text", "stable", "'select 1'"):
        (OTHER.format("loose_insert"), "upgrade_capture"),
    "alter function dbadmin_audit.digest(text, text, text, bigint) set search_path = public":
        (OTHER.format("digest"), "upgrade_capture"),
    "alter function dbadmin_audit.signature(regclass) stable": (OTHER.format("signature"), "upgrade_capture"),
    TEXT.format("first_id(moment timestamptz) returns bigint", "stable", "1000"):
        (OTHER.format("first_id"), "upgrade_capture"),
    TEXT.format("exact_text(value anyelement) returns text", "immutable", "''"):
        (OTHER.format("exact_text"), "upgrade_capture"),
    "create or replace function dbadmin_audit.on_ddl() returns event_trigger language plpgsql as 'begin end'":
        (OTHER.format("on_ddl"), "upgrade_capture"),
    "drop function dbadmin_audit.hidden":
        ("Function dbadmin_audit.hidden is gone: changes cannot be recorded as they should", "upgrade_capture"),
    f"{NOTHING} create trigger t before insert on dbadmin_audit.statement for each row execute function nothing()":
        (STRANGE.format("Trigger t"), "DROP TRIGGER t ON dbadmin_audit.statement;"),
    "create rule r as on insert to dbadmin_audit.statement do instead nothing":
        (STRANGE.format("Rule r"), "DROP RULE r ON dbadmin_audit.statement;"),
    "insert into items values (2, 'b'); select setval('dbadmin_audit.statement_id', 1)":
        (SET_BACK,
         "SELECT setval('dbadmin_audit.statement_id', 2);"),
}  # fmt: skip
WARNINGS = {
    "alter event trigger dbadmin_audit_ddl disable": (EVENT.format("off"), "upgrade_capture"),
    "drop event trigger dbadmin_audit_ddl": (EVENT.format("gone"), "upgrade_capture"),
    "drop event trigger dbadmin_audit_ddl; create event trigger dbadmin_audit_ddl on ddl_command_end"
    " when tag in ('CREATE TABLE') execute function dbadmin_audit.on_ddl();"
    " alter event trigger dbadmin_audit_ddl enable always":
        (EVENT.format("not the one that was installed"), "upgrade_capture"),
    "alter table dbadmin_audit.statement enable row level security":
        ("Row security of dbadmin_audit.statement is on: who reads the log may not see all of it",
         "ALTER TABLE dbadmin_audit.statement DISABLE ROW LEVEL SECURITY;"),
    "alter table dbadmin_audit.statement_default set unlogged":
        ("dbadmin_audit.statement_default is not logged: after a crash of the server it is empty",
         "ALTER TABLE dbadmin_audit.statement_default SET LOGGED;"),
    "alter table dbadmin_audit.gap owner to pg_monitor":
        ("dbadmin_audit.gap belongs to pg_monitor, who may write to it: lines can be forged before they are sealed",
         "ALTER TABLE dbadmin_audit.gap OWNER TO dbadmin_audit;"),
    "grant insert, update on dbadmin_audit.statement, dbadmin_audit.gap to public":
        ("Everybody may write to 2 tables of the log: lines of it can be forged before they are sealed",
         "REVOKE INSERT, UPDATE ON ALL TABLES IN SCHEMA dbadmin_audit FROM PUBLIC;"),
    "grant execute on function dbadmin_audit.capture_1() to pg_monitor":
        ("pg_monitor may call 1 functions of capture: lines of the log can be forged before they are sealed",
         "REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA dbadmin_audit FROM pg_monitor;"),
}  # fmt: skip


@pytest.fixture
def indexed(items, execute, server):
    execute("insert into items values (1, 'a')")
    assert carry_out(operation("index_log", server, texts=False)).status == "succeeded"
    assert carry_out(operation("seal_log", server)).status == "succeeded"
    assert gaps(items) == []
    return items


def gaps(audit):
    return [(gap.state, gap.problem, gap.remedy) for gap in find_gaps(audit.session.rows)]


def mend(execute, server, remedy):
    if remedy == "upgrade_capture":
        run = carry_out(operation("upgrade_capture", server))
        assert run.status == "succeeded", run.message
    else:
        execute(remedy)


@pytest.mark.parametrize("tampering", CRITICAL, ids=range(len(CRITICAL)))
def test_what_falsifies_the_log_is_told_recorded_named_and_mended(indexed, execute, server, tampering):
    problem, remedy = CRITICAL[tampering]
    execute(tampering)
    assert gaps(indexed) == [("critical", problem, remedy)]
    run = carry_out(operation("verify_seals", server))
    first = f"What records changes is not as it was installed in 1 place. The first: {problem}."
    assert (run.status, run.message) == ("refused", first)
    assert log_of(carry_out(operation("seal_log", server)))[0] == f"Recorded a gap. {problem}."
    assert gaps(indexed) == [("critical", problem, remedy)]
    mend(execute, server, remedy)
    assert gaps(indexed) == [("critical", problem, "")]  # it was, and is a line of the log
    carry_out(operation("seal_log", server))
    assert execute("select count(*) from dbadmin_audit.gap").fetchone() == (1,)
    assert carry_out(operation("verify_seals", server)).status == "succeeded"


@pytest.mark.parametrize("tampering", WARNINGS, ids=range(len(WARNINGS)))
def test_what_opens_the_log_is_told_and_mended(indexed, execute, server, tampering):
    problem, remedy = WARNINGS[tampering]
    execute(tampering)
    assert gaps(indexed) == [("warning", problem, remedy)]
    mend(execute, server, remedy)
    assert gaps(indexed) == []


def test_a_line_of_the_registry_that_names_another_relation_is_told_and_put_right(indexed, execute):
    relid = indexed.state.active()[0].relid
    execute("update dbadmin_audit.watched set relid = 1259")
    ((state, problem, remedy),) = [one for one in gaps(indexed) if "relation" in one[1]]
    text = f"its capture function {relid}: dbadmin_audit.watched was altered"
    assert (state, problem) == ("critical", f"The log's line of it names relation 1259, {text}")
    execute(remedy)
    assert gaps(indexed) == []


def test_monitoring_alone_sees_it(indexed, execute, postgres, target):
    (tampering, (problem, _)), *_ = CRITICAL.items()
    execute(tampering)
    with postgres.connect(target.database, "dbadmin_monitor") as connection:
        (row,) = PROBES["audit_gaps"].read(Session(connection)).rows
    assert (row.schema, row.table, row.problem) == ("dbadmin_audit", "loose_insert", problem)


def test_a_log_that_hides_behind_its_comment_is_told(indexed, execute):
    execute("comment on schema dbadmin_audit is null")
    text = "The comment on schema dbadmin_audit no longer tells the log's version: the log counts as not installed"
    ((state, problem, remedy),) = gaps(indexed)
    assert (state, problem) == ("critical", text)
    execute(remedy)
    assert gaps(indexed) == []


def test_a_log_that_is_gone_is_not_taken_for_one_that_never_was(indexed, execute, server, target):
    execute("drop schema dbadmin_audit cascade")
    seal = Seal.objects.get()
    with pytest.raises(Refused) as refusal:
        operation("seal_log", server).plan()
    assert str(refusal.value) == (
        f"{target.database} has no audit log any more, though seal 1 of {seal.sealed_at:%Y-%m-%d %H:%M} UTC covers"
        " one: its schema was dropped, the comment on it was altered, or another database took its place. What was"
        " written meanwhile may not be recorded. Ask who did that; a backup has the log, and the tables are to be"
        " watched again."
    )


def test_capture_shows_it_with_what_mends_it(indexed, execute, client_as, server):
    execute("alter function dbadmin_audit.signature(regclass) stable")
    execute("create rule r as on insert to dbadmin_audit.statement do instead nothing")
    page = client_as("admin").get(f"/servers/{server.name}/audit/capture/").content.decode()
    for text in (OTHER.format("signature"), STRANGE.format("Rule r")):
        assert escape(text) in page
    assert "/do/upgrade_capture/" in page
    assert "DROP RULE r ON dbadmin_audit.statement;" in page


def test_a_copy_that_was_restored_from_a_dump_is_in_order(indexed, execute, postgres, target):
    """Settings, rights and event triggers come along in it as they were."""
    name = f"{target.database}_copy"
    execute(f"create database {name}")
    tools = logical.choose(postgres.major)
    dump = [tools.path("pg_dump"), "-Fc", "--dbname", postgres.dsn_for(target.database)]
    restore = [tools.path("pg_restore"), "--exit-on-error", "--dbname", postgres.dsn_for(name)]
    dumped = subprocess.run(dump, capture_output=True, check=True)
    subprocess.run(restore, input=dumped.stdout, capture_output=True, check=True)
    with postgres.connect(name) as connection:
        assert faults(Session(connection).rows) == []
