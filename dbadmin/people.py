"""Accounts, roles, tokens, and the record of what people did."""

from __future__ import annotations

import datetime as dt
from typing import Any

from django.contrib import messages
from django.contrib.auth import get_user_model
from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from dbadmin import consent
from dbadmin.events import record
from dbadmin.forms import GrantForm, PersonForm, TokenForm, wanted
from dbadmin.models import ApiToken, Event, Grant, Role
from dbadmin.operations import Risk
from dbadmin.permissions import require


def admins_left(without: Any) -> int:
    """How many active people administer everything, were these grants gone."""
    everywhere = Grant.objects.filter(
        role=Role.ADMIN, server=None, environment="", tag="", user__is_active=True
    )
    return everywhere.exclude(pk__in=without).values("user").distinct().count()


@login_required
@require_http_methods(["GET", "POST"])
def people(request: HttpRequest) -> HttpResponse:
    """Everybody with their roles; a form for one more."""
    require(request.user, "users.change")
    if not consent.is_fresh(request, Risk.BLOCKS):
        return redirect(f"{reverse('account_reauthenticate')}?next={request.path}")
    form = PersonForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        person = add_person(form.cleaned_data)
        record(request, "person", f"Made the account {person.username}.", role=form.cleaned_data["role"])
        messages.success(request, f"{person.username} can sign in now; the first password should be changed.")
        return redirect("person", pk=person.pk)
    found = get_user_model().objects.prefetch_related("grants__server").order_by("username")
    context = {"people": found, "form": form}
    return render(request, "dbadmin/people.html", context, status=422 if form.errors else 200)


@transaction.atomic
def add_person(data: dict[str, Any]) -> Any:
    """The account and its role."""
    manager: Any = get_user_model().objects
    person = manager.create_user(data["username"], data["email"], data["password"])
    if data["role"]:
        Grant.objects.create(user=person, role=data["role"])
    return person


@login_required
@require_http_methods(["GET", "POST"])
def person(request: HttpRequest, pk: int) -> HttpResponse:
    """One person's grants."""
    require(request.user, "users.change")
    if not consent.is_fresh(request, Risk.BLOCKS):
        return redirect(f"{reverse('account_reauthenticate')}?next={request.path}")
    found: Any = get_object_or_404(get_user_model(), pk=pk)
    form = GrantForm(request.POST or None, instance=Grant(user=found))
    if request.method == "POST" and form.is_valid():
        grant = form.save()
        record(request, "grant", f"Gave {found.username} {grant}.")
        return redirect("person", pk=pk)
    context = {"person": found, "grants": found.grants.select_related("server"), "form": form}
    return render(request, "dbadmin/person.html", context, status=422 if form.errors else 200)


@login_required
@require_POST
def revoke(request: HttpRequest, pk: int) -> HttpResponse:
    """Take a grant back; the last administrator stays."""
    require(request.user, "users.change")
    grant = get_object_or_404(Grant.objects.select_related("user", "server"), pk=pk)
    if grant.role == Role.ADMIN and not admins_left([grant.pk]):
        messages.error(request, "This is the last administrator of everything; make another one first.")
    else:
        record(request, "grant", f"Took {grant} from {grant.user.username}.")
        grant.delete()
    return redirect("person", pk=grant.user_id)


@login_required
@require_POST
def switch(request: HttpRequest, pk: int) -> HttpResponse:
    """Lock an account out, or let it in again."""
    require(request.user, "users.change")
    found: Any = get_object_or_404(get_user_model(), pk=pk)
    theirs, let_in = list(found.grants.values_list("pk", flat=True)), wanted(request)
    if not let_in and not admins_left(theirs):
        messages.error(request, "This is the last administrator of everything; make another one first.")
    elif let_in != found.is_active:
        found.is_active = let_in
        found.save(update_fields=["is_active"])
        record(request, "person", f"{'Let in' if found.is_active else 'Locked out'} {found.username}.")
    return redirect("person", pk=pk)


@login_required
@require_http_methods(["GET", "POST"])
def tokens(request: HttpRequest) -> HttpResponse:
    """The person's own API tokens; a new one is shown once."""
    form = TokenForm(request.POST or None)
    new = ""
    if request.method == "POST" and form.is_valid():
        data = form.cleaned_data
        expires = timezone.now() + dt.timedelta(days=data["days"])
        token, new = ApiToken.make(request.user, data["name"], data["scope"], expires)
        record(request, "token", f"Made the API token {token.name} ({token.scope}).")
    found = ApiToken.objects.filter(user=request.user.pk)
    return render(request, "dbadmin/tokens.html", {"tokens": found, "form": form, "new": new})


@login_required
@require_POST
def revoke_token(request: HttpRequest, pk: int) -> HttpResponse:
    """End one of the person's own tokens."""
    token = get_object_or_404(ApiToken, pk=pk, user_id=request.user.pk)
    ApiToken.objects.filter(pk=token.pk, revoked_at=None).update(revoked_at=timezone.now())
    record(request, "token", f"Revoked the API token {token.name}.")
    return redirect("tokens")


@login_required
@require_GET
def events(request: HttpRequest) -> HttpResponse:
    """What people did in dbadmin, newest first."""
    require(request.user, "events.view")
    found = Event.objects.select_related("server")
    chosen = {name: request.GET[name] for name in ("kind", "user_name") if request.GET.get(name)}
    page = Paginator(found.filter(**chosen), 100).get_page(request.GET.get("page"))
    kinds = Event.objects.order_by("kind").values_list("kind", flat=True).distinct()
    context = {"events": page.object_list, "page": page, "kinds": kinds, "chosen": chosen}
    return render(request, "dbadmin/events.html", context)
