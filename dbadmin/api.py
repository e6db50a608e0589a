"""The JSON door: the same servers, readings, operations and runs, for programs with a token."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import wraps
from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404
from django.views.decorators.csrf import csrf_exempt

from dbadmin import consent, exports, readings, runs
from dbadmin.models import ApiToken, Run, Server
from dbadmin.operate import run_or_404
from dbadmin.operations import REGISTRY, Operation, Refused, Risk
from dbadmin.permissions import may_read, require, require_parameters
from dbadmin.plans import plan_of
from dbadmin.probes import PROBES
from dbadmin.shapes import misshapen

View = Callable[..., HttpResponse]


def refuse(status: int, message: str, **more: Any) -> JsonResponse:
    """The one shape of an error."""
    return JsonResponse({"error": message, **more}, status=status)


def door(*methods: str, scope: str = ApiToken.Scope.READ) -> Callable[[View], View]:
    """A token instead of a session; errors as JSON. scope: what the token must be good for."""

    def wrap(view: View) -> View:
        @csrf_exempt
        @wraps(view)
        def inner(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            kind, _, text = request.headers.get("Authorization", "").partition(" ")
            token = ApiToken.find(text.strip()) if kind == "Bearer" else None
            if token is None:
                answer = refuse(401, "Send a valid API token: Authorization: Bearer dba_…")
                answer["WWW-Authenticate"] = "Bearer"
                return answer
            if request.method not in methods:
                return refuse(405, f"Use {' or '.join(methods)}.")
            if scope == ApiToken.Scope.OPERATE and token.scope != scope:
                return refuse(403, "This token may only read.")
            request.user = token.user
            try:
                return view(request, *args, **kwargs)
            except PermissionDenied as error:
                return refuse(403, str(error))
            except Http404 as error:
                return refuse(404, str(error) or "There is nothing here.")

        return inner

    return wrap


def server_or_404(request: HttpRequest, name: str) -> Server:
    """A server that the person may see."""
    return get_object_or_404(Server.objects.visible_to(request.user), name=name)


@door("GET")
def servers(request: HttpRequest) -> HttpResponse:
    """All servers that the token's person may see."""
    found = Server.objects.visible_to(request.user).select_related("primary")
    return JsonResponse({"servers": [describe(server) for server in found]})


def describe(server: Server) -> dict[str, Any]:
    """A server for programs."""
    return {
        "name": server.name,
        "environment": server.environment,
        "tags": server.tags,
        "primary": server.primary.name if server.primary else None,
        "enabled": server.enabled,
    }


@door("GET")
def reading(request: HttpRequest, server_name: str, probe: str) -> HttpResponse:
    """The last reading of a probe; ?db= for one database, else the one of the DSN; ?live=1 to ask now.

    A probe about one thing, such as one table, is told by ?schema=&table= which one, and always asked now.
    """
    server = server_or_404(request, server_name)
    found = PROBES.get(probe)
    if found is None:
        raise Http404(f"There is no probe {probe}.")
    require(request.user, f"{found.app}.view", server)
    database = request.GET.get("db", "")
    if found.scope == "database":
        database = database or readings.main_database(server)
    params = {name: request.GET.get(name) for name in found.params}
    answer = (
        readings.live(server, probe, database, params=params)
        if request.GET.get("live") or params
        else readings.latest(server, probe, database)
    )
    if answer is None:
        where = f"in database {database} of {server}" if database else f"on {server}"
        raise Http404(f"{probe} has not been read {where} yet.")
    return JsonResponse(exports.as_dict(answer))


@door("POST", scope=ApiToken.Scope.OPERATE)
def operate(request: HttpRequest, server_name: str, name: str) -> HttpResponse:
    """Preview ({"dry_run": true}) or start an operation.

    {"params": {…}, "digest": "<of the preview>", "understood": true, "typed": "…", "reason": "…"}
    Where the server asks for two people, the run waits for another admin, who agrees on the page of approvals.
    """
    server = server_or_404(request, server_name)
    operation_class = REGISTRY.get(name)
    if operation_class is None:
        raise Http404(f"There is no operation {name}.")
    require(request.user, operation_class.permission(), server)
    try:
        body = json.loads(request.body or b"{}")
        params = body.get("params") or {} if isinstance(body, dict) else None
        if not isinstance(params, dict):
            raise ValueError
    except (ValueError, RecursionError):
        return refuse(400, 'Send a JSON object, its "params" an object, too.')
    form = operation_class.form(server, params)
    for name, field in form.fields.items():
        if problem := misshapen(params.get(name), field):
            form.add_error(name, problem)
    if not form.is_valid():
        return refuse(422, "Some parameters are wrong.", fields=form.errors.get_json_data())
    return planned(request, operation_class(server, dict(form.cleaned_data)), body)


#: Fields of consent -> keys of the JSON body.
CONSENT = {"plan": "digest", "understood": "understood", "typed": "typed", "reason": "reason"}


def planned(request: HttpRequest, operation: Operation, body: dict[str, Any]) -> HttpResponse:
    """The preview, or the run, or why not."""
    require_parameters(request.user, operation)
    plan = plan_of(operation)
    looked_at = [
        {"state": check.state, "title": check.title, "message": check.message, "remedy": check.remedy}
        for check in [*operation.checks, *(operation.look() if body.get("dry_run") else ())]
    ]
    if plan.refusal:
        status = 502 if plan.server_failed else 409
        return refused(Refused(plan.refusal, plan.field), status, checks=looked_at)
    digest = consent.digest(plan.agreed)
    preview: dict[str, Any] = {"plan": plan.texts, "digest": digest, "risk": operation.risk_now().value}
    preview |= {"checks": looked_at} if looked_at else {}
    if body.get("dry_run"):
        asks = {
            "waits": operation.waits(),
            "target": operation.target(),
            "needs_second": operation.asks_second(),
        }
        return JsonResponse(preview | asks)
    answer = {name: str(body.get(key) or "") for name, key in CONSENT.items()}
    if operation.risk_now() is Risk.HARMLESS:
        answer["plan"] = digest
    missing = consent.missing(operation, plan.agreed, answer)
    if missing:
        return refuse(409, missing, **preview)
    try:
        reason = str(body.get("reason", ""))
        run = runs.start(operation, request.user, Run.Door.API, reason=reason, steps=plan.steps)
    except Refused as refusal:
        return refused(refusal)
    return JsonResponse(run_dict(run), status=202)


def refused(reason: Refused, status: int = 409, **facts: Any) -> JsonResponse:
    """Why not, and which parameter it is about."""
    told = {name: value for name, value in facts.items() if value}
    return refuse(status, str(reason), **({"field": reason.field} if reason.field else {}), **told)


def run_dict(run: Run) -> dict[str, Any]:
    """A run for programs."""
    return {
        "id": run.pk,
        "operation": run.operation,
        "server": run.server_name,
        "target": run.target,
        "status": run.status,
        "message": run.message or runs.waits_for(run),
        "reason": run.reason,
        "wait_until": exports.plain(run.wait_until),
        "second": run.second_name,
        "plan": run.plan,
        "step": run.step,
        "progress": {"done": run.progress_done, "total": run.progress_total, "unit": run.progress_unit},
        "queued_at": exports.plain(run.queued_at),
        "started_at": exports.plain(run.started_at),
        "finished_at": exports.plain(run.finished_at),
        "user": run.user_name,
        "door": run.door,
        "result": run.result,
        "url": run.get_absolute_url(),
    }


@door("GET")
def run(request: HttpRequest, pk: int) -> HttpResponse:
    """How a run stands, with its log."""
    found = run_or_404(request, pk)
    if not may_read(request.user, found):
        return JsonResponse(run_dict(found) | {"plan": None, "log": None})
    lines = [{"at": exports.plain(line.at), "text": line.text} for line in found.lines.all()]
    return JsonResponse(run_dict(found) | {"log": lines})


@door("POST", scope=ApiToken.Scope.OPERATE)
def cancel(request: HttpRequest, pk: int) -> HttpResponse:
    """Ask a run to stop."""
    found = run_or_404(request, pk)
    operation = REGISTRY.get(found.operation)
    if operation is None:
        raise Http404(f"There is no operation {found.operation} any more.")
    require(request.user, operation.permission(), found.server)
    runs.cancel(found, request.user)
    found.refresh_from_db()
    return JsonResponse(run_dict(found))
