"""
title:    Unused indexes
about:    Indexes above 1 MiB that no query on the server or its replicas has used since the statistics began.
empty:    Every index above 1 MiB is used, or enforces something.
scope:    database
every:    15m
series:   rows, sum(size_bytes)
actions:  drop_index(schema, index)
column index:            of a partitioned table the parent's index, unused on all partitions together
column verdict:          below a week of statistics, or while a server of the group is not read, nothing is certain
column observed_seconds: since counters began, where they began last; empty when they do not tell
column writes_total:     changes of the table that went into this index too; empty for a partitioned table
column partitions_count: indexes of partitions counted in this row
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from django.db.models import Q

from dbadmin import readings
from dbadmin.connections import Session
from dbadmin.models import Server

COLUMNS = (
    "schema", "table", "index", "size_bytes", "verdict", "observed_seconds", "writes_total", "columns",
    "partitions_count",
)  # fmt: skip
LONG_ENOUGH = 7 * 86400.0
QUERY = """
/* dbadmin probe unused_indexes */
with candidate as (
    select
        relation.oid,
        case when relation.relispartition
            then coalesce(pg_catalog.pg_partition_root(relation.oid), relation.oid) else relation.oid end as root,
        relation.relispartition,
        relation.relpages
    from pg_catalog.pg_class relation
    where relation.relkind in ('i', 'I') and relation.relpersistence <> 't' and relation.oid >= 16384
        and (relation.relispartition or relation.relkind = 'I'
            or relation.relpages >= 1048576 / pg_catalog.current_setting('block_size')::int8)
), folded as (
    select
        root,
        count(*) filter (where relispartition)            as partitions,
        sum(relpages)                                     as pages,
        sum(pg_catalog.pg_stat_get_numscans(oid))         as scans
    from candidate
    group by root
), observed as (
    select greatest(
        (select stats_reset from pg_catalog.pg_stat_database where datname = current_database()),
        (select stats_reset from pg_catalog.pg_stat_bgwriter)) as since
), standby as (
    -- What only copies WAL or follows one database runs no queries on these indexes.
    select count(*) as number
    from pg_catalog.pg_stat_replication sender
    where sender.application_name !~ '^(pg_receivewal|pg_basebackup|dbadmin)'
        and not exists (select from pg_catalog.pg_replication_slots slot
                        where slot.active_pid = sender.pid and slot.slot_type = 'logical')
)
select
    space.nspname                                                           as schema,
    parent.relname                                                          as table,
    relation.relname                                                        as index,
    (folded.pages * pg_catalog.current_setting('block_size')::int8)::int8   as size_bytes,
    case
        when not detail.indisvalid then 'broken: rebuild or drop it'
    end                                                                     as verdict,
    extract(epoch from now() - observed.since)::float8                      as observed_seconds,
    case when parent.relkind <> 'p'
        then pg_catalog.pg_stat_get_tuples_inserted(parent.oid) + pg_catalog.pg_stat_get_tuples_updated(parent.oid)
            - pg_catalog.pg_stat_get_tuples_hot_updated(parent.oid) end     as writes_total,
    (select string_agg(part.attname, ', ' order by part.attnum)
     from pg_catalog.pg_attribute part where part.attrelid = relation.oid)  as columns,
    nullif(folded.partitions, 0)                                            as partitions_count,
    standby.number                                                          as standbys
from folded
join pg_catalog.pg_class relation on relation.oid = folded.root
join pg_catalog.pg_namespace space on space.oid = relation.relnamespace
join pg_catalog.pg_index detail on detail.indexrelid = relation.oid
join pg_catalog.pg_class parent on parent.oid = detail.indrelid
cross join observed
cross join standby
where folded.scans = 0
    and folded.pages >= 1048576 / pg_catalog.current_setting('block_size')::int8
    and space.nspname not in ('pg_catalog', 'information_schema', 'pg_toast')
    and not detail.indisunique and not detail.indisexclusion and not detail.indisreplident
    and not exists (select from pg_catalog.pg_constraint where conindid = relation.oid)
    and not exists (
        select from pg_catalog.pg_constraint reference
        where reference.contype = 'f' and reference.conrelid = parent.oid and detail.indpred is null
            and reference.conkey <@ detail.indkey::int2[]
            and (select count(*) from unnest(detail.indkey::int2[]) with ordinality part (number, place)
                 where part.place <= cardinality(reference.conkey) and part.number = any (reference.conkey))
                = cardinality(reference.conkey))
order by 4 desc, 1, 3
"""


def rows(session: Session) -> Iterable[tuple[Any, ...]]:
    """One row for each index that no server of the group is known to use."""
    server = session.server
    kin = kin_of(server) if server else []
    known = readings.latest_of(kin, ["indexes", "unused_indexes"]) if kin else {}
    others = [Other(each, session.database, known) for each in kin]
    for row in session.rows(QUERY):
        key = (row.schema, row.index)
        if not any(other.uses(key) for other in others):
            yield (*row[:4], *judged(session, row, others, key), *row[6:9])


def kin_of(server: Server) -> list[Server]:
    """The other servers that share its data: its primary and all replicas."""
    head = server.primary_id or server.pk
    return list(Server.objects.filter(Q(pk=head) | Q(primary=head), enabled=True).exclude(pk=server.pk))


class Other:
    """What another server of the group last told of the indexes of a database."""

    def __init__(self, server: Server, database: str, known: dict[Any, Any]) -> None:
        self.server = server
        scans, unused = (known.get((server.pk, database, name)) for name in ("indexes", "unused_indexes"))
        self.is_known = bool(scans and unused and not (scans.is_stale or unused.is_stale))
        self.scans = {(row.schema, row.index): row.scans_total for row in scans.rows} if scans else {}
        self.unused = {(row.schema, row.index): row.observed_seconds for row in unused.rows} if unused else {}

    def uses(self, key: tuple[str, str]) -> bool:
        """Has a query there ever read this index?"""
        return bool(self.scans.get(key))

    def tells(self, key: tuple[str, str]) -> bool:
        """Does it say now that no query there reads this index?"""
        return self.is_known and key in self.unused


def judged(
    session: Session, row: Any, others: Sequence[Other], key: tuple[str, str]
) -> tuple[str, float | None]:
    """The verdict, and for how long all who tell have counted."""
    telling = [other for other in others if other.tells(key)]
    spans = [row.observed_seconds, *(other.unused[key] for other in telling)]
    observed = None if None in spans else min(spans)
    silent = [other.server.name for other in others if other not in telling]
    if row.verdict:
        return row.verdict, observed
    if observed is None or observed < LONG_ENOUGH:
        return "too early to tell", observed
    if silent:
        return f"unused here, not known of {', '.join(silent)}", observed
    if session.in_recovery and not others:
        return "unused here, ask the primary", observed
    if row.standbys > sum(other.server.primary_id is not None for other in others):
        return "unused here, ask the standbys", observed
    return "can be dropped", observed
