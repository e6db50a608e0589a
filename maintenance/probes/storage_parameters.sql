-- title:    Storage parameters
-- about:    Tables and indexes with settings of their own, such as fillfactor or autovacuum thresholds.
-- empty:    No table or index has a setting of its own.
-- scope:    database
-- every:    1h
-- column parameter: toast. before the name means the table's TOAST store
select
    space.nspname                                                               as schema,
    coalesce(keeper.relname, relation.relname)                                  as relation,
    case coalesce(keeper.relkind, relation.relkind) when 'i' then 'index' when 'I' then 'partitioned index'
        when 'm' then 'materialized view' when 'p' then 'partitioned table' when 'v' then 'view' else 'table' end as kind,
    case when keeper.oid is not null then 'toast.' else '' end || option.option_name as parameter,
    option.option_value                                                         as value,
    (greatest(relation.relpages, 0) * pg_catalog.current_setting('block_size')::int8)::int8 as heap_bytes
from pg_catalog.pg_class relation
cross join lateral pg_catalog.pg_options_to_table(relation.reloptions) option
left join pg_catalog.pg_class keeper on relation.relkind = 't' and keeper.reltoastrelid = relation.oid
join pg_catalog.pg_namespace space on space.oid = coalesce(keeper.relnamespace, relation.relnamespace)
where relation.reloptions is not null and relation.relpersistence <> 't'
    and space.nspname not in ('pg_catalog', 'information_schema', 'pg_toast')
order by heap_bytes desc, schema, relation, parameter
