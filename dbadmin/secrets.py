"""Secrets at rest: sealed with AES-GCM under a key that has an id, bound to the row that holds them."""

import base64
import os
from collections.abc import Mapping

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured


class CannotOpen(Exception):
    """A sealed secret cannot be opened with the keys at hand."""


def keys() -> Mapping[str, bytes]:
    """Key id -> 32 bytes, newest first, from the setting DBADMIN_KEYS."""
    found: dict[str, bytes] = {}
    for item in filter(None, settings.DBADMIN_KEYS.split(",")):
        key_id, _, text = item.strip().partition("=")
        key = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        if len(key) != 32:
            raise ImproperlyConfigured(f"Key {key_id} in DBADMIN_KEYS has {len(key)} bytes; it needs 32.")
        found[key_id] = key
    if not found:
        raise ImproperlyConfigured("DBADMIN_KEYS is empty: secrets cannot be sealed. See docs/install.md.")
    return found


def seal(text: str, place: str) -> str:
    """Encrypt text for one place ("table.column:row"): moved to another place it no longer opens."""
    if not text:
        return ""
    key_id, key = next(iter(keys().items()))
    nonce = os.urandom(12)
    sealed = nonce + AESGCM(key).encrypt(nonce, text.encode(), place.encode())
    return f"v1.{key_id}.{base64.urlsafe_b64encode(sealed).decode()}"


def unseal(sealed: str, place: str) -> str:
    """Decrypt what seal() made for the same place; raises CannotOpen."""
    if not sealed:
        return ""
    version, key_id, text = sealed.split(".", 2)
    key = keys().get(key_id)
    if version != "v1" or key is None:
        raise CannotOpen(f"The secret was sealed with key {key_id}, which is not in DBADMIN_KEYS.")
    data = base64.urlsafe_b64decode(text)
    try:
        return AESGCM(key).decrypt(data[:12], data[12:], place.encode()).decode()
    except InvalidTag as error:
        raise CannotOpen(
            f"The secret was altered, or key {key_id} in DBADMIN_KEYS is another one."
        ) from error
