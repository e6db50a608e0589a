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
    slot.inactive_since                                                         as inactive_at,
    slot.invalidation_reason                                                    as lost_because,
    slot.temporary                                                              as is_temporary,
    slot.active_pid
from pg_catalog.pg_replication_slots slot
cross join here
order by retained_bytes desc nulls last, slot
