"""How a person agrees to an operation: by its risk, to exactly the plan that was shown."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from allauth.account.internal.flows import reauthentication
from django.http import HttpRequest
from django.urls import reverse

from dbadmin import two_people
from dbadmin.models import Run
from dbadmin.operations import Operation, Risk
from dbadmin.runs import why_needed


def digest(plan: Sequence[str]) -> str:
    """The fingerprint of Plan.agreed: what was shown is what is agreed to."""
    return hashlib.sha256(json.dumps(list(plan)).encode()).hexdigest()


def missing(operation: Operation, plan: Sequence[str], answer: Mapping[str, str]) -> str:
    """What the answer still lacks, as a sentence; "" when the person agreed to this very plan."""
    risk = operation.risk_now()
    if answer.get("plan") != digest(plan):
        return "The server changed since the preview. Look at the new plan."
    if risk is Risk.BLOCKS and not answer.get("understood"):
        return "Tick the box that says who will wait."
    if risk is Risk.DESTROYS and answer.get("typed", "").strip() != operation.target().strip():
        return f"Type {operation.target()} to confirm."
    if operation.asks_second() and not answer.get("reason", "").strip():
        return why_needed(operation)
    return ""


def is_fresh(request: HttpRequest, risk: Risk) -> bool:
    """Has the person proven lately who sits there? Asked for BLOCKS and DESTROYS."""
    if not risk.needs_reauthentication:
        return True
    return bool(reauthentication.did_recently_reauthenticate(request)) or signed_in_lately(request)


def signed_in_lately(request: HttpRequest) -> bool:
    """A sign-in within the time limit counts as well."""
    import time

    from allauth.account import app_settings

    records = request.session.get("account_authentication_methods", [])
    newest = max((record.get("at", 0) for record in records), default=0)
    return bool(time.time() - newest < app_settings.REAUTHENTICATION_TIMEOUT)


def asked(request: HttpRequest, run: Run) -> dict[str, Any]:
    """What the page of a run that waits needs: may this person decide, and have they proven who they are?"""
    if run.status != Run.Status.WAITING:
        return {}
    return {
        "why_not": two_people.why_not(run, request.user),
        "fresh": is_fresh(request, Risk.DESTROYS),
        "reauthenticate_url": prove_url(run),
    }


def prove_url(run: Run) -> str:
    """Prove who you are, then come back to this run."""
    return f"{reverse('account_reauthenticate')}?{urlencode({'next': run.get_absolute_url()})}"
