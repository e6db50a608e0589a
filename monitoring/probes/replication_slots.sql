-- title:    Replication slots
-- about:    What each slot keeps: WAL on disk and dead rows in the tables. A forgotten slot fills the disk.
-- empty:    There is no replication slot.
-- scope:    instance
-- needs:    pg_monitor
-- every:    60s
-- key:      slot
-- warning:  retained_bytes > 1073741824
-- critical: retained_bytes > 10737418240
-- column retained_bytes:  WAL that the server keeps for it
-- column safe_bytes:      WAL that may still be written before the slot is lost; empty when max_slot_wal_keep_size sets no limit
-- column wal_status:      reserved, extended, unreserved (about to be lost) or lost
-- column unconfirmed_bytes: of a logical slot, what its reader has not confirmed
-- column xmin_age_count:  dead rows of this many transactions are kept for it
-- column inactive_at:     since when nobody reads it, from PostgreSQL 17
-- column lost_because:    why it became useless
with here as (
    select case when pg_catalog.pg_is_in_recovery() then pg_catalog.pg_last_wal_replay_lsn()
        else pg_catalog.pg_current_wal_lsn() end as lsn
)
select
    slot.slot_name                                                              as slot,
    slot.slot_type                                                              as kind,
    slot.database,
    slot.plugin,
    slot.active                                                                 as is_active,
    greatest(pg_catalog.pg_wal_lsn_diff(here.lsn, slot.restart_lsn), 0)::int8   as retained_bytes,
    slot.safe_wal_size                                                          as safe_bytes,
    slot.wal_status,
    case when slot.confirmed_flush_lsn is not null
        then greatest(pg_catalog.pg_wal_lsn_diff(here.lsn, slot.confirmed_flush_lsn), 0)::int8 end as unconfirmed_bytes,
    greatest(pg_catalog.age(slot.xmin), pg_catalog.age(slot.catalog_xmin))::int8 as xmin_age_count,
    null::timestamptz                                                           as inactive_at,
    case when slot.wal_status = 'lost' then 'its WAL was removed' end           as lost_because,
    slot.temporary                                                              as is_temporary,
    slot.active_pid
from pg_catalog.pg_replication_slots slot
cross join here
order by retained_bytes desc nulls last, slot
