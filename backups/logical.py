"""The client programs of PostgreSQL: which of them fits a server, and the command lines that we give them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from dbadmin.failures import Told

PROGRAMS = ("pg_dump", "pg_dumpall", "pg_restore")
PLACES = (
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/opt/homebrew/opt/postgresql@*/bin",
    "/usr/local/bin",
)
LOCK_WAIT = "60s"
LOOK_AGAIN_SECONDS = 600

#: Text that must read the same before and after: these settings make it depend on nothing but the value.
STEADY = "-c bytea_output=hex -c TimeZone=UTC"
#: A job of pg_restore waits for as long as the others need; the other limits pg_dump and pg_restore lift themselves.
PATIENT = "-c idle_session_timeout=0"

_ENVIRONMENT = {
    "host": "PGHOST",
    "hostaddr": "PGHOSTADDR",
    "port": "PGPORT",
    "dbname": "PGDATABASE",
    "user": "PGUSER",
    "password": "PGPASSWORD",
    "passfile": "PGPASSFILE",
    "service": "PGSERVICE",
    "channel_binding": "PGCHANNELBINDING",
    "sslmode": "PGSSLMODE",
    "sslcert": "PGSSLCERT",
    "sslkey": "PGSSLKEY",
    "sslrootcert": "PGSSLROOTCERT",
    "sslcrl": "PGSSLCRL",
    "gssencmode": "PGGSSENCMODE",
    "krbsrvname": "PGKRBSRVNAME",
}


class NoTools(Told):
    """No client program on this host fits; a sentence with what to install."""


@dataclass(frozen=True)
class Tools:
    """One installed set of client programs."""

    folder: Path
    version: str

    @property
    def major(self) -> int:
        return int(re.match(r"\d+", self.version)[0])  # type: ignore[index]

    def path(self, program: str) -> str:
        return str(self.folder / program)

    def __str__(self) -> str:
        return self.version


def version_of(program: Path) -> str:
    """What a program of PostgreSQL says of itself, such as 15.18; empty when it does not run."""
    try:
        answer = subprocess.run(
            [program, "--version"], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    found = re.search(r"\d+(\.\d+)*", answer.stdout)
    return found[0] if found else ""


def folders() -> list[Path]:
    """Where PostgreSQL's programs may be; DBADMIN_PG_BIN adds directories in front."""
    found = [Path(each) for each in os.environ.get("DBADMIN_PG_BIN", "").split(os.pathsep) if each]
    found += [Path(each) for each in os.environ.get("PG_BIN", "").split(os.pathsep) if each]
    for place in PLACES:
        found += sorted(Path("/").glob(place.lstrip("/")))
    found_on_path = shutil.which("pg_dump")
    if found_on_path:
        found.append(Path(found_on_path).parent)
    return found


@lru_cache(1)
def installed() -> tuple[Tools, ...]:
    """Every complete set of client programs on this host, lowest version first."""
    found: dict[str, Tools] = {}
    for folder in folders():
        if all(os.access(folder / program, os.X_OK) for program in PROGRAMS):
            version = version_of(folder / "pg_dump")
            if version:
                found.setdefault(version, Tools(folder, version))
    return tuple(sorted(found.values(), key=lambda tools: [int(part) for part in tools.version.split(".")]))


_looked_at = time.monotonic()


def versions() -> list[str]:
    """Of every set on this host; looked for again after a while, so that what is installed later is found."""
    global _looked_at
    if time.monotonic() - _looked_at > LOOK_AGAIN_SECONDS:
        installed.cache_clear()
        _looked_at = time.monotonic()
    return [tools.version for tools in installed()]


def choose(major: int, sets: Iterable[Tools] | None = None) -> Tools:
    """The newest set of the server's own major version, else of the next higher: an older one refuses."""
    fitting = [tools for tools in (installed() if sets is None else sets) if tools.major >= major]
    if not fitting:
        have = ", ".join(tools.version for tools in (installed() if sets is None else sets)) or "none"
        raise NoTools(
            f"No pg_dump for PostgreSQL {major} on this worker (found: {have}). "
            f"Install the package postgresql-client-{major}, or name its directory in DBADMIN_PG_BIN."
        )
    lowest = min(tools.major for tools in fitting)
    return [tools for tools in fitting if tools.major == lowest][-1]


def environment(dsn: str, database: str | None = None) -> dict[str, str]:
    """The connection as environment variables, because arguments can be read by everyone on the host."""
    parts = conninfo_to_dict(make_conninfo(dsn, dbname=database) if database else dsn)
    found = {
        _ENVIRONMENT[name]: str(value) for name, value in parts.items() if name in _ENVIRONMENT and value
    }
    options = f"{parts.get('options', '')} {STEADY} {PATIENT}".strip()
    return {**found, "PGOPTIONS": options, "PGTZ": "UTC", "PGCONNECT_TIMEOUT": "10"}


@dataclass(frozen=True)
class Selection:
    """What of a database is dumped: everything, or chosen schemas and tables."""

    schemas: Sequence[str] = ()
    tables: Sequence[tuple[str, str]] = ()

    @property
    def everything(self) -> bool:
        return not self.schemas and not self.tables

    def arguments(self) -> list[str]:
        chosen = [f"--schema={_pattern(name)}" for name in self.schemas]
        chosen += [f"--table={_full(*table)}" for table in self.tables]
        return [*chosen, "--strict-names"] if chosen else []

    def __str__(self) -> str:
        names = [*self.schemas, *(f"{schema}.{name}" for schema, name in self.tables)]
        return ", ".join(names) if names else "everything"


def _pattern(name: str) -> str:
    """A name that stands for itself and nothing else in a pattern."""
    return '"{}"'.format(name.replace('"', '""'))


def _full(schema: str, name: str) -> str:
    return f"{_pattern(schema)}.{_pattern(name)}"


@dataclass(frozen=True)
class Source:
    """Where and what to dump."""

    tools: Tools
    dsn: str = field(repr=False)
    database: str = ""
    selection: Selection = field(default_factory=Selection)
    #: Tables of which only the definition is wanted.
    without_rows: Sequence[tuple[str, str]] = ()
    #: Of the dump; empty for that which the database gives its clients.
    encoding: str = ""

    def environment(self) -> Mapping[str, str]:
        encoding = {"PGCLIENTENCODING": self.encoding} if self.encoding else {}
        return {**environment(self.dsn, self.database), **encoding}


def dump_command(source: Source, snapshot: str = "", unlogged: bool = True) -> list[str]:
    """The uncompressed custom format, because compression, encryption and digests follow behind it."""
    command = [
        source.tools.path("pg_dump"),
        "--format=custom",
        "--compress=0",
        "--no-password",
        f"--lock-wait-timeout={LOCK_WAIT}",
    ]
    if snapshot:
        command.append(f"--snapshot={snapshot}")
    if not unlogged:
        command.append("--no-unlogged-table-data")
    command += [f"--exclude-table-data={_full(*table)}" for table in source.without_rows]
    return [*command, *source.selection.arguments()]


def globals_command(source: Source, with_passwords: bool) -> list[str]:
    """Roles, their settings and memberships, tablespaces; password hashes only into an encrypted file."""
    command = [
        source.tools.path("pg_dumpall"),
        "--globals-only",
        "--no-password",
        f"--database={make_conninfo(dbname=source.database)}",  # a name with = in it would be taken for more
    ]
    return command if with_passwords else [*command, "--no-role-passwords"]


def restore_command(tools: Tools, database: str, archive: str, jobs: int = 2) -> list[str]:
    """Always several jobs: only then is each table filled in the order that the digest expects."""
    return [
        tools.path("pg_restore"),
        f"--dbname={make_conninfo(dbname=database)}",
        f"--jobs={max(2, jobs)}",
        "--no-password",
        archive,
    ]


def contents_command(tools: Tools, archive: str) -> list[str]:
    return [tools.path("pg_restore"), "--list", archive]
