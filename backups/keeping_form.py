"""How often a base backup is taken, which of them are full, and for how long all is kept: of two operations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import psycopg
from django import forms

from backups.physical import layers
from dbadmin.models import Server
from dbadmin.operations import Refused

FULL_DAYS = 7


class KeepingForm(forms.Form):
    """What can be changed later as well."""

    base_hours = forms.IntegerField(
        label="Base backup every (hours)", initial=24, min_value=1, max_value=24 * 31,
        help_text="A recovery replays all WAL since the base backup before the moment.",
    )  # fmt: skip
    full_days = forms.IntegerField(
        label="A full one every (days)", required=False, min_value=1, max_value=366,
        help_text="Those between are incremental: only what changed is copied (PostgreSQL 17 and later). Empty: all"
        " are full.",
    )  # fmt: skip
    keep_days = forms.IntegerField(
        label="Keep (days)", initial=7, min_value=1, max_value=3650,
        help_text="How far back every moment can be recovered.",
    )  # fmt: skip

    def __init__(self, *args: Any, server: Server | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if server is not None:
            self._offer_incremental(server)

    def _offer_incremental(self, server: Server) -> None:
        """Not where the server cannot; with what it lacks where it could."""
        try:
            able = layers.able(server)
        except psycopg.Error:
            return
        if not able.knows:
            del self.fields["full_days"]
        elif able.summarizes:
            self.fields["full_days"].initial = FULL_DAYS
        else:
            self.fields["full_days"].help_text += f" {able.lacks}"


def keeping(params: Mapping[str, Any]) -> dict[str, Any]:
    """The columns of the switch."""
    return {name: params.get(name) for name in ("base_hours", "full_days", "keep_days")}


def rhythm(params: Mapping[str, Any]) -> str:
    """In words."""
    full = params.get("full_days")
    incremental = f", a full one every {full} days and incremental ones between" if full else ""
    return f"every {params['base_hours']} hours{incremental}; keep all for {params['keep_days']} days"


def must_be_able(server: Server, params: Mapping[str, Any]) -> None:
    """Refuse incremental base backups where the server takes none."""
    if params.get("full_days") and (lacks := layers.able(server).lacks):
        raise Refused(lacks, field="full_days")
