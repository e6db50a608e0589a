-- title:    Input and output
-- about:    Who reads and writes what, and how. Kept by PostgreSQL 16 and later.
-- empty:    Nothing was read or written, or the server is older than PostgreSQL 16, which began to count this.
-- scope:    instance
-- every:    60s
-- key:      backend, object, context
-- column context:             normal, vacuum, bulkread or bulkwrite: big scans use a small ring of buffers
-- column read_seconds_total:  empty unless track_io_timing is on (for WAL track_wal_io_timing)
-- column write_seconds_total: empty unless track_io_timing is on (for WAL track_wal_io_timing)
-- column evictions_total:     blocks pushed out of shared buffers to make room
-- column reuses_total:        blocks of its own ring used again
select
    null::text as backend, null::text as object, null::text as context,
    null::int8 as read_bytes_total, null::int8 as write_bytes_total, null::int8 as extend_bytes_total,
    null::int8 as reads_total, null::int8 as writes_total, null::int8 as hits_total,
    null::int8 as evictions_total, null::int8 as reuses_total, null::int8 as syncs_total,
    null::float8 as read_seconds_total, null::float8 as write_seconds_total, null::timestamptz as reset_at
where false
