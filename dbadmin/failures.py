"""An error as sentences for people: what happened, why, what to do next; never a password or a trace."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import psycopg
from psycopg import errors

from dbadmin.connections import why, without_secrets
from dbadmin.secrets import CannotOpen

if TYPE_CHECKING:
    from dbadmin.models import Server


class Told(Exception):
    """An error whose text is a sentence for people already; apps derive theirs from it."""


class CommandFailed(Told):
    """A program ended with an error."""

    def __init__(self, program: str, code: int, last_lines: str) -> None:
        how = f"was ended by signal {-code}" if code < 0 else f"ended with code {code}"
        super().__init__(f"{program} {how}" + (f": {last_lines}" if last_lines else "."))


NEXT: list[tuple[type[psycopg.Error], str]] = [
    (
        errors.LockNotAvailable,
        "Somebody holds a lock on it for long: the locks page says who. This step changed nothing.",
    ),
    (errors.InsufficientPrivilege, "Grant it, or give the server an operate DSN whose role may do this."),
    (errors.DiskFull, "Free space on the server, then run it again."),
    (errors.UniqueViolation, "Remove the duplicates, then run it again."),
    (errors.ReadOnlySqlTransaction, "The server is a standby or read only: run it on the primary."),
    (errors.TooManyConnections, "Close idle sessions or raise max_connections, then run it again."),
    (errors.DeadlockDetected, "Run it again; the other session has gone on."),
    (errors.ObjectInUse, "End the sessions that use it, then run it again."),
    (errors.AdminShutdown, "The server was shut down or the session ended by somebody. Run it again."),
    (errors.InvalidPassword, "Correct the password in the server's DSN."),
    (errors.InvalidCatalogName, "Look whether the database was dropped or renamed."),
]


def sentence(error: BaseException, server: Server | None = None) -> str:
    """What, why, and what next."""
    text = of_postgres(error, server) if isinstance(error, psycopg.Error) else of_others(error)
    return hide(text, server)


def hide(text: str, server: Server | None) -> str:
    """The text without the passwords of the server's DSNs."""
    if server is None:
        return text
    try:
        dsns = {server.dsn("monitor"), server.dsn("operate")}
    except CannotOpen:
        return text  # what we cannot open ourselves is in no text of ours
    for dsn in dsns:
        text = without_secrets(text, dsn)
    return text


def ended(text: str) -> str:
    """With a full stop."""
    text = text.strip()
    return text if not text or text[-1] in ".!?" else f"{text}."


def of_postgres(error: psycopg.Error, server: Server | None) -> str:
    """The server's own words first; then what we know to do."""
    if error.sqlstate is None:
        return no_connection(error, server)
    parts = [
        error.diag.message_primary or str(error),
        error.diag.message_detail or "",
        error.diag.message_hint or "",
    ]
    parts += [words for kind, words in NEXT if isinstance(error, kind)][:1]
    said = " ".join(ended(part) for part in parts if part)
    return said[:1].upper() + said[1:]


def no_connection(error: psycopg.Error, server: Server | None) -> str:
    """A server that let nobody in, or left in the middle of a word: the same causes as when it was added."""
    where = str(server) if server is not None else "the server"
    return f"The connection to {where} failed: {ended(why(error, ''))} Run it again when that is mended."


def of_others(error: BaseException) -> str:
    """Programs, files and the unexpected."""
    match error:
        case Told() | CannotOpen():
            return ended(str(error))
        case FileNotFoundError():
            return f"Not found on this worker: {error.filename}. Install it, or choose another worker."
        case OSError(errno=errno.ENOSPC):
            file = f" for {error.filename}" if error.filename else ""
            return f"No space is left on the worker's disk{file}. Free space there, and start it again."
        case _:
            words = " ".join(str(error).split())
            return ended(f"{type(error).__name__}: {words}" if words else type(error).__name__)
