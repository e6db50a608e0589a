-- title:    Connections by database
-- about:    Which databases are connected to, against the limit of each.
-- empty:    Nobody is connected.
-- scope:    instance
-- needs:    pg_monitor
-- every:    60s
-- key:      database
-- warning:  connections_ratio > 0.8
-- critical: connections_ratio > 0.95
-- column connections_limit_count: empty when the database has no limit of its own
select
    database.datname                                                                as database,
    count(session.pid)                                                              as connections_count,
    nullif(database.datconnlimit, -1)                                               as connections_limit_count,
    case when database.datconnlimit > 0
        then count(session.pid)::float8 / database.datconnlimit end                 as connections_ratio,
    count(*) filter (where session.state = 'active')                                as active_count,
    count(*) filter (where session.state like 'idle in transaction%')               as idle_in_transaction_count,
    count(*) filter (where session.state = 'idle')                                  as idle_count,
    extract(epoch from now() - min(session.xact_start))::float8                     as oldest_transaction_seconds
from pg_catalog.pg_database database
left join pg_catalog.pg_stat_activity session
    on session.datid = database.oid and session.backend_type = 'client backend'
where database.datallowconn and not database.datistemplate
group by database.datname, database.datconnlimit
order by connections_ratio desc nulls last, connections_count desc, database
