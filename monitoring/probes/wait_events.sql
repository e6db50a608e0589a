-- title:    Waits
-- about:    What the active sessions wait for at this moment.
-- empty:    No session is at work.
-- scope:    instance
-- needs:    pg_monitor
-- every:    30s
-- series:   sum(sessions_count)
-- column wait_kind:       CPU means that it waits for nothing that the server knows of
-- column longest_seconds: time since the statement of the longest of them began
-- column meaning:         as the server describes it, from PostgreSQL 17
select
    coalesce(session.wait_event_type, 'CPU')                           as wait_kind,
    coalesce(session.wait_event, 'running')                            as wait,
    count(*)                                                           as sessions_count,
    extract(epoch from pg_catalog.clock_timestamp() - min(session.query_start))::float8 as longest_seconds,
    null::text                                                         as meaning
from pg_catalog.pg_stat_activity session
where session.state = 'active' and session.backend_type <> 'walsender'
    and session.pid <> pg_catalog.pg_backend_pid()
group by 1, 2
order by sessions_count desc, wait_kind, wait
