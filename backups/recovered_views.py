"""Looking into a recovered cluster: its databases, their tables, a table's rows."""

from __future__ import annotations

import shlex
import socket
from dataclasses import dataclass, field
from typing import Any

import psycopg
from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.http import require_GET

from backups import recovered_tables
from backups.models import RecoveredCluster
from backups.recovered_tables import NotShown, Rows
from backups.row_places import Shape, TableName
from dbadmin.connections import with_database
from dbadmin.events import record
from dbadmin.models import Server
from dbadmin.permissions import require


@dataclass
class Looking:
    """Who looks into which database of which cluster."""

    request: HttpRequest
    server: Server
    row: RecoveredCluster
    database: str
    context: dict[str, Any] = field(default_factory=dict)

    def check(self) -> None:
        """Raise NotShown where the cluster has ended, or another host alone reaches it."""
        here = socket.gethostname()
        if self.row.ended_at:
            raise NotShown(f"It has ended: {self.row.ended_why} Recover again to look at it.")
        if self.row.host != here:
            self.context["command"] = shlex.join(["psql", with_database(self.row.dsn, self.database)])
            raise NotShown(
                f"It stands on {self.row.host} and listens there alone; this page comes from {here}. "
                "Look at it there, or bring tables of it back beside the live ones."
            )

    def note(self, what: str, where: str = "", **facts: Any) -> None:
        """Looking at data is itself recorded."""
        text = f"Looked at {what} {self.database} of {self.row}{where}."
        record(self.request, "recovered.view", text, self.server, recovered=self.row.pk, **facts)

    def answer(self, template: str, status: int = 200) -> HttpResponse:
        always = {"server": self.server, "row": self.row, "database": self.database}
        return render(self.request, template, {"problem": "", **always, **self.context}, status=status)


def _looking(request: HttpRequest, server_name: str, pk: int) -> Looking:
    server = get_object_or_404(Server.objects.visible_to(request.user), name=server_name)
    require(request.user, "backups.download", server)
    row = get_object_or_404(RecoveredCluster.objects.select_related("server"), server=server, pk=pk)
    database = request.GET.get("db") or next(iter(row.databases), "")
    if database not in row.databases:
        raise Http404(f"{row} has no database {database}.")
    return Looking(request, server, row, database)


@login_required
@require_GET
def recovered(request: HttpRequest, server_name: str, pk: int) -> HttpResponse:
    """The tables of one of its databases, with what they weigh."""
    asked, part = _looking(request, server_name, pk), request.GET.get("q", "")
    asked.context.update(q=part, tables=[])
    try:
        asked.check()
        with recovered_tables.reading(asked.row, asked.database) as connection:
            total = recovered_tables.count_tables(connection, part)
            page = Paginator(range(total), recovered_tables.TABLES).get_page(request.GET.get("page"))
            offset = max(page.start_index() - 1, 0)
            asked.context.update(page=page, tables=recovered_tables.tables(connection, part, offset))
        asked.note("the tables of")
    except NotShown as reason:
        asked.context["problem"] = str(reason)
    return asked.answer("backups/recovered.html")


@login_required
@require_GET
def recovered_rows(request: HttpRequest, server_name: str, pk: int) -> HttpResponse:
    """Some rows of a table: from its first key on, behind a key, or those where a column is something."""
    asked, get = _looking(request, server_name, pk), request.GET
    table = TableName(get.get("schema", ""), get.get("table", ""))
    column, value = get.get("column", ""), get.get("value", "")
    asked.context.update(table=table, column=column, value=value, after=get.get("after", ""), shape=None)
    try:
        asked.check()
        with recovered_tables.reading(asked.row, asked.database) as connection:
            asked.context["shape"] = _shape(connection, asked, table, column)
            asked.context["found"] = _rows(connection, asked, table)
    except NotShown as reason:
        asked.context["problem"] = str(reason)
        return asked.answer("backups/recovered_rows.html", status=400 if asked.context["shape"] else 200)
    where = f", where {column} is {value}" if column else ""
    asked.note(f"rows of {table} in", where, table=str(table))
    return asked.answer("backups/recovered_rows.html")


def _shape(connection: psycopg.Connection[Any], asked: Looking, table: TableName, column: str) -> Shape:
    """What the table looks like; raises Http404 for what is not there."""
    shape = recovered_tables.shape_or_none(connection, table)
    if shape is None:
        raise Http404(f"{asked.row} has no table {table} in {asked.database}.")
    if column and column not in shape:
        raise Http404(f"The table {table} has no column {column}.")
    return shape


def _rows(connection: psycopg.Connection[Any], asked: Looking, table: TableName) -> Rows:
    shape, column = asked.context["shape"], asked.context["column"]
    where = (column, asked.context["value"]) if column else None
    try:
        return recovered_tables.rows(connection, table, shape, where, asked.context["after"])
    except psycopg.errors.UndefinedFunction as error:
        kind = shape.column(column).type.removeprefix("pg_catalog.") if column else ""
        says = f"Values of {column} ({kind}) cannot be compared. Choose another column."
        raise NotShown(says) from error
