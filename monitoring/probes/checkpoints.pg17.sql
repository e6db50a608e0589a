select
    activity.num_timed                                                      as timed_total,
    activity.num_requested                                                  as requested_total,
    case when activity.num_timed + activity.num_requested >= 10
        then activity.num_requested::float8 / (activity.num_timed + activity.num_requested) end
                                                                            as requested_ratio,
    activity.restartpoints_done                                             as restartpoints_total,
    activity.write_time / 1000                                              as write_seconds_total,
    activity.sync_time / 1000                                               as sync_seconds_total,
    activity.buffers_written * pg_catalog.current_setting('block_size')::int8 as written_bytes_total,
    checkpoint.checkpoint_time                                              as last_started_at,
    extract(epoch from pg_catalog.clock_timestamp() - checkpoint.checkpoint_time)::float8 as age_seconds,
    pg_catalog.pg_wal_lsn_diff(
        case when pg_catalog.pg_is_in_recovery() then pg_catalog.pg_last_wal_replay_lsn()
            else pg_catalog.pg_current_wal_lsn() end, checkpoint.redo_lsn)::int8 as wal_since_bytes,
    extract(epoch from pg_catalog.current_setting('checkpoint_timeout')::interval)::float8 as timeout_seconds,
    pg_catalog.pg_size_bytes(pg_catalog.current_setting('max_wal_size'))    as wal_limit_bytes,
    activity.stats_reset                                                    as reset_at
from pg_catalog.pg_stat_checkpointer activity
cross join pg_catalog.pg_control_checkpoint() checkpoint
