"""What the log stands on, held against what this version of dbadmin installs: shared functions, event triggers, and
that nothing of others stands in the way of a line of the log. Whoever owns the server can change all of them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import psycopg

from audit.capture import VERSION
from audit.registry import installed_version
from audit.tables import Rows
from dbadmin.connections import named_rows

FOLDER = Path(__file__).parent / "sql"
SCRIPTS = ("functions.sql", "events.sql", "search.sql")
MADE = re.compile(
    r"^CREATE OR REPLACE FUNCTION dbadmin_audit\.(\w+)\(.*?\) RETURNS .*?\nLANGUAGE (.*?) AS \$\$(.*?)\$\$",
    re.DOTALL | re.MULTILINE,
)
SETTING = re.compile(r'SET "?(\w+)"? = (.+?)(?= SET |$)')
TAGS = re.compile(
    r"CREATE EVENT TRIGGER (\w+) ON \w+(?:\s+WHEN TAG IN \((.*?)\))?\s+EXECUTE FUNCTION \w+\.(\w+)\(\)"
)

FUNCTIONS = """
select p.proname as name, p.prosrc as body, p.prosecdef as is_definer, p.provolatile::text as volatility,
       coalesce(p.proconfig, '{}') as settings
from pg_catalog.pg_proc p
where p.pronamespace = 'dbadmin_audit'::regnamespace and p.proname !~ '^capture_(row_)?\\d+$'
order by 1
"""
EVENT_TRIGGERS = """
select e.evtname as name, e.evtenabled::text as enabled, coalesce(e.evttags, '{}') as tags,
       (select p.proname from pg_catalog.pg_proc p where p.oid = e.evtfoid
        and p.pronamespace = 'dbadmin_audit'::regnamespace) as function
from pg_catalog.pg_event_trigger e
"""
STRANGE = (FOLDER / "strange.sql").read_text()
# Once in a week, as long as it is shown.
RECORD = """
insert into dbadmin_audit.gap (kind, text) select 'switched', %(text)s
where not exists (select from dbadmin_audit.gap where text = %(text)s and at > now() - interval '7 days')
"""
#: Numbers are given once: the newest is looked up before the sequence is. Monitoring alone may read neither.
MAY_READ_NUMBERS = """
select has_table_privilege(to_regclass('dbadmin_audit.statement'), 'SELECT')
   and has_sequence_privilege(to_regclass('dbadmin_audit.statement_id'), 'SELECT') as may_read
"""
NUMBERS = """
select newest, last_value - case when is_called then 0 else 1 end as given
from (select max(id) as newest from dbadmin_audit.statement) s, dbadmin_audit.statement_id
"""
SCHEMA_THERE = "select to_regclass('dbadmin_audit.statement') is not null as is_there"
UNVERSIONED = (
    "The comment on schema dbadmin_audit no longer tells the log's version: the log counts as not installed"
)
COMMENT = f"COMMENT ON SCHEMA dbadmin_audit IS 'dbadmin audit log, version {VERSION}';"
OTHER_FUNCTION = (
    "Function dbadmin_audit.{} is not the one that was installed: what is recorded, or found, may be wrong"
)
NO_FUNCTION = "Function dbadmin_audit.{} is gone: changes cannot be recorded as they should"
SET_BACK = (
    "The sequence dbadmin_audit.statement_id was set back: it stands at {}, and the log goes up to statement {}; the"
    " next statements get numbers of others, and their rows cannot be told apart"
)
OTHER_EVENT = (
    "Event trigger {} is {}: changes of tables, and new partitions, are seen only when dbadmin looks"
)


@dataclass(frozen=True)
class Fault:
    """What is not as it was installed. state: "critical" where changes may be missing or wrong; table: of the log."""

    state: str
    table: str
    problem: str
    remedy: str


@lru_cache
def scripted(script: str) -> dict[str, tuple[Any, ...]]:
    """The functions of a script by name, as FUNCTIONS tells them."""
    found = {}
    for name, head, body in MADE.findall((FOLDER / script).read_text()):
        settings = {f"{key}={text.strip(chr(39))}" for key, text in SETTING.findall(" ".join(head.split()))}
        volatility = next((word[0].lower() for word in ("IMMUTABLE", "STABLE") if word in head), "v")
        found[name] = (body, "SECURITY DEFINER" in head, volatility, frozenset(settings))
    return found


@lru_cache
def scripted_events() -> dict[str, tuple[str, frozenset[str]]]:
    """The event triggers by name: function and tags."""
    found = TAGS.findall((FOLDER / "events.sql").read_text())
    return {name: (function, frozenset(re.findall(r"'(.*?)'", tags))) for name, tags, function in found}


def faults(rows: Rows) -> list[Fault]:
    """All of them; of functions of an older version another finding tells."""
    version = installed_version(rows)
    made = list(of_functions(rows)) if version == VERSION else []
    return [*made, *of_numbers(rows), *(Fault(*row) for row in rows(STRANGE))] if version else []


def unversioned(rows: Rows) -> list[Fault]:
    """A log that hides: it is there, and its schema no longer says so."""
    is_there = not installed_version(rows) and rows(SCHEMA_THERE)[0].is_there
    return [Fault("critical", "statement", UNVERSIONED, COMMENT)] if is_there else []


def of_numbers(rows: Rows) -> Iterator[Fault]:
    """A sequence that gives numbers once more."""
    if not rows(MAY_READ_NUMBERS)[0].may_read:
        return
    row = rows(NUMBERS)[0]
    if row.newest is not None and row.given < row.newest:
        remedy = f"SELECT setval('dbadmin_audit.statement_id', {row.newest});"
        yield Fault("critical", "statement_id", SET_BACK.format(row.given, row.newest), remedy)


def of_functions(rows: Rows) -> Iterator[Fault]:
    """Functions and event triggers that are others, or gone."""
    there = {
        row.name: (row.body, row.is_definer, row.volatility, frozenset(row.settings))
        for row in rows(FUNCTIONS)
    }
    for script in SCRIPTS:
        is_installed = script == "functions.sql" or scripted(script).keys() & there.keys()
        for name, made in scripted(script).items():
            if name not in there and is_installed:
                yield Fault("critical", name, NO_FUNCTION.format(name), "upgrade_capture")
            elif there.get(name, made) != made:
                yield Fault("critical", name, OTHER_FUNCTION.format(name), "upgrade_capture")
    if scripted("events.sql").keys() <= there.keys():  # else event triggers are not allowed
        yield from of_events(rows)


def of_events(rows: Rows) -> Iterator[Fault]:
    """What the server would tell of by itself."""
    there = {row.name: row for row in rows(EVENT_TRIGGERS)}
    for name, made in scripted_events().items():
        row = there.get(name)
        if row is None:
            is_now = "gone"
        elif row.enabled != "A":
            is_now = "off"
        elif (row.function, frozenset(row.tags)) != made:
            is_now = "not the one that was installed"
        else:
            continue
        yield Fault("warning", name, OTHER_EVENT.format(name, is_now), "upgrade_capture")


def record_faults(connection: psycopg.Connection[Any]) -> list[str]:
    """A line of the log for each by which changes may be missing or wrong, where the next seal covers it; what was
    written. It stays when somebody takes the fault away."""

    def rows(query: Any, params: Any = None) -> list[Any]:
        return named_rows(connection.execute(query, params))

    with connection.transaction():
        found = [fault.problem for fault in faults(rows) if fault.state == "critical"]
        return [text for text in found if connection.execute(RECORD, {"text": text}).rowcount]


def is_intact(rows: Rows) -> bool:
    """Is nothing to be installed again?"""
    return not any(fault.remedy == "upgrade_capture" for fault in faults(rows))
