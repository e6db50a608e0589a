select
    coalesce(session.wait_event_type, 'CPU')    as wait_kind,
    coalesce(session.wait_event, 'running')     as wait,
    session.datname::text                       as database,
    null::int8                                  as query_id,
    count(*)                                    as sessions_count
from pg_catalog.pg_stat_activity session
where session.state = 'active' and session.backend_type <> 'walsender'
    and session.pid <> pg_catalog.pg_backend_pid()
group by 1, 2, 3, 4
order by sessions_count desc, wait_kind, wait, database, query_id
