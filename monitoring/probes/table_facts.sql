-- title:    Facts
-- about:    What its server says of it now. Sizes are as of the last vacuum or analyze (relpages), empty before the first; a partitioned table counts all its partitions.
-- empty:    This database has no table or view of this name. If there was one, what is kept of its past stands below.
-- scope:    database
-- params:   schema, table
-- actions:  vacuum_table(schema, table=stored), analyze_table(schema, table=stored), create_index(schema, table=stored), refresh_view(schema, view), watch_table(schema, table=written)
-- column rows_from:       where their number comes from
-- column toast_bytes:     long values, kept outside the rows
-- column hot_ratio:       of the updates since the statistics began: they touched no index
-- column xid_age_count:   transactions since its oldest row that is not frozen
-- column stored:          its name when its rows are kept here: it can be vacuumed, analyzed and indexed
-- column view:            its name when it is a materialized view
-- column written:         its name when its changes can be recorded, and are not yet
with recursive chosen as (
    select relation.*, space.nspname
    from pg_catalog.pg_class relation
    join pg_catalog.pg_namespace space on space.oid = relation.relnamespace
    where space.nspname = %(schema)s::text and relation.relname = %(table)s::text
        and relation.relkind in ('r', 'p', 'm', 'v', 'f')
), tree as (
    select oid, relkind, relpages, reltuples, reltoastrelid, relfrozenxid from chosen
    union all
    select part.oid, part.relkind, part.relpages, part.reltuples, part.reltoastrelid, part.relfrozenxid
    from tree
    join pg_catalog.pg_inherits link on link.inhparent = tree.oid
    join pg_catalog.pg_class part on part.oid = link.inhrelid
    where part.relispartition
), leaf as (
    select
        tree.*,
        relation.relpages::int8                                                 as toast_pages,
        coalesce((select sum(index.relpages) from pg_catalog.pg_index entry
            join pg_catalog.pg_class index on index.oid = entry.indexrelid
            where entry.indrelid = tree.reltoastrelid), 0)                      as toast_index_pages,
        coalesce((select sum(index.relpages) from pg_catalog.pg_index entry
            join pg_catalog.pg_class index on index.oid = entry.indexrelid
            where entry.indrelid = tree.oid), 0)                                as index_pages,
        (select sum(pg_catalog.pg_stat_get_numscans(entry.indexrelid)) from pg_catalog.pg_index entry
            where entry.indrelid = tree.oid)                                    as index_scans,
        -- Counters at zero may be an empty table or lost statistics: some trace of counting must be there.
        tree.relkind in ('r', 'm') and (tree.reltuples = 0
            or pg_catalog.pg_stat_get_live_tuples(tree.oid) > 0
            or pg_catalog.pg_stat_get_dead_tuples(tree.oid) > 0
            or pg_catalog.pg_stat_get_tuples_inserted(tree.oid) > 0
            or pg_catalog.pg_stat_get_vacuum_count(tree.oid) + pg_catalog.pg_stat_get_autovacuum_count(tree.oid) > 0
            or pg_catalog.pg_stat_get_analyze_count(tree.oid) + pg_catalog.pg_stat_get_autoanalyze_count(tree.oid) > 0
            ) and not pg_catalog.pg_is_in_recovery()                            as counted
    from tree
    left join pg_catalog.pg_class relation on relation.oid = tree.reltoastrelid and tree.reltoastrelid <> 0
    where tree.relkind <> 'p'
), whole as (
    select
        sum(greatest(relpages, 0)) filter (where relkind in ('r', 'm'))         as heap_pages,
        -- Rows in no page: there was no vacuum or analyze yet, so nobody knows the size.
        bool_and(relpages > 0 or pg_catalog.pg_stat_get_live_tuples(oid) = 0)   as sized,
        sum(index_pages) filter (where relkind in ('r', 'm'))                   as index_pages,
        sum(coalesce(toast_pages, 0) + toast_index_pages) filter (where relkind in ('r', 'm')) as toast_pages,
        case when bool_and(counted or reltuples >= 0)
            then sum(case when counted then pg_catalog.pg_stat_get_live_tuples(oid) else reltuples end) end as live,
        bool_and(counted)                                                       as counted,
        sum(pg_catalog.pg_stat_get_dead_tuples(oid))                            as dead,
        sum(pg_catalog.pg_stat_get_numscans(oid))                               as scans,
        sum(index_scans)                                                        as index_scans,
        sum(pg_catalog.pg_stat_get_tuples_updated(oid))                         as updated,
        sum(pg_catalog.pg_stat_get_tuples_hot_updated(oid))                     as hot_updated,
        max(case when relkind in ('r', 'm') then pg_catalog.age(relfrozenxid) end) as xid_age
    from leaf
)
select
    chosen.nspname                                                              as schema,
    chosen.relname                                                              as table,
    case chosen.relpersistence when 'u' then 'unlogged ' when 't' then 'temporary ' else '' end
        || case when chosen.relispartition then 'partition, a ' else '' end
        || case chosen.relkind when 'r' then 'table' when 'p' then 'partitioned table' when 'v' then 'view'
            when 'm' then 'materialized view' else 'foreign table' end          as kind,
    -- Before version 14 a foreign table that nobody analyzed holds 0 rows.
    case chosen.relkind when 'v' then null when 'f' then nullif(whole.live, 0)::int8 else whole.live::int8 end as live_rows,
    case when chosen.relkind = 'v' or whole.live is null then null
        when whole.counted then 'the statistics of the server'
        else 'an estimate of the last vacuum or analyze' end                     as rows_from,
    case when whole.counted then whole.dead::int8 end                           as dead_rows,
    case when whole.sized then ((whole.heap_pages + whole.index_pages + whole.toast_pages) * here.block)::int8 end as total_bytes,
    case when whole.sized then (whole.heap_pages * here.block)::int8 end        as heap_bytes,
    case when whole.sized then (whole.index_pages * here.block)::int8 end       as index_bytes,
    case when whole.sized then (whole.toast_pages * here.block)::int8 end       as toast_bytes,
    case when chosen.relkind in ('r', 'p', 'm') then whole.scans::int8 end      as sequential_scans_total,
    case when chosen.relkind in ('r', 'p', 'm') then whole.index_scans::int8 end as index_scans_total,
    case when not pg_catalog.pg_is_in_recovery()
        then (whole.hot_updated / nullif(whole.updated, 0))::float8 end         as hot_ratio,
    whole.xid_age::int8                                                         as xid_age_count,
    pg_catalog.pg_get_userbyid(chosen.relowner)                                 as owner,
    case when chosen.relkind in ('r', 'm', 'p') then coalesce(place.spcname, 'the default of the database') end as tablespace,
    case when chosen.relkind in ('r', 'p') then case
        when chosen.relrowsecurity and chosen.relforcerowsecurity then 'on for the owner too'
        when chosen.relrowsecurity then 'on' else 'off' end end                 as row_security,
    case when chosen.relkind in ('r', 'p') then case chosen.relreplident
        when 'd' then 'primary key' when 'n' then 'nothing' when 'f' then 'all columns' else 'an index' end end
                                                                                as replica_identity,
    chosen.reloptions                                                           as options,
    pg_catalog.obj_description(chosen.oid, 'pg_class')                          as comment,
    case when chosen.relkind in ('r', 'm', 'p') then chosen.relname end         as stored,
    case when chosen.relkind = 'm' then chosen.relname end                      as view,
    case when chosen.relkind in ('r', 'p') and chosen.relpersistence <> 't' and not chosen.relispartition
        and not exists (select from pg_catalog.pg_trigger own
            where own.tgrelid = chosen.oid and own.tgname = 'dbadmin_audit_insert') then chosen.relname end as written
from chosen
cross join whole
cross join (select pg_catalog.current_setting('block_size')::int8 as block) here
left join pg_catalog.pg_tablespace place on place.oid = chosen.reltablespace
