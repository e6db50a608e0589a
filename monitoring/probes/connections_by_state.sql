-- title:    Connections by state
-- about:    How many client connections work, wait and idle.
-- empty:    Nobody is connected.
-- scope:    instance
-- needs:    pg_monitor
-- every:    60s
-- key:      state
-- column longest_seconds: how long the longest of them has been in this state
-- column share_ratio:     of the connections that ordinary roles may open
select
    known.state,
    count(session.pid)                                                     as connections_count,
    extract(epoch from pg_catalog.clock_timestamp() - min(session.state_change))::float8 as longest_seconds,
    count(session.pid) / nullif(
        pg_catalog.current_setting('max_connections')::float8
        - pg_catalog.current_setting('superuser_reserved_connections')::float8
        - coalesce(pg_catalog.current_setting('reserved_connections', true), '0')::float8, 0) as share_ratio
from (values (1, 'active'), (2, 'idle in transaction'), (3, 'idle in transaction (aborted)'), (4, 'idle'),
             (5, 'starting or not tracked')) known (place, state)
left join pg_catalog.pg_stat_activity session
    on session.backend_type = 'client backend'
    and known.state = case session.state
        when 'fastpath function call' then 'active'
        when 'disabled' then 'starting or not tracked'
        else coalesce(session.state, 'starting or not tracked') end
group by known.place, known.state
order by known.place
