-- title:    Tablespaces
-- about:    How much disk each tablespace takes.
-- empty:    There is no tablespace.
-- scope:    instance
-- every:    6h
-- timeout:  20s
-- key:      tablespace
-- column size_bytes: empty when this role may not know
select
    spcname as tablespace,
    case when pg_catalog.pg_has_role('pg_read_all_stats', 'usage')
            or pg_catalog.has_tablespace_privilege(oid, 'create')
        then pg_catalog.pg_tablespace_size(oid) end as size_bytes,
    nullif(pg_catalog.pg_tablespace_location(oid), '') as location
from pg_catalog.pg_tablespace
order by size_bytes desc nulls last, tablespace
