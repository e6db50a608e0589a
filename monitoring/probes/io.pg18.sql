select
    backend_type            as backend,
    object,
    context,
    read_bytes::int8        as read_bytes_total,
    write_bytes::int8       as write_bytes_total,
    extend_bytes::int8      as extend_bytes_total,
    reads                   as reads_total,
    writes                  as writes_total,
    hits                    as hits_total,
    evictions               as evictions_total,
    reuses                  as reuses_total,
    fsyncs                  as syncs_total,
    case when timing.is_on then read_time / 1000 end  as read_seconds_total,
    case when timing.is_on then write_time / 1000 end as write_seconds_total,
    stats_reset             as reset_at
from pg_catalog.pg_stat_io
cross join lateral (select pg_catalog.current_setting(
    case object when 'wal' then 'track_wal_io_timing' else 'track_io_timing' end)::bool as is_on) timing
where coalesce(reads, 0) + coalesce(writes, 0) + coalesce(extends, 0) + coalesce(hits, 0) > 0
order by coalesce(read_bytes, 0) + coalesce(write_bytes, 0) desc, backend, object, context
