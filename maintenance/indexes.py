"""What the catalog says of indexes, and the removal of those that a failed build left invalid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from psycopg import sql

from dbadmin.steps import Sql
from dbadmin.units import unit_of
from maintenance.effects import Slow

if TYPE_CHECKING:
    from dbadmin.models import Server
    from dbadmin.work import Work

INDEX = (
    "select index.indexrelid as oid, namespace.nspname as schema, relation.relname as index,"
    " owner_namespace.nspname as table_schema, owner.relname as table, index.indisvalid as is_valid,"
    " index.indisready as is_ready, index.indisunique as is_unique, index.indisexclusion as is_exclusion,"
    " index.indisreplident as is_identity, relation.relkind as kind, relation.relispartition as is_partition,"
    " pg_catalog.pg_get_indexdef(index.indexrelid) as definition,"
    " pg_catalog.pg_relation_size(index.indexrelid) as size_bytes,"
    " (select conname from pg_catalog.pg_constraint where conindid = index.indexrelid"
    " and contype in ('p', 'u', 'x') limit 1) as constraint_name,"
    " exists (select from pg_catalog.pg_constraint where conindid = index.indexrelid and contype = 'f')"
    " as is_referenced"
    " from pg_catalog.pg_index index"
    " join pg_catalog.pg_class relation on relation.oid = index.indexrelid"
    " join pg_catalog.pg_namespace namespace on namespace.oid = relation.relnamespace"
    " join pg_catalog.pg_class owner on owner.oid = index.indrelid"
    " join pg_catalog.pg_namespace owner_namespace on owner_namespace.oid = owner.relnamespace"
)


def find_index(server: Server, schema: str, name: str, database: str | None) -> Any:
    """The index's row, or None."""
    where = " where namespace.nspname = %s and relation.relname = %s"
    return server.row(INDEX + where, [schema, name], database)


def indexes_of(server: Server, table_oid: int, database: str | None) -> list[Any]:
    """All indexes of a table."""
    return server.rows(INDEX + " where index.indrelid = %s order by relation.relname", [table_oid], database)


def concurrently(definition: str) -> str:
    """An index's definition as a statement that makes nobody wait."""
    return definition.replace("INDEX ", "INDEX CONCURRENTLY ", 1)


def remove_if_invalid(
    work: Work, schema: str, name: str, database: str | None, also_valid: bool = False
) -> bool:
    """Drop an index that a build left invalid; a valid one stays. Waits for old transactions if it must."""
    row = find_index(work.server, schema, name, database)
    if row is None:
        return False
    if row.is_valid and not also_valid:
        work.log(f"The index {schema}.{name} is complete and stays.")
        return False
    with work.connect(database) as connection:
        connection.execute(
            sql.SQL("DROP INDEX CONCURRENTLY IF EXISTS {}").format(sql.Identifier(schema, name))
        )
    work.log(f"Dropped the {'unattached' if row.is_valid else 'invalid'} index {schema}.{name}.")
    return True


@dataclass(frozen=True)
class BuildIndex(Slow):
    """CREATE INDEX CONCURRENTLY, whose leftover is known before it can exist."""

    schema: str = ""
    index: str = ""

    def run(self, work: Work) -> None:
        """Remember the name, then build."""
        work.remember(index={"schema": self.schema, "index": self.index, "database": self.database or None})
        super().run(work)
        work.say(f"Created the index {self.schema}.{self.index}.")


@dataclass(frozen=True)
class RemoveIndex(Sql):
    """DROP INDEX CONCURRENTLY, which leaves an invalid index when it is stopped."""

    schema: str = ""
    index: str = ""
    size_bytes: int = 0
    was_valid: bool = True

    def run(self, work: Work) -> None:
        """Remember, then drop."""
        where = {"schema": self.schema, "index": self.index, "database": self.database or None}
        work.remember(index={**where, "was_valid": self.was_valid})
        super().run(work)
        work.result(freed_bytes=self.size_bytes)
        freed = unit_of("freed_bytes").text(self.size_bytes)
        work.say(f"Dropped the index {self.schema}.{self.index}, which freed {freed}.")


@dataclass(frozen=True)
class RebuildIndex(Slow):
    """REINDEX CONCURRENTLY, whose leftovers are those invalid indexes that were not there before."""

    table_oid: int = 0
    known: tuple[str, ...] = ()

    def run(self, work: Work) -> None:
        """Remember what was there, then build anew."""
        work.remember(
            reindex={"table": self.table_oid, "known": list(self.known), "database": self.database or None}
        )
        super().run(work)


def remove_leftovers(work: Work) -> None:
    """After a stopped REINDEX: the half-built twins go, name_ccnew and name_ccold."""
    began = work.facts.get("reindex")
    if not began:
        return
    for row in indexes_of(work.server, began["table"], began["database"]):
        is_twin = "_ccnew" in row.index or "_ccold" in row.index
        if is_twin and not row.is_valid and row.index not in began["known"]:
            remove_if_invalid(work, row.schema, row.index, began["database"])
