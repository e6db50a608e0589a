"""What the audit log has in a store: copies of seals and months that expired; no rule of the store may end them."""

from __future__ import annotations

import json
from collections.abc import Iterator

from audit.models import Expiry, Seal
from audit.seal_copies import key_of
from dbadmin.models import Schedule
from dbadmin.stores import Holding

SEALS, MONTHS = "copies of seals", "months of the audit log"
#: The operations that put them there, each with its parameter "store".
WAYS = {"seal_log": SEALS, "expire_log": MONTHS}


def holdings(name: str) -> Iterator[Holding]:
    """What is there, and what schedules will put there."""
    due = Schedule.objects.filter(operation__in=WAYS, params__store=name, enabled=True)
    will_be = {WAYS[each] for each in due.values_list("operation", flat=True)}
    for what, keys in ((SEALS, _seals(name)), (MONTHS, _months(name))):
        if keys or what in will_be:
            yield Holding(what, keys)


def _seals(name: str) -> list[str]:
    """Of a server that was removed the keys are not known."""
    copied = (
        Seal.objects.filter(store=name).exclude(server=None).select_related("server").order_by("sealed_at")
    )
    ends = filter(None, (copied.first(), copied.last()))
    return list(dict.fromkeys(key_of(seal, seal.server) for seal in ends if seal.server))


def _months(name: str) -> list[str]:
    """By the signed records; those of older versions name no store."""
    records = (json.loads(text) for text in Expiry.objects.order_by("at").values_list("text", flat=True))
    keys = [
        archive["key"]
        for facts in records
        if facts.get("store") == name
        for archive in facts.get("archives", {}).values()
    ]
    return list(dict.fromkeys([*keys[:1], *keys[-1:]]))
