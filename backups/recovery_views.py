"""What a server can be recovered to, drawn as bars, and the way to a recovery."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil
from typing import Any
from urllib.parse import urlencode

from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.views.decorators.http import require_GET

from backups.bars import Bar, Scale, text
from backups.keeping_form import rhythm
from backups.manifest import NoManifest
from backups.models import BaseBackup, Drill, PointInTime, RecoveredCluster
from backups.physical.base_kit import base_kit_lines, stores_of
from backups.physical.chains import Chain, Recoverable, recoverable
from backups.physical.combining import Layer
from backups.physical.layers import layers
from backups.physical.taking import manifest_of
from backups.recovery_kit import for_buckets, keys_of
from backups.stores import StoreError
from dbadmin import history
from dbadmin.charts import ChartView, Line, Mark
from dbadmin.models import Run, Server
from dbadmin.operations import REGISTRY
from dbadmin.permissions import may, require

SLICES = 50
ROWS = 20
#: Of a year of nights.
MOST_DRILLS = 400
#: Things that happened, each with the moment before it.
MOST_BEFORE = 20


@dataclass(frozen=True)
class Before:
    """Something that happened, and where a recovery would end without it."""

    at: datetime
    text: str
    run: Run | None = None
    #: Where it was only found at that moment: when it had not happened yet.
    since: datetime | None = None

    @property
    def moment(self) -> str:
        """One second before: runs and marks are not known more exactly."""
        return ((self.since or self.at) - timedelta(seconds=1)).isoformat()


@login_required
@require_GET
def recovery(request: HttpRequest, server_name: str) -> HttpResponse:
    """Windows, holes, base backups, what stands recovered, and how the drills went."""
    server = get_object_or_404(Server.objects.visible_to(request.user), name=server_name)
    require(request.user, "backups.view", server)
    point = PointInTime.objects.select_related("store").filter(server=server).first()
    found = recoverable(server)
    chosen = _chosen(request, found)
    happened = _happened(server, found)
    drills = list(Drill.objects.filter(server=server).select_related("run")[:MOST_DRILLS])
    context = {
        "server": server,
        "point": point,
        "rhythm": rhythm(vars(point)) if point else "",
        "found": found,
        "bars": bars(found, happened),
        "axis": _axis(found, chosen),
        "lost": _lost(point),
        "moment": text(chosen, exact="moment" in request.GET) if chosen else "",
        "bases": _bases(server, found),
        "standing": RecoveredCluster.objects.filter(server=server, ended_at=None).select_related("base"),
        "drills": drills[:ROWS],
        "trend": _trend(drills),
        "happened": happened,
        "may_audit": may(request.user, "audit.view", server),
        "may_recover": may(request.user, "backups.recover_to_moment", server),
        "may_see_password": may(request.user, "backups.download", server),
    }
    return render(request, "backups/recovery.html", context)


def _trend(drills: Sequence[Drill]) -> ChartView | None:
    """How long recoveries took and how much would have been lost, drill by drill; one alone is no trend."""
    if len(drills) < 2:
        return None
    old = sorted(drills, key=lambda drill: drill.at)
    took = Line("Took", [(drill.at.timestamp(), drill.rto_seconds) for drill in old])
    lost = Line("Would have been lost", [(drill.at.timestamp(), drill.rpo_seconds) for drill in old])
    failed = [Mark(drill.at, f"Failed: {drill.problem}") for drill in old if drill.problem]
    return ChartView(
        "drill-trend", "Drills over time", "drill_seconds", [took, lost], old[0].at, old[-1].at, marks=failed,
        about="What a recovery takes, and what it would lack.",
    )  # fmt: skip


def _lost(point: PointInTime | None) -> timedelta | None:
    """What would be gone if the source and this host's disk vanished now."""
    return timezone.now() - point.covered_at if point and point.enabled and point.covered_at else None


def _chosen(request: HttpRequest, found: Recoverable) -> datetime | None:
    """The moment of the form: as clicked or linked to, else the latest."""
    try:
        chosen = parse_datetime(request.GET.get("moment", "").replace(" ", "T", 1))
    except ValueError:
        chosen = None
    if chosen is None:
        return found.latest
    return chosen if timezone.is_aware(chosen) else timezone.make_aware(chosen)


def _axis(found: Recoverable, chosen: datetime | None) -> dict[str, Any]:
    """Under the bars: where the slider begins, ends and stands (seconds since 1970), and what is written there."""
    if found.earliest is None or found.latest is None:
        return {}
    first, last = found.earliest, _end(found)
    offset = timezone.localtime(last).utcoffset() or timedelta()
    return {
        "first": ceil(first.timestamp()),
        "last": int(last.timestamp()),
        "chosen": int((chosen or last).timestamp()),
        "offset": int(offset.total_seconds() // 60),
        "ticks": Scale(first, last).ticks,
    }


def _end(found: Recoverable) -> datetime:
    """The last moment that a window or a hole reaches."""
    ends = [window.end for window in found.windows]
    return max([*ends, *(hole.end or timezone.now() for hole in found.holes)])


def bars(found: Recoverable, happened: Sequence[Before] = ()) -> list[Bar]:
    """Windows, holes, what happened in them, and over all slices of time that can be chosen."""
    if not found.windows or found.earliest is None:
        return []
    scale = Scale(found.earliest, _end(found))
    start, end = scale.start, scale.end
    drawn = scale.drawn(
        [(window.start, window.end) for window in found.windows],
        [(hole.start, hole.end or end, hole.missing) for hole in found.holes],
        [chain.base.consistent_at for chain in found.chains],
    )
    drawn += [
        scale.bar(each.at, each.at, "happened", f"{text(each.at)} {each.text}")
        for each in happened
        if start <= each.at <= end
    ]
    length = timedelta(seconds=scale.seconds / SLICES)
    for number in range(SLICES):
        moment = start + length * number + length / 2
        if any(moment in window for window in found.windows):
            link = urlencode({"moment": moment.isoformat(timespec="seconds")})
            edges = (start + length * number, start + length * (number + 1))
            drawn.append(scale.bar(*edges, "slice", text(moment), link))
    return drawn


def _bases(server: Server, found: Recoverable) -> list[dict[str, Any]]:
    """Each base backup with how far its WAL leads, and what it is put together from."""
    chains = {chain.base.pk: chain for chain in found.chains}
    rows = list(BaseBackup.objects.present().filter(server=server).select_related("store", "run"))
    known = {base.pk: base for base in rows}
    for base in rows:
        base.prior = known.get(base.prior_id or 0)
    return [_base(base, chains.get(base.pk), layers(base)) for base in rows[:ROWS]]


def _base(base: BaseBackup, chain: Chain | None, below: Sequence[BaseBackup]) -> dict[str, Any]:
    return {
        "base": base,
        "chain": chain,
        "full": below[0],
        "number": len(below),
        "needed_bytes": sum(each.stored_bytes for each in below),
    }


def _happened(server: Server, found: Recoverable) -> list[Before]:
    """What may have to be undone of the time that can be recovered, the newest first: our runs that took something
    away or held something up in the databases, and what the server itself told."""
    if found.earliest is None:
        return []
    end = _end(found)
    done = Run.objects.filter(server=server, started_at__gte=found.earliest, risk__in=["blocks", "destroys"])
    done = done.exclude(operation__in=[name for name, each in REGISTRY.items() if each.only_ours])
    ours = [
        Before(run.started_at, str(run), run)
        for run in done.order_by("-started_at")[:MOST_BEFORE]
        if run.started_at
    ]
    marks = [
        Before(mark.at, mark.text, since=mark.since)
        for mark in history.told(server, found.earliest, end)
        if found.earliest <= mark.at <= end
    ]
    return sorted([*ours, *marks], key=lambda each: each.at, reverse=True)[:MOST_BEFORE]


@login_required
@require_GET
def base_kit(request: HttpRequest, server_name: str, pk: int) -> HttpResponse:
    """How to recover a cluster with stock tools, when there is no dbadmin any more; to be printed."""
    server = get_object_or_404(Server.objects.visible_to(request.user), name=server_name)
    require(request.user, "backups.view", server)
    base = get_object_or_404(BaseBackup.objects.present().select_related("store"), server=server, pk=pk)
    try:
        below = [Layer(each, manifest_of(each)) for each in layers(base)]
    except (StoreError, NoManifest) as reason:
        raise Http404(str(reason)) from reason
    manifest = below[-1].manifest
    context = {
        "server": server,
        "what": base,
        "crumbs": [("Point in time", reverse("recovery", args=[server.name]))],
        "needs": f"{for_buckets(stores_of(below))}the programs of PostgreSQL {manifest.major} (server and client;"
        f" the server was {manifest.server_version}). Do it as the user that PostgreSQL is to run as, not as root, in"
        " an empty folder",
        "note": "It ends at the last commit that is there. For an earlier moment write recovery_target_time ="
        " '2026-05-31 14:03:59 UTC' into server.conf before pg_ctl. psql --host=. leads in.",
        "lines": base_kit_lines(below),
        "keys": keys_of(sorted({each for layer in below for each in layer.manifest.recipients})),
    }
    return render(request, "backups/recovery_kit.html", context)
