select
    work.pid,
    work.kind,
    work.datname                                                                  as database,
    case when work.datname = current_database()
        then (select space.nspname || '.' || relation.relname
              from pg_catalog.pg_class relation
              join pg_catalog.pg_namespace space on space.oid = relation.relnamespace
              where relation.oid = work.relid) end                                as relation,
    work.phase,
    least(work.done::float8 / nullif(work.whole, 0), 1)                           as done_ratio,
    extract(epoch from pg_catalog.clock_timestamp() - coalesce(session.xact_start, session.query_start))::float8
                                                                                  as running_seconds,
    session.wait_event_type || ': ' || session.wait_event                         as waits_for,
    session.query
from (
    select pid, lower(command) as kind, datname, relid, phase,
        case when phase like 'building index%' and tuples_total > 0 then tuples_done
            when phase like 'waiting%' then lockers_done else blocks_done end as done,
        case when phase like 'building index%' and tuples_total > 0 then tuples_total
            when phase like 'waiting%' then lockers_total else blocks_total end as whole
    from pg_catalog.pg_stat_progress_create_index
    union all
    select pid, 'analyze', datname, relid, phase, sample_blks_scanned, sample_blks_total
    from pg_catalog.pg_stat_progress_analyze
    union all
    select pid, lower(command), datname, relid, phase, heap_blks_scanned, heap_blks_total
    from pg_catalog.pg_stat_progress_cluster
    union all
    select pid, 'base backup', null, null, phase, backup_streamed, backup_total
    from pg_catalog.pg_stat_progress_basebackup
) work
left join pg_catalog.pg_stat_activity session on session.pid = work.pid
order by running_seconds desc nulls last, work.pid
