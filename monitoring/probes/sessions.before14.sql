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
    null::text                                                              as query_id,
    session.leader_pid,
    session.query
from pg_catalog.pg_stat_activity session
where session.backend_type in ('client backend', 'parallel worker')
    and session.pid <> pg_catalog.pg_backend_pid()
order by
    session.state = 'active' desc nulls last,
    session.state like 'idle in transaction%' desc nulls last,
    coalesce(session.xact_start, session.state_change), session.pid
