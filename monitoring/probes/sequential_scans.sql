-- title:    Tables read from end to end
-- about:    Large tables that statements keep reading as a whole, where an index may be missing.
-- empty:    No large table is read as a whole again and again.
-- scope:    database
-- every:    15m
-- timeout:  10s
-- key:      schema, table
-- column rows_per_scan_count:   rows read each time, on average since the statistics began
-- column sequential_scans_total: also those by our own probes and backups
with scanned as (
    select
        relation.oid, relation.relname, relation.relnamespace, relation.relpages,
        pg_catalog.pg_stat_get_numscans(relation.oid)      as scans,
        pg_catalog.pg_stat_get_tuples_returned(relation.oid) as rows_read,
        pg_catalog.pg_stat_get_live_tuples(relation.oid)   as live
    from pg_catalog.pg_class relation
    where relation.relkind in ('r', 'm') and relation.relpersistence <> 't' and relation.oid >= 16384
        and relation.relpages >= 1048576 / pg_catalog.current_setting('block_size')::int8
)
select
    space.nspname                                                                as schema,
    scanned.relname                                                              as table,
    scanned.scans                                                                as sequential_scans_total,
    scanned.rows_read                                                            as sequential_rows_total,
    (scanned.rows_read / scanned.scans)::int8                                    as rows_per_scan_count,
    scanned.live                                                                 as live_rows,
    (select sum(pg_catalog.pg_stat_get_numscans(detail.indexrelid))::int8
     from pg_catalog.pg_index detail where detail.indrelid = scanned.oid)        as index_scans_total,
    (scanned.relpages * pg_catalog.current_setting('block_size')::int8)::int8    as heap_bytes
from scanned
join pg_catalog.pg_namespace space on space.oid = scanned.relnamespace
where scanned.scans >= 10 and scanned.rows_read / scanned.scans >= 5000
    and space.nspname not in ('pg_catalog', 'information_schema', 'pg_toast')
order by scanned.rows_read desc, schema, "table"
limit 200
