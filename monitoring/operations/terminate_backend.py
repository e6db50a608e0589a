"""End one session."""

from collections.abc import Sequence

from dbadmin.operations import Operation, Risk
from monitoring.signals import SessionForm, Signal, described, find_session


class TerminateBackend(Operation):
    """End a session; its open transaction is rolled back and its client sees a lost connection."""

    title = "End session"
    risk = Risk.LOADS
    Form = SessionForm

    def target(self) -> str:
        return f"session {self.params['pid']}"

    def plan(self) -> Sequence[Signal]:
        found = find_session(self.server, self.params)
        return [
            Signal(
                "SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity"
                " WHERE pid = %s AND backend_start = %s",
                [found.pid, found.backend_start],
                says=described(found),
                pid=found.pid,
                backend_start=found.backend_start,
                until_gone=5.0,
                verb="Ended",
            )
        ]
