"""Files of the log, and searches kept under a name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain
from threading import BoundedSemaphore

import psycopg
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_GET, require_POST
from psycopg_pool import TooManyRequests

from audit import exporting, long_values, parquet, search
from audit.asking import Asked, explain, filter_of, opened_alone, readable_moments, trouble
from audit.models import SavedSearch
from audit.raw_text import NOTE, has_no_encoding
from audit.search import BadFilter, Filter
from dbadmin.events import record
from dbadmin.units import several
from dbadmin.views import server_for

FORMATS: dict[str, tuple[Callable[..., Iterator[str | bytes]], str]] = {
    "csv": (exporting.csv_lines, "text/csv; charset=utf-8"),
    "jsonl": (exporting.json_lines, "application/x-ndjson; charset=utf-8"),
    "html": (exporting.report_lines, "text/html; charset=utf-8"),
    "parquet": (parquet.file, "application/vnd.apache.parquet"),
}

UNLISTED = "{} of tables that are recorded for each row not listed yet, and not in this file. {}"
#: Files that this process writes at the same time: each holds a connection to its server for as long as it takes.
UNDER_WAY = BoundedSemaphore(2)


def written(kind: str, asked: Asked, wanted: Filter) -> Iterator[str | bytes]:
    """The file, piece by piece."""
    found = exporting.records(asked.rows, asked.state, wanted)
    if has_no_encoding(asked.session.connection):
        found = chain([{"note": NOTE}], found)
    if asked.unlisted:
        found = chain(
            [{"note": UNLISTED.format(several(asked.unlisted, "change"), asked.why_unlisted)}], found
        )
    if kind != "html":
        writer, _ = FORMATS[kind]
        return writer(found)
    facts = {
        "Server": f"{asked.server}, database {asked.database}",
        "Search": str(wanted) or "everything",
        "Made": timezone.now().isoformat(timespec="seconds"),
        "By": asked.request.user.get_username(),
    }
    return exporting.report_lines(found, f"Audit log of {asked.server}", facts)


def log_page(request: HttpRequest, server_name: str) -> HttpResponse:
    """The page of the same search."""
    return redirect(f"{reverse('audit', args=[server_name])}?{request.GET.urlencode()}")


@login_required
@require_GET
def export(request: HttpRequest, server_name: str, kind: str) -> HttpResponseBase:
    """The search of the address as a file; who took it is recorded."""
    server = server_for(request, server_name, "audit.export")
    if kind not in FORMATS:
        raise Http404(f"There is no format {kind}.")
    if kind == "parquet" and not parquet.is_installed():
        messages.error(request, parquet.MISSING)
        return log_page(request, server.name)
    _, content_type = FORMATS[kind]
    wanted, database = filter_of(request), request.GET.get("db") or ""

    def lines() -> Iterator[str | bytes]:
        if not UNDER_WAY.acquire(blocking=False):
            raise TooManyRequests("the limit of requests waiting")
        try:
            readable_moments(request, "since", "until")
            with opened_alone(request, server, database) as asked:
                yield from written(kind, asked, wanted)
        finally:
            UNDER_WAY.release()

    stream = lines()
    try:  # with the first line it is known that there is a log, and that the search can be made
        first = next(stream, "")
    except BadFilter:  # the page of the log says what is wrong, at its field
        return log_page(request, server.name)
    except psycopg.Error as error:
        return trouble(request, server, database, explain(error), 503)
    what = f"Exported the audit log as {kind}: {wanted or 'everything'}."
    record(request, "audit.export", what, server, filter=wanted.said(), database=database)
    answer = StreamingHttpResponse(chain([first], stream), content_type=content_type)
    answer["Content-Disposition"] = f'attachment; filename="{server.name}-audit.{kind}"'
    return answer


@login_required
@require_GET
def value(request: HttpRequest, server_name: str, number: int, n: int) -> HttpResponseBase:
    """All of one value that is too long for a page, as text; who took it is recorded."""
    server = server_for(request, server_name, "audit.view")
    name, side, database = (request.GET.get(each, "") for each in ("column", "side", "db"))

    def pieces() -> Iterator[bytes]:
        with opened_alone(request, server, database) as asked:
            asked.session.connection.execute("set statement_timeout = '60s'")
            found = search.statement(asked.rows, number) if asked.state.version else None
            shape = asked.state.shapes.get(found.shape_id) if found else None
            if shape is None or all(column.name != name for column in shape.kept):
                return
            first = 1
            while got := long_values.piece(asked.rows, shape, name, found, n, side == "old", first):
                yield got
                first += len(got)

    stream = pieces()
    try:
        start = next(stream, None)
    except psycopg.Error as error:
        return trouble(request, server, database, explain(error), 503)
    if start is None:
        raise Http404("The log has no such value.")
    what = f"Took all of {name} of statement {number}, row {n}."
    record(request, "audit.view", what, server, statement=number, row=n, database=database)
    answer = StreamingHttpResponse(chain([start], stream), content_type="text/plain; charset=utf-8")
    answer["Content-Disposition"] = f'attachment; filename="statement-{number}-row-{n}.txt"'
    return answer


@login_required
@require_POST
def save_search(request: HttpRequest, server_name: str) -> HttpResponse:
    """Keep a search under a name, or forget the one that forget names."""
    server = server_for(request, server_name, "audit.view")
    name, query, forget = (
        request.POST.get(each, "").replace("\0", "") for each in ("name", "query", "forget")
    )
    name, query = name.strip()[:80], query[:2000]
    mine = SavedSearch.objects.filter(user__pk=request.user.pk or 0, server=server)
    if forget:
        mine.filter(name=forget).delete()
        messages.success(request, f"Forgot the search {forget}.")
    elif name:
        SavedSearch.objects.update_or_create(
            user_id=request.user.pk or 0, server=server, name=name, defaults={"query": query}
        )
        messages.success(request, f"Kept the search as {name}.")
    return redirect(f"{reverse('audit', args=[server.name])}?{query}")
