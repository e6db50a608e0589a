"""Whether a bucket keeps what it promises: encryption and lock are tried with an object, not only asked for."""

from __future__ import annotations

import uuid
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from backups.stores.base import Finding, StoreError

if TYPE_CHECKING:
    from backups.stores.s3 import S3Store

#: So long the object of a test is locked; then a lifecycle rule or anybody may remove it.
TRIAL_LOCK = timedelta(minutes=1)


def protection(store: S3Store) -> list[Finding]:
    """Write an object, ask how the store keeps it, and try to delete it for good."""
    key = f".dbadmin-test-{uuid.uuid4().hex[:12]}"
    try:
        store.put(key, b"may be deleted")
        with store.speaking() as (client, where):
            head = client.head_object(**where, Key=store.full(key))
    except StoreError as reason:
        return [Finding("Protect an object", False, str(reason))]
    found = [_encrypted(store, head)] if store.settings.encryption else []
    if store.settings.lock_days:
        found.append(_locked(store, key, head))
    with suppress(StoreError):
        store.delete(key)
    return found


def _encrypted(store: S3Store, head: dict[str, Any]) -> Finding:
    said, wanted = head.get("ServerSideEncryption") or "nothing", store.settings.encryption
    says = f"The store says {said}." if said == wanted else f"{wanted} was asked for, the store says {said}."
    return Finding("Encrypt it", said == wanted, says)


def _locked(store: S3Store, key: str, head: dict[str, Any]) -> Finding:
    """A service may take the wish and delete all the same: only a refusal proves the lock."""
    what = "Lock it"
    if head.get("ObjectLockMode") != "COMPLIANCE":
        return Finding(what, False, "The store took the object, but not its lock. Does the bucket have one?")
    try:
        with store.speaking() as (client, where):
            version = {"VersionId": head["VersionId"]} if head.get("VersionId") else {}
            client.delete_object(**where, Key=store.full(key), **version)
    except StoreError as reason:
        said = str(reason).partition("refused: ")[2]
        return Finding(what, True, f"To delete it for good is refused: {said}")
    return Finding(what, False, "The store says that it is locked, and deletes it all the same.")
