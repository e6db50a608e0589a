select
    writer.buffers_clean * block.bytes    as cleaned_bytes_total,
    writer.maxwritten_clean               as stopped_total,
    session.writes * block.bytes          as session_written_bytes_total,
    session.fsyncs                        as session_syncs_total,
    writer.buffers_alloc * block.bytes    as allocated_bytes_total,
    writer.stats_reset                    as reset_at
from pg_catalog.pg_stat_bgwriter writer
cross join (select pg_catalog.current_setting('block_size')::int8 as bytes) block
cross join (
    select sum(writes)::int8 as writes, sum(fsyncs)::int8 as fsyncs
    from pg_catalog.pg_stat_io
    where backend_type not in ('checkpointer', 'background writer', 'startup') and object = 'relation'
) session
