"""Settings of a server held against those of another one, and how they changed over time."""

from __future__ import annotations

import datetime as dt
from typing import Any, NamedTuple

from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from dbadmin import exports, readings
from dbadmin.addresses import changed
from dbadmin.models import Server
from dbadmin.permissions import may, servers_of
from dbadmin.probes import Column, Problem
from dbadmin.tables import TableView
from dbadmin.units import unit_of
from dbadmin.views import server_for
from monitoring.models import Mark

PROBE = "settings"
#: Changes that are listed.
MOST = 500
#: They name places on a machine, and differ between any two: last in the list.
PLACES = ("File Locations", "Preset Options", "Connections and Authentication / Connection Settings")


class Difference(NamedTuple):
    """A setting that two servers have otherwise; a value is empty where that server has no such setting."""

    setting: str
    here: str | None
    there: str | None
    built_in: str | None
    category: str
    meaning: str


class Change(NamedTuple):
    """A setting that was changed; it was seen at this moment, within 15 minutes."""

    seen_at: dt.datetime
    setting: str
    before: str
    after: str


@login_required
@require_GET
def differences(request: HttpRequest, server_name: str) -> HttpResponse:
    """One server against another that the person may see, and the history of its own settings."""
    server = server_for(request, server_name)
    others = [
        each
        for each in servers_of(request.user)
        if each.pk != server.pk and may(request.user, "monitoring.view", each)
    ]
    other = chosen(server, others, request.GET.get("with", ""))
    tables = [*([against(request, server, other)] if other else []), changes(request, server)]
    if request.GET.get("format") in {"csv", "json"}:
        return exported(request, server, other, tables)
    context = {
        "server": server,
        "other": other,
        "others": sorted(others, key=lambda each: each.name),
        "tables": tables,
    }
    return render(request, "monitoring/differences.html", context)


def exported(
    request: HttpRequest, server: Server, other: Server | None, tables: list[TableView]
) -> HttpResponse:
    """One of the lists as a file: what differs, unless ?panel= names the changes."""
    wanted = request.GET.get("panel") or tables[0].id
    table = next((each for each in tables if each.id == wanted), None)
    if table is None:
        raise Http404("There is no such table on this page.")
    if table.problem:
        return HttpResponse(
            f"{table.problem.message}\n", content_type="text/plain; charset=utf-8", status=503
        )
    about = {"server": server.name, "of": table.id}
    if table.id == "differences":
        about["with"] = str(other)
    names = [column.name for column in table.columns]
    return exports.rows_file(request.GET["format"], f"{server.name}-{table.id}", names, table.rows, about)


def chosen(server: Server, others: list[Server], name: str) -> Server | None:
    """The one that was asked for; else a server of the same group or environment; None when there is no other."""
    named = next((each for each in others if each.name == name), None)

    def distance(each: Server) -> tuple[bool, bool, str]:
        is_kin = each.pk == server.primary_id or each.primary_id in {server.pk, server.primary_id or 0}
        return not is_kin, each.environment != server.environment, each.name

    return named or min(others, key=distance, default=None)


def against(request: HttpRequest, server: Server, other: Server) -> TableView:
    """What differs; a problem where one of the two was never read."""
    here, there = readings.latest(server, PROBE), readings.latest(other, PROBE)
    problem = unread(server, here) or unread(other, there)
    rows = [] if problem or here is None or there is None else differing(here.rows, there.rows)
    return TableView(
        "differences",
        f"{server} and {other}",
        columns(Difference),
        rows,
        request.GET,
        "differences",
        "As new sessions get them; an empty value: that version has no such setting, or each client chooses.",
        "All settings are the same on both.",
        problem=problem,
        csv_url=changed(request.GET, panel="differences", format="csv", **{"with": other.name}),
        json_url=changed(request.GET, panel="differences", format="json", **{"with": other.name}),
    )


def unread(server: Server, reading: Any) -> Problem | None:
    """Why the settings of a server are not known."""
    if reading is None:
        return Problem("error", f"The settings of {server} have not been read yet.")
    problem: Problem | None = reading.problem
    return problem


def differing(here: list[Any], there: list[Any]) -> list[Difference]:
    """Settings whose values differ, those that name a place last."""
    ours, theirs = {row.name: row for row in here}, {row.name: row for row in there}
    found = [
        Difference(
            name,
            value_of(ours.get(name)),
            value_of(theirs.get(name)),
            (ours.get(name) or theirs[name]).built_in,
            (ours.get(name) or theirs[name]).category,
            (ours.get(name) or theirs[name]).meaning,
        )
        for name in ours.keys() | theirs.keys()
        if value_of(ours.get(name)) != value_of(theirs.get(name))
    ]
    return sorted(found, key=lambda row: (row.category in PLACES, row.category, row.setting))


def value_of(row: Any) -> str | None:
    """The value in force, None where there is none."""
    return None if row is None else row.value


def changes(request: HttpRequest, server: Server) -> TableView:
    """How the settings of a server changed, the newest first."""
    kept = Mark.objects.filter(server=server, kind="setting").order_by("-at")[:MOST]
    rows = [
        Change(mark.at, mark.facts["setting"], mark.facts["before"], mark.facts["after"])
        for mark in kept
        if "setting" in mark.facts
    ]
    return TableView(
        "changes",
        "Changes",
        columns(Change),
        rows,
        request.GET,
        "changes",
        "Each was seen within 15 minutes. What waits for a restart stands first among the settings.",
        "No setting has changed since this server is read.",
        csv_url=changed(request.GET, ["with"], panel="changes", format="csv"),
        json_url=changed(request.GET, ["with"], panel="changes", format="json"),
    )


def columns(row: Any) -> list[Column]:
    """A column for each field."""
    return [Column(name, unit_of(name)) for name in row._fields]
