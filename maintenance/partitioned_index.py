"""An index of a partitioned table without anybody waiting: an empty frame, an index per partition, then attached."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from psycopg import sql

from dbadmin.operations import Refused
from dbadmin.steps import Sql, Step
from maintenance.indexes import BuildIndex, find_index, remove_if_invalid
from maintenance.relations import ATTEMPTS, SHORT_LOCK

if TYPE_CHECKING:
    from collections.abc import Callable

    from dbadmin.models import Server
    from dbadmin.work import Work

PARTITIONS = (
    "select namespace.nspname as schema, child.relname as table, child.relkind as kind"
    " from pg_catalog.pg_inherits inherits"
    " join pg_catalog.pg_class child on child.oid = inherits.inhrelid"
    " join pg_catalog.pg_namespace namespace on namespace.oid = child.relnamespace"
    " where inherits.inhparent = %s order by child.relname"
)


@dataclass(frozen=True)
class Frame(Sql):
    """The parent's index, which holds nothing and is invalid until every partition's index is attached."""

    schema: str = ""
    index: str = ""

    def run(self, work: Work) -> None:
        """Remember the name, then make it."""
        frame = {"schema": self.schema, "index": self.index, "database": self.database or None}
        work.remember(frame=frame, parts=[])
        super().run(work)


@dataclass(frozen=True)
class Part(BuildIndex):
    """One partition's index."""

    def run(self, work: Work) -> None:
        """Remember it beside the others, then build."""
        part = {"schema": self.schema, "index": self.index}
        work.remember(parts=[*work.facts.get("parts", []), part])
        super().run(work)


@dataclass(frozen=True)
class Attach(Sql):
    """The last step of each partition, of an index (with the last one's the frame becomes valid) or of a table."""

    says_at_end: str = ""

    def run(self, work: Work) -> None:
        """Attach, and say what there is now."""
        super().run(work)
        work.say(self.says_at_end)


@dataclass(frozen=True)
class Place:
    """Where a partitioned table is, and the name of its new index."""

    server: Server
    table_oid: int
    database: str | None
    schema: str
    index: str


def partitioned_steps(
    place: Place,
    parent: sql.Identifier,
    statement: Callable[[sql.Composable, sql.Composable, bool], sql.Composed],
    free_name: Callable[[str, str], str],
) -> list[Step]:
    """Frame, one build per partition, one attachment each; statement(name, table, is_frame) makes CREATE INDEX."""
    partitions = place.server.rows(PARTITIONS, [place.table_oid], place.database)
    odd = [row.table for row in partitions if row.kind != "r"]
    if odd:
        raise Refused(
            f"The partition {odd[0]} is not a plain table: create the index on its parts first.", "table"
        )
    short: dict[str, Any] = {"database": place.database or "", "settings": SHORT_LOCK, "attempts": ATTEMPTS}
    whole = sql.Identifier(place.schema, place.index)
    frame = Frame(
        statement(sql.Identifier(place.index), parent, True),
        reverse=sql.SQL("DROP INDEX {}").format(whole).as_string(None),
        schema=place.schema,
        index=place.index,
        **short,
    )
    goes_along = f"-- goes with {place.schema}.{place.index}"
    parts, attachments = [], []
    for row in partitions:
        name = free_name(row.schema, row.table)
        parts.append(
            Part(
                statement(sql.Identifier(name), sql.Identifier(row.schema, row.table), False),
                database=place.database or "",
                reverse=goes_along,
                shows="create_index",
                schema=row.schema,
                index=name,
            )
        )
        attach = sql.SQL("ALTER INDEX {} ATTACH PARTITION {}").format(whole, sql.Identifier(row.schema, name))
        done = f"Created the index {place.schema}.{place.index} on {len(partitions)} partitions."
        attachments.append(Attach(attach, reverse=goes_along, says_at_end=done, **short))
    return [frame, *parts, *attachments]


def remove_partitioned(work: Work) -> None:
    """After a build that did not end well: the frame with what is attached, then the partitions' own indexes."""
    frame = work.facts.get("frame")
    if not frame:
        return
    database = frame["database"]
    found = find_index(work.server, frame["schema"], frame["index"], database)
    if found is not None and found.is_valid:
        work.log(f"The index {frame['schema']}.{frame['index']} is complete and stays.")
        return
    if found is not None:
        name = sql.Identifier(frame["schema"], frame["index"])
        drop = sql.SQL("DROP INDEX {}").format(name)
        Sql(drop, database=database or "", settings=SHORT_LOCK, attempts=ATTEMPTS).run(work)
    for part in work.facts.get("parts", []):
        remove_if_invalid(work, part["schema"], part["index"], database, also_valid=True)
