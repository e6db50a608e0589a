-- title:    Connections by role
-- about:    Who is connected, against the limit of the role.
-- empty:    Nobody is connected.
-- scope:    instance
-- needs:    pg_monitor
-- every:    60s
-- key:      role
-- series:   rows
-- warning:  connections_ratio > 0.8
-- critical: connections_ratio > 0.95
-- column connections_limit_count: empty when the role has no limit of its own
select
    session.usename                                                                 as role,
    count(*)                                                                        as connections_count,
    nullif(role.rolconnlimit, -1)                                                   as connections_limit_count,
    case when role.rolconnlimit > 0 then count(*)::float8 / role.rolconnlimit end   as connections_ratio,
    count(*) filter (where session.state = 'active')                                as active_count,
    count(*) filter (where session.state like 'idle in transaction%')               as idle_in_transaction_count,
    count(*) filter (where session.state = 'idle')                                  as idle_count,
    extract(epoch from now() - min(session.xact_start))::float8                     as oldest_transaction_seconds
from pg_catalog.pg_stat_activity session
left join pg_catalog.pg_roles role on role.oid = session.usesysid
where session.backend_type = 'client backend'
group by session.usename, role.rolconnlimit
order by connections_ratio desc nulls last, connections_count desc, role
