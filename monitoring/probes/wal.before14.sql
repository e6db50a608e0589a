-- Version 13 counts WAL by statement only.
select
    null::int8          as wal_bytes_total,
    null::int8          as records_total,
    null::int8          as page_images_total,
    null::int8          as buffers_full_total,
    null::int8          as writes_total,
    null::int8          as syncs_total,
    null::float8        as write_seconds_total,
    null::float8        as sync_seconds_total,
    null::timestamptz   as reset_at
where false
