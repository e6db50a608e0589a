-- title:    WAL on disk
-- about:    How much room the write-ahead log takes, and how much of it waits to be archived.
-- empty:    The directory is empty.
-- scope:    instance
-- needs:    pg_monitor
-- every:    5m
-- series:   size_bytes, files_count, waiting_count
-- column waiting_count: files that the archiver has still to take
-- column oldest_at:     last change of the oldest file kept
-- column limit_bytes:   max_wal_size: what checkpoints aim at, no hard limit
select
    count(*)                                                            as files_count,
    sum(file.size)::int8                                                as size_bytes,
    (select count(*) from pg_catalog.pg_ls_archive_statusdir() status where status.name like '%.ready') as waiting_count,
    min(file.modification)                                              as oldest_at,
    pg_catalog.pg_size_bytes(pg_catalog.current_setting('max_wal_size')) as limit_bytes,
    pg_catalog.pg_size_bytes(pg_catalog.current_setting('wal_keep_size')) as kept_for_standbys_bytes
from pg_catalog.pg_ls_waldir() file
where file.name ~ '^[0-9A-F]{24}$'
