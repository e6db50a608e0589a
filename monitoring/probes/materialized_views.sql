-- title:    Materialized views
-- about:    How big each view is, when it was refreshed, and how much changed underneath.
-- empty:    There is no materialized view in this database.
-- scope:    database
-- every:    2m
-- key:      schema, view
-- warning:  stale_seconds > 14400
-- actions:  refresh_view(schema, view)
-- column total_bytes:          rows, indexes and TOAST together, as of the last vacuum or analyze (relpages); empty before the first
-- column refreshed_at:         commit time of the last refresh (or of a GRANT, ALTER or VACUUM FULL of the view); empty unless track_commit_timestamp was on, and on standbys
-- column stale_seconds:        time since refreshed_at
-- column refresh_mark:         changes with each refresh, also a concurrent one that found nothing new
-- column base_changes_total:   rows inserted, updated and deleted in the tables underneath; its growth since the refresh is what the view does not show; empty on standbys
-- column written_rows_total:   rows that refreshes wrote: all of them, or with CONCURRENTLY only the changed ones
-- column refreshable_beside_readers: has the unique index that REFRESH ... CONCURRENTLY needs
with recursive view as materialized (
    select relation.*, relation.xmin as mark
    from pg_catalog.pg_class relation
    where relation.relkind = 'm' and relation.oid >= 16384
), base as (
    select view.oid as view, dependency.refobjid as oid
    from view
    join pg_catalog.pg_rewrite rule on rule.ev_class = view.oid
    join pg_catalog.pg_depend dependency
        on dependency.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass and dependency.objid = rule.oid
        and dependency.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass and dependency.refobjid <> view.oid
    union
    -- Through plain views to what lies under them, and through partitioned tables to their partitions.
    select base.view, below.oid
    from base
    join pg_catalog.pg_class part on part.oid = base.oid
    cross join lateral (
        select dependency.refobjid as oid
        from pg_catalog.pg_rewrite rule
        join pg_catalog.pg_depend dependency
            on dependency.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass and dependency.objid = rule.oid
            and dependency.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
            and dependency.refobjid <> rule.ev_class
        where part.relkind = 'v' and rule.ev_class = part.oid
        union all
        select child.inhrelid
        from pg_catalog.pg_inherits child
        where part.relkind = 'p' and child.inhparent = part.oid
    ) below
), change as (
    select
        base.view,
        count(*) filter (where part.relkind in ('r', 'm'))  as tables,
        sum(pg_catalog.pg_stat_get_tuples_inserted(part.oid) + pg_catalog.pg_stat_get_tuples_updated(part.oid)
            + pg_catalog.pg_stat_get_tuples_deleted(part.oid)) filter (where part.relkind in ('r', 'm')) as changes
    from base
    cross join lateral (
        -- One by one through the index: their number cannot be guessed, and reading all of pg_class costs more.
        select relation.oid, relation.relkind from pg_catalog.pg_class relation where relation.oid = base.oid offset 0
    ) part
    group by base.view
), moment as (
    select
        view.oid,
        case when view.relispopulated and pg_catalog.current_setting('track_commit_timestamp')::bool
                and not pg_catalog.pg_is_in_recovery()
            then pg_catalog.pg_xact_commit_timestamp(view.mark) end as refreshed_at
    from view
), index_pages as (
    select
        detail.indrelid,
        sum(index.relpages) as pages,
        sum(pg_catalog.pg_stat_get_numscans(index.oid)) as scans,
        bool_or(detail.indisunique and detail.indisvalid and detail.indimmediate
            and detail.indpred is null and detail.indexprs is null) as is_unique
    from view
    join pg_catalog.pg_index detail on detail.indrelid = view.oid
    join pg_catalog.pg_class index on index.oid = detail.indexrelid
    group by detail.indrelid
), toast as (
    select view.oid, store.relpages + coalesce(sum(index.relpages), 0) as pages
    from view
    join pg_catalog.pg_class store on store.oid = view.reltoastrelid
    left join pg_catalog.pg_index detail on detail.indrelid = store.oid
    left join pg_catalog.pg_class index on index.oid = detail.indexrelid
    group by view.oid, store.oid, store.relpages
)
select
    space.nspname                                                                as schema,
    view.relname                                                                 as view,
    view.relispopulated                                                          as is_populated,
    moment.refreshed_at,
    extract(epoch from pg_catalog.clock_timestamp() - moment.refreshed_at)::float8 as stale_seconds,
    view.mark::text || ':' || view.relfilenode::text                             as refresh_mark,
    case when not pg_catalog.pg_is_in_recovery() then change.changes::int8 end   as base_changes_total,
    case when not pg_catalog.pg_is_in_recovery()
        then pg_catalog.pg_stat_get_tuples_inserted(view.oid) end                as written_rows_total,
    coalesce(change.tables, 0)                                                   as base_tables_count,
    nullif(view.reltuples, -1)::int8                                             as live_rows,
    case when sized.is_known then ((greatest(view.relpages, 0) + coalesce(toast.pages, 0) + coalesce(index_pages.pages, 0))
        * pg_catalog.current_setting('block_size')::int8)::int8 end              as total_bytes,
    case when sized.is_known then (coalesce(index_pages.pages, 0)
        * pg_catalog.current_setting('block_size')::int8)::int8 end              as index_bytes,
    coalesce(index_pages.is_unique, false)                                       as refreshable_beside_readers,
    (pg_catalog.pg_stat_get_numscans(view.oid) + coalesce(index_pages.scans, 0))::int8 as scans_total
from view
join moment on moment.oid = view.oid
join pg_catalog.pg_namespace space on space.oid = view.relnamespace
left join toast on toast.oid = view.oid
left join index_pages on index_pages.indrelid = view.oid
left join change on change.view = view.oid
-- Rows in no page: there was no vacuum or analyze since, so nobody knows the size.
cross join lateral (
    select view.relpages > 0 or pg_catalog.pg_stat_get_live_tuples(view.oid) = 0 as is_known
) sized
where space.nspname not in ('pg_catalog', 'information_schema')
order by view.relispopulated, stale_seconds desc nulls last, total_bytes desc nulls last, schema, "view"
