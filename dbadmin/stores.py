"""Places for objects that must outlive a server: one app keeps them, others put things there by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
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


_keepers: list[Keeper] = []


def register(keeper: Keeper) -> None:
    """Called once by an app that is ready."""
    _keepers.append(keeper)


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
