-- title:    Size on disk
-- about:    Measured now, file by file; not waited for while somebody holds a lock on the table.
-- empty:    There is nothing of this name that takes room on disk.
-- scope:    database
-- params:   schema, table
-- column heap_bytes:    the rows alone
-- column toast_bytes:   long values kept outside the rows, with the index of that store
-- column maps_bytes:    the maps of free room and of what everybody sees
-- column files_count:   tables and partitions that were measured
with recursive tree as (
    select relation.oid, relation.relkind, relation.reltoastrelid
    from pg_catalog.pg_class relation
    join pg_catalog.pg_namespace space on space.oid = relation.relnamespace
    where space.nspname = %(schema)s::text and relation.relname = %(table)s::text
        and relation.relkind in ('r', 'p', 'm')
    union all
    select part.oid, part.relkind, part.reltoastrelid
    from tree
    join pg_catalog.pg_inherits link on link.inhparent = tree.oid
    join pg_catalog.pg_class part on part.oid = link.inhrelid
    where part.relispartition
), measured as (
    select
        pg_catalog.pg_relation_size(oid, 'main')                                as heap,
        pg_catalog.pg_relation_size(oid, 'fsm') + pg_catalog.pg_relation_size(oid, 'vm') as maps,
        pg_catalog.pg_indexes_size(oid)                                         as indexes,
        case when reltoastrelid = 0 then 0 else pg_catalog.pg_total_relation_size(reltoastrelid) end as toast
    from tree
    where relkind <> 'p'
)
select
    sum(heap + maps + indexes + toast)::int8                                    as total_bytes,
    sum(heap)::int8                                                             as heap_bytes,
    sum(indexes)::int8                                                          as index_bytes,
    sum(toast)::int8                                                            as toast_bytes,
    sum(maps)::int8                                                             as maps_bytes,
    count(*)                                                                    as files_count
from measured
having count(*) > 0
