"""A search of the log as a Parquet file, one row group after the other; where the library pyarrow is installed."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from hashlib import sha256
from importlib import import_module
from importlib.util import find_spec
from itertools import chain, islice
from typing import Any

from audit import sealing
from audit.exporting import COLUMNS

#: Records of a row group: so many are in memory at once.
GROUP = 5000
MISSING = "Parquet needs the library pyarrow, which is not installed here: pip install pyarrow."
#: Under this name the footer says the digest of all values, and its signature.
FOOTER = b"dbadmin"


def is_installed() -> bool:
    """It is large, and comes only with the extra olap."""
    return find_spec("pyarrow") is not None


def schema(arrow: Any) -> Any:
    """The columns of the other formats with their types; rows before and after are JSON."""
    text = arrow.string()
    types = {
        "statement": arrow.int64(), "row": arrow.int64(), "at": arrow.timestamp("us", tz="UTC"),
        "transaction": arrow.uint64(), "changed": arrow.list_(text),
    }  # fmt: skip
    return arrow.schema([(name, types.get(name, text)) for name in COLUMNS])


def file(found: Iterator[dict[str, Any]]) -> Iterator[bytes]:
    """The file, piece by piece. found: records of the search, as audit.exporting.records makes them."""
    arrow, parquet = import_module("pyarrow"), import_module("pyarrow.parquet")
    columns, sink, digest = schema(arrow), io.BytesIO(), sha256()
    first = list(
        islice(found, 1)
    )  # before anything is written: a search that cannot be made is told on its page
    found = chain(first, found)
    with parquet.ParquetWriter(Unseekable(sink), columns, compression="zstd") as writer:
        while group := [typed(record) for record in islice(found, GROUP)]:
            for record in group:
                digest.update(line(list(record.values())).encode())
            writer.write_table(arrow.Table.from_pylist(group, schema=columns))
            yield taken(sink)
        writer.add_key_value_metadata({FOOTER: json.dumps(sealing.signed_digest(digest.hexdigest()))})
    yield taken(sink)


def typed(record: dict[str, Any]) -> dict[str, Any]:
    """A record as its columns take it; the order is that of the schema."""
    values = {name: record.get(name) for name in COLUMNS}
    at, number = values["at"], values["transaction"]
    values["at"] = datetime.fromisoformat(at).astimezone(UTC) if at else None
    values["transaction"] = int(number) if number else None
    return values | {side: image(values[side]) for side in ("before", "after")}


def image(row: dict[str, str | None] | None) -> str | None:
    """A row as JSON."""
    return None if row is None else json.dumps(row, ensure_ascii=False)


def line(values: list[Any]) -> str:
    """What is hashed of a record: it can be made again from the file, and so by anybody."""
    return (
        json.dumps([value.isoformat() if isinstance(value, datetime) else value for value in values]) + "\n"
    )


class Unseekable(io.RawIOBase):
    """What the writer writes into: it only ever appends, and its place counts all that was written."""

    def __init__(self, sink: io.BytesIO) -> None:
        self.sink, self.place = sink, 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.place

    def write(self, data: Any) -> int:
        length = self.sink.write(data)
        self.place += length
        return length


def taken(sink: io.BytesIO) -> bytes:
    """What lies in the sink, which is empty then."""
    data = sink.getvalue()
    sink.seek(0)
    sink.truncate()
    return data
