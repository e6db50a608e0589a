"""The catalogue of a server's backups, one backup with its proofs, and the way to a restore."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_POST

from backups import bars
from backups.catalogue import proofs
from backups.manifest import NAME, Manifest, NoManifest
from backups.models import Backup, BackupKey, ForeignRepository, KeptDatabase, Store
from backups.recovery_kit import for_buckets, keys_of, kit_lines
from backups.stores import Store as OpenStore
from backups.stores import StoreError
from backups.written_since import sentences
from dbadmin.events import record
from dbadmin.forms import wanted
from dbadmin.models import Server
from dbadmin.permissions import may, require

ROWS = 50
MOST_TABLES = 500


def _server(request: HttpRequest, server_name: str, permission: str) -> Server:
    server = get_object_or_404(Server.objects.visible_to(request.user), name=server_name)
    require(request.user, permission, server)
    return server


@login_required
@require_GET
def catalogue(request: HttpRequest, server_name: str) -> HttpResponse:
    """All backups of a server, newest first, and the databases that restores put aside."""
    server = _server(request, server_name, "backups.view")
    found = Backup.objects.of(server).select_related("store", "run").prefetch_related("copies__store")
    databases = sorted(set(found.values_list("database", flat=True)))
    if chosen := request.GET.get("database"):
        found = found.filter(database=chosen)
    page = Paginator(found, ROWS).get_page(request.GET.get("page"))
    context = {
        "server": server,
        "page": page,
        "databases": databases,
        "chosen": chosen,
        "latest": [_latest(server, name) for name in databases],
        "kept": _kept(server),
        "repositories": [
            (each, bars.of_repository(each)) for each in ForeignRepository.objects.filter(server=server)
        ],
        "has_store": Store.objects.filter(enabled=True).exists(),
        "has_key": BackupKey.objects.filter(retired_at=None).exists(),
        "may_set_up": may(request.user, "stores.change"),
    }
    return render(request, "backups/catalogue.html", context)


def _kept(server: Server) -> list[dict[str, Any]]:
    """The databases put aside, with what was written to those in their place."""
    found = list(KeptDatabase.present(server).select_related("server"))
    written = sentences(found)
    return [{"kept": one, "written": written.get(one.pk, "")} for one in found]


def _latest(server: Server, database: str) -> dict[str, Any]:
    """The newest backup of a whole database, and the newest that is proven."""
    found = Backup.objects.of(server, database).whole()
    return {
        "database": database,
        "newest": found.first(),
        "good": found.good().first(),
        "restored": found.good().exclude(restored_at=None).first(),
    }


def _backup(server: Server, pk: int) -> Backup:
    return get_object_or_404(Backup.objects.select_related("store", "run"), server=server, pk=pk)


@login_required
@require_GET
def backup(request: HttpRequest, server_name: str, pk: int) -> HttpResponse:
    """One backup: what it holds, how far it is proven, what can be done with it."""
    server = _server(request, server_name, "backups.view")
    found = _backup(server, pk)
    manifest, problem = _manifest(found)
    context = {
        "server": server,
        "backup": found,
        "manifest": manifest,
        "problem": problem or found.problem,
        "rungs": _rungs(found),
        "places": _places(found),
        "proofs": _proofs(found) if manifest else [],
        "tables": _tables(manifest) if manifest else [],
        "more_tables": max(0, len(manifest.contents.tables) - MOST_TABLES) if manifest else 0,
        "keys": keys_of(manifest.recipients) if manifest else [],
        "may_download": may(request.user, "backups.download", server),
    }
    return render(request, "backups/backup.html", context)


def _manifest(found: Backup) -> tuple[Manifest | None, str]:
    if found.deleted_at:
        return None, f"Deleted. {found.deleted_why}"
    try:
        return found.manifest(), ""
    except (StoreError, NoManifest) as reason:
        return None, str(reason)


def _proofs(found: Backup) -> list[dict[str, Any]]:
    try:
        tried = proofs(found.store.open(), found.prefix)
        return [{**proof, "moment": datetime.fromisoformat(proof["at"])} for proof in tried]
    except (StoreError, ValueError):
        return []


def _places(found: Backup) -> list[dict[str, Any]]:
    """Every store that holds it, the one that is read from first."""
    first = {"store": found.store, "at": found.written_at, "read_at": found.read_at, "problem": found.problem}
    return [
        first,
        *(
            {"store": copy.store, "at": copy.written_at, "read_at": copy.read_at, "problem": copy.problem}
            for copy in found.copies.select_related("store")
        ),
    ]


def _rungs(found: Backup) -> list[dict[str, Any]]:
    """The ladder: each rung, whether it was reached, when, and how long it took."""
    return [
        {"title": "Written", "at": found.written_at, "seconds": found.seconds,
         "about": "Every process ended well, every object has the size that was sent, a manifest lists all."},
        {"title": "Read back", "at": found.read_at, "seconds": found.read_seconds,
         "about": "Every stored byte was read, decrypted, unpacked, and compared with the manifest."},
        {"title": "Restored", "at": found.restored_at, "seconds": found.restored_seconds,
         "about": "Restored beside, dumped again, and equal in every row, value and definition."},
    ]  # fmt: skip


def _tables(manifest: Manifest) -> list[dict[str, Any]]:
    largest = sorted(manifest.contents.tables, key=lambda table: -table.size_bytes)
    return [
        {"label": table.label, "rows": table.rows, "size": table.size_bytes, "digest": table.sha256[:16],
         "is_table": table.kind == "TABLE DATA"}
        for table in largest[:MOST_TABLES]
    ]  # fmt: skip


@login_required
@require_GET
def recovery_kit(request: HttpRequest, server_name: str, pk: int) -> HttpResponse:
    """How to get the data back with stock tools, when there is no dbadmin any more; to be printed."""
    server = _server(request, server_name, "backups.view")
    found = _backup(server, pk)
    manifest, problem = _manifest(found)
    if manifest is None:
        raise Http404(problem)
    context = {
        "server": server,
        "what": found,
        "crumbs": [
            ("Backups", reverse("backups", args=[server.name])),
            (found.database, found.get_absolute_url()),
        ],
        "needs": f"{for_buckets(found.places())}the client programs of PostgreSQL {manifest.tool_major}"
        f" (psql, createdb, pg_restore, vacuumdb);"
        f" the server was {manifest.server_version}",
        "note": "globals.sql also names roles that are there already: psql says so and goes on. For a single table add"
        " --table=name to pg_restore.",
        "lines": kit_lines(found, manifest),
        "keys": keys_of(manifest.recipients),
    }
    return render(request, "backups/recovery_kit.html", context)


@login_required
@require_POST
def keep(request: HttpRequest, server_name: str, pk: int) -> HttpResponse:
    """Mark a backup to be kept for ever, or take the mark away."""
    server = _server(request, server_name, "backups.delete_backup")
    found = _backup(server, pk)
    if found.keep == wanted(request):
        return redirect(found)
    found.keep = not found.keep
    found.save(update_fields=["keep"])
    says = (
        f"{found} is kept until the mark is taken away."
        if found.keep
        else f"{found} is kept by its policy only."
    )
    record(request, "backup", says, server, backup=found.pk)
    messages.success(request, says)
    return redirect(found)


@login_required
@require_GET
def download(
    request: HttpRequest, server_name: str, pk: int, piece: str
) -> HttpResponse | StreamingHttpResponse:
    """The stored bytes as they are: encrypted for those who hold the key."""
    server = _server(request, server_name, "backups.download")
    found = _backup(server, pk)
    manifest, problem = _manifest(found)
    if manifest is None or piece not in manifest.pieces:
        raise Http404(problem or "There is no such part.")
    volumes = manifest.pieces[piece].volumes
    record(request, "backup.download", f"Downloaded {piece} of {found}.", server, backup=found.pk)
    store = _answering(found)

    def blocks() -> Iterator[bytes]:
        for volume in volumes:
            yield from store.read(volume.key)

    answer = StreamingHttpResponse(blocks(), content_type="application/octet-stream")
    name = f"{found.database}-{found.started_at:%Y%m%dT%H%M%SZ}-{volumes[0].key.rpartition('/')[2]}"
    answer["Content-Disposition"] = f'attachment; filename="{name}"'
    answer["Content-Length"] = str(sum(volume.size_bytes for volume in volumes))
    return answer


def _answering(found: Backup) -> OpenStore:
    """The first of its stores that has it now."""
    for place in found.places():
        opened = place.open()
        try:
            if opened.head(f"{found.prefix}/{NAME}"):
                return opened
        except StoreError:
            continue
    raise Http404("None of its stores answers.")
