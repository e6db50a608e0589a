"""A directory as a store: objects appear whole, are synced, and leave nothing when their writer dies."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Collection, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from backups.stores.base import Item, MissingObject, Opened, Store, StoreError, Unreadable, Upload

BLOCK = 1 << 20
PARTIAL = ".partial-"
#: How the file is named that lies on the disk of a store, and not where that disk is to be mounted.
MARK = "dbadmin-store-"
_UNNAMED_IMPOSSIBLE = {errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT, errno.ENOSYS}


def _sentence(error: OSError, path: Path) -> str:
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT:
            free = _free(path)
            return f"The disk of the store {path} is full ({free} bytes free). Free space there."
        case errno.EACCES | errno.EPERM:
            return (
                f"The store {path} may not be written by this user. Give the directory to the worker's user."
            )
        case errno.EROFS:
            return f"The store {path} is on a disk that is mounted read-only."
        case errno.ENOENT | errno.ENOTDIR:
            return f"The store's directory {path} is not there. Create it, or mount its disk."
        case _:
            return f"The store {path} failed: {error.strerror or error}."


def _free(path: Path) -> int:
    while not path.exists() and path != path.parent:
        path = path.parent
    return shutil.disk_usage(path).free


class LocalUpload(Upload):
    """Written to a file without a name where the system can, so that a killed writer leaves nothing."""

    def __init__(self, store: LocalStore, key: str) -> None:
        super().__init__(key)
        self._store = store
        self._path = store.path(key)
        self._partial: Path | None = None
        self._made: list[Path] = []
        store.must_be_there()
        try:
            self._make_directory(self._path.parent)
            self._file = self._open()
        except OSError as error:
            self._remove_empty()
            raise StoreError(_sentence(error, store.root)) from error

    def _make_directory(self, directory: Path) -> None:
        missing = [p for p in (directory, *directory.parents) if not p.exists()]
        for path in reversed(missing):
            path.mkdir(mode=0o700, exist_ok=True)
            self._made.append(path)

    def _open(self) -> int:
        flags = os.O_WRONLY | getattr(os, "O_TMPFILE", 0)
        if hasattr(os, "O_TMPFILE"):
            try:
                return os.open(self._path.parent, flags, 0o600)
            except OSError as error:
                if error.errno not in _UNNAMED_IMPOSSIBLE:
                    raise
        self._partial = self._path.with_name(f"{PARTIAL}{secrets.token_hex(6)}-{self._path.name}")
        return os.open(self._partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)

    def write(self, data: bytes) -> None:
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._file, view) :]
        except OSError as error:
            raise StoreError(_sentence(error, self._store.root)) from error
        self.size_bytes += len(data)

    def complete(self) -> Item:
        try:
            os.fsync(self._file)
            self._give_name()
            os.close(self._file)
            self._file = -1
            for directory in {self._path.parent, *(made.parent for made in self._made)}:
                _sync_directory(directory)
        except OSError as error:
            raise StoreError(_sentence(error, self._store.root)) from error
        return self.checked(self._store.head(self.key))

    def _give_name(self) -> None:
        if self._partial is None:
            # linkat never overwrites, so the file takes a passing name and then, by a rename, its own.
            self._partial = self._path.with_name(f"{PARTIAL}{secrets.token_hex(6)}-{self._path.name}")
            os.link(f"/proc/self/fd/{self._file}", self._partial, src_dir_fd=0, follow_symlinks=True)
        self._partial.replace(self._path)
        self._partial = None

    def abort(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        if self._partial is not None:
            self._partial.unlink(missing_ok=True)
            self._partial = None
        self._remove_empty()

    def _remove_empty(self) -> None:
        for path in reversed(self._made):
            try:
                path.rmdir()
            except OSError:
                return


def _sync_directory(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class LocalStore(Store):
    """Objects are files below one directory; `mark`: the file that tells its disk from any other, where one was put."""

    largest_object_bytes = 1 << 62
    is_mounted = True

    def __init__(self, root: str | Path, mark: str = "") -> None:
        self.root = Path(root)
        self.mark = mark

    def __str__(self) -> str:
        return str(self.root)

    def must_be_there(self) -> None:
        """Refuse the place of a disk that is not mounted, whatever lies in it."""
        try:
            if not self.root.is_dir():
                raise FileNotFoundError(errno.ENOENT, "no such directory")
            is_there = not self.mark or self.root.joinpath(self.mark).exists()
        except OSError as error:
            raise StoreError(_sentence(error, self.root)) from error
        if not is_there:
            raise StoreError(
                f"The disk of the store {self.root} is not mounted: the file {self.mark} that lies on it is not there. "
                "Mount it. If it is lost, tick “Take what is there now for its disk” in the store's settings."
            )

    def path(self, key: str) -> Path:
        parts = key.split("/")
        if not key or any(part in ("", ".", "..") for part in parts):
            raise StoreError(f"{key!r} is not a name that a store takes.")
        return self.root.joinpath(*parts)

    def upload(self, key: str, opened: Opened | None = None, size_bytes: int = 0) -> LocalUpload:
        if opened:
            opened(key, "")
        return LocalUpload(self, key)

    def read(self, key: str, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        path = self.path(key)
        try:
            with path.open("rb", buffering=0) as file:
                left = os.fstat(file.fileno()).st_size - start if length is None else length
                file.seek(start)
                while left > 0:
                    block = file.read(min(BLOCK, left))
                    if not block:
                        raise Unreadable(f"{key} ended {left} bytes too early.")
                    left -= len(block)
                    yield block
        except FileNotFoundError as error:
            self.must_be_there()
            if self.is_bare():
                raise StoreError(
                    f"The store's directory {self.root} is empty: its disk may not be mounted. Mount it."
                ) from error
            raise MissingObject(f"{key} is not in the store {self.root}.") from error
        except OSError as error:
            raise (Unreadable if error.errno == errno.EIO else StoreError)(
                _sentence(error, self.root)
            ) from error

    def head(self, key: str) -> Item | None:
        try:
            state = self.path(key).stat()
        except (FileNotFoundError, NotADirectoryError):
            self.must_be_there()
            return None
        except OSError as error:
            raise StoreError(_sentence(error, self.root)) from error
        return Item(key, state.st_size, datetime.fromtimestamp(state.st_mtime, UTC))

    def items(self, prefix: str = "") -> Iterator[Item]:
        self.must_be_there()
        folder = self.root.joinpath(*prefix.split("/")[:-1])
        for path in self._files(folder):
            key = path.relative_to(self.root).as_posix()
            item = (
                self.head(key)
                if key.startswith(prefix) and not path.name.startswith((PARTIAL, MARK))
                else None
            )
            if item:
                yield item

    def _files(self, folder: Path) -> Iterator[Path]:
        for directory, names, files in os.walk(folder):
            names.sort()
            yield from (Path(directory, name) for name in sorted(files))

    def delete(self, key: str) -> None:
        path = self.path(key)
        self.must_be_there()
        try:
            path.unlink(missing_ok=True)
            for parent in path.relative_to(self.root).parents:
                if parent.parts:
                    self.root.joinpath(parent).rmdir()
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT, errno.ENOTDIR):
                raise StoreError(_sentence(error, self.root)) from error

    def abort_stale(self, prefix: str, older_than: timedelta, spare: Collection[str] = ()) -> list[str]:
        limit = datetime.now(UTC).timestamp() - older_than.total_seconds()
        removed = []
        self.must_be_there()
        for path in self._files(self.root.joinpath(*prefix.split("/")[:-1])):
            key = path.relative_to(self.root).as_posix()
            if not path.name.startswith(PARTIAL) or key.startswith(tuple(spare)):
                continue
            if path.stat().st_mtime <= limit:
                path.unlink(missing_ok=True)
                removed.append(key)
        return removed

    def is_bare(self) -> bool:
        """A disk that is mounted has a directory at least, where objects lay or as lost+found."""
        try:
            with os.scandir(self.root) as entries:
                return next(entries, None) is None
        except OSError as error:
            raise StoreError(_sentence(error, self.root)) from error

    def free_bytes(self) -> int | None:
        return _free(self.root)
