select
    waiter.pid,
    waiter.datname                                                                 as database,
    waiter.usename                                                                 as role,
    waiter.application_name                                                        as application,
    extract(epoch from pg_catalog.clock_timestamp() - waiter.state_change)::float8
                                                                                   as wait_seconds,
    lock.locktype                                                                  as lock_kind,
    lock.mode                                                                      as wanted_lock,
    case when lock.database = (select oid from pg_catalog.pg_database where datname = current_database())
        then (select space.nspname || '.' || relation.relname
              from pg_catalog.pg_class relation
              join pg_catalog.pg_namespace space on space.oid = relation.relnamespace
              where relation.oid = lock.relation) end                              as relation,
    pg_catalog.pg_blocking_pids(waiter.pid)                                        as blocked_by,
    null::text                                                                     as query_id,
    waiter.query
from pg_catalog.pg_stat_activity waiter
join pg_catalog.pg_locks lock on lock.pid = waiter.pid and not lock.granted
where waiter.wait_event_type = 'Lock'
order by wait_seconds desc nulls last, waiter.pid
