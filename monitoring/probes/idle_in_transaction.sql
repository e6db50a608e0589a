-- title:    Idle in transaction
-- about:    Sessions that opened a transaction and now do nothing with it.
-- empty:    No session idles in a transaction.
-- scope:    instance
-- needs:    pg_monitor
-- every:    60s
-- series:   rows, max(idle_seconds)
-- warning:  idle_seconds > 60
-- critical: idle_seconds > 600
-- actions:  terminate_backend(pid)
-- column idle_seconds: time since its last statement ended
-- column last_query:   what it did before it went idle
select
    session.pid,
    session.datname                                                          as database,
    session.usename                                                          as role,
    session.application_name                                                 as application,
    coalesce(pg_catalog.host(session.client_addr), 'local')                  as client,
    session.state,
    extract(epoch from pg_catalog.clock_timestamp() - session.state_change)::float8  as idle_seconds,
    extract(epoch from pg_catalog.clock_timestamp() - session.xact_start)::float8    as transaction_seconds,
    pg_catalog.age(session.backend_xmin)::int8                               as xmin_age_count,
    session.backend_xid is not null                                          as has_written,
    session.query                                                            as last_query
from pg_catalog.pg_stat_activity session
where session.state like 'idle in transaction%'
order by session.state_change, session.pid
