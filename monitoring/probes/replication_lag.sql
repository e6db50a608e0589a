-- title:    Replication lag
-- about:    How far this standby is behind, and whether it can know that.
-- empty:    This server follows nobody.
-- scope:    instance
-- on:       standby
-- needs:    pg_monitor
-- every:    60s
-- series:   lag_seconds, lag_bytes, cut_off_count, replayed_bytes_total
-- warning:  lag_seconds > 60
-- critical: cut_off_count > 0
-- column state:         following, catching up, replay paused, or cut off: no connection to the server it follows
-- column cut_off_count: 1 while it hears nothing from the server it follows
-- column lag_bytes:     against the end that the other server last reported; empty when cut off, for then nobody here knows
-- column lag_seconds:   0 only while it hears from the other server and has replayed all; else the time that it took to replay what was there, or when that takes long the age of the last transaction replayed
-- column silent_seconds: since it last heard from the server it follows
-- column replayed_at:   commit time of the last transaction replayed; stands still while the other server is idle
with recursive receiver as (
    select * from pg_catalog.pg_stat_wal_receiver
), moment as (
    select
        pg_catalog.pg_last_wal_replay_lsn()           as replayed,
        pg_catalog.pg_last_wal_receive_lsn()          as received,
        pg_catalog.pg_last_xact_replay_timestamp()    as replayed_at,
        pg_catalog.pg_get_wal_replay_pause_state()    as pause
), known as (
    select
        moment.*,
        receiver.pid is not null and receiver.status = 'streaming'
            and receiver.last_msg_receipt_time > pg_catalog.clock_timestamp() - interval '90 seconds' as is_heard,
        receiver.sender_host, receiver.sender_port, receiver.slot_name, receiver.last_msg_receipt_time,
        greatest(receiver.latest_end_lsn, moment.received) as reported
    from moment
    left join receiver on true
), look as (
    -- A long transaction commits nothing for hours while it is replayed at once: whoever is behind is looked at again,
    -- until all that was there at the first look is replayed.
    select 0 as times, known.replayed, pg_catalog.clock_timestamp() as at
    from known
    union all
    select look.times + 1,
        case when pg_catalog.pg_sleep(0.1) is not null then pg_catalog.pg_last_wal_replay_lsn() end,
        pg_catalog.clock_timestamp()
    from look
    join known on known.is_heard and known.pause = 'not paused' and look.replayed < known.reported
    where look.times < 6
), took as (
    select max(replayed) as replayed, extract(epoch from max(at) - min(at)) as seconds from look
)
select
    case
        when known.pause <> 'not paused' then 'replay paused'
        when known.is_heard is not true then 'cut off'
        when known.replayed >= known.reported then 'following'
        else 'catching up'
    end                                                                                 as state,
    (known.is_heard is not true)::int                                                   as cut_off_count,
    case when known.is_heard
        then greatest(pg_catalog.pg_wal_lsn_diff(known.reported, known.replayed), 0)::int8 end as lag_bytes,
    case
        when known.is_heard and known.replayed >= known.reported then 0
        when known.is_heard and known.pause = 'not paused' and took.replayed >= known.reported then took.seconds
        else extract(epoch from pg_catalog.clock_timestamp() - known.replayed_at)
    end::float8                                                                         as lag_seconds,
    extract(epoch from pg_catalog.clock_timestamp() - known.last_msg_receipt_time)::float8 as silent_seconds,
    known.replayed_at,
    pg_catalog.pg_wal_lsn_diff(known.replayed, '0/0')::int8                             as replayed_bytes_total,
    pg_catalog.pg_wal_lsn_diff(known.received, '0/0')::int8                             as received_bytes_total,
    known.sender_host || ':' || known.sender_port                                       as follows,
    known.slot_name                                                                     as slot
from known
cross join took
