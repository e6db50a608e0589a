"""What goes wrong now and then: a long report, a forgotten transaction, a queue behind one row."""

import threading
from collections.abc import Callable
from time import monotonic

import psycopg

from dbadmin.sample import accounts
from dbadmin.sample.lines import Line, Say, first_line

# What happens, seconds until the first time, seconds between two.
PLAN: tuple[tuple[str, float, float], ...] = (
    ("forgotten_transaction", 40, 420),
    ("queue_behind_a_row", 90, 300),
    ("long_report", 150, 660),
)


class Troubles(threading.Thread):
    """Starts each trouble when it is due, each in its own thread with its own connections."""

    def __init__(
        self, ways: dict[str, tuple[str, str]], stop: threading.Event, say: Say, hurry: float = 1.0
    ) -> None:
        super().__init__(name="troubles", daemon=True)
        self.ways, self.stop, self.say, self.hurry = ways, stop, say, hurry
        self.due = {name: monotonic() + first / hurry for name, first, _ in PLAN}

    def run(self) -> None:
        while not self.stop.wait(0.5 / self.hurry):
            for name, _, period in PLAN:
                if monotonic() >= self.due[name]:
                    self.due[name] = monotonic() + period / self.hurry
                    threading.Thread(target=self.happen, args=[getattr(self, name)], daemon=True).start()

    def happen(self, trouble: Callable[[], None]) -> None:
        try:
            trouble()
        except psycopg.Error as error:
            self.say(f"academy trouble {trouble.__name__} ended early: {first_line(error)}")

    def opened(self, account: str, application: str) -> psycopg.Connection:
        return Line(self.ways[account][0], application, self.stop, self.say).opened()

    def pause(self, seconds: float) -> None:
        self.stop.wait(seconds / self.hurry)

    def forgotten_transaction(self) -> None:
        """The shop asks the card company while its transaction is open, and the card company is slow."""
        with self.opened(accounts.WEB, "academy-checkout") as connection, connection.transaction():
            connection.execute(
                "update billing.payments set details = details || '{\"asked\": true}'"
                " where id = (select max(id) from billing.payments where state = 'pending')"
            )
            self.pause(75)

    def long_report(self) -> None:
        """A report that wants one picture of the data and takes its time: vacuum waits for it."""
        with self.opened(accounts.REPORTS, "academy-yearly-report") as connection:
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            with connection.transaction():
                for _ in range(6):
                    if self.stop.is_set():
                        break
                    connection.execute("select count(*), sum(watched_seconds) from lesson_progress")
                    self.pause(30)

    def queue_behind_a_row(self) -> None:
        """Somebody edits a course and is called away before the commit; others who edit it queue up."""
        with self.opened(accounts.WEB, "academy-editor") as editor, editor.transaction():
            row = editor.execute(
                "update courses set summary = summary where id = (select max(id) from courses) returning id"
            ).fetchone()
            if row:
                waiters = [
                    threading.Thread(target=self.happen, args=[self.editing(row[0], n)]) for n in (1, 2)
                ]
                for waiter in waiters:
                    waiter.start()
                self.pause(20)

    def editing(self, course: int, number: int) -> Callable[[], None]:
        def edit_a_course() -> None:
            with self.opened(accounts.WEB, f"academy-editor-{number}") as connection:
                connection.execute("set lock_timeout = '60s'")
                connection.execute("update courses set title = title where id = %s", [course])

        return edit_a_course
