-- title:    Database sizes
-- about:    How much disk each database takes, read exactly from its files.
-- empty:    There is no database.
-- scope:    instance
-- every:    30m
-- key:      database
-- timeout:  20s
-- column size_bytes: empty when this role may neither connect to the database nor read all statistics
select
    datname as database,
    case when pg_catalog.has_database_privilege(oid, 'connect')
            or pg_catalog.pg_has_role('pg_read_all_stats', 'usage')
        then pg_catalog.pg_database_size(oid) end as size_bytes,
    (select spcname from pg_catalog.pg_tablespace where pg_tablespace.oid = dattablespace) as tablespace
from pg_catalog.pg_database
order by size_bytes desc nulls last, datname
