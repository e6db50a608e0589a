"""The catalogue of backups, written from manifests and rebuilt from what the stores really hold."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from typing import Any

from django.db import models
from django.db.models import Q
from django.utils import timezone

from backups.manifest import NAME, Manifest, NoManifest
from backups.models import Backup, BaseBackup, Copy, Store, WalSegment
from backups.physical.layers import GONE, look_for
from backups.physical.manifest import NAME as BASE_NAME
from backups.stores import Store as OpenStore
from backups.stores import StoreError
from dbadmin import stores
from dbadmin.models import Run, Server


def prefix_for(server: str, database: str, moment: datetime, run: int) -> str:
    """The folder of one backup: readable, sorted by time, and unlike any other."""
    safe = re.sub(r"[^A-Za-z0-9_.-]", lambda found: f"%{ord(found[0]):x}", database).replace("..", "%2e.")
    return f"{server}/{safe}/{moment:%Y%m%dT%H%M%SZ}-{run}"


def enter(store: Store, manifest: Manifest) -> Backup:
    """The row of a manifest, made or renewed; what proofs found stays."""
    ours = Server.objects.filter(key=manifest.server_key).first()
    server = ours or Server.objects.filter(name=manifest.server).first()
    facts: dict[str, Any] = {
        "server": server,
        "server_name": server.name if server else manifest.server,
        "database": manifest.database,
        "kind": manifest.kind,
        "run": Run.objects.filter(pk=manifest.run or 0).first(),
        "selection": dict(manifest.selection),
        "made_by": manifest.by,
        "started_at": manifest.started_at,
        "finished_at": manifest.finished_at,
        "server_version": manifest.server_version,
        "tool": manifest.tool,
        "encrypted": bool(manifest.recipients),
        "stored_bytes": manifest.stored_bytes,
        "plain_bytes": manifest.plain_bytes,
        "tables_count": sum(table.kind == "TABLE DATA" for table in manifest.contents.tables),
        "total_rows": manifest.contents.rows,
        "written_at": manifest.finished_at,
        # One that was missed and is there again is there.
        "deleted_at": None,
        "deleted_why": "",
    }
    known = Backup.objects.filter(store=store, prefix=manifest.prefix, server=server).exists()
    if server and not ours and not known:
        # Of another dbadmin, which may need it still, or of one that was lost: no rule of ours deletes it.
        facts["keep"] = True
    elsewhere = _elsewhere(store, manifest)
    if elsewhere is not None:
        Copy.objects.get_or_create(backup=elsewhere, store=store)
        return elsewhere
    return Backup.objects.update_or_create(store=store, prefix=manifest.prefix, defaults=facts)[0]


def _elsewhere(store: Store, manifest: Manifest) -> Backup | None:
    """The same backup, known from another store: its folder and its very moment tell it."""
    if Backup.objects.filter(store=store, prefix=manifest.prefix, deleted_at=None).exists():
        return None
    known = Backup.objects.present().exclude(store=store)
    return known.filter(prefix=manifest.prefix, started_at=manifest.started_at).first()


def reread(store: Store) -> tuple[int, int, list[str]]:
    """Make the catalogue agree with the store: how many are there and gone, and what cannot be read."""
    opened, found, problems = store.open(), set(), []
    must_not_be_bare(store)
    for item in opened.items():
        if not item.key.endswith(f"/{NAME}"):
            continue
        try:
            manifest = Manifest.load(opened.get(item.key))
        except (NoManifest, StoreError) as reason:
            problems.append(f"{item.key}: {reason}")
            continue
        found.add(enter(store, manifest).pk)
        _take_proofs(opened, store, manifest.prefix)
    gone = Backup.objects.present().filter(store=store).exclude(pk__in=found)
    missing = [backup for backup in gone if not any(backup.prefix in problem for problem in problems)]
    for backup in missing:
        forget(backup)
    for base in BaseBackup.objects.present().filter(store=store):
        look_for(base)
    for copy in Copy.objects.filter(store=store).exclude(backup__in=found):
        if not any(copy.backup.prefix in problem for problem in problems):
            copy.delete()
    return len(found), len(missing), problems


class Keeper:
    """For other apps: stores by name."""

    def names(self) -> list[str]:
        return list(Store.objects.filter(enabled=True).values_list("name", flat=True))

    def open(self, name: str) -> OpenStore | None:
        found = Store.objects.filter(name=name, enabled=True).first()
        if found is None:
            return None
        with suppress(StoreError):  # what it is asked for says so
            must_be_mounted(found)
        return found.open()


def must_not_be_bare(store: Store) -> None:
    """Refuse a store that does not answer, and one with nothing in it where the catalogue knows of something."""
    must_be_mounted(store)
    opened = store.open()
    if opened.is_mounted:
        return  # whether it is its disk was told above
    what, _ = held(store)
    if what and opened.is_bare():
        raise StoreError(
            f"The store {store} ({store.where}) is empty, though the catalogue lists {what} there. Correct its bucket "
            "and prefix, or give its keys the right to list. If they are lost, delete them here first, or use another "
            "store."
        )


def must_be_mounted(store: Store) -> None:
    """Refuse the place of a disk that is not mounted; one without a mark gets it once it is known to be ours."""
    if lacks_mark(store):
        with suppress(StoreError):  # a disk that is mounted read-only can be read all the same
            store.put_mark()


def lacks_mark(store: Store) -> bool:
    """Is it a disk without a mark, and may it get one by what lies there? As must_be_mounted, but only looks."""
    opened = store.open()
    opened.must_be_there()
    if store.is_marked or not opened.is_mounted:
        return False
    what, keys = held(store)
    there = [opened.head(key) is not None for key in keys]
    if what and not any(there):
        raise StoreError(
            f"The store {store} ({store.where}) holds none of the {what} that the catalogue lists there: its disk may "
            "not be mounted. Mount it. If they are lost, tick “Take what is there now for its disk” in the store's "
            "settings."
        )
    return all(there)


def held(store: Store) -> tuple[str, list[str]]:
    """What the catalogue knows to lie in a store, and where the oldest and the newest of it do."""
    held = Q(store=store) | Q(copies__store=store)
    backups = Backup.objects.present().filter(held).order_by("started_at")
    bases = BaseBackup.objects.present().filter(store=store).exclude(problem=GONE).order_by("started_at")
    wal = WalSegment.objects.filter(store=store, problem="").order_by("stored_at")
    found = [
        ("backups", [f"{each.prefix}/{NAME}" for each in ends(backups)]),
        ("base backups", [f"{each.prefix}/{BASE_NAME}" for each in ends(bases)]),
        ("segments of WAL", [each.key for each in ends(wal)]),
        *((each.what, list(each.keys)) for each in stores.held(store.name)),
    ]
    return next((what for what, keys in found if keys), ""), [key for _, keys in found for key in keys]


def ends(rows: models.QuerySet[Any]) -> list[Any]:
    """The first and the last."""
    return [each for each in (rows.first(), rows.last()) if each is not None]


def forget(backup: Backup) -> None:
    """It is no longer in the store that it is read from: a copy takes its place, else it is gone."""
    copy = backup.copies.order_by("problem", "written_at").first()
    if copy is not None:
        backup.store, backup.problem = copy.store, copy.problem
        copy.delete()
        backup.save(update_fields=["store", "problem"])
        return
    backup.deleted_at, backup.deleted_why = timezone.now(), "Its manifest is no longer in the store."
    backup.save(update_fields=["deleted_at", "deleted_why"])


def _take_proofs(opened: Any, store: Store, prefix: str) -> None:
    for proof in proofs(opened, prefix):
        for backup in Backup.objects.filter(store=store, prefix=prefix):
            _apply(backup, proof)


def proofs(opened: Any, prefix: str) -> Iterator[dict[str, Any]]:
    """What was tried with a backup and how it ended, oldest first; they lie beside the manifest."""
    for item in sorted(opened.items(f"{prefix}/proof-"), key=lambda item: str(item.key)):
        yield json.loads(opened.get(item.key))


def prove(backup: Backup, rung: str, seconds: float, problem: str, facts: dict[str, Any]) -> None:
    """Keep the outcome of a proof in the catalogue, and in every place that takes it; one at least must."""
    proof = {
        "rung": rung,
        "at": timezone.now().isoformat(),
        "seconds": round(seconds, 3),
        "problem": problem,
        **facts,
    }
    backup.refresh_from_db()
    _apply(backup, proof)
    text = json.dumps(proof, indent=1).encode()
    name = f"proof-{timezone.now():%Y%m%dT%H%M%S%f}-{rung.replace(' ', '-')}.json"
    failure: StoreError | None = None
    taken = 0
    for place in backup.places():
        try:
            must_not_be_bare(place)
            place.open().put(f"{backup.prefix}/{name}", text)
            taken += 1
        except StoreError as reason:
            failure = failure or reason
    if failure and not taken:
        raise failure


def _apply(backup: Backup, proof: dict[str, Any]) -> None:
    """A proof that succeeded takes back what an earlier one of its kind found wrong."""
    moment = datetime.fromisoformat(proof["at"])
    if proof["problem"]:
        backup.problem = proof["problem"]
    elif proof["rung"] == Backup.Rung.READ:
        backup.read_at, backup.read_seconds, backup.problem = moment, proof["seconds"], ""
    elif proof["rung"] == Backup.Rung.RESTORED:
        backup.restored_at, backup.restored_seconds, backup.problem = moment, proof["seconds"], ""
    backup.save()
