-- title:    Encryption of connections
-- about:    How clients are connected: with TLS, with GSSAPI, over a local socket, or in the clear.
-- empty:    Nobody is connected.
-- scope:    instance
-- needs:    pg_monitor
-- every:    5m
-- series:   sum(clear_count)
-- column clear_count: connections over the network that anyone on the way can read
select
    case
        when session.client_addr is null then 'local socket'
        when tls.ssl then tls.version || ', ' || tls.cipher
        when gss.encrypted then 'GSSAPI'
        else 'in the clear'
    end                                                    as encryption,
    session.usename                                        as role,
    coalesce(pg_catalog.host(session.client_addr), 'local') as client,
    count(*)                                               as connections_count,
    count(*) filter (where session.client_addr is not null and tls.ssl is not true and gss.encrypted is not true) as clear_count
from pg_catalog.pg_stat_activity session
left join pg_catalog.pg_stat_ssl tls on tls.pid = session.pid
left join pg_catalog.pg_stat_gssapi gss on gss.pid = session.pid
where session.backend_type = 'client backend'
group by 1, 2, 3
order by clear_count desc, connections_count desc, encryption, role, client
