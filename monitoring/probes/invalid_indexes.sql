-- title:    Invalid indexes
-- about:    Indexes that queries do not use because they were never finished, though every write may pay for them.
-- empty:    Every index is valid.
-- scope:    database
-- judged:   primary
-- every:    15m
-- series:   rows
-- warning:  leftover_count > 0
-- actions:  reindex_index(schema, index), drop_index(schema, index)
-- column state:          being built means that a session works on it now
-- column leftover_count: 1 when nobody works on it any more
-- column is_maintained:  whether writes still have to maintain it
select
    space.nspname                                                           as schema,
    parent.relname                                                          as table,
    relation.relname                                                        as index,
    case
        when progress.pid is not null then 'being built'
        when relation.relkind = 'I' then 'waits for the indexes of its partitions'
        else 'left over from a failed build'
    end                                                                     as state,
    case when progress.pid is null and relation.relkind = 'i' then 1 else 0 end as leftover_count,
    (relation.relpages * pg_catalog.current_setting('block_size')::int8)::int8  as size_bytes,
    detail.indisready                                                       as is_maintained,
    progress.pid
from pg_catalog.pg_index detail
join pg_catalog.pg_class relation on relation.oid = detail.indexrelid
join pg_catalog.pg_namespace space on space.oid = relation.relnamespace
join pg_catalog.pg_class parent on parent.oid = detail.indrelid
left join pg_catalog.pg_stat_progress_create_index progress
    on progress.index_relid = detail.indexrelid and progress.datname = current_database()
where (not detail.indisvalid or not detail.indisready)
    and relation.relpersistence <> 't'
    and space.nspname not in ('pg_catalog', 'information_schema')
order by leftover_count desc, size_bytes desc, schema, "index"
