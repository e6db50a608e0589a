"""The pages of the audit log: the log, a statement, a change, a row's life, a transaction, people, and
capture."""

from __future__ import annotations

from functools import partial
from typing import Any
from urllib.parse import quote

import psycopg
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_POST

from audit import activity, changes, comparing, diff, parquet, search, timeline
from audit.asking import Asked, auditors, explain, filter_of, moment, number, readable_moments, trouble
from audit.gaps import find_gaps
from audit.listing import lines_of
from audit.log_tables import SCHEMA
from audit.losses import moment_without
from audit.models import CountedTable, SavedSearch
from audit.moments import knows_commits, partitions_lost, row_at, with_ends
from audit.overview import capture_overview
from audit.registry import Watched, installed, outdated
from audit.routine import lacks, put_on_schedules
from audit.timeline import Places
from dbadmin import readings
from dbadmin.addresses import whole
from dbadmin.permissions import may, require
from dbadmin.schedule_pages import note_saved
from dbadmin.views import server_for

#: Rows of one statement per page, changes of a row per page.
ROWS = 50


@auditors
def log(asked: Asked) -> HttpResponse:
    """Changes of the data and what people did in dbadmin, newest first, under the filters of the address."""
    wanted, get = filter_of(asked.request), asked.request.GET
    refusal, page = None, timeline.Page()
    try:
        readable_moments(asked.request, "since", "until")
        page = timeline.page(
            asked, wanted, Places.read(get.get("before", "")), Places.read(get.get("after", ""))
        )
    except search.BadFilter as error:
        refusal = error
    said = wanted.said()
    if asked.state.version:
        asked.note(f"Looked at the audit log{f': {wanted}' if said else ''}.", filter=said)
    trail = [place for place in get.get("back", "").split(",") if place][-40:]
    context = asked.context(
        entries=page.entries,
        page=page,
        wanted=wanted,
        said=said,
        refusal=refusal,
        searches=SavedSearch.objects.filter(user__pk=asked.request.user.pk or 0, server=asked.server),
        may_export=bool(asked.state.version) and may(asked.request.user, "audit.export", asked.server),
        has_parquet=parquet.is_installed(),
        tables=sorted({str(w) for w in asked.state.watched.values()}),
        columns=sorted({c.name for s in asked.state.shapes.values() for c in s.columns}),
        operations=list(search.OPERATIONS.values()),
        sources=timeline.SOURCES.items(),
        databases=readings.databases(asked.server),
        given={name: get.get(name, "") for name in search.Filter.__dataclass_fields__},
        is_narrow=bool(said.keys() - {"table", "person", "operation", "since", "until"}),
        trail=",".join([*trail, get.get("before", "") or "top"]),
        back=trail,
        may_undo=bool(said.get("since"))
        and not said.keys() - {"person", "table", "since", "until"}
        and bool(said.keys() & {"person", "table"}),
        newer_query=newer_query(asked.request, trail),
    )
    return render(asked.request, "audit/log.html", context, status=400 if refusal else 200)


def newer_query(request: Any, trail: list[str]) -> str:
    """The page before this one of a search that only walks back: the way is kept in the address."""
    if not trail:
        return ""
    params = request.GET.copy()
    for name in ("before", "after", "back"):
        params.pop(name, None)
    if trail[-1] != "top":
        params["before"] = trail[-1]
    if trail[:-1]:
        params["back"] = ",".join(trail[:-1])
    return f"?{params.urlencode()}"


def statement_or_404(asked: Asked, number: int) -> Any:
    """The statement of this number."""
    found = search.statement(asked.rows, number) if asked.state.version else None
    if found is None:
        raise Http404("The log of this database has no such statement.")
    return found


@auditors
def statement(asked: Asked, number: int) -> HttpResponse:
    """One statement and its rows."""
    found = statement_or_404(asked, number)
    first = whole(asked.request.GET.get("row", "")) or 1
    rows = changes.statement_changes(asked.rows, asked.state, found, first, ROWS + 1)
    asked.note(f"Looked at statement {number} of {asked.state.watched[found.watched_id]}.", statement=number)
    context = asked.context(
        statement=found,
        altered=asked.altered(number),
        moment_before=moment_before(asked, found),
        line=lines_of(asked.rows, asked.state, [found])[0],
        table=asked.state.watched.get(found.watched_id),
        changes=[(one, diff.brief(one.old, one.new, 6), search.key_text(one.key)) for one in rows[:ROWS]],
        first=first,
        next_row=first + ROWS if len(rows) > ROWS else None,
        previous_row=max(first - ROWS, 1) if first > 1 else None,
    )
    return render(asked.request, "audit/statement.html", context)


@auditors
def change(asked: Asked, number: int, n: int) -> HttpResponse:
    """One change, column by column."""
    found = statement_or_404(asked, number)
    one = changes.change(asked.rows, asked.state, found, n)
    if one is None:
        raise Http404("This statement has no such row.")
    table = asked.state.watched[found.watched_id]
    key = search.key_text(one.key)
    asked.note(f"Looked at a change of {table} {key}.", statement=number, row=n)
    context = asked.context(
        statement=found, change=one, table=table, key=key, lines=diff.lines(one.old, one.new),
        line=lines_of(asked.rows, asked.state, [found])[0], moment_before=moment_before(asked, found),
        may_export=may(asked.request.user, "audit.export", asked.server), altered=asked.altered(number),
    )  # fmt: skip
    return render(asked.request, "audit/change.html", context)


def moment_before(asked: Asked, statement: Any) -> str:
    """Where a recovery would end without this statement, if the server can be recovered to it. Else empty."""
    point = getattr(asked.server, "point_in_time", None)
    if point is None or not point.enabled or not may(asked.request.user, "backups.view", asked.server):
        return ""
    return moment_without(statement)


def table_or_404(asked: Asked, name: str) -> Watched:
    """The watched table of this name; the one watched last when there were several."""
    found = search.tables_named(asked.state, name)
    if not found:
        raise Http404(f"{name} was never watched.")
    return found[-1]


@auditors
def life(asked: Asked, table: str) -> HttpResponse:
    """What happened to one row, newest first."""
    watched = table_or_404(asked, table)
    key = asked.request.GET.get("key", "")
    before = number(asked.request, "before")
    refusal, found = None, []
    try:
        readable_moments(asked.request, "at", "and")
        found = changes.life(asked.rows, asked.state, watched, key, before, ROWS + 1)
    except search.BadFilter as error:
        refusal = error
    asked.note(f"Looked at the life of {watched} {key}.", table=str(watched), key=key)
    oldest = min(found, key=lambda one: (one.statement_id, one.n)) if len(found) > ROWS else None
    ends = with_ends(asked.rows, watched, key, found, None if before else timezone.now())
    shown = [one for one in ends if one is not oldest]
    at, until = moment(asked.request.GET.get("at", "")), moment(asked.request.GET.get("and", ""))
    was = row_at(asked.rows, asked.state, watched, key, at) if at and not refusal else None
    then = row_at(asked.rows, asked.state, watched, key, until) if until and not refusal else None
    told = was if at else next(iter(shown), None)
    is_there = at or (told and told.new is not None and not before)
    asked_until = max(filter(None, (at, until)), default=timezone.now())
    context = asked.context(
        at=at,
        was=was,
        lost=partitions_lost(asked.rows, asked.state, watched, asked_until, told.statement_id if told else 0)
        if is_there
        else [],
        by_commit=bool(at) and knows_commits(asked.rows),
        was_lines=diff.lines(None, was.new) if was and was.new else [],
        until=until,
        until_text=asked.request.GET.get("and", ""),
        between=diff.lines(was.new if was else None, then.new if then else None)
        if at and until and (was or then)
        else [],
        at_text=asked.request.GET.get("at", ""),
        table=watched,
        key=key,
        refusal=refusal,
        changes=[(one, diff.brief(one.old, one.new, 8)) for one in shown],
        older=min(one.statement_id for one in shown) if oldest else None,
    )
    return render(asked.request, "audit/row.html", context, status=400 if refusal else 200)


@auditors
def table(asked: Asked, table: str) -> HttpResponse:
    """A table as it was at a moment, or what differs between two."""
    watched, get = table_or_404(asked, table), asked.request.GET
    at, until = moment(get.get("at", "")), moment(get.get("and", ""))
    refusal, found, rows = None, None, comparing.TablePage([], "")
    try:
        readable_moments(asked.request, "at", "and")
        if at and until:
            found = comparing.between(asked.rows, asked.state, watched, *sorted([at, until]))
        elif at:
            rows = comparing.table_at(asked.rows, asked.state, watched, at, get.get("from", ""))
    except search.BadFilter as error:
        refusal = error
    if at:
        words = f"{watched} at {get['at']}" + (f" and at {get['and']}" if until else "")
        asked.note(f"Looked at {words}.", table=str(watched), at=get["at"])
    context = asked.context(
        table=watched, at=at, until=until, at_text=get.get("at", ""), until_text=get.get("and", ""),
        refusal=refusal, found=found, rows=rows, by_commit=bool(at) and found is None and knows_commits(asked.rows),
        lost=partitions_lost(
            asked.rows, asked.state, watched, max(at, until or at), since=min(at, until) if until else None)
        if at and not refusal
        else [],
        columns=comparing.columns(watched, rows.rows),
        changes=[(one, diff.brief(one.old, one.new, 8), search.key_text(one.key)) for one in found.changes[:500]]
        if found else [],
    )  # fmt: skip
    return render(asked.request, "audit/table.html", context, status=400 if refusal else 200)


@auditors
def transaction(asked: Asked, xid: str) -> HttpResponse:
    """A whole transaction, in order."""
    found = search.transaction(asked.rows, xid) if whole(xid) and asked.state.version else []
    if not found:
        raise Http404("The log of this database has no such transaction.")
    asked.note(f"Looked at transaction {xid}.", xid=xid)
    context = asked.context(
        xid=xid,
        first=found[0],
        last=found[-1],
        entries=[timeline.Entry(line=line) for line in lines_of(asked.rows, asked.state, found)],
        count=len(found),
        rows=sum(line.rows or 0 for line in lines_of(asked.rows, asked.state, found, detail=False)),
    )
    return render(asked.request, "audit/transaction.html", context)


@auditors
def people(asked: Asked) -> HttpResponse:
    """Who did how much, by day, table and operation."""
    person = asked.request.GET.get("person", "")
    days = 30
    if person:
        asked.note(f"Looked at the activity of {person}.", person=person)
        found = activity.of_person(asked.rows, asked.state, person, days) if asked.state.version else None
        return render(
            asked.request,
            "audit/person.html",
            asked.context(tab="people", person=person, activity=found, days=days),
        )
    asked.note("Looked at the activity of people.")
    found_people = activity.people(asked.rows, days) if asked.state.version else []
    return render(
        asked.request, "audit/people.html", asked.context(tab="people", people=found_people, days=days)
    )


@auditors
def capture_state(asked: Asked) -> HttpResponse:
    """Which tables are watched, since when, and what the log takes."""
    counts = CountedTable.objects.filter(server=asked.server, database=asked.database)
    gaps = find_gaps(asked.rows)
    tables = capture_overview(asked.rows, asked.state, {one.watched_id: one for one in counts}, gaps)
    context = asked.context(
        tab="capture",
        tables=tables,
        faults=[gap for gap in gaps if gap.schema in {SCHEMA, ""} and gap.table != "capture"],
        compared_at=max((one.compared_at for one in counts if one.compared_at), default=None),
        is_outdated=bool(outdated(asked.rows, asked.state)) or any(one.is_restored for one in tables),
        databases=readings.databases(asked.server),
        lacks=lacks(asked.server, asked.database) if asked.state.active() else [],
        may_schedule=may(asked.request.user, "schedules.change", asked.server),
    )
    return render(asked.request, "audit/capture.html", context)


@login_required
@require_POST
def schedule_routines(request: HttpRequest, server_name: str) -> HttpResponse:
    """Make the schedules that the log lacks, as their forms propose them."""
    server = server_for(request, server_name, "audit.view")
    require(request.user, "schedules.change", server)
    named = request.POST.get("db", "")
    try:
        state = installed(partial(server.rows, database=named or None))
    except psycopg.Error as error:
        return trouble(request, server, named, explain(error), 503)
    if not state.active():
        raise Http404("nothing is watched there")
    database = named or readings.main_database(server)
    found = lacks(server, database)
    for lack in found:
        require(request.user, lack.operation.permission(), server)
    made = put_on_schedules(server, found, request.user.pk)
    for schedule in made:
        note_saved(request, schedule)
    names = ", ".join(schedule.operation for schedule in made)
    messages.success(request, f"On schedules now: {names}." if made else "All of them were on schedules.")
    return redirect(f"{reverse('audit_capture', args=[server.name])}{f'?db={quote(named)}' if named else ''}")
