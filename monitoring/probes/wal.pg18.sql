select
    wal.wal_bytes::int8         as wal_bytes_total,
    wal.wal_records             as records_total,
    wal.wal_fpi                 as page_images_total,
    wal.wal_buffers_full        as buffers_full_total,
    work.writes                 as writes_total,
    work.syncs                  as syncs_total,
    case when pg_catalog.current_setting('track_wal_io_timing')::bool then work.write_time / 1000 end as write_seconds_total,
    case when pg_catalog.current_setting('track_wal_io_timing')::bool then work.sync_time / 1000 end  as sync_seconds_total,
    wal.stats_reset             as reset_at
from pg_catalog.pg_stat_wal wal
cross join (
    select sum(writes)::int8 as writes, sum(fsyncs)::int8 as syncs, sum(write_time) as write_time, sum(fsync_time) as sync_time
    from pg_catalog.pg_stat_io
    where object = 'wal' and context = 'normal'
) work
