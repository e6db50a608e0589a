"""Places for objects that must outlive a server: one app keeps them, others put things there by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from dbadmin.operations import Refused


class Shelf(Protocol):
    """What a store can do for others. An object that was put is there whole, or not at all."""

    def put(self, key: str, data: bytes) -> Any:
        """Keep an object."""
        ...

    def get(self, key: str) -> bytes:
        """The object; raises when it is not there."""
        ...

    def head(self, key: str) -> Any:
        """What the store says of it; None when it is not there."""
        ...

    def items(self, prefix: str = "") -> Iterator[Any]:
        """Objects below a prefix, each with its key."""
        ...

    def upload(self, key: str) -> Any:
        """Begin a large object: write(data), then complete() or abort()."""
        ...

    def read(self, key: str) -> Iterator[bytes]:
        """A large object, block by block."""
        ...


class Keeper(Protocol):
    """The app that keeps stores."""

    def names(self) -> list[str]:
        """Stores that are in use."""
        ...

    def open(self, name: str) -> Shelf | None:
        """One of them; None when there is none of this name."""
        ...


@dataclass(frozen=True)
class Holding:
    """What an app has in a store for ever: in words, and the keys of some of it, the oldest and the newest."""

    what: str
    keys: Sequence[str] = ()


_keepers: list[Keeper] = []
#: Told by the apps that put things into stores: name of a store -> what is or will be there.
HOLDERS: list[Callable[[str], Iterable[Holding]]] = []


def register(keeper: Keeper) -> None:
    """Called once by an app that is ready."""
    _keepers.append(keeper)


def held(name: str) -> list[Holding]:
    """What others than its keeper have in this store; it must neither end by itself nor be taken for lost."""
    return [each for holder in HOLDERS for each in holder(name)]


def names() -> list[str]:
    """All stores that can be chosen."""
    return sorted({name for keeper in _keepers for name in keeper.names()})


def choices() -> Callable[[], list[tuple[str, str]]]:
    """For a field of a form: none, or one of them, asked when the form is shown."""
    return lambda: [("", "none"), *((name, name) for name in names())]


def open_store(name: str, field: str = "store") -> Shelf:
    """The store of this name, or a refusal."""
    for keeper in _keepers:
        found = keeper.open(name)
        if found is not None:
            return found
    raise Refused(f"There is no store {name}. There are: {', '.join(names()) or 'none yet'}.", field=field)
