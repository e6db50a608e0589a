-- title:    Connections by client
-- about:    From which addresses and applications the connections come.
-- empty:    Nobody is connected.
-- scope:    instance
-- needs:    pg_monitor
-- every:    60s
-- series:   rows, max(connections_count)
-- column client:         address of the client, or local for a Unix socket
-- column oldest_seconds: how long the oldest of these connections is open
select
    coalesce(pg_catalog.host(session.client_addr), 'local')            as client,
    coalesce(nullif(session.application_name, ''), '(unnamed)')        as application,
    session.usename                                                    as role,
    count(*)                                                           as connections_count,
    count(*) filter (where session.state = 'active')                   as active_count,
    count(*) filter (where session.state like 'idle in transaction%')  as idle_in_transaction_count,
    count(*) filter (where session.state = 'idle')                     as idle_count,
    extract(epoch from now() - min(session.backend_start))::float8     as oldest_seconds
from pg_catalog.pg_stat_activity session
where session.backend_type = 'client backend'
group by 1, 2, 3
order by connections_count desc, client, application, role
