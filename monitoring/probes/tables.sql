-- title:    Tables
-- about:    How big each table is, how many rows it holds, and how it is read and written.
-- empty:    There is no table in this database.
-- scope:    database
-- every:    5m
-- key:      schema, table
-- series:   total_bytes, heap_bytes, index_bytes, toast_bytes, live_rows, dead_rows, sequential_scans_total, sequential_rows_total, index_rows_total, inserted_rows_total, updated_rows_total, hot_updated_rows_total, deleted_rows_total
-- timeout:  10s
-- column total_bytes:         heap, indexes and TOAST together, as of the last vacuum or analyze (relpages); empty before the first
-- column toast_bytes:         long values kept outside the rows, with the index of that store
-- column index_rows_total:    rows fetched through its indexes
-- column partitions_count:    partitions counted in this row; empty when the table has none
-- column dead_rows:           empty on a standby, which does not count changes
-- column live_rows:           empty when the statistics were lost and nobody has analyzed the table since
-- column last_vacuum_at:      by hand or by autovacuum; of a partitioned table the oldest of its partitions, empty if one never was
-- column last_analyze_at:     by hand or by autovacuum; of a partitioned table the oldest of its partitions, empty if one never was
-- column hot_updated_rows_total: updated in place, without touching an index
with here as (
    -- A standby counts what is read on it, but not the changes that it replays.
    select pg_catalog.current_setting('block_size')::int8 as block, not pg_catalog.pg_is_in_recovery() as counts
), part_pages as materialized (
    -- One pass over all indexes and TOAST stores. An empty store is one page, of its index.
    select coalesce(entry.indrelid, relation.oid) as owner, sum(relation.relpages) as pages
    from pg_catalog.pg_class relation
    left join pg_catalog.pg_index entry on entry.indexrelid = relation.oid
    where relation.relkind in ('i', 't') and relation.relpages > 0 and relation.oid >= 16384
    group by 1
), leaf as not materialized (
    select
        relation.oid, relation.relname, relation.relnamespace, relation.relkind, relation.relispartition,
        -- Rows in no page: there was no vacuum or analyze yet, so nobody knows the size.
        case when relation.relpages > 0 or pg_catalog.pg_stat_get_live_tuples(relation.oid) = 0
            then relation.relpages end                                                       as heap_pages,
        coalesce(index_pages.pages, 0)                                                       as index_pages,
        coalesce(toast_pages.pages, 0)                                                       as toast_pages,
        relation.reltuples                                                                   as estimated,
        pg_catalog.pg_stat_get_live_tuples(relation.oid)                                     as live,
        pg_catalog.pg_stat_get_dead_tuples(relation.oid)                                     as dead,
        pg_catalog.pg_stat_get_numscans(relation.oid)                                        as scans,
        pg_catalog.pg_stat_get_tuples_returned(relation.oid)                                 as scanned,
        pg_catalog.pg_stat_get_tuples_fetched(relation.oid)                                  as fetched,
        pg_catalog.pg_stat_get_tuples_inserted(relation.oid)                                 as inserted,
        pg_catalog.pg_stat_get_tuples_updated(relation.oid)                                  as updated,
        pg_catalog.pg_stat_get_tuples_hot_updated(relation.oid)                              as hot_updated,
        pg_catalog.pg_stat_get_tuples_deleted(relation.oid)                                  as deleted,
        greatest(pg_catalog.pg_stat_get_last_vacuum_time(relation.oid),
            pg_catalog.pg_stat_get_last_autovacuum_time(relation.oid))                       as vacuumed_at,
        greatest(pg_catalog.pg_stat_get_last_analyze_time(relation.oid),
            pg_catalog.pg_stat_get_last_autoanalyze_time(relation.oid))                      as analyzed_at,
        -- Counters at zero may be an empty table or lost statistics: some trace of counting must be there.
        relation.reltuples = 0
            or pg_catalog.pg_stat_get_live_tuples(relation.oid) > 0
            or pg_catalog.pg_stat_get_dead_tuples(relation.oid) > 0
            or pg_catalog.pg_stat_get_tuples_inserted(relation.oid) > 0
            or pg_catalog.pg_stat_get_vacuum_count(relation.oid) > 0
            or pg_catalog.pg_stat_get_autovacuum_count(relation.oid) > 0
            or pg_catalog.pg_stat_get_analyze_count(relation.oid) > 0
            or pg_catalog.pg_stat_get_autoanalyze_count(relation.oid) > 0                    as counted
    from pg_catalog.pg_class relation
    left join part_pages index_pages on index_pages.owner = relation.oid
    left join part_pages toast_pages on toast_pages.owner = relation.reltoastrelid
    where relation.relkind in ('r', 'm') and relation.relpersistence <> 't' and relation.oid >= 16384
), whole as (
    select relname, relnamespace, relkind, null::int8 as partitions,
        heap_pages::int8, case when heap_pages is not null then leaf.index_pages end::int8 as index_pages,
        case when heap_pages is not null then leaf.toast_pages end::int8 as toast_pages,
        case when counted then live when estimated >= 0 then estimated::int8 end as live,
        case when counted then dead end as dead,
        scans, scanned, fetched, inserted, updated, hot_updated, deleted, vacuumed_at, analyzed_at
    from leaf
    where not relispartition
    union all
    select root.relname, root.relnamespace, root.relkind, count(leaf.oid),
        case when count(leaf.oid) = count(heap_pages) then coalesce(sum(heap_pages), 0) end::int8,
        case when count(leaf.oid) = count(heap_pages) then coalesce(sum(leaf.index_pages), 0) end::int8,
        case when count(leaf.oid) = count(heap_pages) then coalesce(sum(toast_pages), 0) end::int8,
        case when bool_and(counted or estimated >= 0) then sum(case when counted then live else estimated end)::int8 end,
        case when bool_and(counted) then sum(dead)::int8 end,
        sum(scans)::int8, sum(scanned)::int8, sum(fetched)::int8, sum(inserted)::int8, sum(updated)::int8,
        sum(hot_updated)::int8, sum(deleted)::int8,
        case when bool_and(vacuumed_at is not null) then min(vacuumed_at) end,
        case when bool_and(analyzed_at is not null) then min(analyzed_at) end
    from pg_catalog.pg_partitioned_table divided
    join pg_catalog.pg_class root on root.oid = divided.partrelid
    left join leaf on leaf.relispartition and pg_catalog.pg_partition_root(leaf.oid) = root.oid
    where not root.relispartition and root.relpersistence <> 't'
    group by root.oid, root.relname, root.relnamespace, root.relkind
)
select
    space.nspname                                                               as schema,
    whole.relname                                                               as table,
    case whole.relkind when 'm' then 'materialized view' when 'p' then 'partitioned table' else 'table' end as kind,
    whole.partitions                                                            as partitions_count,
    (whole.heap_pages + whole.index_pages + whole.toast_pages) * here.block     as total_bytes,
    whole.heap_pages * here.block                                               as heap_bytes,
    whole.index_pages * here.block                                              as index_bytes,
    whole.toast_pages * here.block                                              as toast_bytes,
    whole.live                                                                  as live_rows,
    case when here.counts then whole.dead end                                   as dead_rows,
    case when here.counts then whole.dead::float8 / nullif(whole.live + whole.dead, 0) end as dead_ratio,
    whole.scans                                                                 as sequential_scans_total,
    whole.scanned                                                               as sequential_rows_total,
    whole.fetched                                                               as index_rows_total,
    case when here.counts then whole.inserted end                               as inserted_rows_total,
    case when here.counts then whole.updated end                                as updated_rows_total,
    case when here.counts then whole.hot_updated end                            as hot_updated_rows_total,
    case when here.counts then whole.deleted end                                as deleted_rows_total,
    whole.vacuumed_at                                                           as last_vacuum_at,
    whole.analyzed_at                                                           as last_analyze_at
from whole
join pg_catalog.pg_namespace space on space.oid = whole.relnamespace
cross join here
where space.nspname not in ('pg_catalog', 'information_schema', 'pg_toast')
order by total_bytes desc nulls last
