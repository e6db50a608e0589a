"""Files of the log, and searches kept under a name."""

from __future__ import annotations

from collections.abc import Iterator

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.http import require_GET, require_POST

from audit import exporting
from audit.asking import filter_of, opened
from audit.models import SavedSearch
from dbadmin.events import record
from dbadmin.views import server_for

FORMATS = {"csv": (exporting.csv_lines, "text/csv"), "jsonl": (exporting.json_lines, "application/x-ndjson")}


@login_required
@require_GET
def export(request: HttpRequest, server_name: str, kind: str) -> HttpResponseBase:
    """The search of the address as a file; who took it is recorded."""
    server = server_for(request, server_name, "audit.export")
    if kind not in FORMATS:
        raise Http404(f"There is no format {kind}.")
    writer, content_type = FORMATS[kind]
    wanted = filter_of(request)
    record(request, "audit.export", f"Exported the audit log as {kind}.", server, filter=wanted.said())

    def lines() -> Iterator[str]:
        with opened(request, server, request.GET.get("db") or "") as asked:
            yield from writer(exporting.records(asked.rows, asked.state, wanted))

    answer = StreamingHttpResponse(lines(), content_type=f"{content_type}; charset=utf-8")
    answer["Content-Disposition"] = f'attachment; filename="{server.name}-audit.{kind}"'
    return answer


@login_required
@require_POST
def save_search(request: HttpRequest, server_name: str) -> HttpResponse:
    """Keep a search under a name, or forget it when the name is given with forget."""
    server = server_for(request, server_name, "audit.view")
    name, query = request.POST.get("name", "").strip()[:80], request.POST.get("query", "")[:2000]
    mine = SavedSearch.objects.filter(user__pk=request.user.pk or 0, server=server)
    if request.POST.get("forget"):
        mine.filter(name=request.POST["forget"]).delete()
    elif name:
        SavedSearch.objects.update_or_create(
            user_id=request.user.pk or 0, server=server, name=name, defaults={"query": query}
        )
        messages.success(request, f"Kept the search as {name}.")
    return redirect(f"{reverse('audit', args=[server.name])}?{query}")
