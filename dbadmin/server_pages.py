"""Adding, changing and removing the servers we look after; what each still lacks."""

from __future__ import annotations

import psycopg
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from dbadmin import readiness, readings
from dbadmin.connections import POOLS, session, why
from dbadmin.events import record
from dbadmin.forms import ServerForm
from dbadmin.models import Server
from dbadmin.permissions import may_anywhere, require, servers_with


@login_required
@require_GET
def server_list(request: HttpRequest) -> HttpResponse:
    """All servers as settings."""
    servers = servers_with(request.user, "servers.change").select_related("primary")
    if not may_anywhere(request.user, "servers.change"):
        raise PermissionDenied("This needs the role admin.")
    return render(request, "dbadmin/servers.html", {"servers": servers})


@login_required
@require_http_methods(["GET", "POST"])
def add(request: HttpRequest) -> HttpResponse:
    """Test the connection, list what is missing, keep the DSN sealed."""
    require(request.user, "servers.change")
    return edit_form(request, Server())


@login_required
@require_http_methods(["GET", "POST"])
def change(request: HttpRequest, server_name: str) -> HttpResponse:
    """The same for a server that we know."""
    server = get_object_or_404(Server.objects.visible_to(request.user), name=server_name)
    require(request.user, "servers.change", server)
    return edit_form(request, server)


def edit_form(request: HttpRequest, server: Server) -> HttpResponse:
    """Form, test, save."""
    old_name = server.name
    form = ServerForm(request.POST or None, instance=server)
    checks: list[readiness.Check] = []
    if request.method == "POST" and form.is_valid():
        checks = tested(form)
        if not form.errors and request.POST.get("action") != "test":
            saved = form.save()
            record(request, "server", f"{'Changed' if old_name else 'Added'} server {saved}.", saved)
            messages.success(request, f"{saved} is kept. The sampler reads it within a minute.")
            return redirect(reverse("readiness", args=[saved.name]))
    server.name = old_name  # a form that is refused leaves its words in it
    context = {"form": form, "checks": checks, "server": server if server.pk else None}
    return render(request, "dbadmin/server_form.html", context, status=422 if form.errors else 200)


def tested(form: ServerForm) -> list[readiness.Check]:
    """Try each DSN that was given; what fails becomes an error at its field."""
    found: list[readiness.Check] = []
    for name in ("dsn", "operate_dsn"):
        dsn = form.given(name)
        if not dsn:
            continue
        try:
            opened = readiness.open_session(dsn)
        except readiness.Unreachable as error:
            field = name.replace("dsn", "password") if error.field == "password" else name
            form.add_error(field, str(error))
            continue
        with opened.connection:
            found += readiness.checks(opened) if name == "dsn" else readiness.operate_checks(opened)
    return found


@login_required
@require_GET
def ready(request: HttpRequest, server_name: str) -> HttpResponse:
    """What is missing, with the statement that mends it."""
    server = get_object_or_404(Server.objects.visible_to(request.user), name=server_name)
    require(request.user, "monitoring.view", server)
    reading = readings.live(server, "readiness")
    checks = readiness.checks_of(reading)
    trouble = reading.problem or reading.trouble
    problem = trouble.message if trouble and trouble.kind != "privilege" else ""
    if not problem and server.sealed_operate_dsn:
        try:
            with session(server, "operate") as opened:
                checks += readiness.operate_checks(opened)
        except psycopg.Error as error:
            problem = f"Operations: {why(error, server.dsn('operate'))}"
    missing = [check for check in checks if check.state != "ok"]
    context = {
        "server": server,
        "checks": checks,
        "missing": missing,
        "problem": problem,
        "score": readiness.score(checks),
    }
    return render(request, "dbadmin/readiness.html", context)


@login_required
@require_POST
def remove(request: HttpRequest, server_name: str) -> HttpResponse:
    """Forget a server: its runs and events stay, nothing changes on the server itself."""
    server = get_object_or_404(Server.objects.visible_to(request.user), name=server_name)
    require(request.user, "servers.change", server)
    if request.POST.get("typed", "").strip() != server.name:
        messages.error(request, f"Type {server.name} to remove it from dbadmin.")
        return redirect(reverse("server_change", args=[server.name]))
    record(request, "server", f"Removed server {server} from dbadmin.", name=server.name)
    server.delete()
    POOLS.close(str(server.key))
    messages.success(
        request, f"{server_name} is no longer looked after. Nothing changed on the server itself."
    )
    return redirect("server_list")
