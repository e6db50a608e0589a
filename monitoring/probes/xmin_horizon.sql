-- title:    Who keeps dead rows
-- about:    Everything that stops vacuum from removing rows that are dead, the oldest first.
-- empty:    Nothing keeps dead rows.
-- scope:    instance
-- needs:    pg_monitor
-- every:    60s
-- series:   max(xmin_age_count)
-- warning:  xmin_age_count > 1000000
-- critical: xmin_age_count > 50000000
-- actions:  terminate_backend(pid)
-- column xmin_age_count: vacuum keeps what died within this many transactions
-- column pid:            of a session; to end what sends WAL to a standby or a subscriber would let nothing go
-- column remedy:         what lets it go
select holder.kind, holder.name, holder.database, holder.xmin_age::int8 as xmin_age_count, holder.since_at, holder.pid, holder.remedy
from (
    select 'session' as kind, session.usename || ' (' || coalesce(session.application_name, '') || ')' as name,
        session.datname as database, greatest(pg_catalog.age(session.backend_xmin), pg_catalog.age(session.backend_xid)) as xmin_age,
        session.xact_start as since_at, session.pid, 'end its transaction' as remedy
    from pg_catalog.pg_stat_activity session
    where (session.backend_xmin is not null or session.backend_xid is not null)
        and session.backend_type <> 'walsender' and session.pid <> pg_catalog.pg_backend_pid()
    union all
    select 'prepared transaction', prepared.gid, prepared.database, pg_catalog.age(prepared.transaction), prepared.prepared, null,
        'COMMIT PREPARED or ROLLBACK PREPARED ' || pg_catalog.quote_literal(prepared.gid)
    from pg_catalog.pg_prepared_xacts prepared
    union all
    select 'replication slot', slot.slot_name, slot.database, pg_catalog.age(slot.xmin), null, null,
        'end the queries on the standby, or drop the slot'
    from pg_catalog.pg_replication_slots slot
    where slot.xmin is not null
    union all
    select 'replication slot (catalogs only)', slot.slot_name, slot.database, pg_catalog.age(slot.catalog_xmin), null, null,
        'let its reader confirm, or drop the slot'
    from pg_catalog.pg_replication_slots slot
    where slot.catalog_xmin is not null
    union all
    select 'standby', standby.application_name, null, pg_catalog.age(standby.backend_xmin), standby.backend_start, null,
        'end the long queries on the standby'
    from pg_catalog.pg_stat_replication standby
    where standby.backend_xmin is not null
) holder
order by xmin_age_count desc nulls last, holder.kind, holder.name
