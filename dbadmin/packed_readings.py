"""A Reading as bytes and back: a column at a time, so that ten thousand rows cost milliseconds."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import zlib
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any

from dbadmin.connections import row_class
from dbadmin.probes import Probe, Problem, Reading

EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
MICROSECOND = dt.timedelta(microseconds=1)
#: What JSON keeps as it is.
PLAIN = {int, float, str, bool, type(None)}


def pack_moment(value: dt.datetime) -> int:
    """Microseconds since 1970; a moment without a zone is taken as UTC."""
    aware = value if value.tzinfo else value.replace(tzinfo=dt.UTC)
    return (aware - EPOCH) // MICROSECOND


def unpack_moment(value: int) -> dt.datetime:
    """The moment, in UTC."""
    return EPOCH + value * MICROSECOND


def as_text(value: Any) -> Any:
    """Addresses, identifiers and whatever else a driver returns: as people would write it."""
    if isinstance(value, list | tuple):
        return [item if type(item) in PLAIN else as_text(item) for item in value]
    if isinstance(value, dict):
        return {str(key): item if type(item) in PLAIN else as_text(item) for key, item in value.items()}
    return value if type(value) in PLAIN else str(value)


def number_of(value: Decimal) -> int | float:
    """A numeric as the plain number that it is for people."""
    return int(value) if value == value.to_integral_value() else float(value)


PACK: dict[str, Callable[[Any], Any]] = {
    "moment": pack_moment,
    "span": lambda value: value // MICROSECOND,
    "number": number_of,
    "other": as_text,
}
UNPACK: dict[str, Callable[[Any], Any]] = {"moment": unpack_moment, "span": lambda value: value * MICROSECOND}
KINDS: dict[type, str] = {dt.datetime: "moment", dt.timedelta: "span", Decimal: "number"}


def pack_column(values: tuple[Any, ...]) -> tuple[str, list[Any]]:
    """The kind of a column and its values for JSON."""
    types = {type(value) for value in values}
    if types <= PLAIN:
        return "", list(values)
    kinds = {KINDS.get(kind, "other") for kind in types if kind is not type(None)}
    kind = kinds.pop() if len(kinds) == 1 else "other"
    change = PACK[kind]
    return kind, [None if value is None else change(value) for value in values]


def unpack_column(kind: str, values: list[Any]) -> Iterable[Any]:
    """The values of a column as the probe gave them."""
    change = UNPACK.get(kind)
    if change is None:
        return values
    return [None if value is None else change(value) for value in values]


def pack(reading: Reading) -> bytes:
    """The rows of a reading, compressed."""
    names = [column.name for column in reading.columns]
    columns = [pack_column(values) for values in zip(*reading.rows, strict=True)] if reading.rows else []
    text = json.dumps(
        {
            "names": names,
            "kinds": [kind for kind, _ in columns],
            "columns": [values for _, values in columns],
            "problem": pack_problem(reading.problem),
            "cut": reading.cut,
        },
        separators=(",", ":"),
        ensure_ascii=False,
    )
    return zlib.compress(text.encode("utf-8", "surrogatepass"), 1)


def unpack(body: bytes, reading: Reading) -> Reading:
    """Fill a reading's rows from its body."""
    found = json.loads(zlib.decompress(body))
    reading.columns = [reading.probe.column(name) for name in found["names"]]
    if found["columns"]:
        columns = [unpack_column(*pair) for pair in zip(found["kinds"], found["columns"], strict=True)]
        reading.rows = list(map(row_class(tuple(found["names"]))._make, zip(*columns, strict=True)))
    reading.problem, reading.cut = unpack_problem(found["problem"]), found["cut"]
    return reading


def version_of(body: bytes, key: tuple[object, ...]) -> int:
    """A number that changes with the body and differs from reading to reading."""
    return int.from_bytes(
        hashlib.blake2b(body, digest_size=8, key=repr(key).encode()[:64]).digest(), "big", signed=True
    )


def pack_problem(problem: Problem | None) -> dict[str, str] | None:
    """A problem for JSON."""
    return {"kind": problem.kind, "message": problem.message, "remedy": problem.remedy} if problem else None


def unpack_problem(found: dict[str, str] | None) -> Problem | None:
    """A problem from JSON."""
    return Problem(found["kind"], found["message"], found["remedy"]) if found else None


def blank(probe: Probe, server_name: str, database: str, taken_at: dt.datetime, took_ms: float) -> Reading:
    """A reading still without rows."""
    return Reading(probe, server_name, database, taken_at, took_ms)
