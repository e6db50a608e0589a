"""Tables that were brought back beside the live ones: what differs, row by row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg
from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.http import require_GET
from psycopg import sql

from backups.models import RowComparison, RowDifference, SideSchema
from backups.row_places import Expression, Shape, TableName, look, meet, of, rows_of, shape_of
from dbadmin.connections import why
from dbadmin.models import Schedule, Server
from dbadmin.permissions import may, require

#: Differences on one page, and how much of a value is shown.
ROWS, LONGEST = 25, 200
Kind = RowDifference.Kind
Values = dict[str, str | None]


def _server(request: HttpRequest, name: str) -> Server:
    server = get_object_or_404(Server.objects.visible_to(request.user), name=name)
    require(request.user, "backups.restore_backup", server)
    return server


@login_required
@require_GET
def side_schema(request: HttpRequest, server_name: str, pk: int) -> HttpResponse:
    """The tables of one schema, each with how many rows differ."""
    server = _server(request, server_name)
    side = get_object_or_404(SideSchema.objects.select_related("backup", "run"), server=server, pk=pk)
    schedules = Schedule.objects.filter(server=server, operation="drop_expired_schemas", enabled=True)
    context = {
        "server": server,
        "side": side,
        "comparisons": side.comparisons.all(),
        "is_scheduled": schedules.exists(),
    }
    return render(request, "backups/side_schema.html", context)


@login_required
@require_GET
def row_comparison(request: HttpRequest, server_name: str, pk: int) -> HttpResponse:
    """The rows of one table that differ, with the values as they are on both sides now."""
    server = _server(request, server_name)
    found = get_object_or_404(RowComparison.objects.select_related("side"), server=server, pk=pk)
    kinds = [(Kind.MISSING, found.missing), (Kind.CHANGED, found.changed), (Kind.EXTRA, found.extra)]
    # What was lost comes first: that is what somebody looks for here.
    first = next((str(kind.value) for kind, number in kinds if number), "")
    chosen = request.GET.get("kind", first)
    differences = found.differences.filter(kind=chosen) if chosen in Kind.values else found.differences.all()
    page = Paginator(differences, ROWS).get_page(request.GET.get("page"))
    rows, problem = _shown(found, list(page.object_list))
    context = {
        "server": server, "comparison": found, "chosen": chosen, "page": page, "rows": rows, "problem": problem,
        "may_copy": bool(found.key and found.side and not found.side.dropped_at)
        and may(request.user, "backups.copy_rows", server),
        "kinds": kinds,
    }  # fmt: skip
    return render(request, "backups/row_comparison.html", context)


def _shown(found: RowComparison, differences: Sequence[RowDifference]) -> tuple[list[dict[str, Any]], str]:
    """Each difference with the values of both sides, or why they cannot be shown."""
    dsn = found.server.dsn("operate", found.database)
    # A key that one side has not need not be a value of the type that it has there.
    theirs = [difference.key for difference in differences if difference.kind != Kind.EXTRA]
    ours = [difference.key for difference in differences if difference.kind != Kind.MISSING]
    try:
        with look(dsn) as connection:
            backed_up = values_of(connection, TableName(found.other_schema, found.other_name), found, theirs)
            live = values_of(connection, TableName(found.schema, found.name), found, ours)
    except Gone as reason:
        return [], str(reason)
    except psycopg.Error as error:
        return [], why(error, dsn)
    return [_line(found, each, live, backed_up) for each in differences], ""


def _line(
    found: RowComparison, difference: RowDifference, live: dict[str, Values], backed_up: dict[str, Values]
) -> dict[str, Any]:
    ours, theirs = live.get(str(difference.key), {}), backed_up.get(str(difference.key), {})
    names = [name for name in found.columns if name not in found.key]
    if difference.kind == Kind.CHANGED:
        names = [name for name in names if ours.get(name) != theirs.get(name)]
    cells = [
        {"name": name, "live": _brief(ours, name), "backed_up": _brief(theirs, name)} for name in names[:12]
    ]
    is_settled = difference.kind == Kind.CHANGED and not names
    return {"difference": difference, "cells": cells, "is_settled": is_settled}


def _brief(values: Values, name: str) -> str:
    """A value as it is shown; empty when there is no such row."""
    if name not in values:
        return ""
    value = values[name]
    text = "null" if value is None else value
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


class Gone(Exception):
    """A table, or a column of its key, is not there any more; a sentence says which."""


def values_of(
    connection: psycopg.Connection[Any], table: TableName, found: RowComparison, keys: Sequence[Sequence[str]]
) -> dict[str, Values]:
    """The rows with these keys, as texts by column; through the key's own index."""
    shape = shape_of(connection, table)
    if not keys:
        return {}
    if shape is None:
        where = f"{table} in {connection.info.dbname}"
        raise Gone(
            f"There is no table {where} any more: it was dropped, or the database is another since a restore."
        )
    if gone := [name for name in found.key if name not in shape]:
        raise Gone(f"The table {table} has no column {gone[0]} any more: compare it again.")
    names = [name for name in found.columns if name in shape]
    statement = sql.SQL("SELECT {} FROM {} AS t WHERE {}").format(
        sql.SQL(", ").join(sql.SQL("t.{}::text").format(sql.Identifier(name)) for name in names),
        rows_of(table, shape),
        sql.SQL(" OR ").join(
            sql.SQL("({})").format(meet(shape, found.key, of("t"), typed(shape, found.key, key)))
            for key in keys
        ),
    )
    rows = [dict(zip(names, row, strict=True)) for row in connection.execute(statement).fetchall()]
    return {str([row[name] for name in found.key]): row for row in rows}


def typed(shape: Shape, names: Sequence[str], key: Sequence[str]) -> Expression:
    """The parts of a key as literals of the columns' types."""
    texts = dict(zip(names, key, strict=True))
    return lambda name: sql.SQL("{}::{}").format(sql.Literal(texts[name]), sql.SQL(shape.column(name).type))
