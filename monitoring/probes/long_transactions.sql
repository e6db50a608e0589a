-- title:    Long transactions
-- about:    Transactions open for more than a minute. They keep locks, and dead rows from being removed.
-- empty:    No transaction is open for more than a minute.
-- scope:    instance
-- needs:    pg_monitor
-- every:    60s
-- series:   rows, max(transaction_seconds)
-- warning:  transaction_seconds > 600
-- critical: transaction_seconds > 3600
-- actions:  cancel_backend(pid), terminate_backend(pid)
-- column locks_count:    locks that it holds on relations
-- column xmin_age_count: transactions whose dead rows it keeps vacuum from removing
select
    session.pid,
    session.datname                                                          as database,
    session.usename                                                          as role,
    session.application_name                                                 as application,
    coalesce(pg_catalog.host(session.client_addr), 'local')                  as client,
    session.state,
    extract(epoch from pg_catalog.clock_timestamp() - session.xact_start)::float8    as transaction_seconds,
    extract(epoch from pg_catalog.clock_timestamp() - session.state_change)::float8  as state_seconds,
    pg_catalog.age(session.backend_xmin)::int8                               as xmin_age_count,
    session.backend_xid is not null                                          as has_written,
    (select count(*) from pg_catalog.pg_locks lock
     where lock.pid = session.pid and lock.granted and lock.locktype = 'relation') as locks_count,
    session.wait_event_type || ': ' || session.wait_event                    as waits_for,
    session.query
from pg_catalog.pg_stat_activity session
where session.xact_start < pg_catalog.clock_timestamp() - interval '1 minute'
    and session.backend_type = 'client backend'
order by session.xact_start, session.pid
