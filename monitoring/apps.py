"""Monitoring: what the ground floor is told when it is ready."""

from django.apps import AppConfig


class MonitoringConfig(AppConfig):
    """Readings over time."""

    name = "monitoring"

    def ready(self) -> None:
        """Charts of the ground floor get their past from here."""
        from dbadmin import history
        from monitoring.chart import History

        history.register(History())
