"""The fleet, a server's overview, and every page that is a list of panels."""

from __future__ import annotations

from copy import copy

from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.template.loader import render_to_string
from django.views.decorators.http import require_GET

from dbadmin import exports, health, operate, panels, readings, subjects
from dbadmin.by_hand import all_of, read
from dbadmin.charts import TimeRange
from dbadmin.models import Run, Server
from dbadmin.pages import PAGES, Chart, Page, Table
from dbadmin.permissions import grants_of, may, require, servers_of
from dbadmin.probes import PROBES, Probe, Reading
from dbadmin.shared_panels import share

#: What each overview asks: the columns that a list of runs shows, and the replicas.
RECENT = """
select id, server_id, server_name, title, target, status, user_name, door, queued_at, started_at, finished_at, message
from dbadmin_run where server_id = %s order by id desc limit 8
"""
REPLICAS = f"select {all_of(Server)} from dbadmin_server where primary_id = %s order by name"  # noqa: S608 - our own names


@require_GET
def healthz(request: HttpRequest) -> HttpResponse:
    """For load balancers: the process answers and its database does."""
    Server.objects.exists()
    return HttpResponse("ok", content_type="text/plain")


@login_required
@require_GET
def fleet(request: HttpRequest) -> HttpResponse:
    """Every server's state, worst first."""
    if not grants_of(request.user):
        raise PermissionDenied("Your account has no role yet. Ask an administrator of dbadmin for one.")
    servers = Server.objects.visible_to(request.user).select_related("primary")
    environment, tag = request.GET.get("environment", ""), request.GET.get("tag", "")
    if environment:
        servers = servers.filter(environment=environment)
    if tag:
        servers = servers.filter(tags__contains=[tag])
    known = servers_of(request.user)
    present = {each.environment for each in known}
    context = {
        "servers": health.seen_by(request.user, health.fleet(servers)),
        "environments": [choice for choice in Server.Environment.choices if choice[0] in present],
        "environment": environment,
        "tags": sorted({each for one in known for each in one.tags}),
        "tag": tag,
        "may_add": may(request.user, "servers.change"),
    }
    return render(request, "dbadmin/fleet.html", context)


def server_for(request: HttpRequest, name: str, permission: str = "monitoring.view") -> Server:
    """A server on which the person has the right."""
    server = visible_server(request, name)
    require(request.user, permission, server)
    return server


def visible_server(request: HttpRequest, name: str) -> Server:
    """A server on which the person has any role; one of its own, for a form may change it before it is saved."""
    for server in servers_of(request.user):
        if server.name == name:
            return copy(server)
    raise Http404("No Server matches the given query.")


@login_required
@require_GET
def overview(request: HttpRequest, server_name: str) -> HttpResponse:
    """What needs attention, vital signs, recent runs."""
    server = visible_server(request, server_name)
    if not may(request.user, "monitoring.view", server):
        return render(request, "dbadmin/overview.html", {"server": server, "runs": recent_runs(server)})
    shown = PAGES.get("", Page("", "Overview"))
    if panels.named(request) or request.GET.get("format"):
        return panels_page(request, server, shown)
    time_range = TimeRange.of(request.GET)
    condition = health.of(server)
    context = {
        "server": server,
        "page": shown,
        "health": condition,
        "panels": panels.build(shown, server, request, time_range),
        "findings": health.findings(server, request.user, condition),
        "runs": recent_runs(server),
        "operations": operate.menu(request.user, server),
        "time_range": time_range,
        "replicas": read(Server, REPLICAS, [server.pk]),
    }
    return render(request, "dbadmin/overview.html", context)


def recent_runs(server: Server) -> list[Run]:
    """The last ones."""
    return read(Run, RECENT, [server.pk])


@login_required
@require_GET
def page(request: HttpRequest, server_name: str, page_name: str) -> HttpResponse:
    """A page that is a list of panels; ?panel= gives those it names, with ?format=csv|json a file."""
    shown = PAGES.get(page_name)
    if shown is None or shown.url_name:
        raise Http404(f"There is no page {page_name}.")
    server = server_for(request, server_name, shown.permission)
    return panels_page(request, server, shown)


def panels_page(request: HttpRequest, server: Server, shown: Page) -> HttpResponse:
    """Answer with the whole page, some panels of it, or a file."""
    if request.GET.get("format") in {"csv", "json"}:
        return exported(request, server, shown, exportable(shown, request.GET.get("panel", "")))
    time_range = TimeRange.of(request.GET, shown.range)
    built = panels.build(shown, server, request, time_range)
    if panels.named(request):
        if not built:
            raise Http404("There is no such panel.")
        written = [render_to_string(panels.TEMPLATES[each["kind"]], each, request) for each in built]
        return share(HttpResponse("\n".join(written)))
    about = subjects.asked(shown, request.GET)
    context = {
        "server": server,
        "page": shown,
        "heading": subjects.heading(shown, about),
        "below": PAGES[shown.below] if shown.below else None,
        "needs": "" if about else " and ".join(shown.subject),
        "panels": built,
        "databases": readings.databases(server) if shown.per_database else [],
        "database": request.GET.get("db") or readings.main_database(server),
        "time_range": time_range if any(isinstance(panel, Chart) for panel in shown.panels) else None,
    }
    return render(request, "dbadmin/page.html", context)


def exportable(shown: Page, name: str) -> Probe:
    """The probe that the address names, or that of the page's first table."""
    names = [panel.probe for panel in shown.panels if not isinstance(panel, Chart)]
    if (name and name not in names) or not names:
        raise Http404("There is no such table on this page.")
    return PROBES[name or names[0]]


def probe_or_404(name: str) -> Probe:
    """The probe of this name."""
    if name not in PROBES:
        raise Http404(f"There is no probe {name}.")
    return PROBES[name]


@login_required
@require_GET
def probe(request: HttpRequest, server_name: str, probe: str) -> HttpResponse:
    """One reading alone, as a page or as a file."""
    found = probe_or_404(probe)
    server = server_for(request, server_name, f"{found.app}.view")
    return panels_page(
        request,
        server,
        Page(
            probe,
            found.title,
            [Table(probe)],
            per_database=found.scope == "database",
            subject=found.params,
        ),
    )


def exported(request: HttpRequest, server: Server, shown: Page, found: Probe) -> HttpResponse:
    """A reading as a file; of a page about one thing, what tells of it."""
    require(request.user, f"{found.app}.view", server)
    reading = reading_of(request, server, shown, found)
    if request.GET.get("format") == "json":
        return JsonResponse(exports.as_dict(reading))
    if reading.problem and not reading.rows:
        return HttpResponse(
            f"{reading.problem.message}\n", content_type="text/plain; charset=utf-8", status=503
        )
    answer = HttpResponse(exports.as_csv(reading), content_type="text/csv; charset=utf-8")
    answer["Content-Disposition"] = f'attachment; filename="{server.name}-{found.name}.csv"'
    return answer


def reading_of(request: HttpRequest, server: Server, shown: Page, found: Probe) -> Reading:
    """As the pages read it."""
    about = subjects.asked(shown, request.GET)
    read = panels.readings_of([found], server, request.GET.get("db", ""), about)
    return subjects.of(shown, read[found.name], about)
