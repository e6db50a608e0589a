"""Cancel the running statement of one session."""

from collections.abc import Sequence

from dbadmin.operations import Operation, Risk
from monitoring.signals import SessionForm, Signal, described, find_session


class CancelBackend(Operation):
    """Cancel the statement that a session runs; the session itself stays."""

    title = "Cancel statement"
    risk = Risk.HARMLESS
    Form = SessionForm

    def target(self) -> str:
        return f"session {self.params['pid']}"

    def plan(self) -> Sequence[Signal]:
        found = find_session(self.server, self.params, same_statement=True)
        return [
            Signal(
                "SELECT pg_catalog.pg_cancel_backend(pid) FROM pg_catalog.pg_stat_activity"
                " WHERE pid = %s AND backend_start = %s",
                [found.pid, found.backend_start],
                says=described(found),
                pid=found.pid,
                backend_start=found.backend_start,
            )
        ]
