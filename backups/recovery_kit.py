"""The commands that bring a backup back with stock tools alone; a test runs exactly these lines."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from shlex import quote
from typing import Any

from backups.manifest import Manifest, Piece
from backups.models import Backup, BackupKey, Store
from backups.pipeline import Volume

#: The first major version whose pg_restore sets transaction_timeout, and whose servers know it.
TRANSACTION_TIMEOUT_FROM = 17
#: A pipe fails when any program in it does: without this a failing `age` looks like success.
PIPES = "set -o pipefail"


def kit_lines(backup: Backup, manifest: Manifest) -> list[tuple[str, list[str]]]:
    """Headings, each with its shell lines; from further stores in remarks, for when the first is lost."""
    database, globals_ = manifest.pieces["database"], manifest.pieces["globals"]
    volumes = [*globals_.volumes, *database.volumes]
    first, *others = backup.places()
    fetched = [*reach([first]), *fetch(first, volumes)]
    for other in others:
        lines = [*reach([other]), *fetch(other, volumes)]
        fetched += [f"# Where that is lost, from {other}:", *(f"# {line}" for line in lines)]
    return [
        ("Fetch the objects", fetched),
        ("Check that they are what was written", check(volumes)),
        (
            "Unpack them",
            [
                PIPES,
                unpack(globals_, "globals.sql", manifest.recipients),
                unpack(database, "database.dump", manifest.recipients),
            ],
        ),
        ("Load them", _load(manifest)),
    ]


def _name(volume: Volume) -> str:
    return volume.key.rpartition("/")[2]


def aws(store: Store, command: str) -> str:
    """The beginning of a line that asks an S3 store."""
    endpoint = f" --endpoint-url {quote(store.endpoint)}" if store.endpoint else ""
    region = f" --region {quote(store.region)}" if store.region else ""
    return f"aws s3 {command}{endpoint}{region}"


def reach(stores: Iterable[Store]) -> list[str]:
    """Before any of them is asked: another service than Amazon's has its bucket in the path, unless aws is told."""
    if any(store.kind == Store.Kind.S3 and store.endpoint and not store.path_style for store in stores):
        return ["aws configure set default.s3.addressing_style virtual"]
    return []


def for_buckets(stores: Iterable[Store]) -> str:
    """What is needed besides, in words, where something lies in a bucket."""
    if not any(store.kind == Store.Kind.S3 for store in stores):
        return ""
    return (
        "aws (Amazon's command line; with keys that may read the bucket in AWS_ACCESS_KEY_ID and"
        " AWS_SECRET_ACCESS_KEY), "
    )


def place(store: Store, key: str) -> str:
    """Where an object lies, in the words of cp or of aws s3 cp."""
    if store.kind == Store.Kind.LOCAL:
        return quote(str(store.path / key))
    prefix = f"{store.prefix.strip('/')}/" if store.prefix.strip("/") else ""
    return quote(f"s3://{store.bucket}/{prefix}{key}")


def fetch(store: Store, volumes: Sequence[Volume], folder: str = ".") -> list[str]:
    """One line for each object."""
    copy = "cp" if store.kind == Store.Kind.LOCAL else aws(store, "cp")
    return [f"{copy} {place(store, volume.key)} {folder}" for volume in volumes]


def check(volumes: Sequence[Volume], folder: str = ".") -> list[str]:
    """All that was fetched into a folder, against what was written."""
    below = "" if folder == "." else f"{folder}/"
    return [
        "sha256sum --check <<'SUMS'",
        *(f"{volume.sha256}  {below}{_name(volume)}" for volume in volumes),
        "SUMS",
    ]


def opened(piece: Piece, recipients: Sequence[str], folder: str = "") -> str:
    """A pipe that gives what a piece held."""
    parts = " ".join(quote(folder + _name(volume)) for volume in piece.volumes)
    return f"cat {parts}{decrypt(recipients)} | zstd --decompress"


def decrypt(recipients: Sequence[str]) -> str:
    """The part of a pipe that opens what was encrypted."""
    return " | age --decrypt --identity key.txt" if recipients else ""


def unpack(piece: Piece, name: str, recipients: Sequence[str], folder: str = "") -> str:
    """Into a file; what came out before a program failed is none that anybody should load."""
    return f"{opened(piece, recipients, folder)} > {name} || {{ rm {name}; false; }}"


def keys_of(recipients: Sequence[str]) -> list[dict[str, Any]]:
    """For whom something is encrypted: names where we know them, and whether we could open it."""
    known = {key.recipient: key for key in BackupKey.objects.all()}
    return [
        {
            "recipient": each,
            "key": known.get(each),
            "opens": bool(each in known and known[each].sealed_identity),
        }
        for each in recipients
    ]


def _load(manifest: Manifest) -> list[str]:
    name = quote(manifest.database)
    found = manifest.properties
    options = [f"--encoding={found['encoding']}", f"--lc-collate={quote(str(found['datcollate']))}",
               f"--lc-ctype={quote(str(found['datctype']))}"]  # fmt: skip
    return [
        "psql --dbname=postgres --file=globals.sql",
        f"createdb --template=template0 {' '.join(options)} -- {name}",
        *_restore(manifest, name),
        f"vacuumdb --analyze-only --dbname={name}",
    ]


def _restore(manifest: Manifest, name: str) -> list[str]:
    """To the first error; without the setting that programs of 17 name and that older servers do not know."""
    if manifest.server_major >= TRANSACTION_TIMEOUT_FROM or manifest.tool_major < TRANSACTION_TIMEOUT_FROM:
        return [f"pg_restore --exit-on-error --jobs=2 --dbname={name} database.dump"]
    load = f"psql --no-psqlrc --quiet --output=/dev/null --set=ON_ERROR_STOP=1 --dbname={name}"
    without = "sed '1,40{/^SET transaction_timeout = 0;$/d}'"
    return [PIPES, f"pg_restore --file=- database.dump | {without} | {load}"]
