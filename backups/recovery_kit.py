"""The commands that bring a backup back with stock tools alone; a test runs exactly these lines."""

from __future__ import annotations

from collections.abc import Sequence
from shlex import quote

from backups.manifest import Manifest, Piece
from backups.models import Backup, Store
from backups.pipeline import Volume

#: The first major version whose pg_restore sets transaction_timeout, and whose servers know it.
TRANSACTION_TIMEOUT_FROM = 17
#: A pipe fails when any program in it does: without this a failing `age` looks like success.
PIPES = "set -o pipefail"


def kit_lines(backup: Backup, manifest: Manifest) -> list[tuple[str, list[str]]]:
    """Headings, each with its shell lines."""
    database, globals_ = manifest.pieces["database"], manifest.pieces["globals"]
    return [
        ("Fetch the objects", _fetch(backup.store, [*globals_.volumes, *database.volumes])),
        ("Check that they are what was written", _check([*globals_.volumes, *database.volumes])),
        (
            "Unpack them",
            [
                PIPES,
                *_unpack(globals_, "globals.sql", manifest),
                *_unpack(database, "database.dump", manifest),
            ],
        ),
        ("Load them", _load(manifest)),
    ]


def _name(volume: Volume) -> str:
    return volume.key.rpartition("/")[2]


def _fetch(store: Store, volumes: Sequence[Volume]) -> list[str]:
    if store.kind == Store.Kind.LOCAL:
        return [f"cp {quote(str(store.path / volume.key))} ." for volume in volumes]
    endpoint = f" --endpoint-url {quote(store.endpoint)}" if store.endpoint else ""
    prefix = f"{store.prefix.strip('/')}/" if store.prefix.strip("/") else ""
    return [
        f"aws s3 cp{endpoint} {quote(f's3://{store.bucket}/{prefix}{volume.key}')} ." for volume in volumes
    ]


def _check(volumes: Sequence[Volume]) -> list[str]:
    return [
        "sha256sum --check <<'SUMS'",
        *(f"{volume.sha256}  {_name(volume)}" for volume in volumes),
        "SUMS",
    ]


def _unpack(piece: Piece, name: str, manifest: Manifest) -> list[str]:
    parts = " ".join(quote(_name(volume)) for volume in piece.volumes)
    opened = " | age --decrypt --identity key.txt" if manifest.recipients else ""
    # What came out before a program failed is no file that anybody should load.
    return [f"cat {parts}{opened} | zstd --decompress > {name} || {{ rm {name}; false; }}"]


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
