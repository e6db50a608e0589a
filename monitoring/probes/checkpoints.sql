-- title:    Checkpoints
-- about:    How often the server writes all changed blocks out, and whether time or too much WAL asked for it.
-- empty:    The server does not tell.
-- scope:    instance
-- every:    60s
-- series:   timed_total, requested_total, write_seconds_total, sync_seconds_total, written_bytes_total
-- column requested_ratio:     share since reset_at that came before their time, mostly because max_wal_size was reached; empty below ten
-- column restartpoints_total: the same on a standby, from PostgreSQL 17
-- column wal_since_bytes:     WAL that a crash now would have to replay, at least
-- column last_started_at:     start of the last finished checkpoint
select
    activity.checkpoints_timed                                              as timed_total,
    activity.checkpoints_req                                                as requested_total,
    case when activity.checkpoints_timed + activity.checkpoints_req >= 10
        then activity.checkpoints_req::float8 / (activity.checkpoints_timed + activity.checkpoints_req) end
                                                                            as requested_ratio,
    null::int8                                                              as restartpoints_total,
    activity.checkpoint_write_time / 1000                                   as write_seconds_total,
    activity.checkpoint_sync_time / 1000                                    as sync_seconds_total,
    activity.buffers_checkpoint * pg_catalog.current_setting('block_size')::int8 as written_bytes_total,
    checkpoint.checkpoint_time                                              as last_started_at,
    extract(epoch from pg_catalog.clock_timestamp() - checkpoint.checkpoint_time)::float8 as age_seconds,
    pg_catalog.pg_wal_lsn_diff(
        case when pg_catalog.pg_is_in_recovery() then pg_catalog.pg_last_wal_replay_lsn()
            else pg_catalog.pg_current_wal_lsn() end, checkpoint.redo_lsn)::int8 as wal_since_bytes,
    extract(epoch from pg_catalog.current_setting('checkpoint_timeout')::interval)::float8 as timeout_seconds,
    pg_catalog.pg_size_bytes(pg_catalog.current_setting('max_wal_size'))    as wal_limit_bytes,
    activity.stats_reset                                                    as reset_at
from pg_catalog.pg_stat_bgwriter activity
cross join pg_catalog.pg_control_checkpoint() checkpoint
