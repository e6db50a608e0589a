-- title:    WAL
-- about:    How much write-ahead log the server makes, and what writing it costs.
-- empty:    The server does not tell.
-- scope:    instance
-- every:    60s
-- series:   wal_bytes_total, records_total, page_images_total, buffers_full_total
-- column page_images_total:   whole blocks, written at their first change after a checkpoint
-- column buffers_full_total:  writes that came because wal_buffers was full
-- column write_seconds_total: empty unless track_wal_io_timing is on
-- column sync_seconds_total:  empty unless track_wal_io_timing is on
select
    wal_bytes::int8         as wal_bytes_total,
    wal_records             as records_total,
    wal_fpi                 as page_images_total,
    wal_buffers_full        as buffers_full_total,
    wal_write               as writes_total,
    wal_sync                as syncs_total,
    case when pg_catalog.current_setting('track_wal_io_timing')::bool then wal_write_time / 1000 end as write_seconds_total,
    case when pg_catalog.current_setting('track_wal_io_timing')::bool then wal_sync_time / 1000 end  as sync_seconds_total,
    stats_reset             as reset_at
from pg_catalog.pg_stat_wal
