select
    backend_type            as backend,
    object,
    context,
    reads * op_bytes        as read_bytes_total,
    writes * op_bytes       as write_bytes_total,
    extends * op_bytes      as extend_bytes_total,
    reads                   as reads_total,
    writes                  as writes_total,
    hits                    as hits_total,
    evictions               as evictions_total,
    reuses                  as reuses_total,
    fsyncs                  as syncs_total,
    case when pg_catalog.current_setting('track_io_timing')::bool then read_time / 1000 end  as read_seconds_total,
    case when pg_catalog.current_setting('track_io_timing')::bool then write_time / 1000 end as write_seconds_total,
    stats_reset             as reset_at
from pg_catalog.pg_stat_io
where coalesce(reads, 0) + coalesce(writes, 0) + coalesce(extends, 0) + coalesce(hits, 0) > 0
order by coalesce(reads, 0) * op_bytes + coalesce(writes, 0) * op_bytes desc, backend, object, context
