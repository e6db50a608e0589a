-- title:    Standbys
-- about:    The servers that follow this one, and how much WAL each has still to receive and to replay.
-- empty:    No server follows this one.
-- scope:    instance
-- needs:    pg_monitor
-- every:    60s
-- key:      application, client
-- series:   rows
-- warning:  replay_lag_bytes > 268435456
-- critical: replay_lag_bytes > 4294967296
-- column replay_lag_bytes:   WAL that it has not replayed; measured here, so it is right on an idle server too
-- column replay_lag_seconds: as the standby last measured it; empty while nothing happens, and of what only receives
-- column silent_seconds:     time since it last reported; above wal_receiver_status_interval (10 s) its numbers are old
-- column xmin_age_count:     dead rows of this many transactions are kept for its queries
with here as (
    select case
        when pg_catalog.pg_is_in_recovery()
            then greatest(pg_catalog.pg_last_wal_receive_lsn(), pg_catalog.pg_last_wal_replay_lsn())
        else pg_catalog.pg_current_wal_lsn() end as lsn
)
select
    standby.application_name                                                            as application,
    coalesce(pg_catalog.host(standby.client_addr), 'local')                             as client,
    standby.usename                                                                     as role,
    standby.state,
    standby.sync_state,
    pg_catalog.pg_wal_lsn_diff(here.lsn, standby.sent_lsn)::int8                        as send_lag_bytes,
    pg_catalog.pg_wal_lsn_diff(here.lsn, standby.flush_lsn)::int8                       as flush_lag_bytes,
    pg_catalog.pg_wal_lsn_diff(here.lsn, standby.replay_lsn)::int8                      as replay_lag_bytes,
    extract(epoch from standby.flush_lag)::float8                                       as flush_lag_seconds,
    -- What only receives WAL replays none: its lag would grow for ever.
    case when standby.replay_lsn is not null
        then extract(epoch from standby.replay_lag)::float8 end                         as replay_lag_seconds,
    extract(epoch from pg_catalog.clock_timestamp() - standby.reply_time)::float8       as silent_seconds,
    pg_catalog.age(standby.backend_xmin)::int8                                          as xmin_age_count,
    standby.backend_start                                                               as connected_at,
    standby.pid
from pg_catalog.pg_stat_replication standby
cross join here
order by replay_lag_bytes desc nulls first, application, client
