-- title:    Roles
-- about:    Who may sign in, with which powers and limits.
-- empty:    There is no role.
-- scope:    instance
-- needs:    pg_monitor
-- every:    15m
-- key:      role
-- warning:  connections_ratio > 0.8
-- critical: connections_ratio > 0.95
-- column connections_limit_count: empty when the role has no limit of its own
-- column powers:                  what goes beyond ordinary rights
-- column valid_until_at:          after it the password is refused; empty for ever
-- column expired_count:           1 when that moment has passed
select
    role.rolname                                                                        as role,
    role.rolcanlogin                                                                    as can_sign_in,
    nullif(concat_ws(', ', case when role.rolsuper then 'superuser' end,
        case when role.rolcreaterole then 'creates roles' end, case when role.rolcreatedb then 'creates databases' end,
        case when role.rolreplication then 'replicates' end,
        case when role.rolbypassrls then 'ignores row security' end), '')               as powers,
    connected.number                                                                    as connections_count,
    nullif(role.rolconnlimit, -1)                                                       as connections_limit_count,
    case when role.rolconnlimit > 0 then connected.number::float8 / role.rolconnlimit end as connections_ratio,
    case when pg_catalog.isfinite(role.rolvaliduntil) then role.rolvaliduntil end       as valid_until_at,
    (role.rolcanlogin and role.rolvaliduntil < now() is true)::int                      as expired_count,
    (select array_agg(parent.rolname order by parent.rolname)
     from pg_catalog.pg_auth_members membership
     join pg_catalog.pg_roles parent on parent.oid = membership.roleid
     where membership.member = role.oid)                                                as member_of
from pg_catalog.pg_roles role
cross join lateral (
    select count(*) as number from pg_catalog.pg_stat_activity session
    where session.usesysid = role.oid and session.backend_type = 'client backend'
) connected
where role.rolname not like 'pg\_%'
order by connections_ratio desc nulls last, connections_count desc, role.rolcanlogin desc, role
