-- title:    Tables
-- about:    How big each table is, how many rows it holds, and how it is read and written.
-- empty:    There is no table in this database.
-- scope:    database
-- every:    5m
-- key:      schema, table
-- timeout:  10s
-- column total_bytes:         heap, indexes and TOAST together, as of the last vacuum or analyze (relpages)
-- column toast_bytes:         long values kept outside the rows, with the index of that store
-- column partitions_count:    partitions counted in this row; empty when the table has none
-- column dead_rows:           empty on a standby, which does not count changes
-- column live_rows:           empty when the statistics were lost and nobody has analyzed the table since
-- column last_vacuum_at:      by hand or by autovacuum; of a partitioned table the oldest of its partitions, empty if one never was
-- column last_analyze_at:     by hand or by autovacuum; of a partitioned table the oldest of its partitions, empty if one never was
-- column hot_updated_rows_total: updated in place, without touching an index
with index_pages as (
    select entry.indrelid as owner, sum(index.relpages) as pages, sum(pg_catalog.pg_stat_get_numscans(index.oid)) as scans
    from pg_catalog.pg_index entry
    join pg_catalog.pg_class index on index.oid = entry.indexrelid
    where entry.indrelid >= 16384
    group by entry.indrelid
), leaf as (
    select
        case when relation.relispartition
            then coalesce(pg_catalog.pg_partition_root(relation.oid), relation.oid) else relation.oid end as root,
        relation.relkind,
        relation.relispartition,
        greatest(relation.relpages, 0)::int8                                              as heap_pages,
        coalesce(index_pages.pages, 0)                                                    as index_pages,
        coalesce(toast.relpages, 0) + coalesce(toast_index.pages, 0)                      as toast_pages,
        nullif(relation.reltuples, -1)                                                    as estimated,
        pg_catalog.pg_stat_get_live_tuples(relation.oid)                                  as live,
        pg_catalog.pg_stat_get_dead_tuples(relation.oid)                                  as dead,
        pg_catalog.pg_stat_get_numscans(relation.oid)                                     as sequential_scans,
        index_pages.scans                                                                 as index_scans,
        pg_catalog.pg_stat_get_tuples_returned(relation.oid)                              as sequential_rows,
        pg_catalog.pg_stat_get_tuples_inserted(relation.oid)                              as inserted,
        pg_catalog.pg_stat_get_tuples_updated(relation.oid)                               as updated,
        pg_catalog.pg_stat_get_tuples_hot_updated(relation.oid)                           as hot_updated,
        pg_catalog.pg_stat_get_tuples_deleted(relation.oid)                               as deleted,
        greatest(pg_catalog.pg_stat_get_last_vacuum_time(relation.oid),
            pg_catalog.pg_stat_get_last_autovacuum_time(relation.oid))                    as vacuumed_at,
        greatest(pg_catalog.pg_stat_get_last_analyze_time(relation.oid),
            pg_catalog.pg_stat_get_last_autoanalyze_time(relation.oid))                   as analyzed_at
    from pg_catalog.pg_class relation
    left join index_pages on index_pages.owner = relation.oid
    left join pg_catalog.pg_class toast on toast.oid = relation.reltoastrelid and relation.reltoastrelid <> 0
    left join index_pages toast_index on toast_index.owner = relation.reltoastrelid
    where relation.relkind in ('r', 'p', 'm')
        and relation.relpersistence <> 't'
        and relation.oid >= 16384
), judged as (
    -- Counters at zero may be an empty table or lost statistics: some trace of counting must be there.
    select *, live > 0 or dead > 0 or inserted > 0 or analyzed_at is not null or vacuumed_at is not null
        or estimated = 0 as counted
    from leaf
), folded as (
    select
        root,
        count(*) filter (where relkind <> 'p' and relispartition)          as partitions,
        sum(heap_pages)                                                    as heap_pages,
        sum(index_pages)                                                   as index_pages,
        sum(toast_pages)                                                   as toast_pages,
        case when not bool_or(relkind <> 'p' and not counted and estimated is null)
            then sum(case when counted then live else estimated end) filter (where relkind <> 'p') end as live,
        case when not bool_or(relkind <> 'p' and not counted) then sum(dead) end as dead,
        sum(sequential_scans) filter (where relkind <> 'p')                as sequential_scans,
        sum(index_scans)                                                   as index_scans,
        sum(sequential_rows)                                               as sequential_rows,
        sum(inserted)                                                      as inserted,
        sum(updated)                                                       as updated,
        sum(hot_updated)                                                   as hot_updated,
        sum(deleted)                                                       as deleted,
        case when not bool_or(vacuumed_at is null and relkind <> 'p') then min(vacuumed_at) end as vacuumed_at,
        case when not bool_or(analyzed_at is null and relkind <> 'p')
            then min(analyzed_at) filter (where relkind <> 'p') end        as analyzed_at
    from judged
    group by root
), here as (
    -- A standby counts what is read on it, but not the changes that it replays.
    select pg_catalog.current_setting('block_size')::int8 as block, not pg_catalog.pg_is_in_recovery() as counts
)
select
    space.nspname                                                                    as schema,
    relation.relname                                                                 as table,
    case relation.relkind when 'm' then 'materialized view' when 'p' then 'partitioned table' else 'table' end as kind,
    nullif(folded.partitions, 0)                                                     as partitions_count,
    ((folded.heap_pages + folded.index_pages + folded.toast_pages) * here.block)::int8 as total_bytes,
    (folded.heap_pages * here.block)::int8                                          as heap_bytes,
    (folded.index_pages * here.block)::int8                                         as index_bytes,
    (folded.toast_pages * here.block)::int8                                         as toast_bytes,
    folded.live::int8                                                                as live_rows,
    case when here.counts then folded.dead::int8 end                                 as dead_rows,
    case when here.counts then (folded.dead / nullif(folded.live + folded.dead, 0))::float8 end as dead_ratio,
    folded.sequential_scans::int8                                                    as sequential_scans_total,
    folded.index_scans::int8                                                         as index_scans_total,
    folded.sequential_rows::int8                                                     as sequential_rows_total,
    case when here.counts then folded.inserted::int8 end                             as inserted_rows_total,
    case when here.counts then folded.updated::int8 end                              as updated_rows_total,
    case when here.counts then folded.hot_updated::int8 end                          as hot_updated_rows_total,
    case when here.counts then folded.deleted::int8 end                              as deleted_rows_total,
    folded.vacuumed_at                                                               as last_vacuum_at,
    folded.analyzed_at                                                               as last_analyze_at
from folded
join pg_catalog.pg_class relation on relation.oid = folded.root
join pg_catalog.pg_namespace space on space.oid = relation.relnamespace
cross join here
where space.nspname not in ('pg_catalog', 'information_schema', 'pg_toast')
order by total_bytes desc, schema, "table"
