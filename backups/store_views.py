"""Settings of stores: where backups go, tried before it is kept."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from backups import catalogue, seen_stores, store_rules
from backups.models import PointInTime, Policy, Store
from backups.stores import Finding, StoreError
from dbadmin.events import record
from dbadmin.models import Run
from dbadmin.permissions import require

RIGHT = "stores.change"

if TYPE_CHECKING:  # Django's forms take no type argument at run time
    StoreModelForm = forms.ModelForm[Store]
else:
    StoreModelForm = forms.ModelForm


class StoreForm(StoreModelForm):
    """A directory or a bucket; empty keys leave those that are kept."""

    access_key = forms.CharField(required=False, widget=forms.TextInput(attrs={"autocomplete": "off"}))
    secret_key = forms.CharField(
        required=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
        help_text="Kept encrypted, never shown. Empty: what is kept stays, or the worker's role is used.",
    )
    is_its_disk = forms.BooleanField(
        required=False,
        label="Take what is there now for its disk",
        help_text="For a directory whose disk was lost or replaced. Then press Read again: what is not there is "
        "struck off the catalogue.",
    )

    class Meta:
        model = Store
        fields = (
            "name", "kind", "directory", "endpoint", "region", "bucket", "prefix", "path_style", "encryption",
            "lock_days", "enabled",
        )  # fmt: skip
        labels = {
            "path_style": "Bucket in the path, not in the host name",
            "encryption": "Server-side encryption",
            "lock_days": "Lock objects for days",
        }
        help_texts = {
            "name": "Small letters, digits, - and _.",
            "directory": "The same disk on every worker's host and here; empty: below the state directory.",
            "endpoint": "https://s3.example.org; empty: Amazon. For S3 only, as are the fields below.",
            "encryption": "AES256 or aws:kms, if the bucket does not do it by itself.",
            "lock_days": "0: none. The bucket must have object lock; nobody can delete a backup earlier.",
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk is None or self.instance.kind != Store.Kind.LOCAL:
            del self.fields["is_its_disk"]

    def clean(self) -> dict[str, Any]:
        found: dict[str, Any] = super().clean() or {}
        if found.get("kind") == Store.Kind.S3 and not found.get("bucket"):
            self.add_error("bucket", "An S3 store needs the name of a bucket.")
        return found

    def save(self, commit: bool = True) -> Store:
        store: Store = super().save(commit=False)
        for name in ("access_key", "secret_key"):
            if self.cleaned_data.get(name):
                store.seal(name, self.cleaned_data[name])
        if commit:
            store.save()
        return store


@login_required
@require_GET
def stores(request: HttpRequest) -> HttpResponse:
    """All stores."""
    require(request.user, RIGHT)
    found = list(Store.objects.all())
    seen = seen_stores.sights(found)
    return render(request, "backups/stores.html", {"stores": [(store, seen[store.name]) for store in found]})


@login_required
@require_http_methods(["GET", "POST"])
def add(request: HttpRequest) -> HttpResponse:
    """A new store."""
    require(request.user, RIGHT)
    return _edit(request, None)


@login_required
@require_http_methods(["GET", "POST"])
def change(request: HttpRequest, name: str) -> HttpResponse:
    """A store that is known."""
    require(request.user, RIGHT)
    return _edit(request, get_object_or_404(Store, name=name))


def _edit(request: HttpRequest, store: Store | None) -> HttpResponse:
    """Save or test: both try the store as it is written in the form."""
    was = store.where if store else ""
    form = StoreForm(request.POST or None, instance=store)
    findings: list[Finding] = []
    if request.method == "POST" and form.is_valid():
        tried = form.save(commit=False)
        is_its_disk = tried.where != was or bool(form.cleaned_data.get("is_its_disk"))
        wrong = _taken(tried) if tried.where != was else ""
        if not wrong:
            findings = store_rules.tried(tried, is_its_disk)
            if all(finding.ok for finding in findings):
                findings += store_rules.look(tried)
            wrong = _left_behind(tried, was) if was and tried.where != was else ""
        if wrong:
            form.add_error("directory" if tried.kind == Store.Kind.LOCAL else "bucket", wrong)
        elif "test" not in request.POST.get("action", ""):
            return _saved(request, tried, findings, is_its_disk)
    context = {"form": form, "store": store, "findings": findings}
    return render(request, "backups/store_form.html", context, status=422 if form.errors else 200)


def _taken(store: Store) -> str:
    """Why a store cannot be where another is: a copy there would be the same object, and be deleted with it."""
    others = Store.objects.exclude(pk=store.pk)
    for other in others:
        if other.place[: len(store.place)] == store.place[: len(other.place)]:
            return (
                f"The store {other} is there: {other.where}. What lies in both would pass for two copies and be one. "
                "Enter a place that is neither in the other nor around it."
            )
    return ""


def _left_behind(store: Store, was: str) -> str:
    """Why a store cannot move: what writes there now, or what would be looked for in vain."""
    writes = Run.objects.filter(status__in=Run.OPEN, facts__store=store.pk).first()
    point = PointInTime.objects.filter(store=store, enabled=True).select_related("server").first()
    if writes or point:
        who = f"Run {writes.pk} ({writes.title})" if writes else f"Point-in-time recovery of {point.server}"  # type: ignore[union-attr]
        return f"{who} writes to {was} now. Wait for its end, switch it off, or add another store."
    what, keys = catalogue.held(store)
    try:
        opened = store.open()
        lacks = next((key for key in keys if opened.head(key) is None), "")
    except StoreError as reason:
        return str(reason)
    return lacks and (
        f"{was} holds {what}, and {store.where} does not hold {lacks}. Copy everything there first, or add another "
        "store."
    )


def _saved(request: HttpRequest, store: Store, findings: list[Finding], is_its_disk: bool) -> HttpResponse:
    wrong = next((finding for finding in findings if not finding.ok), None)
    if is_its_disk and not wrong:
        store.put_mark()
    store.tested_at, store.test_problem = timezone.now(), f"{wrong.what}: {wrong.says}" if wrong else ""
    store.save()
    record(request, "store", f"Saved the store {store}.", where=store.where)
    if wrong:
        messages.warning(request, f"{store} is saved, but it does not work yet. {store.test_problem}")
    else:
        messages.success(request, f"{store} is saved and works: written, listed, read, deleted.")
    if not store.enabled and (missed := list(_missed_by(store))):
        messages.warning(request, f"{store} is switched off. {' '.join(missed)} Name another store there.")
    return redirect("stores")


def _missed_by(store: Store) -> Iterator[str]:
    """Who counts on a store that is switched off."""
    in_use = Policy.objects.filter(enabled=True)
    yield from (
        f"Backups of the policy {each} go there, and are refused." for each in in_use.filter(store=store)
    )
    yield from (f"The policy {each} makes no more copies there." for each in in_use.filter(copies=store))
    for point in PointInTime.objects.filter(store=store, enabled=True).select_related("server"):
        yield f"The WAL of {point.server} goes there all the same."


@login_required
@require_POST
def reread(request: HttpRequest, name: str) -> HttpResponse:
    """Make the catalogue agree with what the store holds."""
    require(request.user, RIGHT)
    store = get_object_or_404(Store, name=name)
    try:
        found, gone, problems = catalogue.reread(store)
    except StoreError as reason:
        messages.error(request, str(reason))
        return redirect("stores")
    record(request, "store", f"Read the store {store} again: {found} backups.", gone=gone)
    messages.success(request, f"{store} holds {found} backups; {gone} of the catalogue are no longer there.")
    for problem in problems[:5]:
        messages.warning(request, problem)
    return redirect("stores")
