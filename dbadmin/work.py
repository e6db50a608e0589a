"""What a step and a clean-up work with: connections, processes, a log, progress, facts that outlive us."""

from __future__ import annotations

import signal
import subprocess
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import psycopg
from django.db import Error as DatabaseError
from django.db import connections as django_connections
from django.utils import timezone
from psycopg.conninfo import make_conninfo
from psycopg.pq import TransactionStatus
from psycopg.types.json import Json

from dbadmin import connections, processes
from dbadmin.failures import CommandFailed, hide
from dbadmin.models import Run, RunLine, Server
from dbadmin.pools import LEGIBLE, OWN_PATH

if TYPE_CHECKING:
    from dbadmin.operations import Operation

#: A run's log has an end; what a program says beyond it is counted, not kept.
MOST_LINES = 5000
#: The last lines of a program that failed are part of the sentence.
LAST_LINES = 3
#: What a database or a role limits is meant for its users: a run takes hours, some in a transaction that waits.
#: What must not make others queue behind it has a lock_timeout of its own.
LIMITS_OF_USERS = (
    "statement_timeout", "transaction_timeout", "idle_in_transaction_session_timeout", "idle_session_timeout",
    "lock_timeout",
)  # fmt: skip
SETTINGS = """
select pg_catalog.set_config(name, '0', false) from pg_catalog.pg_settings where name = any(%s) and setting <> '0'
union all select pg_catalog.set_config(key, value, false) from pg_catalog.json_each_text(%s)
"""


class Cancelled(BaseException):
    """The run is to end now: by a person's wish, or because its worker stops. Let it pass."""


class RunConnection(psycopg.Connection[Any]):
    """A connection whose running statement ends with it, also on the server."""

    def close(self) -> None:
        """Close; a statement that still runs is cancelled first."""
        if not self.closed and self.pgconn.transaction_status == TransactionStatus.ACTIVE:
            with suppress(psycopg.Error):
                self.cancel_safe(timeout=2)
        super().close()


class Work:
    """One execution of a run, in this process."""

    def __init__(self, run: Run, label: str = "run") -> None:
        if run.server is None:
            raise ValueError("a run without its server cannot be worked on")
        self.run: Run = run
        self.server: Server = run.server
        self.facts: dict[str, Any] = run.facts
        self.application_name = f"dbadmin {label} {run.pk}"
        self.operation: Operation | None = None
        self.connections: list[RunConnection] = []
        self.processes: list[subprocess.Popen[bytes]] = []
        self.why_stopped = ""
        self.interruptible = False
        self.began = False
        self.standing: list[str] = []
        self.secrets: set[str] = set()
        self.lines: list[RunLine] = []
        self.line_count = 0
        self.flushed_at = 0.0
        self.lock = threading.Lock()
        self.flushing = threading.Lock()

    # -- what is remembered ------------------------------------------------

    def remember(self, **facts: Any) -> None:
        """Store facts at once: call it BEFORE making what a clean-up would have to remove."""
        self.began = True
        self.facts.update(facts)
        Run.objects.filter(pk=self.run.pk).update(facts=self.facts)

    def result(self, **facts: Any) -> None:
        """Add to what the run achieved."""
        self.run.result.update(facts)
        Run.objects.filter(pk=self.run.pk).update(result=self.run.result)

    def say(self, sentence: str) -> None:
        """The sentence that the run ends with when it succeeds."""
        self.run.message = self.clean(sentence)

    def stands(self, sentence: str) -> None:
        """What is done and stays though the run did not succeed, and what takes it back: a clean-up tells it."""
        self.log(sentence)
        self.standing.append(self.clean(sentence))

    def committing(self, connection: psycopg.Connection[Any]) -> None:
        """The step is done with the transaction that is under way: called at its end, so that whether it was
        committed is known also when this process dies in that instant.

        The control database may have restarted, or be away: the run goes on, and that is told less exactly.
        """
        number = connection.execute("select pg_catalog.pg_current_xact_id()::text").fetchone()
        for _ in range(2):
            with suppress(DatabaseError):
                self.remember(committing=[self.run.step, number and number[0]])
                return
            django_connections.close_all()

    def log(self, sentence: str) -> None:
        """Add a line to the run's log."""
        self.line_count += 1
        if self.line_count > MOST_LINES:
            return
        with self.lock:
            self.lines.append(RunLine(run=self.run, at=timezone.now(), text=self.clean(sentence)))
        # Helper threads leave it to the watcher: each would open a connection of its own.
        if threading.current_thread() is threading.main_thread() and time.monotonic() - self.flushed_at > 0.3:
            self.flush()

    def flush(self) -> None:
        """Write the lines that wait; while the control database is away they go on waiting."""
        with self.flushing:  # two at once would write later lines before earlier ones
            with self.lock:
                lines, self.lines = self.lines, []
            self.flushed_at = time.monotonic()
            try:
                if lines:
                    RunLine.objects.bulk_create(lines)
            except DatabaseError:
                with self.lock:
                    self.lines = lines + self.lines

    def progress(self, done: int, total: int | None, unit: str) -> None:
        """How far the step is; stored within a second, however often it is called."""
        self.run.progress_done, self.run.progress_total, self.run.progress_unit = int(done), total, unit

    def hide(self, secret: str) -> None:
        """Never show this text in a log or a message."""
        if secret:
            self.secrets.add(secret)

    def clean(self, text: str) -> str:
        """The text without any password that we know."""
        for secret in self.secrets:
            text = text.replace(secret, "***")
        return hide(text, self.server)

    # -- what works --------------------------------------------------------

    def connect(
        self, database: str | None = None, dsn: str = "", own_path: bool = True
    ) -> psycopg.Connection[Any]:
        """A dedicated connection in autocommit mode as the operate role; its statement ends with the run.

        dsn: of another server than the run's, such as one that was recovered. own_path: names without a schema are the
        server's own; False, or RESET search_path, for statements that run what users made, such as triggers: it finds
        its names as it does for everybody in this database.
        """
        self.stop_if_cancelled()
        where = make_conninfo(dsn, dbname=database) if dsn else self.server.dsn("operate", database)
        connection = connections.open_dsn(where, self.application_name, RunConnection)
        self.began = True
        connection.add_notice_handler(self.note)
        chosen = LEGIBLE | ({"search_path": OWN_PATH} if own_path else {})
        connection.execute(SETTINGS, [list(LIMITS_OF_USERS), Json(chosen)])
        # Should this process die, the server ends the statement instead of finishing it for nobody.
        with suppress(psycopg.Error):
            connection.execute(
                "select pg_catalog.set_config('client_connection_check_interval', '2s', false)"
            )
        self.connections = [known for known in self.connections if not known.closed]
        self.connections.append(connection)  # type: ignore[arg-type]
        return connection

    def note(self, said: psycopg.errors.Diagnostic) -> None:
        """A warning of the server belongs to the log."""
        if said.severity_nonlocalized in {"WARNING", "NOTICE"}:
            self.log(f"{said.severity}: {said.message_primary}")

    def pause(self, seconds: float) -> None:
        """Sleep; a cancel ends it."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.stop_if_cancelled()
            time.sleep(min(0.2, max(deadline - time.monotonic(), 0)))

    def popen(self, argv: list[str], **kwargs: Any) -> subprocess.Popen[bytes]:
        """Start a program that dies with this process and ends when the run is cancelled.

        env: only what the program needs beyond PATH and the like; our own secrets are taken out.
        """
        if threading.current_thread() is not threading.main_thread():
            # The kernel's promise is bound to the thread that forks: the program would die with it.
            raise RuntimeError("start programs in the main thread; read their pipes in others")
        self.stop_if_cancelled()
        extra = {"PGAPPNAME": self.application_name, **(kwargs.pop("env", None) or {})}
        for name, value in extra.items():
            if any(word in name.upper() for word in ("PASSWORD", "SECRET", "TOKEN")):
                self.hide(value)
        self.began = True
        process = processes.start(argv, extra, **kwargs)
        self.processes = [known for known in self.processes if known.poll() is None]
        self.processes.append(process)
        return process

    def command(self, argv: list[str], env: dict[str, str] | None = None) -> None:
        """Run a program to its end; its output becomes the log; raises CommandFailed."""
        process = self.popen(
            argv, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        last: list[str] = []
        with process:
            for raw in process.stdout or ():
                text = raw.decode(errors="replace").rstrip()
                self.log(text)
                last = [*last, text][-LAST_LINES:]
        self.stop_if_cancelled()
        if process.returncode:
            raise CommandFailed(argv[0].rpartition("/")[2], process.returncode, self.clean(" ".join(last)))

    # -- how it ends -------------------------------------------------------

    @property
    def stopped(self) -> bool:
        """Is the run to end?"""
        return bool(self.why_stopped)

    def stop_if_cancelled(self) -> None:
        """Raise Cancelled when the run is to end; cheap: the watcher has looked."""
        if self.stopped and self.interruptible:
            self.interruptible = False
            raise Cancelled(self.why_stopped)

    def stop(self, why: str) -> None:
        """From the watcher's thread: end statements, then programs, then what the main thread waits for."""
        self.why_stopped = self.why_stopped or why
        self.cancel_statements()
        processes.end(self.processes)
        deadline = time.monotonic() + 0.5
        while self.interruptible and time.monotonic() < deadline:
            time.sleep(0.02)
        if self.interruptible:
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)

    def cancel_statements(self) -> None:
        """Ask the server to end what our connections run."""
        for connection in list(self.connections):
            if not connection.closed and connection.pgconn.transaction_status == TransactionStatus.ACTIVE:
                with suppress(psycopg.Error):
                    connection.cancel_safe(timeout=2)

    def interrupted(self, *_: object) -> None:
        """The main thread's handler of SIGTERM; raises once, and never while the run tidies up."""
        self.why_stopped = self.why_stopped or "Its worker was told to stop."
        if self.interruptible:
            self.interruptible = False
            raise Cancelled(self.why_stopped)

    def close(self) -> None:
        """Nothing of ours goes on running."""
        processes.end(self.processes)
        for connection in self.connections:
            with suppress(psycopg.Error):
                connection.close()
        self.flush()
        if self.line_count > MOST_LINES:
            left = self.line_count - MOST_LINES
            with suppress(DatabaseError):
                RunLine.objects.create(run=self.run, text=f"{left} more lines are not kept.")
