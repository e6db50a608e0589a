-- title:    Sessions
-- about:    Every connected client: what it does, since when, and what it waits for.
-- empty:    Nobody else is connected.
-- scope:    instance
-- needs:    pg_monitor
-- every:    30s
-- series:   rows
-- actions:  cancel_backend(pid), terminate_backend(pid)
-- column waits_for:           kind and name of the wait; empty while it uses the processor
-- column state_seconds:       time in the present state
-- column xmin_age_count:      transactions whose dead rows it keeps vacuum from removing
-- column query:               as far as track_activity_query_size keeps it; the last one when the session is idle
select
    session.pid,
    session.datname                                                          as database,
    session.usename                                                          as role,
    session.application_name                                                 as application,
    coalesce(pg_catalog.host(session.client_addr), 'local')                  as client,
    session.state,
    session.wait_event_type || ': ' || session.wait_event                    as waits_for,
    case when session.state = 'active'
        then extract(epoch from pg_catalog.clock_timestamp() - session.query_start)::float8 end as query_seconds,
    extract(epoch from pg_catalog.clock_timestamp() - session.xact_start)::float8               as transaction_seconds,
    extract(epoch from pg_catalog.clock_timestamp() - session.state_change)::float8             as state_seconds,
    extract(epoch from pg_catalog.clock_timestamp() - session.backend_start)::float8            as connected_seconds,
    pg_catalog.age(session.backend_xmin)::int8                               as xmin_age_count,
    session.query_id::text                                                   as query_id,
    session.leader_pid,
    session.query
from pg_catalog.pg_stat_activity session
where session.backend_type in ('client backend', 'parallel worker')
    and session.pid <> pg_catalog.pg_backend_pid()
order by
    session.state = 'active' desc nulls last,
    session.state like 'idle in transaction%' desc nulls last,
    coalesce(session.xact_start, session.state_change), session.pid
