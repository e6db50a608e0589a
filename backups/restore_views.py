"""The first step of a restore: which backup, what of it, and where to. The next one is the operation's own page."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django import forms
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.views.decorators.http import require_GET

from backups.models import Backup, KeptDatabase, PointInTime, SideSchema
from dbadmin.models import Server
from dbadmin.permissions import require, servers_with
from dbadmin.units import moment, size

ROWS = 50
NEW, OVER, TABLES = "new", "over", "tables"


def _choice(title: str, about: str) -> SafeString:
    return format_html("<span><strong>{}</strong><span class='help'>{}</span></span>", title, about)


WAYS = [
    (NEW, _choice("A new database beside the others", "Nothing that is there is touched.")),
    (
        OVER,
        _choice(
            "In place of the database",
            "Restored beside and proven first, then swapped within a second. The old one is kept, so it can be undone.",
        ),
    ),
    (
        TABLES,
        _choice(
            "Some tables, beside the live ones",
            "Into a schema of the live database. Each row that differs is told, and copied back if you tick it.",
        ),
    ),
]


class RestoreChoice(forms.Form):
    """What the wizard asks."""

    backup = forms.TypedChoiceField(coerce=int)
    into = forms.ChoiceField(choices=WAYS, initial=NEW, widget=forms.RadioSelect, label="Where to")
    on = forms.ChoiceField(label="On which server")

    def __init__(self, data: Any, user: Any, server: Server, chosen: str = "") -> None:
        super().__init__(data, initial={"on": server.name, "into": NEW, "backup": chosen})
        self.fields["backup"].choices = self._backups(user, server, chosen)  # type: ignore[attr-defined]
        others = servers_with(user, "backups.restore_backup").exclude(pk=server.pk)
        others = others.filter(primary=None)  # to a standby nothing can be written
        servers = [(server.name, f"{server}, where we are"), *((each.name, str(each)) for each in others)]
        self.fields["on"].choices = servers  # type: ignore[attr-defined]
        if not others:
            self.fields["on"].widget = forms.HiddenInput()

    def _backups(self, user: Any, server: Server, chosen: str) -> list[Any]:
        own = list(Backup.objects.of(server).select_related("store")[:ROWS])
        if chosen.isdecimal() and int(chosen) not in {one.pk for one in own}:
            own += Backup.objects.of(server).filter(pk=int(chosen)).select_related("store")
        readable = servers_with(user, "backups.download").exclude(pk=server.pk)
        others = Backup.objects.present().filter(server__in=readable).select_related("store")[:ROWS]
        groups = [
            (f"Of {server}", [(one.pk, _named(one, "")) for one in own]),
            ("Of other servers", [(one.pk, _named(one, f" of {one.server_name}")) for one in others]),
        ]
        return [group for group in groups if group[1]]

    @property
    def is_empty(self) -> bool:
        """Is there nothing to restore?"""
        return not self.fields["backup"].choices  # type: ignore[attr-defined]


def _named(backup: Backup, server: str) -> str:
    """shop · 09:47:49 · 11.8 MiB · Read back."""
    parts = [
        f"{backup.database}{server}",
        moment(backup.started_at),
        size(backup.stored_bytes),
        str(backup.rung.label),
    ]
    part = backup.selection.get("schemas") or backup.selection.get("tables")
    return " · ".join([*parts, *(["a part"] if part else []), *(["damaged"] if backup.problem else [])])


@login_required
@require_GET
def restore(request: HttpRequest, server_name: str) -> HttpResponse:
    """Ask, then go on to the operation on the chosen server; beside that, what earlier restores left."""
    server = get_object_or_404(Server.objects.visible_to(request.user), name=server_name)
    require(request.user, "backups.restore_backup", server)
    chosen = request.GET.get("backup", "")
    sent = {"on": server.name, **request.GET.dict()} if "into" in request.GET else None
    form = RestoreChoice(sent, request.user, server, chosen)
    if form.is_valid():
        return redirect(_next(form.cleaned_data))
    context = {
        "server": server,
        "form": form,
        "kept": KeptDatabase.present(server),
        "sides": SideSchema.present(server),
        "has_point": PointInTime.objects.filter(server=server, enabled=True).exists(),
    }
    return render(request, "backups/restore.html", context)


def _next(found: dict[str, Any]) -> str:
    """The operation's page, filled in so far."""
    if found["into"] == TABLES:
        name, query = "restore_tables", {"backup": found["backup"]}
    else:
        name, query = "restore_backup", {"backup": found["backup"], "into": found["into"]}
    return f"{reverse('operate', args=[found['on'], name])}?{urlencode(query)}"
