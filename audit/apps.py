"""The audit log: what the ground floor is told when it is ready."""

from django.apps import AppConfig


class AuditConfig(AppConfig):
    """The audit log."""

    name = "audit"

    def ready(self) -> None:
        """What lies in stores is told to who keeps them."""
        from audit.in_stores import holdings
        from dbadmin import stores

        stores.HOLDERS.append(holdings)
