"""Addresses of monitoring: below a server, below the settings, and of all servers together."""

from django.urls import path

from monitoring import (
    alert_pages,
    alert_settings,
    compare_page,
    mark_api,
    metrics,
    settings_page,
    silences,
    timeline,
    views,
)

urlpatterns = [
    path("queries/", views.queries, name="queries"),
    path("timeline/", timeline.timeline, name="timeline"),
    path("compare/", compare_page.compare, name="compare"),
    path("differences/", settings_page.differences, name="setting_differences"),
    path("queries/<int:line>/", views.statement, name="statement"),
]

settings_urlpatterns = [
    path("alert-rules/", alert_settings.rules, name="alert_rules"),
    path("alert-rules/add/", alert_settings.add_rule, name="alert_rule_add"),
    path("alert-rules/<int:pk>/", alert_settings.change_rule, name="alert_rule"),
    path("alert-rules/<int:pk>/switch/", alert_settings.switch_rule, name="alert_rule_switch"),
    path("alert-rules/<int:pk>/remove/", alert_settings.remove_rule, name="alert_rule_remove"),
    path("channels/", alert_settings.channels, name="channels"),
    path("channels/add/<slug:kind>/", alert_settings.add_channel, name="channel_add"),
    path("channels/<int:pk>/", alert_settings.change_channel, name="channel"),
    path("channels/<int:pk>/test/", alert_settings.test_channel, name="channel_test"),
    path("channels/<int:pk>/remove/", alert_settings.remove_channel, name="channel_remove"),
    path("deliveries/<int:pk>/again/", alert_settings.send_again, name="delivery_again"),
    path("silences/", silences.silences, name="silences"),
    path("silences/<int:pk>/end/", silences.end, name="silence_end"),
]

wide_urlpatterns = [
    path("metrics", metrics.metrics, name="metrics"),
    path("api/servers/<slug:server_name>/marks/", mark_api.marks, name="api_marks"),
    path("alerts/", alert_pages.alerts, name="alerts"),
    path("alerts/<int:pk>/", alert_pages.alert, name="alert"),
    path("alerts/<int:pk>/acknowledge/", alert_pages.acknowledge, name="alert_acknowledge"),
]
