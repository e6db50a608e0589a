"""The map of addresses; each app's own lie below its server."""

from importlib import import_module
from importlib.util import find_spec

from django.apps import apps
from django.conf import settings
from django.urls import URLPattern, URLResolver, include, path
from django.views.generic import RedirectView

from dbadmin import (
    api,
    approval_pages,
    column_pages,
    operate,
    people,
    schedule_pages,
    server_pages,
    style,
    views,
)

urlpatterns: list[URLPattern | URLResolver] = [
    path("", views.fleet, name="fleet"),
    path("login/", RedirectView.as_view(pattern_name="account_login", query_string=True), name="login"),
    path("accounts/", include("allauth.urls")),
    path("style/", style.style, name="style"),
    path("healthz", views.healthz, name="healthz"),
    path("runs/", operate.run_list, name="runs"),
    path("runs/<int:pk>/", operate.run, name="run"),
    path("runs/<int:pk>/cancel/", operate.cancel, name="run_cancel"),
    path("runs/<int:pk>/decide/", approval_pages.decide, name="run_decide"),
    path("approvals/", approval_pages.approvals, name="approvals"),
    path("schedules/", schedule_pages.schedules_list, name="schedules"),
    path("schedules/add/", schedule_pages.add, name="schedule_add"),
    path("schedules/<int:pk>/", schedule_pages.change, name="schedule"),
    path("schedules/<int:pk>/run/", schedule_pages.run_now, name="schedule_run"),
    path("schedules/<int:pk>/remove/", schedule_pages.remove, name="schedule_remove"),
    path("settings/servers/", server_pages.server_list, name="server_list"),
    path("settings/servers/add/", server_pages.add, name="server_add"),
    path("settings/servers/<slug:server_name>/", server_pages.change, name="server_change"),
    path("settings/servers/<slug:server_name>/remove/", server_pages.remove, name="server_remove"),
    path("settings/people/", people.people, name="people"),
    path("settings/people/<int:pk>/", people.person, name="person"),
    path("settings/people/<int:pk>/switch/", people.switch, name="person_switch"),
    path("settings/grants/<int:pk>/revoke/", people.revoke, name="grant_revoke"),
    path("settings/tokens/", people.tokens, name="tokens"),
    path("settings/tokens/<int:pk>/revoke/", people.revoke_token, name="token_revoke"),
    path("settings/events/", people.events, name="events"),
    path("api/servers/", api.servers, name="api_servers"),
    path("api/servers/<slug:server_name>/readings/<slug:probe>/", api.reading, name="api_reading"),
    path("api/servers/<slug:server_name>/operations/<slug:name>/", api.operate, name="api_operate"),
    path("api/runs/<int:pk>/", api.run, name="api_run"),
    path("api/runs/<int:pk>/cancel/", api.cancel, name="api_cancel"),
    path("servers/<slug:server_name>/", views.overview, name="server"),
    path("servers/<slug:server_name>/readiness/", server_pages.ready, name="readiness"),
    path("servers/<slug:server_name>/do/<slug:name>/", operate.operate, name="operate"),
    path("servers/<slug:server_name>/columns/<slug:probe>/", column_pages.choose, name="columns"),
    path("servers/<slug:server_name>/probe/<slug:probe>/", views.probe, name="probe"),
]


def rooms_of_apps() -> list[URLPattern | URLResolver]:
    """An app's urlpatterns lie below its server, settings_urlpatterns below /settings/, wide_urlpatterns below /."""
    found: list[URLPattern | URLResolver] = []
    for config in apps.get_app_configs():
        if "." in config.name or config.name == "dbadmin" or not find_spec(f"{config.name}.urls"):
            continue
        module = import_module(f"{config.name}.urls")
        if hasattr(module, "urlpatterns") and (settings.BASE_DIR / config.name).is_dir():
            found.append(path("servers/<slug:server_name>/", include(module.urlpatterns)))
            found.append(path("settings/", include(getattr(module, "settings_urlpatterns", []))))
            found.append(path("", include(getattr(module, "wide_urlpatterns", []))))
    return found


# The apps' own addresses come before the pages that are lists of panels.
urlpatterns += rooms_of_apps()
urlpatterns += [path("servers/<slug:server_name>/<slug:page_name>/", views.page, name="page")]
