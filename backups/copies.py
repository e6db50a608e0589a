"""Further copies of a backup: the same objects in another store, compared byte for byte, read when the first fails."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.utils import timezone

from backups import catalogue, leases
from backups.archive import ArchiveError
from backups.manifest import NAME, Manifest, NoManifest
from backups.models import Backup, BackupKey, Copy, Store
from backups.pipeline import Damaged, NoKey, Volume, checked
from backups.reading import ReadBack, read_back
from backups.stores import Store as OpenStore
from backups.stores import StoreError, Unreadable
from dbadmin.failures import Told
from dbadmin.units import duration, size

if TYPE_CHECKING:
    from dbadmin.runner import Work

#: What a place says that does not hold the backup as it was written. A store that does not answer says nothing of it.
DAMAGE = (Unreadable, Damaged, ArchiveError, NoManifest)
#: Why one place cannot be read while another one is whole.
FAILURES = (StoreError, *DAMAGE)


class CopyFailed(Told):
    """A place does not hold the backup as it was written, or does not answer; says which one, and what is whole."""


def volumes_of(manifest: Manifest) -> list[Volume]:
    return [volume for piece in manifest.pieces.values() for volume in piece.volumes]


def copy(backup: Backup, target: Store, work: Work) -> Copy:
    """Make the copy in a further store, or mend it: objects, every byte read again there, the manifest last."""
    started = time.monotonic()
    source = _source(backup, target)
    half = [target.pk, backup.prefix]
    backup.lease(work)
    try:
        catalogue.must_not_be_bare(target)  # one that is away has nothing of us to be removed later
        there, here, manifest = target.open(), source.open(), backup.manifest_in(source)
        there.delete(f"{backup.prefix}/{NAME}")  # what is being mended is no copy until it is whole
        begin(work, half)
        total, tell = 2 * manifest.stored_bytes, _teller(work, 2 * manifest.stored_bytes)
        for volume in volumes_of(manifest):
            _carry(here, there, volume, tell)
        for _ in checked(there, volumes_of(manifest), tell):
            pass
        for item in here.items(f"{backup.prefix}/proof-"):
            there.put(item.key, here.get(item.key))
        there.put(f"{backup.prefix}/{NAME}", here.get(f"{backup.prefix}/{NAME}"))
    finally:
        backup.release(work)
    end(work, half)
    taken, now = time.monotonic() - started, timezone.now()
    found = {"written_at": now, "read_at": now, "problem": "", "seconds": taken}
    made = Copy.objects.update_or_create(backup=backup, store=target, defaults=found)[0]
    work.log(
        f"{backup} lies in {target} as well: {size(total / 2)} from {source}, every byte compared,"
        f" in {duration(taken)}."
    )
    return made


def begin(work: Work, half: list[Any]) -> None:
    """Remember what is made or removed now: [store, prefix]."""
    work.remember(half_copies=[*work.facts.get("half_copies", []), half])


def end(work: Work, half: list[Any]) -> None:
    """It is whole, or gone."""
    work.remember(half_copies=[each for each in work.facts.get("half_copies", []) if each != half])


def _source(backup: Backup, target: Store) -> Store:
    """The first other place that answers with the manifest."""
    if backup.store_id == target.pk:
        raise CopyFailed(f"{backup} is read from {target}; there is nothing to copy to it.")
    failure: Told | None = None
    for place in backup.places():
        if place.pk == target.pk:
            continue
        try:
            backup.manifest_in(place)
        except (StoreError, NoManifest) as reason:
            failure = failure or reason
        else:
            return place
    raise failure or CopyFailed(f"{backup} lies in no other store than {target}.")


def _teller(work: Work, total: int) -> Callable[[int], None]:
    done = 0

    def tell(length: int) -> None:
        nonlocal done
        done += length
        work.progress(done, max(total, done), "bytes")
        work.stop_if_cancelled()

    return tell


def _carry(here: OpenStore, there: OpenStore, volume: Volume, tell: Callable[[int], None]) -> None:
    """One object, checked against its hash while it passes by; a false byte aborts the upload."""
    upload = there.upload(volume.key, size_bytes=volume.size_bytes)
    try:
        for block in checked(here, [volume], tell):
            upload.write(block)
        upload.complete()
    except BaseException:
        upload.abort()
        raise


def clean_up(work: Work) -> None:
    """What was broken off left in stores; without its manifest a copy never existed, and a backup does no longer."""
    leases.end(work)
    failure: StoreError | None = None
    for half in work.facts.get("half_copies", []):
        try:
            _remove(work, *half)
        except StoreError as reason:
            failure = failure or reason
        else:
            end(work, half)
    if failure:
        raise failure


def _remove(work: Work, pk: int, prefix: str) -> None:
    """One of them."""
    target = Store.objects.filter(pk=pk).first()
    if target is None:
        return
    catalogue.must_be_mounted(target)  # else what it holds would be forgotten, not removed
    opened = target.open_to_tidy(work)
    if opened.head(f"{prefix}/{NAME}"):
        catalogue.enter(target, Manifest.load(opened.get(f"{prefix}/{NAME}")))
        work.log(f"{prefix} in {target} is whole and stays.")
        return
    removed = opened.abort_stale(f"{prefix}/", timedelta(0))
    for item in list(opened.items(f"{prefix}/")):
        opened.delete(item.key)
        removed.append(item.key)
    Copy.objects.filter(backup__prefix=prefix, store=target).delete()
    for backup in Backup.objects.present().filter(store=target, prefix=prefix):
        catalogue.forget(backup)
    work.log(f"Removed from the store {target}: {', '.join(sorted(set(removed))) or 'nothing was there'}.")


def make_missing(backup: Backup, stores: Sequence[Store], work: Work) -> list[str]:
    """Every copy that is asked for and not there, or damaged; what failed as sentences, the rest goes on."""
    problems = []
    for target in stores:
        known = Copy.objects.filter(backup=backup, store=target).first()
        if target.pk == backup.store_id or (known and not known.problem):
            continue
        try:
            copy(backup, target, work)
        except Told as reason:
            clean_up_quietly(work)
            problems.append(f"{backup} was not copied to {target}: {reason}")
            work.log(problems[-1])
    return problems


def clean_up_quietly(work: Work) -> None:
    """A store that does not answer is cleaned at the end of the run, or when it does: no manifest, no copy."""
    try:
        clean_up(work)
    except StoreError as reason:
        work.log(f"What the copy left is still there: {reason}")


def prove(backup: Backup, work: Work) -> None:
    """The second rung of the ladder, in every place: each stored byte read, the first whole place opened as well."""
    manifest = backup.manifest()
    places = backup.places()
    tell = _teller(work, manifest.plain_bytes + (len(places) - 1) * manifest.stored_bytes)
    whole: list[tuple[Store, ReadBack]] = []
    wrong: list[tuple[Store, str]] = []
    silent: list[tuple[Store, str]] = []
    backup.lease(work)
    try:
        for place in places:
            identities = [] if whole else BackupKey.identities()
            try:
                whole.append((place, _read(place, backup, manifest, identities, work, tell)))
            except DAMAGE as reason:
                wrong.append((place, str(reason)))
            except StoreError as reason:
                silent.append((place, str(reason)))
            except NoKey as reason:
                catalogue.prove(backup, Backup.Rung.READ, 0, str(reason), {"run": work.run.pk})
                raise
    finally:
        backup.release(work)
    _keep_outcome(backup, whole, wrong, work)
    if silent:
        raise CopyFailed(_unknown(backup, whole, silent))


def _read(
    place: Store, backup: Backup, manifest: Manifest, identities: Sequence[str], work: Work,
    tell: Callable[[int], None],
) -> ReadBack:  # fmt: skip
    """A place is whole only with its own manifest, the same as the others'."""
    if backup.manifest_in(place).pieces != manifest.pieces:
        raise Damaged(f"The manifest of {backup} in {place} lists other objects than the others.")
    return read_back(place.open(), manifest, identities, work.stop_if_cancelled, tell)


def _keep_outcome(
    backup: Backup, whole: list[tuple[Store, ReadBack]], wrong: list[tuple[Store, str]], work: Work
) -> None:
    """Write down what was found; loud when any place is damaged, even if another is whole."""
    if not whole and not wrong:
        return
    if not whole:
        reason = wrong[0][1]
        catalogue.prove(backup, Backup.Rung.READ, 0, reason, {"run": work.run.pk})
        raise CopyFailed(reason)
    first, found = whole[0]
    for place, reason in wrong:
        note_damage(backup, place, reason)
    Copy.objects.filter(backup=backup, store__in=[place for place, _ in whole]).update(
        read_at=timezone.now(), problem=""
    )
    names = " and ".join(str(place) for place, _ in whole)
    further = f" The same bytes lie in {names}." if len(whole) > 1 else ""
    says = found.sentence() + further
    facts = {"run": work.run.pk, "opened": found.opened, "says": says}
    catalogue.prove(backup, Backup.Rung.READ, found.seconds, "", facts)
    work.log(says)
    work.log(f"Read back in {duration(found.seconds)}.")
    if wrong:
        place, reason = wrong[0]
        raise CopyFailed(
            f"In {place} it is damaged: {reason} In {first} it is whole, and read from there now. "
            f"What mends it: the operation “Copy backups” to {place}."
        )


def _unknown(backup: Backup, whole: list[tuple[Store, ReadBack]], silent: list[tuple[Store, str]]) -> str:
    """A store that does not answer proves nothing: neither that the backup is there, nor that it is not."""
    place, reason = silent[0]
    said = f"Whether {backup} is whole in {place} is not known: {reason}"
    if whole:
        said += f" It is whole in {' and '.join(str(each) for each, _ in whole)}."
    return f"{said} Read it back again when the store answers."


def note_damage(backup: Backup, place: Store, reason: str) -> None:
    """Remember what is wrong with a place; if it was the first, another one is read from now on."""
    if place.pk == backup.store_id:
        other = backup.copies.filter(problem="").order_by("written_at").first()
        if other is None:
            return
        promote(backup, other, reason)
        return
    backup.copies.filter(store=place).update(problem=reason)


def promote(backup: Backup, other: Copy, problem: str) -> None:
    """A whole copy becomes the place that is read from; what was the first is a copy with a problem."""
    old = backup.store
    Backup.objects.filter(pk=backup.pk).update(store=other.store, problem="")
    Copy.objects.filter(pk=other.pk).update(
        store=old, problem=problem, written_at=backup.written_at, read_at=backup.read_at, seconds=None
    )
    backup.refresh_from_db()
