"""The latest reading of each probe, kept in the control database and decoded once per process."""

from __future__ import annotations

import datetime as dt
import json
import threading
from collections import OrderedDict
from collections.abc import Collection, Container, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from django.db import connection, transaction
from psycopg.conninfo import conninfo_to_dict

from dbadmin.models import Server, ServerState, StoredReading
from dbadmin.packed_readings import blank, pack, pack_problem, unpack, unpack_problem, version_of
from dbadmin.probes import PROBES, Problem, Reading, dotted

#: Troubles that pass: the last rows stay true as of their moment.
PASSING = {"unreachable", "timeout", "locked", "busy"}
#: Cells that one process keeps decoded, over all readings: about 60 MB.
MOST_CELLS = 1_000_000

Key = tuple[int, str, str]

READ = """
select server_id, database, probe, taken_at, took_ms, version, trouble::text,
    case when version <> coalesce(%s, version + 1) then body end
from dbadmin_storedreading where server_id = %s and database = %s and probe = %s
"""
READ_MANY = """
select stored.server_id, stored.database, stored.probe, stored.taken_at, stored.took_ms, stored.version,
    stored.trouble::text, case when known.version is null then stored.body end
from dbadmin_storedreading stored
left join unnest(%s::int8[]) known (version) on known.version = stored.version
where stored.server_id = any(%s) and stored.probe = any(%s) and (%s::text[] is null or stored.database = any(%s))
order by stored.server_id, stored.database, stored.probe
"""
DATABASES = "select databases from dbadmin_serverstate where server_id = %s"
SAME = """
update dbadmin_storedreading set taken_at = %s, took_ms = %s, asked_at = %s, trouble = null
where server_id = %s and database = %s and probe = %s and version = %s
    and (state = '' or state_since is not null) -- else it was written before there was a since
"""
NEW = """
insert into dbadmin_storedreading (server_id, database, probe, taken_at, took_ms, asked_at, version, body,
    state, state_count, state_text, state_action, state_since)
values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
on conflict (server_id, database, probe) do update set
    taken_at = excluded.taken_at, took_ms = excluded.took_ms, asked_at = excluded.asked_at,
    version = excluded.version, body = excluded.body, trouble = null,
    state = excluded.state, state_count = excluded.state_count, state_text = excluded.state_text,
    state_action = excluded.state_action, state_since = case when excluded.state <> ''
        then coalesce(dbadmin_storedreading.state_since, excluded.state_since) end
"""
FAILED = """
update dbadmin_storedreading set asked_at = %s, trouble = %s
where server_id = %s and database = %s and probe = %s
"""


class Decoded:
    """Readings that this process has decoded, the least used forgotten first."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.kept: OrderedDict[Key, tuple[int, Reading]] = OrderedDict()
        self.cells = 0

    def get(self, key: Key) -> tuple[int, Reading] | None:
        """The version that is known, and the reading."""
        with self.lock:
            found = self.kept.get(key)
            if found:
                self.kept.move_to_end(key)
            return found

    def put(self, key: Key, version: int, reading: Reading) -> None:
        """Remember; make room."""
        with self.lock:
            old = self.kept.pop(key, None)
            self.cells += size(reading) - (size(old[1]) if old else 0)
            self.kept[key] = (version, reading)
            while self.cells > MOST_CELLS and len(self.kept) > 1:
                self.cells -= size(self.kept.popitem(last=False)[1][1])

    def versions(self, servers: Container[int], probes: Container[str]) -> list[int]:
        """The versions of these servers' probes that need not be fetched."""
        with self.lock:
            return [
                version
                for (server, _, probe), (version, _) in self.kept.items()
                if probe in probes and server in servers
            ]

    def clear(self) -> None:
        """Forget all."""
        with self.lock:
            self.kept.clear()
            self.cells = 0


def size(reading: Reading) -> int:
    """What a decoded reading weighs, in cells."""
    return 20 + len(reading.rows) * (len(reading.columns) + 2)


DECODED = Decoded()
#: The sealed DSN of a server -> the database that it names; how many are remembered.
MAIN: dict[str, str] = {}
MOST_MAIN = 1000


def latest(server: Server, probe_name: str, database: str = "") -> Reading | None:
    """The last answer, or None when there is none yet. Its rows are shared: do not change them."""
    key = (server.pk, database, probe_name)
    known = DECODED.get(key)
    with connection.cursor() as cursor:
        cursor.execute(READ, [known[0] if known else None, *key])
        row = cursor.fetchone()
    return from_row(row, server.name, known) if row else None


def latest_of(servers: Iterable[Server], probe_names: Sequence[str]) -> dict[Key, Reading]:
    """The last answers of several probes of several servers, by (server's id, database, probe)."""
    names = {server.pk: server.name for server in servers}
    return read_many(names, probe_names, None, DECODED.versions(names, probe_names))


def latest_among(server: Server, wanted: Collection[tuple[str, str]]) -> dict[tuple[str, str], Reading]:
    """The last answers of several probes of one server, asked for and given by (database, probe)."""
    known = [DECODED.get((server.pk, *each)) for each in wanted]
    databases = list({database for database, _ in wanted})
    versions = [each[0] for each in known if each]
    found = read_many({server.pk: server.name}, [probe for _, probe in wanted], databases, versions)
    return {(database, probe): reading for (_, database, probe), reading in found.items()}


def read_many(
    names: Mapping[int, str], probes: Sequence[str], databases: list[str] | None, versions: list[int]
) -> dict[Key, Reading]:
    """What is stored of these servers, probes and databases; the bodies only of versions that are not known."""
    with connection.cursor() as cursor:
        cursor.execute(READ_MANY, [versions, list(names), list(probes), databases, databases])
        rows = cursor.fetchall()
    found = {}
    for row in rows:
        key = (row[0], row[1], row[2])
        known = DECODED.get(key)
        reading = from_row(row, names[row[0]], known)
        if reading:
            found[key] = reading
    return found


def from_row(row: Sequence[Any], server_name: str, known: tuple[int, Reading] | None) -> Reading | None:
    """A stored row as a Reading; None when its probe is no more."""
    server_id, database, probe_name, taken_at, took_ms, version, trouble, body = row
    probe = PROBES.get(probe_name)
    if probe is None:
        return None
    if known is None or known[0] != version:
        if body is None:
            return None
        known = (version, unpack(bytes(body), blank(probe, server_name, database, taken_at, took_ms)))
        DECODED.put((server_id, database, probe_name), *known)
    failed = unpack_problem(json.loads(trouble)) if trouble else None
    return replace(known[1], server_name=server_name, taken_at=taken_at, took_ms=took_ms, trouble=failed)


def store(server: Server, reading: Reading) -> None:
    """Keep a reading as the latest; one that failed in passing leaves the last rows, with the reason."""
    store_many(server, [reading])


def store_many(server: Server, readings: Sequence[Reading]) -> None:
    """Keep several readings of a server in one transaction."""
    bodies = [(reading, pack(reading)) for reading in readings]
    with transaction.atomic(), connection.cursor() as cursor:
        for reading, body in bodies:
            key = (server.pk, reading.database, reading.probe.name)
            if reading.problem and reading.problem.kind in PASSING:
                trouble = json.dumps(pack_problem(reading.problem))
                cursor.execute(FAILED, [reading.taken_at, trouble, *key])
                if cursor.rowcount:
                    continue
            version = version_of(body, key)
            cursor.execute(SAME, [reading.taken_at, reading.took_ms, reading.taken_at, *key, version])
            if not cursor.rowcount:
                moments: list[Any] = [reading.taken_at, reading.took_ms, reading.taken_at]
                state, number, words, action = judged(reading)
                since = reading.taken_at if state else None
                cursor.execute(NEW, [*key, *moments, version, body, state, number, words, action, since])


def judged(reading: Reading) -> tuple[str, int, str, str]:
    """The worst state among the rows by the probe's thresholds, how many, the first in words, and what mends it."""
    probe = reading.probe
    for state, threshold in (("critical", probe.critical), ("warning", probe.warning)):
        met = [row for row in reading.rows if threshold and threshold.met_by(row)]
        if met and threshold:
            action = json.dumps(action_of(reading, met[0]))
            return state, len(met), in_words(reading, met[0], threshold.column), action
    return "", 0, "", "{}"


def action_of(reading: Reading, row: Any) -> dict[str, Any]:
    """The probe's first operation for a row, with its form's fields; nothing where a field is not known."""
    for action in reading.probe.actions[:1]:
        params = {name: getattr(row, column, None) for name, column in action.fields}
        if None not in params.values():
            return {"operation": action.operation, "params": params}
    return {}


def in_words(reading: Reading, row: Any, column: str) -> str:
    """public.users: 4 h 12 min, from a row's name and the column that crossed the line."""
    probe = reading.probe
    name = which(reading, row)[:120]
    value = getattr(row, column)
    if name and ("problem" in probe.key or (column.endswith("_count") and value == 1)):
        return name
    what = f"{probe.column(column).label.lower()} {probe.column(column).unit.text(value)}"
    return f"{name}: {what}" if name else what


def which(reading: Reading, row: Any) -> str:
    """A row so that somebody who cannot look finds it: by its key, a session by its number and who it is of,
    else by what its operation is told, else by its first labels."""
    if not reading.probe.key and getattr(row, "pid", None) is not None:
        return session(row)
    acted = [column for action in reading.probe.actions[:1] for _, column in action.fields]
    for names in (reading.probe.key, acted):
        if known := known_of(row, names):
            return dotted(known, known.values())
    plain = [each.name for each in reading.columns if not each.unit.numeric and each.unit.suffix != "_at"]
    known = known_of(row, plain[:2])
    return ", ".join(
        f"{reading.probe.column(name).label.lower()} {value}" if str(value)[0].isdigit() else str(value)
        for name, value in known.items()
    )


def known_of(row: Any, names: Iterable[str]) -> dict[str, Any]:
    """Those of the columns that say something."""
    return {name: value for name in names if (value := getattr(row, name, None)) not in (None, "")}


def session(row: Any) -> str:
    """session 4711 of academy_web in academy, psql from 10.1.2.3."""
    words = {"role": " of ", "database": " in ", "application": ", ", "client": " from "}
    return f"session {row.pid}" + "".join(words[name] + value for name, value in known_of(row, words).items())


def main_database(server: Server) -> str:
    """The database of the server's own DSN, which is opened for it once."""
    sealed = server.sealed_monitor_dsn
    if sealed not in MAIN:
        if len(MAIN) > MOST_MAIN:
            MAIN.clear()
        MAIN[sealed] = str(conninfo_to_dict(server.dsn()).get("dbname") or "postgres")
    return MAIN[sealed]


def databases(server: Server) -> list[str]:
    """The databases of a server that people connect to, as last seen; empty before the first look."""
    with connection.cursor() as cursor:
        cursor.execute(DATABASES, [server.pk])
        row = cursor.fetchone()
    return list(row[0] or []) if row else []


def note_reached(server: Server, at: dt.datetime, **changes: Any) -> None:
    """Remember that the server answered, and what else is known of it as a whole."""
    known = {"asked_at": at, "reached_at": at, "trouble": None, **changes}
    ServerState.objects.update_or_create(server=server, defaults=known)


def store_trouble(server: Server, problem: Problem, at: dt.datetime) -> None:
    """Remember that the server as a whole did not answer: every reading of it gets old for this reason."""
    trouble = pack_problem(problem)
    ServerState.objects.update_or_create(server=server, defaults={"asked_at": at, "trouble": trouble})
    StoredReading.objects.filter(server=server).update(asked_at=at, trouble=trouble)
