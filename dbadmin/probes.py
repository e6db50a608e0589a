"""A Probe is a question about a server; its answer is a Reading, which never raises but may carry a Problem."""

from __future__ import annotations

import datetime as dt
import importlib.util
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import psycopg
from django.utils import timezone
from psycopg_pool import TooManyRequests

from dbadmin.connections import Session, named_rows, row_class, why
from dbadmin.passwords import hide
from dbadmin.probe_headers import HeaderError, parse_actions, parse_header, seconds, split_sql, threshold
from dbadmin.units import LABEL, Unit, unit_of

if TYPE_CHECKING:
    from dbadmin.models import Server

#: Rows that a reading keeps; what is beyond is counted in `cut`.
MOST_ROWS = 20_000
#: Said of a server whose PgBouncer nobody has named.
NO_POOLER = "No PgBouncer is known for this server."


@dataclass(frozen=True)
class Problem:
    """Why there is no answer, and what the reader can do.

    kind: privilege, extension, timeout, pending, locked, unreachable, unsupported, busy or error;
    remedy: an exact statement, or "".
    """

    kind: str
    message: str
    remedy: str = ""


def dotted(names: Iterable[str], values: Iterable[object]) -> str:
    """A row by its key: public.users. names: of the key's columns; what a `problem` says stands behind a colon.

    `what` says of which kind it is: Sequence of public.users_id_seq.
    """
    known = [
        (name, str(value)) for name, value in zip(names, values, strict=False) if value not in (None, "")
    ]
    name = ".".join(value for column, value in known if column not in {"problem", "what"})
    if kind := next((value for column, value in known if column == "what"), ""):
        name = f"{kind} of {name}" if name else kind
    return ": ".join([*([name] if name else []), *(value for column, value in known if column == "problem")])


class ProbeProblem(Exception):
    """Raised inside a Python probe to answer with a Problem."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


#: Words of column names that are abbreviations.
ACRONYMS = {
    "wal",
    "id",
    "pid",
    "oid",
    "io",
    "lsn",
    "sql",
    "xid",
    "ssl",
    "cpu",
    "brin",
    "gin",
    "fsm",
    "jit",
    "url",
    "toast",
    "rto",
    "rpo",
    "hot",
}
#: Headings that the name alone would not explain.
HEADINGS = {
    "hit_ratio": "Cache hit",
    "exec_seconds_total": "Execution",
    "dead_ratio": "Dead share",
    "refreshable_beside_readers": "Beside readers",
}


@dataclass(frozen=True)
class Column:
    """One column of a reading."""

    name: str
    unit: Unit
    about: str = ""

    @cached_property
    def label(self) -> str:
        """Its heading: the name without the unit's suffix; what is said with yes or no needs no "is"."""
        if self.name in HEADINGS:
            return HEADINGS[self.name]
        bare = (
            self.name.removeprefix("is_")
            .removesuffix("_total")
            .removesuffix("_per_second")
            .removesuffix("_bytes")
        )
        bare = bare.removesuffix("_seconds").removesuffix("_ratio").removesuffix("_at").removesuffix("_count")
        words = (bare or self.name).split("_")
        said = [word.upper() if word in ACRONYMS else word for word in words]
        return " ".join([said[0] if said[0].isupper() else said[0].capitalize(), *said[1:]])


@dataclass
class Reading:
    """A probe's answer: rows, or a problem, and when it was so."""

    probe: Probe
    server_name: str
    database: str
    taken_at: dt.datetime
    took_ms: float
    columns: list[Column] = field(default_factory=list)
    rows: list[Any] = field(default_factory=list)
    problem: Problem | None = None
    cut: int = 0
    #: Why there is no newer one, when the last attempt failed and these rows are of an earlier one.
    trouble: Problem | None = None

    @property
    def age_seconds(self) -> float:
        """How old it is, seconds."""
        return (timezone.now() - self.taken_at).total_seconds()

    @property
    def is_stale(self) -> bool:
        """Older than two and a half of its intervals."""
        return self.age_seconds > 2.5 * (self.probe.every or 60)


class Probe:
    """A question, kept as a file; the header of the file is what every reader of the answer shares."""

    def __init__(self, app: str, name: str, header: Mapping[str, str], notes: Mapping[str, str]) -> None:
        self.app, self.name, self.header, self.notes = app, name, header, notes
        self.columns: dict[str, Column] = {}
        self.title, self.about = header["title"], header["about"]
        self.empty = header.get("empty", "Nothing to show.")
        self.scope = header.get("scope", "instance")
        self.source = header.get("source", "postgres")
        self.on, self.judged = header.get("on", ""), header.get("judged", "")
        self.needs = header.get("needs", "")
        self.every = seconds(header["every"]) if header.get("every") else None
        self.timeout = seconds(header.get("timeout", "2s"))
        self.keeps = seconds(header.get("keeps", "2s"))
        self.params = tuple(part.strip() for part in header.get("params", "").split(",") if part.strip())
        self.key = tuple(part.strip() for part in header.get("key", "").split(",") if part.strip())
        self.series = tuple(part.strip() for part in header.get("series", "").split(",") if part.strip())
        self.warning, self.critical = (
            threshold(header.get("warning", "")),
            threshold(header.get("critical", "")),
        )
        self.actions = parse_actions(header.get("actions", ""))
        pairs = (part.partition("=") for part in header.get("rename", "").split(",") if part.strip())
        self.rename = {old.strip(): new.strip() for old, _, new in pairs}
        if self.scope not in {"instance", "database"}:
            raise HeaderError(f"scope is {self.scope!r}; it is instance or database")
        if self.judged not in {"", "primary"}:
            raise HeaderError(f"judged is {self.judged!r}; it is primary, or left out")

    def __repr__(self) -> str:
        return f"<Probe {self.name}>"

    def state_of(self, row: Any) -> str:
        """critical, warning or "" for a row, by the header's thresholds."""
        if self.critical and self.critical.met_by(row):
            return "critical"
        return "warning" if self.warning and self.warning.met_by(row) else ""

    def is_judged_on(self, server: Server | None) -> bool:
        """Do its limits speak of this server? What a replica has from its primary is judged there, once."""
        return self.judged != "primary" or server is None or server.primary_id is None

    def column(self, name: str) -> Column:
        """A column, with the header's note on it; made once, as every page names hundreds."""
        if name not in self.columns:
            self.columns[name] = Column(name, unit_of(name), self.notes.get(name, ""))
        return self.columns[name]

    def read(self, session: Session, **params: Any) -> Reading:
        """Ask. Database trouble becomes the reading's problem; errors of ours still raise."""
        started, taken_at = time.perf_counter(), timezone.now()
        names: tuple[str, ...] = ()
        rows: list[Any] = []
        problem: Problem | None = None
        try:
            problem = self.unsuitable(session)
            if problem is None:
                names, rows = self.fetch(session, params)
        except ProbeProblem as answer:
            problem = answer.problem
        except psycopg.Error as error:
            problem = explain(error, self, session)
        took = (time.perf_counter() - started) * 1000
        columns = [self.column(name) for name in names]
        return Reading(
            self,
            session.server.name if session.server else "",
            session.database if self.scope == "database" else "",
            taken_at,
            took,
            columns,
            hide(rows[:MOST_ROWS], (place for place, column in enumerate(columns) if column.unit is LABEL)),
            problem,
            max(0, len(rows) - MOST_ROWS),
        )

    def unsuitable(self, session: Session) -> Problem | None:
        """Said of a standby what only a primary knows, and the other way round; and of a right that is missing."""
        if (lacking := self.lacking(session)) or not self.on:
            return lacking
        role = "standby" if session.in_recovery else "primary"
        if role == self.on:
            return None
        return Problem("unsupported", f"Only a {self.on} can tell; this server is a {role}.")

    def lacking(self, session: Session) -> Problem | None:
        """A missing role membership: without it many catalogs answer silently with less than the truth."""
        needed = next((need for need in re.split(r"[,\s]+", self.needs) if is_role(need)), "superuser")
        if needed == "superuser" or self.source != "postgres":
            return None
        if needed not in session.facts:
            question = "select pg_catalog.pg_has_role(pg_catalog.to_regrole(%s), 'usage')"
            session.facts[needed] = session.value(question, [needed])
        if session.facts[needed]:
            return None
        role = session.connection.info.user or "the monitoring role"
        if session.facts[needed] is None:
            return without_role(session, needed)
        return Problem(
            "privilege", f"{role} may not see this: it is not a member of {needed}.", grant(self, role)
        )

    def fetch(self, session: Session, params: Mapping[str, Any]) -> tuple[tuple[str, ...], list[Any]]:
        """Column names and rows; in the subclasses."""
        raise AssertionError("a probe is an SqlProbe or a PythonProbe")


class SqlProbe(Probe):
    """A probe kept as `.sql`, with variants for newer majors and for those before one: x.pg17.sql, x.before14.sql."""

    def __init__(self, app: str, path: Path) -> None:
        comments, statement = split_sql(path.read_text())
        super().__init__(app, path.stem, *parse_header(comments))
        self.variants = {0: statement}
        for other in path.parent.glob(f"{path.stem}.pg*.sql"):
            self.variants[int(other.stem.rpartition(".pg")[2])] = split_sql(other.read_text())[1]
        self.earlier = {
            int(other.stem.rpartition(".before")[2]): split_sql(other.read_text())[1]
            for other in path.parent.glob(f"{path.stem}.before*.sql")
        }

    def statement(self, major: int) -> str:
        """The statement for a major version, with a comment that names the probe in the server's log."""
        mark = "" if self.source == "pgbouncer" else f"/* dbadmin probe {self.name} */ "
        before = [version for version in self.earlier if major < version]
        if before:
            return mark + self.earlier[min(before)]
        best = max(version for version in self.variants if version <= major or version == 0)
        return mark + self.variants[best]

    def fetch(self, session: Session, params: Mapping[str, Any]) -> tuple[tuple[str, ...], list[Any]]:
        cursor = self.execute(session, dict.fromkeys(self.params) | dict(params))
        names = tuple(self.rename.get(column.name, column.name) for column in cursor.description or ())
        rows = named_rows(cursor)
        if self.rename:
            rows = [row_class(names)._make(row) for row in rows]
        return names, rows

    def execute(self, session: Session, params: Mapping[str, Any]) -> psycopg.Cursor[Any]:
        """Run the statement under the probe's own time limit."""
        connection, text = session.connection, self.statement(session.major)
        if session.is_pgbouncer:
            return connection.execute(text)
        if self.timeout != 2:
            connection.execute(
                "select pg_catalog.set_config('statement_timeout', %s, false)", [f"{self.timeout}s"]
            )
        try:
            return connection.execute(text, params or None)
        finally:
            if self.timeout != 2 and not connection.closed and connection.info.transaction_status == 0:
                connection.execute("select pg_catalog.set_config('statement_timeout', '2s', false)")


class PythonProbe(Probe):
    """A probe that is no SQL: a module with the header as docstring, COLUMNS, and rows(session)."""

    def __init__(self, app: str, name: str, module: ModuleType) -> None:
        lines = [f"-- {line}" for line in (module.__doc__ or "").strip().splitlines()]
        super().__init__(app, name, *parse_header(lines))
        self.module = module

    def fetch(self, session: Session, params: Mapping[str, Any]) -> tuple[tuple[str, ...], list[Any]]:
        names: tuple[str, ...] = tuple(self.module.COLUMNS)
        make = row_class(names)._make
        return names, [make(row) for row in self.module.rows(session, **params)]


def explain(error: Exception, probe: Probe, session: Session) -> Problem:
    """An error of the driver as a sentence, with the statement that mends it where there is one."""
    text = str(error).strip().partition("\n")[0]
    role = session.connection.info.user or "the monitoring role"
    match error:
        case psycopg.errors.InsufficientPrivilege():
            return Problem("privilege", f"{role} may not read this: {text}.", grant(probe, role))
        case psycopg.errors.UndefinedTable() | psycopg.errors.UndefinedFunction() if extension(probe):
            return Problem(
                "extension",
                f"The extension {extension(probe)} is not installed in database {session.database}.",
                f"CREATE EXTENSION {extension(probe)};",
            )
        case psycopg.errors.QueryCanceled():
            return Problem("timeout", f"No answer within {probe.timeout:g} s; the statement was ended.")
        case psycopg.errors.LockNotAvailable():
            return Problem("locked", "A lock held by another session was in the way; we did not wait for it.")
        case psycopg.errors.ObjectNotInPrerequisiteState():
            return Problem("extension", f"{text}.", remedy_of_state(text))
        case TooManyRequests():
            return Problem("busy", why(error, ""))
        case psycopg.OperationalError() | psycopg.InterfaceError():
            return Problem("unreachable", f"The server does not answer: {text}")
        case _:
            return Problem("error", text)


def without_role(session: Session, needed: str) -> Problem | None:
    """A version that has no such role: there only a superuser may see it."""
    if session.value("select pg_catalog.current_setting('is_superuser')") == "on":
        return None
    return Problem(
        "unsupported",
        f"PostgreSQL {session.major} has no role {needed}: there only a superuser can be told this.",
    )


def extension(probe: Probe) -> str:
    """The extension among the probe's needs, or ""."""
    return next((need for need in re.split(r"[,\s]+", probe.needs) if need and not is_role(need)), "")


def is_role(need: str) -> bool:
    """pg_monitor, pg_read_all_stats … are roles; other needs are extensions."""
    return need in {
        "pg_monitor",
        "pg_read_all_stats",
        "pg_read_all_settings",
        "pg_read_all_data",
        "superuser",
    }


def grant(probe: Probe, role: str) -> str:
    """The statement that gives the probe its right."""
    needed = next((need for need in re.split(r"[,\s]+", probe.needs) if is_role(need)), "pg_monitor")
    quoted = role.replace('"', '""')
    return f'GRANT {needed} TO "{quoted}";'


def remedy_of_state(text: str) -> str:
    """What mends 'must be loaded via shared_preload_libraries'."""
    if "shared_preload_libraries" not in text:
        return ""
    library = text.split(" ", 1)[0].strip('"')
    return f"ALTER SYSTEM SET shared_preload_libraries = '{library}'; -- then restart the server"


PROBES: dict[str, Probe] = {}


def load(app: str, folder: Path) -> None:
    """Register the probes of an app's folder; a header that does not parse names its file."""
    for path in sorted(folder.glob("*.sql")) + sorted(folder.glob("*.py")):
        if path.stem == "__init__" or re.search(r"\.(pg|before)\d+$", path.stem):
            continue
        try:
            probe = SqlProbe(app, path) if path.suffix == ".sql" else python_probe(app, path)
        except HeaderError as error:
            raise HeaderError(f"{path}: {error}") from error
        if PROBES.get(probe.name, probe).app != app:
            raise HeaderError(f"{path}: {PROBES[probe.name].app} already has a probe of this name")
        PROBES[probe.name] = probe


def python_probe(app: str, path: Path) -> PythonProbe:
    """Load a probe that is a module."""
    spec = importlib.util.spec_from_file_location(f"{app}.probes.{path.stem}", path)
    if not (spec and spec.loader):
        raise HeaderError(f"{path} cannot be loaded")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return PythonProbe(app, path.stem, module)
