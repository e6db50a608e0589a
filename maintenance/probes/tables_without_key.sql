-- title:    Tables without a primary key
-- about:    Their rows cannot be told apart by logical replication, by tools, or by people.
-- empty:    Every table has a primary key.
-- scope:    database
-- every:    1h
-- series:   rows
-- column is_published:     a publication includes it: updates and deletes fail unless it has a replica identity
-- column replica_identity: how logical replication finds its rows
select
    space.nspname                                                               as schema,
    relation.relname                                                            as table,
    case relation.relreplident when 'd' then 'primary key (there is none)' when 'n' then 'nothing'
        when 'f' then 'all columns' else 'an index' end                         as replica_identity,
    exists (select from pg_catalog.pg_publication_rel published where published.prrelid = relation.oid)
        or exists (select from pg_catalog.pg_publication everything where everything.puballtables) as is_published,
    nullif(relation.reltuples, -1)::int8                                        as live_rows,
    (greatest(relation.relpages, 0) * pg_catalog.current_setting('block_size')::int8)::int8 as heap_bytes
from pg_catalog.pg_class relation
join pg_catalog.pg_namespace space on space.oid = relation.relnamespace
where relation.relkind in ('r', 'p') and not relation.relispartition and relation.relpersistence <> 't'
    and space.nspname not in ('pg_catalog', 'information_schema')
    and not exists (select from pg_catalog.pg_index key where key.indrelid = relation.oid and key.indisprimary)
order by is_published desc, heap_bytes desc, schema, "table"
