"""A month of the log as Parquet: a file for each of its tables, its columns by their own names; where pyarrow is
installed."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from importlib import import_module
from tempfile import TemporaryFile
from typing import Any

import psycopg
from psycopg.sql import SQL, Composable, Identifier

from audit.archive_lines import File, put_in
from audit.log_tables import SCHEMA, before_name
from audit.parquet import GROUP, Unseekable, taken
from audit.raw_text import RawText
from dbadmin.operations import Refused
from dbadmin.stores import Shelf

FORM = "dbadmin-audit-archive-parquet-1"
COLUMNS = """
select a.attname as name, a.atttypid::regtype::text as type from pg_catalog.pg_attribute a
where a.attrelid = to_regclass(%s) and a.attnum > 0 and not a.attisdropped order by a.attnum
"""
#: Types whose every value Parquet holds exactly; all others are texts that PostgreSQL reads back to the same value.
EXACT = {
    "smallint": "int16", "integer": "int32", "bigint": "int64", "boolean": "bool_", "double precision": "float64",
    "xid8": "uint64",
}  # fmt: skip


@dataclass(frozen=True)
class Column:
    """A column of a table of the log: its name there, its name in the file, its types there and in the file."""

    kept_name: str
    name: str
    kind: str

    def asked(self) -> Composable:
        """How it is read: a moment as whole microseconds, a number as such, all else as text."""
        field = Identifier(self.kept_name)
        if self.kind == "moment":
            return SQL("(extract(epoch from {}) * 1000000)::bigint").format(field)
        if self.kind == "uint64":
            return SQL("{}::text::bigint").format(field)
        return field if self.kind else SQL("{}::text").format(field)

    def type(self, arrow: Any) -> Any:
        """Its type in the file."""
        if self.kind == "moment":
            return arrow.timestamp("us", tz="UTC")
        return getattr(arrow, self.kind or "string")()


def columns_of(connection: psycopg.Connection[Any], leaf: str, registry: dict[str, Any]) -> list[Column]:
    """The columns of one partition. Those of the watched table have its names, apart from the log's own."""
    shapes = {str(shape["id"]): shape["columns"] for shape in registry["shapes"] or []}
    names: dict[str, str] = {}
    if leaf.startswith(("rows_", "pairs_")):
        for column in shapes.get(leaf[:-8].partition("_")[2], []):
            names[f"c{column['attnum']}"] = column["name"]
            names[before_name(f"c{column['attnum']}")] = f"{column['name']} before"
    name = Identifier(SCHEMA, leaf).as_string(None)
    found = connection.execute(COLUMNS, [name]).fetchall()
    taken = [names.get(kept, kept) for kept, _ in found]
    return [
        Column(
            kept,
            f"{names[kept]} ({kept})" if names.get(kept) in taken[:place] else names.get(kept, kept),
            "moment" if kept == "at" else EXACT.get(type_name, ""),
        )
        for place, (kept, type_name) in enumerate(found)
    ]


def write(
    connection: psycopg.Connection[Any], shelf: Shelf, key: str, month: str, registry: dict[str, Any],
    leaves: list[str], tell: Callable[[int], None],
) -> list[File]:  # fmt: skip
    """A file for each partition, below the key."""
    made: list[File] = []
    for leaf in sorted(leaves):
        columns = columns_of(connection, leaf, registry)
        digest, count, before = sha256(), 0, sum(file.lines for file in made)
        upload = shelf.upload(f"{key}/{leaf[:-8]}.parquet")
        try:
            for piece, count in pieces(connection, leaf, columns, {"month": month, **registry}):
                digest.update(piece)
                upload.write(piece)
                tell(before + count)
            size = upload.complete().size_bytes
        except BaseException:
            upload.abort()
            raise
        names = [column.kept_name for column in columns]
        made.append(File(upload.key, digest.hexdigest(), size, count, leaf[:-8], names))
    return made


NOT_UTF8 = (
    "{} holds text that is no UTF-8, which Parquet cannot keep. Nothing was dropped: choose JSON lines for this"
    " database."
)


def pieces(
    connection: psycopg.Connection[Any], leaf: str, columns: list[Column], registry: dict[str, Any]
) -> Iterator[tuple[bytes, int]]:
    """The file of one partition, a row group after the other, with the rows so far."""
    arrow, parquet = import_module("pyarrow"), import_module("pyarrow.parquet")
    number = "id" if leaf.startswith("statement") else "statement_id"
    query = SQL("select {} from {} order by {}").format(
        SQL(", ").join([column.asked() for column in columns]), Identifier(SCHEMA, leaf), Identifier(number)
    )
    fields = [arrow.field(column.name, column.type(arrow)) for column in columns]
    schema = arrow.schema(fields, metadata={"dbadmin.registry": json.dumps(registry)})
    sink, count = io.BytesIO(), 0
    with (
        connection.cursor(name="dbadmin_archive") as cursor,
        parquet.ParquetWriter(Unseekable(sink), schema, compression="zstd") as writer,
    ):
        cursor.itersize = GROUP
        cursor.execute(query)
        while rows := cursor.fetchmany(GROUP):
            if any(isinstance(value, RawText) for row in rows for value in row):
                raise Refused(NOT_UTF8.format(leaf))
            arrays = [
                arrow.array(values, type=field.type)
                for values, field in zip(zip(*rows, strict=True), fields, strict=True)
            ]
            writer.write_table(arrow.Table.from_arrays(arrays, schema=schema))
            count += len(rows)
            yield taken(sink), count
    yield taken(sink), count


def read_digest(shelf: Shelf, key: str) -> str:
    """The digest of what is in the store."""
    digest = sha256()
    for block in shelf.read(key):
        digest.update(block)
    return digest.hexdigest()


def load(
    connection: psycopg.Connection[Any], shelf: Shelf, files: list[File], month: str,
    tell: Callable[[int], None],
) -> int:  # fmt: skip
    """Put an archived month back into its partitions, in the caller's transaction; returns the number of rows."""
    parquet = import_module("pyarrow.parquet")
    count = 0
    for file in files:
        with TemporaryFile() as here:
            found = sha256()
            for block in shelf.read(file.key):
                found.update(block)
                here.write(block)
            if found.hexdigest() != file.sha256:
                raise Refused(f"{file.key} was altered: its digest does not fit. Nothing was loaded.")
            for group in parquet.ParquetFile(here).iter_batches(GROUP):
                columns = [column.to_pylist() for column in group.columns]
                put_in(connection, file.table, file.columns, month, list(zip(*columns, strict=True)))
                count += group.num_rows
                tell(count)
    return count
