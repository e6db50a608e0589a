select
    coalesce(session.wait_event_type, 'CPU')                           as wait_kind,
    coalesce(session.wait_event, 'running')                            as wait,
    count(*)                                                           as sessions_count,
    extract(epoch from pg_catalog.clock_timestamp() - min(session.query_start))::float8 as longest_seconds,
    min(known.description)                                             as meaning
from pg_catalog.pg_stat_activity session
left join pg_catalog.pg_wait_events known
    on known.type = session.wait_event_type and known.name = session.wait_event
where session.state = 'active' and session.backend_type <> 'walsender'
    and session.pid <> pg_catalog.pg_backend_pid()
group by 1, 2
order by sessions_count desc, wait_kind, wait
