with recursive waiting as materialized (
    -- Asked once for each: it holds up the lock manager for a moment.
    select pid, pg_catalog.pg_blocking_pids(pid) as blocked_by
    from pg_catalog.pg_stat_activity
    where wait_event_type = 'Lock'
), chain as (
    -- From each to the one that it waits for, and on to the one that waits for nobody.
    select pid, blocked_by[1] as front, 1 as depth from waiting
    union all
    select chain.pid, waiting.blocked_by[1], chain.depth + 1
    from chain
    join waiting on waiting.pid = chain.front and waiting.blocked_by[1] is not null
    where chain.depth < 30
)
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
    waiting.blocked_by,
    (select nullif(chain.front, 0) from chain
     where chain.pid = waiter.pid and chain.front not in (select pid from waiting) limit 1)
                                                                                   as front_pid,
    null::text                                                                     as query_id,
    waiter.query
from pg_catalog.pg_stat_activity waiter
join waiting using (pid)
join pg_catalog.pg_locks lock on lock.pid = waiter.pid and not lock.granted
where waiter.wait_event_type = 'Lock'
order by wait_seconds desc nulls last, waiter.pid
