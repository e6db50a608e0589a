-- title:    Blocked sessions
-- about:    Sessions that wait for a lock, and the sessions that hold it or stand before them in the queue.
-- empty:    No session waits for a lock.
-- scope:    instance
-- needs:    pg_monitor
-- every:    30s
-- series:   rows, max(wait_seconds)
-- warning:  wait_seconds > 30
-- critical: wait_seconds > 300
-- actions:  cancel_backend(pid), terminate_backend(pid)
-- column wait_seconds: time since the lock was asked for
-- column relation:     empty when it is no relation or lies in another database than the one asked
-- column blocked_by:   process ids; 0 stands for a prepared transaction
-- column lock_kind:    what is locked: a relation, a row (tuple), another transaction's end (transactionid), ...
select
    waiter.pid,
    waiter.datname                                                                 as database,
    waiter.usename                                                                 as role,
    waiter.application_name                                                        as application,
    extract(epoch from pg_catalog.clock_timestamp() - coalesce(lock.waitstart, waiter.state_change))::float8
                                                                                   as wait_seconds,
    lock.locktype                                                                  as lock_kind,
    lock.mode                                                                      as wanted_lock,
    case when lock.database = (select oid from pg_catalog.pg_database where datname = current_database())
        then (select space.nspname || '.' || relation.relname
              from pg_catalog.pg_class relation
              join pg_catalog.pg_namespace space on space.oid = relation.relnamespace
              where relation.oid = lock.relation) end                              as relation,
    pg_catalog.pg_blocking_pids(waiter.pid)                                        as blocked_by,
    waiter.query_id::text                                                          as query_id,
    waiter.query
from pg_catalog.pg_stat_activity waiter
join pg_catalog.pg_locks lock on lock.pid = waiter.pid and not lock.granted
where waiter.wait_event_type = 'Lock'
order by wait_seconds desc nulls last, waiter.pid
