"""The steps of a plan: data that is previewed, stored, compared, run, cancelled between, and reversed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from psycopg import Connection
from psycopg.errors import LockNotAvailable
from psycopg.sql import Composable, Literal

from dbadmin.units import several

if TYPE_CHECKING:
    from dbadmin.runner import Work


class Step(Protocol):
    """One part of a plan. str(step) is what the person reads; reverse is what would take it back, or ""."""

    @property
    def reverse(self) -> str:
        """The statement or sentence that undoes the step."""
        ...

    def run(self, work: Work) -> None:
        """Do it; raises on failure and lets Cancelled pass."""
        ...


def text_of(statement: str | Composable, params: Sequence[Any] | None = None) -> str:
    """A statement as it can be read and pasted, its parameters as literals."""
    text = statement.as_string(None) if isinstance(statement, Composable) else statement
    if not params:
        return text.strip()
    literals = [Literal(value).as_string(None) for value in params]
    return (text.replace("%s", "{}").format(*literals) if text.count("%s") == len(literals) else text).strip()


@dataclass(frozen=True)
class Sql:
    """One statement, in autocommit mode, in a database of choice (else the server's own).

    says: a sentence before the statement; settings: for this statement only, such as {"lock_timeout": "2s"};
    attempts: with a lock_timeout, how often to try: between attempts nobody queues behind us.
    """

    statement: str | Composable
    params: Sequence[Any] | None = None
    database: str = ""
    reverse: str = ""
    says: str = ""
    settings: Mapping[str, str] | None = None
    attempts: int = 1

    def __str__(self) -> str:
        note = f"-- {self.says}\n" if self.says else ""
        note += f"-- tried up to {self.attempts} times\n" if self.attempts > 1 else ""
        where = f"\\connect {self.database}\n" if self.database else ""
        limits = "".join(f"SET {name} = '{value}';\n" for name, value in (self.settings or {}).items())
        return f"{note}{where}{limits}{text_of(self.statement, self.params)};"

    def run(self, work: Work) -> None:
        """Run it on a connection of the run; a cancel ends the statement."""
        with work.connect(self.database or None, own_path=False) as connection:
            for name, value in (self.settings or {}).items():
                connection.execute("select pg_catalog.set_config(%s, %s, false)", [name, value])
            self.perform(work, connection)

    def perform(self, work: Work, connection: Connection[Any]) -> None:
        """The statement itself, on a connection that is ready; kinds of statements add what they know."""
        for attempt in range(1, self.attempts + 1):
            try:
                cursor = connection.execute(self.statement, self.params)  # type: ignore[arg-type]
            except LockNotAvailable:
                if attempt == self.attempts:
                    raise
                work.log(f"Somebody holds a lock on it; attempt {attempt + 1} of {self.attempts} follows.")
                work.pause(2.0 * attempt)
            else:
                work.log(cursor.statusmessage or "done")
                return


@dataclass(frozen=True)
class Transaction:
    """Several statements, all or nothing."""

    statements: Sequence[Sql]
    database: str = ""
    reverse: str = ""
    says: str = ""

    def __str__(self) -> str:
        note = f"-- {self.says}\n" if self.says else ""
        where = f"\\connect {self.database}\n" if self.database else ""
        inside = "\n".join(str(statement) for statement in self.statements)
        return f"{note}{where}BEGIN;\n{inside}\nCOMMIT;"

    def run(self, work: Work) -> None:
        """Run all in one transaction."""
        with work.connect(self.database or None, own_path=False) as connection, connection.transaction():
            for each in self.statements:
                for name, value in (each.settings or {}).items():
                    connection.execute("select pg_catalog.set_config(%s, %s, true)", [name, value])
                connection.execute(each.statement, each.params)  # type: ignore[arg-type]
            work.committing(connection)
        work.log(f"Committed {several(len(self.statements), 'statement')}.")


@dataclass(frozen=True)
class Command:
    """A program; passwords go by environment and are never in the plan."""

    argv: Sequence[str]
    env: Mapping[str, str] | None = None
    reverse: str = ""
    says: str = ""

    def __str__(self) -> str:
        import shlex

        note = f"# {self.says}\n" if self.says else ""
        return note + shlex.join(self.argv)

    def run(self, work: Work) -> None:
        """Run it to its end; its output becomes the log."""
        work.command(list(self.argv), dict(self.env or {}))


@dataclass(frozen=True)
class Call:
    """Python of ours, for what is neither one statement nor one program; says tells the person what it does."""

    function: Callable[[Work], None]
    says: str
    reverse: str = ""

    def __str__(self) -> str:
        return self.says

    def run(self, work: Work) -> None:
        """Call it; only its clean-up knows what it may leave."""
        work.began = True
        self.function(work)
