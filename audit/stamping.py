"""Time stamps by RFC 3161: an authority that is not ours signs when a seal existed, and so all before it."""

from __future__ import annotations

import base64
import re
import subprocess
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from http.client import HTTPException
from pathlib import Path
from urllib.parse import unquote, urlsplit

from django.conf import settings

from audit.models import Seal
from dbadmin.models import Server

#: Seconds that an authority may take; the seal is made already and waits for nothing.
TIMEOUT = 10
#: Bytes of an answer with all its certificates.
MOST = 1 << 20
MOMENT = re.compile(r"^Time stamp: (.+) GMT$", re.MULTILINE)


class NotStamped(Exception):
    """Why, as a sentence."""


def openssl(*arguments: str, data: dict[str, bytes] | None = None) -> subprocess.CompletedProcess[bytes]:
    """Run `openssl ts`; data: files that the arguments name as {name}."""
    with tempfile.TemporaryDirectory() as folder:
        places = {name: Path(folder) / name for name in (data or {})}
        for name, content in (data or {}).items():
            places[name].write_bytes(content)
        command = ["openssl", "ts", *[argument.format(**places) for argument in arguments]]
        try:
            return subprocess.run(command, capture_output=True, timeout=30)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise NotStamped(f"openssl cannot be run on this machine: {error}.") from error


def stamp_last(server: Server, database: str) -> Seal | None:
    """Have the newest seal stamped, if it is not: it stands for all before it. None: nothing was to be done."""
    seal = Seal.objects.filter(server=server, database=database).first()
    if seal is None or seal.stamp or not settings.DBADMIN_TSA_URL:
        return None
    asked = openssl("-query", "-digest", seal.header_hash, "-sha256", "-cert")
    if asked.returncode:
        raise NotStamped(f"openssl made no request: {asked.stderr.decode(errors='replace').strip()}.")
    stamp = answer(settings.DBADMIN_TSA_URL, asked.stdout)
    at = moment_of(stamp)
    if settings.DBADMIN_TSA_CA and not fits(seal.header_hash, stamp):
        raise NotStamped(f"The answer of {host(settings.DBADMIN_TSA_URL)} does not fit seal {seal.number}.")
    Seal.objects.filter(pk=seal.pk).update(stamp=stamp, stamped_at=at)
    seal.stamp, seal.stamped_at = stamp, at
    return seal


def answer(url: str, query: bytes) -> bytes:
    """What the authority says. The address may hold a name and a password."""
    parts = urlsplit(url)
    headers = {"Content-Type": "application/timestamp-query", "Accept": "application/timestamp-reply"}
    if parts.username:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
    plain = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    request = urllib.request.Request(plain, query, headers)  # noqa: S310 - a setting of whoever runs dbadmin
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as response:  # noqa: S310
            found: bytes = response.read(MOST)
    except urllib.error.HTTPError as error:
        raise NotStamped(f"{host(url)} answered {error.code} {error.reason}.") from None
    except (urllib.error.URLError, TimeoutError, OSError, HTTPException, ValueError) as error:
        raise NotStamped(f"{host(url)} did not answer: {getattr(error, 'reason', error)}.") from None
    return found


def host(url: str) -> str:
    """Whom we ask; the rest of the address may hold a password."""
    return urlsplit(url).hostname or "The time stamp authority"


def moment_of(stamp: bytes) -> datetime:
    """When it was stamped, as it says."""
    told = openssl("-reply", "-in", "{stamp}", "-text", data={"stamp": stamp})
    found = MOMENT.search(told.stdout.decode(errors="replace"))
    if told.returncode or found is None:
        status = re.search(r"Status description: (.+)", told.stdout.decode(errors="replace"))
        why = status[1] if status and status[1] != "unspecified" else "its answer is no time stamp"
        raise NotStamped(f"The authority gave no time stamp: {why}.")
    text = re.sub(r"\.\d+", "", found[1])
    return datetime.strptime(text, "%b %d %H:%M:%S %Y").replace(tzinfo=UTC)


def fits(header_hash: str, stamp: bytes) -> bool:
    """Is it of this seal, and signed by an authority that the certificates of DBADMIN_TSA_CA vouch for?"""
    told = openssl(
        "-verify", "-digest", header_hash, "-in", "{stamp}", "-CAfile", settings.DBADMIN_TSA_CA,
        data={"stamp": stamp},
    )  # fmt: skip
    return told.returncode == 0


def differences(seals: list[Seal]) -> Iterator[tuple[str, int, str]]:
    """Stamps that do not fit: (kind, seal, sentence)."""
    for seal in seals:
        if seal.stamp and not fits(seal.header_hash, bytes(seal.stamp)):
            yield "stamp", seal.number, f"The time stamp of seal {seal.number} does not fit it."
