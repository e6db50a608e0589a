-- title:    Temporary files
-- about:    What sorts and hashes spill to disk at this moment, by session.
-- empty:    Nothing is spilled to disk now.
-- scope:    instance
-- needs:    pg_monitor
-- every:    60s
-- series:   rows, sum(size_bytes)
-- warning:  size_bytes > 1073741824
-- critical: size_bytes > 21474836480
-- actions:  cancel_backend(pid), terminate_backend(pid)
-- column pid:  empty when the session is gone: such files are left from a crash
select
    session.pid,
    space.spcname                                                          as tablespace,
    count(*)                                                               as files_count,
    sum(file.size)::int8                                                   as size_bytes,
    min(file.modification)                                                 as oldest_at,
    session.datname                                                        as database,
    session.usename                                                        as role,
    session.application_name                                               as application,
    extract(epoch from pg_catalog.clock_timestamp() - session.query_start)::float8 as query_seconds,
    session.query
from pg_catalog.pg_tablespace space
cross join lateral pg_catalog.pg_ls_tmpdir(space.oid) file
left join pg_catalog.pg_stat_activity session
    on session.pid = substring(file.name from '^pgsql_tmp([0-9]{1,9})[.]')::int
where space.spcname <> 'pg_global'
group by session.pid, space.spcname, session.datname, session.usename, session.application_name, session.query_start, session.query
order by size_bytes desc, session.pid
