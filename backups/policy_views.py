"""Settings of policies: how long backups are kept, tried on the backups that are there before it is saved."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from django import forms
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from backups import store_rules
from backups.models import Backup, BackupKey, Policy, Store
from backups.policies import Verdict, candidate, judge, policy_for
from backups.retention import Day, Rules, simulate, usual_interval
from dbadmin.events import record
from dbadmin.permissions import require

if TYPE_CHECKING:
    PolicyModelForm = forms.ModelForm[Policy]
else:
    PolicyModelForm = forms.ModelForm

RIGHT = "stores.change"
GIB = 1 << 30


class PolicyForm(PolicyModelForm):
    """Whose backups, and the rules."""

    last = forms.IntegerField(min_value=0, max_value=1000, initial=3, help_text="So many of the newest.")
    daily = forms.IntegerField(
        min_value=0, max_value=1000, initial=7, help_text="The newest of so many days."
    )
    weekly = forms.IntegerField(min_value=0, max_value=1000, initial=4)
    monthly = forms.IntegerField(min_value=0, max_value=1000, initial=12)
    yearly = forms.IntegerField(min_value=0, max_value=100, initial=0)
    days = forms.IntegerField(
        min_value=0, max_value=3650, initial=2, label="All younger than days", help_text="Proven or not."
    )
    proven = forms.IntegerField(
        min_value=1,
        max_value=100,
        initial=2,
        label="Proven ones never deleted",
        help_text="Whatever the limits say.",
    )
    most_days = forms.IntegerField(min_value=1, max_value=36500, required=False, label="None older than days")
    most_gib = forms.DecimalField(
        min_value=0, required=False, label="All together at most GiB", help_text="Per database."
    )
    time_zone = forms.CharField(initial="UTC", help_text="Where a day ends.")

    class Meta:
        model = Policy
        fields = (
            "name", "server", "tag", "database", "store", "copies", "keys", "compression", "enabled"
        )  # fmt: skip
        labels = {"copies": "Copies in", "keys": "Encrypted for", "compression": "Compression"}
        help_texts = {
            "server": "Empty: all servers.",
            "tag": "Only servers with this tag.",
            "database": "Empty: every database.",
            "store": "Where a backup goes that names no store. Empty: the only store there is.",
            "copies": "Each backup is copied to these stores as well, and every byte compared there.",
            "keys": "None chosen: every key in use.",
            "compression": "Level of zstd, 1 to 19. Empty: 1, which costs least; 3 makes it a sixth smaller.",
        }
        widgets = {"copies": forms.CheckboxSelectMultiple, "keys": forms.CheckboxSelectMultiple}

    #: A store deletes earlier than the rules would, and that is all that is wrong.
    is_contradicted = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["keys"].queryset = BackupKey.objects.filter(retired_at=None)  # type: ignore[attr-defined]
        self.fields["compression"].validators += [MinValueValidator(1), MaxValueValidator(19)]
        for name, value in self.instance.rules.items():
            if name == "most_bytes":
                self.initial["most_gib"] = None if value is None else round(value / GIB, 3)
            elif name in self.fields:
                self.initial[name] = value

    def hold_against_stores(self, rules: Rules, stores: Iterable[Store]) -> None:
        """What stores do against the rules, told at the field; where one deletes too early, nothing is saved."""
        for found in store_rules.against(rules, stores):
            if found.state == "critical":
                self.is_contradicted = True
                self.add_error(found.rule, found.says)
            else:
                told = vars(self.fields[found.rule]).setdefault("notes", [])
                told.append(found)

    def clean_time_zone(self) -> str:
        name = str(self.cleaned_data["time_zone"])
        try:
            ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise forms.ValidationError("There is no such time zone; Europe/Berlin is one.") from error
        return name

    def clean(self) -> dict[str, Any]:
        found: dict[str, Any] = super().clean() or {}
        if found.get("store") and found["store"] in found.get("copies", ()):
            self.add_error(
                "copies", f"{found['store']} is where the backup goes; choose another for the copy."
            )
        names = ("last", "daily", "weekly", "monthly", "yearly", "days", "proven", "most_days", "time_zone")
        most = found.get("most_gib")
        self.instance.rules = {
            **{name: found[name] for name in names if name in found},
            "most_bytes": None if most is None else int(most * GIB),
        }
        if found.get("enabled") and not self.errors:
            places = _places(found.get("store"), found.get("copies", ()))
            self.hold_against_stores(Rules.of(self.instance.rules), places)
        return found


def _places(store: Store | None, copies: Iterable[Store]) -> list[Store]:
    """Every store that the backups of a policy may lie in; without one named, all that are in use."""
    named = [store] if store else list(Store.objects.filter(enabled=True))
    return list({each.pk: each for each in [*named, *copies]}.values())


@login_required
@require_GET
def policies(request: HttpRequest) -> HttpResponse:
    """All policies."""
    require(request.user, RIGHT)
    return render(request, "backups/policies.html", {"policies": Policy.objects.select_related("server")})


@login_required
@require_http_methods(["GET", "POST"])
def edit(request: HttpRequest, name: str = "") -> HttpResponse:
    """A policy: preview shows what would go now and what the next 90 days bring; save keeps the rules."""
    require(request.user, RIGHT)
    policy = get_object_or_404(Policy, name=name) if name else None
    form = PolicyForm(request.POST or None, instance=policy)
    found: list[Verdict] | None = None
    if request.method == "POST" and form.is_valid():
        if request.POST.get("action") == "save":
            saved = form.save()
            record(request, "policy", f"Saved the policy {saved}.", saved.server, rules=saved.rules)
            messages.success(
                request, f"{saved} is saved. Nothing is deleted before the next “Delete expired backups”."
            )
            return redirect("policies")
        found = preview(form.instance)
    elif form.is_contradicted:
        found = preview(form.instance)
    elif policy and request.method == "GET":
        if policy.enabled:
            # A store that does not answer keeps nobody from the page.
            rule, _ = store_rules.longest(Rules.of(policy.rules))
            vars(form.fields[rule])["told_at"] = reverse("policy_stores", args=[policy.name])
        found = preview(policy)
    context = {
        "form": form,
        "policy": policy,
        "verdicts": [_shown(each) for each in found or []],
        "covers_nothing": found == [],
        "heirs": heirs(policy) if policy and request.method == "GET" else [],
    }
    return render(request, "backups/policy.html", context, status=422 if form.errors else 200)


@login_required
@require_GET
def stores(request: HttpRequest, name: str) -> HttpResponse:
    """What the stores of a policy do against its rules, for its place at the field."""
    require(request.user, RIGHT)
    policy = get_object_or_404(Policy, name=name)
    notes = store_rules.against(Rules.of(policy.rules), _places(policy.store, policy.copies.all()))
    return render(request, "backups/_policy_stores.html", {"notes": list(notes)})


def preview(policy: Policy) -> list[Verdict]:
    """What these rules would say about every database that they cover, and no policy that is more particular."""
    pairs = _covered(policy).values_list("server", "database").order_by().distinct()
    servers = {backup.server_id: backup.server for backup in _covered(policy).select_related("server")}
    return [
        judge(server, name, policy)
        for pk, name in pairs
        if (server := servers.get(pk)) and policy_for(server, name, policy) is policy
    ]


def _covered(policy: Policy) -> QuerySet[Backup]:
    wanted = Q(server__isnull=False)
    if policy.server_id:
        wanted &= Q(server=policy.server_id)
    if policy.tag:
        wanted &= Q(server__tags__contains=[policy.tag])
    if policy.database:
        wanted &= Q(database=policy.database)
    return Backup.objects.present().filter(wanted)


def _shown(found: Verdict) -> dict[str, Any]:
    return {
        "database": found.database,
        "server": found.decisions[0][0].server,
        "decisions": found.decisions,
        "going": len(found.going),
        "story": _story(found),
    }


def _story(found: Verdict) -> list[Day]:
    """Every tenth day of the next ninety."""
    candidates = [candidate(backup) for backup, _ in found.decisions]
    every = usual_interval([each.at for each in candidates])
    return simulate(candidates, Rules.of(found.policy.rules), timezone.now(), 90, every)[9::10]


@login_required
@require_POST
def remove(request: HttpRequest, name: str) -> HttpResponse:
    """What it covered has the next policy then, which may keep less: so its name is typed below what is told of it."""
    require(request.user, RIGHT)
    policy = get_object_or_404(Policy, name=name)
    if request.POST.get("typed", "").strip() != name:
        messages.error(request, f"Not removed: type {name} to confirm.")
        return redirect("policy", name)
    record(request, "policy", f"Removed the policy {name}.", policy.server, rules=policy.rules)
    policy.delete()
    messages.success(request, f"{name} is removed.")
    return redirect("policies")


def heirs(policy: Policy) -> list[str]:
    """What happens to each database that a policy covers when it is removed."""
    told = []
    for found in preview(policy) if policy.enabled else []:
        server = found.decisions[0][0].server
        heir = server and policy_for(server, found.database, without=policy)
        says = "no policy covers it then, and every backup is kept"
        if server and heir:
            then = judge(server, found.database, heir)
            says = f"the policy {heir} holds then, and {len(then.going)} of {len(then.decisions)} backups would go"
        told.append(f"{found.database} of {server}: {says}.")
    return told
