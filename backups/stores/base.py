"""What every store can do, and what it answers."""

from __future__ import annotations

import secrets
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from backups.stores.bucket import Facts
from dbadmin.failures import Told


class StoreError(Told):
    """A sentence about what the store refused, and what can be done."""


class Unreadable(StoreError):
    """The store is there, and does not give back the object as it took it. Any other StoreError tells nothing of it."""


class MissingObject(Unreadable):
    """The store is there, the object is not."""


@dataclass(frozen=True)
class Item:
    """One object as the store itself describes it."""

    key: str
    size_bytes: int
    modified_at: datetime


@dataclass(frozen=True)
class Finding:
    """One line of a store's test: what was tried, whether it worked, and why not."""

    what: str
    ok: bool
    says: str = ""
    #: Where neither well nor wrong says it all: "warning" or "unknown".
    level: str = ""

    @property
    def state(self) -> str:
        """How it is shown."""
        return self.level or ("ok" if self.ok else "critical")


class Upload(ABC):
    """An object under way: it exists only after `complete`, and never in part."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.size_bytes = 0

    @abstractmethod
    def write(self, data: bytes) -> None: ...

    @abstractmethod
    def complete(self) -> Item:
        """Publish the object and ask the store what it now holds."""

    def give_up(self) -> None:  # noqa: B027 - a store that never waits needs nothing
        """From another thread: a `write` that waits for the store ends within a second, and no other begins."""

    @abstractmethod
    def abort(self) -> None:
        """Leave nothing behind; may be called twice, and after a failure of any other method.

        Raises StoreError within seconds where the store does not answer: then something is left.
        """

    def checked(self, item: Item | None) -> Item:
        """The published object, if the store holds exactly what was sent."""
        if item is None:
            raise StoreError(f"The store took {self.key} but does not list it.")
        if item.size_bytes != self.size_bytes:
            raise StoreError(
                f"The store holds {item.size_bytes} bytes of {self.key}, but {self.size_bytes} were sent."
            )
        return item


Opened = Callable[[str, str], None]


class Store(ABC):
    """A place for objects. Keys are relative paths with slashes."""

    #: The largest object that this store takes, so that a longer stream continues in a further volume.
    largest_object_bytes: int

    @abstractmethod
    def upload(self, key: str, opened: Opened | None = None, size_bytes: int = 0) -> Upload:
        """Begin an object; `opened(key, id)` is called before anything that could be left over exists.

        `size_bytes`: how large it will be, where that is known before.
        """

    @abstractmethod
    def read(self, key: str, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        """The bytes of an object, or of a part of it; a short answer is an error, never an end."""

    @abstractmethod
    def head(self, key: str) -> Item | None: ...

    @abstractmethod
    def items(self, prefix: str = "") -> Iterator[Item]: ...

    @abstractmethod
    def delete(self, key: str) -> None:
        """Remove an object; to remove what is not there is no error."""

    @abstractmethod
    def abort_stale(self, prefix: str, older_than: timedelta, spare: Collection[str] = ()) -> list[str]:
        """Remove what unfinished uploads below the prefix left, except below the keys in `spare`."""

    #: Its disk can be away while the place where it is mounted answers.
    is_mounted = False

    def must_be_there(self) -> None:  # noqa: B027 - most stores are there when they answer
        """Refuse the place of a disk that is not mounted."""

    def is_bare(self) -> bool:
        """Nothing at all lies in it, as in the place of a disk that is not mounted."""
        return next(self.items(), None) is None

    def free_bytes(self) -> int | None:
        """How much more fits, where the store can say it."""
        return None

    def in_haste(self) -> Store:
        """The same store for one who waits: an answer within seconds, else StoreError."""
        return self

    def facts(self) -> Facts | None:
        """What it does with objects by itself; None for a store that does nothing."""
        return None

    def put(self, key: str, data: bytes) -> Item:
        upload = self.upload(key)
        try:
            upload.write(data)
            return upload.complete()
        except BaseException:
            upload.abort()
            raise

    def get(self, key: str) -> bytes:
        return b"".join(self.read(key))

    def test(self) -> list[Finding]:
        """Write, list, read, read a part, delete: each tried with a small object of our own."""
        key = f".dbadmin-test-{secrets.token_hex(6)}"
        content = secrets.token_bytes(1000)
        trials: list[tuple[str, Callable[[], bool]]] = [
            ("Write an object", lambda: self.put(key, content).size_bytes == len(content)),
            ("List it", lambda: [item.key for item in self.items(key)] == [key]),
            ("Read it back", lambda: self.get(key) == content),
            ("Read a part of it", lambda: b"".join(self.read(key, 100, 50)) == content[100:150]),
            ("Delete it", lambda: self._deleted(key)),
            ("Look for unfinished uploads", lambda: self.abort_stale(key, timedelta(0)) is not None),
        ]
        found = list(self._tried(trials))
        if found[0].ok and not found[-1].ok:
            found += self._tried([("Remove what was tried with", lambda: self._deleted(key))])
        return found

    def _deleted(self, key: str) -> bool:
        self.delete(key)
        return self.head(key) is None

    def _tried(self, trials: list[tuple[str, Callable[[], bool]]]) -> Iterator[Finding]:
        for what, trial in trials:
            try:
                ok = trial()
            except StoreError as reason:
                yield Finding(what, False, str(reason))
                return
            yield Finding(what, ok, "" if ok else "The store answered something else than was written.")
