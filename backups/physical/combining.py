"""The files of a base backup in a directory of this host; layers are put together by PostgreSQL's own tool."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from backups.logical import Tools
from backups.models import BackupKey
from backups.physical.files import Directory, Files, parse_manifest
from backups.physical.manifest import LIST, BaseManifest
from backups.physical.models import BaseBackup
from backups.physical.scratch_cluster import RecoveryFailed
from backups.pipeline import Damaged, fetch_bytes, receive
from backups.stores.base import MissingObject
from dbadmin.units import count, size

if TYPE_CHECKING:
    from dbadmin.runner import Work

#: From this version on what did not change is linked, not copied.
LINKS_FROM = 18


@dataclass(frozen=True)
class Layer:
    """One base backup with its manifest; the first of several is full, each other one is built on that before it."""

    base: BaseBackup
    manifest: BaseManifest

    def unpack(self, work: Work, data: Path, spaces: Path, tell: Callable[[int], None]) -> None:
        """Every file is compared while it is unpacked; the first that differs ends it."""
        store, keys = self.base.store.open(), BackupKey.identities() if self.manifest.recipients else []
        try:
            listed = fetch_bytes(store, self.manifest.pieces[LIST].volumes, keys)
            files = Files(parse_manifest(listed))
            for oid in self.manifest.tablespaces:
                make_tablespace(data, spaces, oid)
            for oid, piece in self.manifest.archives():
                blocks = receive(store, piece.volumes, keys, work.stop_if_cancelled)
                files.take(_told(blocks, files, tell), oid, Directory(data))
            files.finish()
            (data / LIST).write_bytes(listed)
        except (Damaged, MissingObject) as reason:
            self.base.mark(reason)
            raise
        work.log(
            f"{count(self.manifest.files_count)} files of the {self.base} unpacked ({size(files.size_bytes)}),"
            " each as the server sent it."
        )


def _told(blocks: Iterator[bytes], files: Files, tell: Callable[[int], None]) -> Iterator[bytes]:
    for block in blocks:
        tell(files.size_bytes)
        yield block


def make_tablespace(data: Path, spaces: Path, oid: str) -> None:
    """A tablespace lies beside the data directory, not where it lay at the source."""
    place = spaces / oid
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    links = data / "pg_tblspc"
    links.mkdir(mode=0o700, parents=True, exist_ok=True)
    (links / oid).symlink_to(place)


def map_tablespaces(data: Path, spaces: Path, oids: Sequence[str]) -> None:
    """The server makes the links anew from this file, which came with the paths of the source."""
    if oids:
        (data / "tablespace_map").write_text("".join(f"{oid} {spaces / oid}\n" for oid in oids))


def unpack(work: Work, layers: Sequence[Layer], folder: Path, tools: Tools | None) -> None:
    """All layers into the directories `data` and `tablespaces` of a folder."""
    data, spaces, oids = folder / "data", folder / "tablespaces", sorted(layers[-1].manifest.tablespaces)
    total, done = sum(layer.manifest.plain_bytes for layer in layers), 0

    def tell(seen: int) -> None:
        work.progress(done + seen, max(total, done + seen), "bytes")

    if tools is None:
        layers[-1].unpack(work, data, spaces, tell)
    else:
        places = [folder / "layers" / str(number) for number, _ in enumerate(layers, 1)]
        for layer, place in zip(layers, places, strict=True):
            layer.unpack(work, place, place.with_suffix(".tablespaces"), tell)
            done += layer.manifest.plain_bytes
        for oid in oids:
            (spaces / oid).mkdir(mode=0o700, parents=True)
        run(work, combine_command(tools, places, data, spaces, oids))
        run(work, verify_command(tools, data))
        work.log(
            f"{len(layers)} layers put together by pg_combinebackup; pg_verifybackup found every file as it must be."
        )
        shutil.rmtree(folder / "layers")
    map_tablespaces(data, spaces, oids)


def combine_command(
    tools: Tools, places: Sequence[Path], data: Path, spaces: Path, oids: Sequence[str]
) -> list[str]:
    """The checksums of files that did not change are the server's own: they are asked for in the same kind."""
    last = places[-1]
    mapping = [f"--tablespace-mapping={last}.tablespaces/{oid}={spaces / oid}" for oid in oids]
    link = ["--link"] if tools.major >= LINKS_FROM else []
    return [
        tools.path("pg_combinebackup"), *map(str, places), f"--output={data}", *mapping,
        "--manifest-checksums=SHA256", "--no-sync", *link,
    ]  # fmt: skip


def verify_command(tools: Tools, data: Path) -> list[str]:
    """The WAL lies elsewhere, and is checked by its replay."""
    return [tools.path("pg_verifybackup"), "--no-parse-wal", "--quiet", str(data)]


def run(work: Work, argv: Sequence[str]) -> None:
    """One of PostgreSQL's tools, to its end; what it complains of first is why it failed."""
    process = work.popen(
        list(argv), env={**os.environ, "LC_ALL": "C"}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )  # fmt: skip
    out = (process.communicate()[0] or b"").decode(errors="replace").strip().splitlines()
    for line in out[:50]:
        work.log(line)
    if process.returncode != 0:
        name = Path(argv[0]).name
        said = next((line for line in out if "error: " in line), out[-1] if out else "it said nothing")
        raise RecoveryFailed(f"{name} failed: {said.removeprefix(f'{name}: ').removeprefix('error: ')}")
