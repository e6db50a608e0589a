-- title:    Background writer
-- about:    Who writes changed blocks out between checkpoints: the background writer, or sessions that should not have to.
-- empty:    The server does not tell.
-- scope:    instance
-- every:    60s
-- series:   cleaned_bytes_total, session_written_bytes_total, stopped_total
-- column stopped_total:               rounds that it broke off because bgwriter_lru_maxpages was reached
-- column session_written_bytes_total: written by sessions themselves, which then wait; growing a table counts until PostgreSQL 16
-- column session_syncs_total:         sessions had to force files to disk; should stay zero
-- column allocated_bytes_total:       shared buffers taken for new contents
select
    buffers_clean * block.bytes    as cleaned_bytes_total,
    maxwritten_clean               as stopped_total,
    buffers_backend * block.bytes  as session_written_bytes_total,
    buffers_backend_fsync          as session_syncs_total,
    buffers_alloc * block.bytes    as allocated_bytes_total,
    stats_reset                    as reset_at
from pg_catalog.pg_stat_bgwriter
cross join (select pg_catalog.current_setting('block_size')::int8 as bytes) block
