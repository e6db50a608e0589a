"""Monitoring: what the ground floor is told when it is ready."""

from django.apps import AppConfig
from django.db.models.signals import post_migrate


class MonitoringConfig(AppConfig):
    """Readings over time."""

    name = "monitoring"

    def ready(self) -> None:
        """Charts of the ground floor get their past from here."""
        from dbadmin import health, history, navigation, subjects
        from dbadmin.navigation import WideRoom
        from monitoring import duties
        from monitoring.alert_lists import findings, open_count
        from monitoring.chart import History
        from monitoring.rules import keep_defaults

        history.register(History())
        subjects.POINTERS.append(("query", "line_id", "statement"))
        health.SOURCES.append(findings)
        duties.register()
        navigation.register(WideRoom("Alerts", "alerts", "monitoring.view", "l", 15, open_count))
        post_migrate.connect(keep_defaults, sender=self)
