-- title:    Waits by statement
-- about:    Which statements are at work at this moment, and what they wait for. The sampler looks each second.
-- empty:    No session is at work.
-- scope:    instance
-- needs:    pg_monitor
-- key:      wait_kind, wait, database, query_id
-- column wait_kind: CPU means that it waits for nothing that the server knows of
-- column query_id:  empty when compute_query_id is off
select
    coalesce(session.wait_event_type, 'CPU')    as wait_kind,
    coalesce(session.wait_event, 'running')     as wait,
    session.datname::text                       as database,
    session.query_id,
    count(*)                                    as sessions_count
from pg_catalog.pg_stat_activity session
where session.state = 'active' and session.backend_type <> 'walsender'
    and session.pid <> pg_catalog.pg_backend_pid()
group by 1, 2, 3, 4
order by sessions_count desc, wait_kind, wait, database, query_id
