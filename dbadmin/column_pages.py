"""The page on which a person chooses the columns of a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.views.decorators.http import require_http_methods

from dbadmin.chosen_columns import ChosenColumns, chosen_by
from dbadmin.operate import back_url
from dbadmin.pages import usual_columns
from dbadmin.panels import readings_of
from dbadmin.probes import Column
from dbadmin.tables import told_apart
from dbadmin.views import probe_or_404, server_for


class ColumnsForm(forms.Form):
    """One box for each column, those first that are shown unless somebody chooses."""

    names = forms.MultipleChoiceField(
        widget=forms.CheckboxSelectMultiple,
        label="Columns",
        error_messages={"required": "Choose at least one column."},
    )

    def __init__(self, choices: Sequence[tuple[str, str]], *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["names"].choices = choices  # type: ignore[attr-defined]


@login_required
@require_http_methods(["GET", "POST"])
def choose(request: HttpRequest, server_name: str, probe: str) -> HttpResponse:
    """The person's own choice: it changes what no one else sees."""
    found = probe_or_404(probe)
    server = server_for(request, server_name, f"{found.app}.view")
    answer = readings_of([found], server, request.GET.get("db", ""))[found.name]
    usual = usual_columns(found.name) or [column.name for column in answer.columns]
    back = back_url(request, server)
    person: Any = request.user
    if request.method == "POST" and "usual" in request.POST:
        ChosenColumns.objects.filter(user=person, probe=found.name).delete()
        return redirect(back)
    shown = chosen_by(person).get(found.name, usual)
    offered = choices(answer.columns, usual)
    data = request.POST if request.method == "POST" else None
    form = ColumnsForm(offered, data, initial={"names": shown})
    if request.method == "POST" and form.is_valid():
        names = [name for name, _ in offered if name in form.cleaned_data["names"]]
        ChosenColumns.objects.update_or_create(user=person, probe=found.name, defaults={"names": names})
        messages.success(request, f"{found.title} shows you {len(names)} columns from now on.")
        return redirect(back)
    context = {"server": server, "probe": found, "form": form, "problem": answer.problem, "back": back}
    return render(request, "dbadmin/columns.html", context, status=422 if form.errors else 200)


def choices(columns: Sequence[Column], usual: Sequence[str]) -> list[tuple[str, SafeString]]:
    """Each column with what is said of it: the usual ones in their order, then the rest."""
    labels, by_name = told_apart(columns), {column.name: column for column in columns}
    order = [name for name in usual if name in by_name]
    order += [name for name in by_name if name not in order]
    return [(name, described(labels[name], by_name[name].about)) for name in order]


def described(label: str, about: str) -> SafeString:
    """A column's heading, and what it means."""
    says = format_html('<span class="help">{}</span>', about) if about else ""
    return format_html("<span><strong>{}</strong>{}</span>", label, says)
