"""The pages of proof: seals, what the last check found, and the witness file to check them elsewhere."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from django.contrib.auth.decorators import login_required
from django.http import FileResponse, Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from audit.asking import Asked, auditors, main_database, number, trouble
from audit.models import Expiry, Seal, SealCheck
from audit.proofs import NoProof, proof
from audit.seal_copies import witness_of
from dbadmin.events import record
from dbadmin.models import Server
from dbadmin.probes import Problem
from dbadmin.views import server_for

LAG = """
select count(*) as statements, min(at) as oldest_at from (
    select at from dbadmin_audit.statement where xid::text::bigint >= %s and id > %s limit 100001) s
"""
SCRIPT = Path(__file__).parent / "standalone" / "verify_audit_log.py"
#: Seals per page.
PAGE = 50


@auditors
def seals(asked: Asked) -> HttpResponse:
    """The seals of a database, newest first, and how they were found at the last check."""
    found = (
        Seal.objects.filter(server=asked.server, database=asked.database)
        .select_related("key")
        .defer("leaves", "stamp")
    )
    before = number(asked.request, "before")
    shown = list(found.filter(number__lt=before) if before else found)[: PAGE + 1]
    last = found.first()
    lag = None
    if asked.state.version:
        lag = asked.rows(LAG, [last.high if last else 0, last.above if last else 0])[0]
    context = asked.context(
        tab="seals",
        seals=shown[:PAGE],
        older=shown[PAGE - 1].number if len(shown) > PAGE else None,
        last=last,
        lag=lag,
        last_check=SealCheck.objects.filter(server=asked.server, database=asked.database).first(),
    )
    return render(asked.request, "audit/seals.html", context)


def proof_file(asked: Asked, number: int, n: int) -> HttpResponse:
    """The proof of one change; the script of the Seals page checks it, without a server."""
    try:
        found = proof(asked.session.connection, asked.server, asked.database, asked.state, number, n)
    except NoProof as reason:
        problem = Problem("unproven", str(reason))
        return trouble(asked.request, asked.server, asked.database, problem, 409)
    text = f"Took the proof of statement {number}, row {n}."
    record(asked.request, "audit.export", text, asked.server, database=asked.database, statement=number)
    answer = HttpResponse(json.dumps(found, ensure_ascii=False, indent=1), content_type="application/json")
    answer["Content-Disposition"] = f'attachment; filename="{asked.server.name}-change-{number}-{n}.json"'
    return answer


of_change = auditors(proof_file, "audit.export")


@login_required
@require_GET
def witness(request: HttpRequest, server_name: str) -> HttpResponse | StreamingHttpResponse:
    """Every seal as one line of JSON: all that a second party needs to check the log, and nothing of what is in it."""
    server = server_for(request, server_name, "audit.export")
    database = request.GET.get("database") or main_database(server)
    if not Seal.objects.filter(server=server, database=database).exists():
        raise Http404(f"Nothing of {server}/{database} is sealed.")
    record(
        request,
        "audit.export",
        f"Downloaded the witness file of {server}/{database}.",
        server,
        database=database,
    )
    answer = StreamingHttpResponse(witness_lines(server, database), content_type="application/x-ndjson")
    answer["Content-Disposition"] = f'attachment; filename="{server.name}-audit-witness.jsonl"'
    return answer


def witness_lines(server: Server, database: str) -> Iterator[str]:
    """Seal by seal, oldest first; the first line holds the records of months that expired."""
    expiries = Expiry.objects.filter(server=server, database=database).select_related("key").order_by("pk")
    found = Seal.objects.filter(server=server, database=database).select_related("key").order_by("number")
    for place, seal in enumerate(found.iterator(20)):
        yield witness_of(seal, () if place else expiries)


@login_required
@require_GET
def script(request: HttpRequest, server_name: str) -> FileResponse:
    """The script that checks a witness file without dbadmin."""
    server_for(request, server_name, "audit.view")
    return FileResponse(SCRIPT.open("rb"), as_attachment=True, content_type="text/x-python")
