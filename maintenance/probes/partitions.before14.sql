select
    space.nspname                                                        as schema,
    parent_space.nspname || '.' || parent.relname                        as parent,
    relation.relname                                                     as partition,
    -- Without the table's number, for with it the table would be opened and a lock awaited.
    pg_catalog.regexp_replace(
        pg_catalog.pg_get_expr(relation.relpartbound, 0), '^FOR VALUES ', '') as holds,
    -- Rows in no page: there was no vacuum or analyze yet, so nobody knows the size.
    case when relation.relpages > 0 or pg_catalog.pg_stat_get_live_tuples(relation.oid) = 0 then
        ((greatest(relation.relpages, 0) + coalesce(toast.relpages, 0)
        + coalesce((select sum(index.relpages) from pg_catalog.pg_index detail
                    join pg_catalog.pg_class index on index.oid = detail.indexrelid
                    where detail.indrelid in (relation.oid, relation.reltoastrelid)), 0))
        * pg_catalog.current_setting('block_size')::int8)::int8 end      as total_bytes,
    nullif(relation.reltuples, -1)::int8                                 as live_rows,
    case when not pg_catalog.pg_is_in_recovery()
        then pg_catalog.pg_stat_get_tuples_inserted(relation.oid) end    as inserted_rows_total,
    false                                                                as is_being_detached
from pg_catalog.pg_class relation
join pg_catalog.pg_namespace space on space.oid = relation.relnamespace
join pg_catalog.pg_inherits link on link.inhrelid = relation.oid
join pg_catalog.pg_class parent on parent.oid = link.inhparent
join pg_catalog.pg_namespace parent_space on parent_space.oid = parent.relnamespace
left join pg_catalog.pg_class toast on toast.oid = relation.reltoastrelid and relation.reltoastrelid <> 0
where relation.relispartition and relation.relkind in ('r', 'f') and relation.relpersistence <> 't'
order by space.nspname = 'dbadmin_audit', schema, parent, holds
