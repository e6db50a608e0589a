"""What took rows away: the statements that a recovery is most often wanted without."""

from __future__ import annotations

from datetime import datetime, timedelta

import psycopg
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from audit import walk
from audit.asking import Asked, explain, moment, opened
from audit.listing import Line, lines_of
from audit.search import Filter
from dbadmin.permissions import may
from dbadmin.readings import main_database
from dbadmin.views import server_for

OPERATIONS = ("delete", "truncate", "definition")
#: Statements that are shown.
MOST = 15


@login_required
@require_GET
def losses(request: HttpRequest, server_name: str) -> HttpResponse:
    """A panel for the page of what can be recovered: deleted, emptied or altered since a moment, the newest first."""
    server = server_for(request, server_name, "audit.view")
    since, context = (
        moment(request.GET.get("since", "")),
        {"server": server, "database": main_database(server)},
    )
    try:
        with opened(request, server, "") as asked:
            context |= {"database": asked.database, "is_watched": bool(asked.state.version)}
            context["lines"] = [(line, moment_without(line.statement)) for line in lost(asked, since)]
            if context["is_watched"]:
                asked.note(
                    "Looked at what was deleted, emptied or altered, to choose a moment to recover to."
                )
    except psycopg.Error as error:
        context["problem"] = explain(error)
    context["may_recover"] = may(request.user, "backups.view", server)
    return render(request, "audit/_losses.html", context)


def lost(asked: Asked, since: datetime | None) -> list[Line]:
    """Statements that deleted rows, emptied tables or changed definitions."""
    found = [
        statement
        for operation in OPERATIONS
        for statement in walk.find(
            asked.rows, asked.state, Filter(operation=operation, since=since), limit=MOST, seconds=None
        ).statements
    ]
    newest = sorted(found, key=lambda statement: statement.at, reverse=True)[:MOST]
    return lines_of(asked.rows, asked.state, newest)


def moment_without(statement: object) -> str:
    """Where a recovery would end without this statement: it was not committed before it was made."""
    return str((statement.at - timedelta(milliseconds=1)).isoformat())  # type: ignore[attr-defined]
