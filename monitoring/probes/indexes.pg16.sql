with entry as (
    select
        case when relation.relispartition
            then coalesce(pg_catalog.pg_partition_root(relation.oid), relation.oid) else relation.oid end as root,
        relation.relispartition,
        relation.relpages,
        pg_catalog.pg_stat_get_numscans(relation.oid) as scans,
        pg_catalog.pg_stat_get_tuples_returned(relation.oid) as read_rows,
        pg_catalog.pg_stat_get_lastscan(relation.oid) as used_at
    from pg_catalog.pg_class relation
    where relation.relkind in ('i', 'I') and relation.relpersistence <> 't' and relation.oid >= 16384
), folded as (
    select
        root,
        count(*) filter (where relispartition)  as partitions,
        sum(relpages)                           as pages,
        sum(scans)                              as scans,
        sum(read_rows)                          as read_rows,
        max(used_at)                            as used_at
    from entry
    group by root
)
select
    space.nspname                                                       as schema,
    parent.relname                                                      as table,
    relation.relname                                                    as index,
    (folded.pages * pg_catalog.current_setting('block_size')::int8)::int8 as size_bytes,
    folded.scans::int8                                                  as scans_total,
    folded.read_rows::int8                                              as read_rows_total,
    folded.used_at                                                      as last_used_at,
    case
        when detail.indisprimary then 'primary key'
        when detail.indisexclusion then 'exclusion'
        when detail.indisunique then 'unique'
    end                                                                 as enforces,
    method.amname                                                       as method,
    detail.indisvalid                                                   as is_valid,
    nullif(folded.partitions, 0)                                        as partitions_count
from folded
join pg_catalog.pg_class relation on relation.oid = folded.root
join pg_catalog.pg_namespace space on space.oid = relation.relnamespace
join pg_catalog.pg_index detail on detail.indexrelid = folded.root
join pg_catalog.pg_class parent on parent.oid = detail.indrelid
join pg_catalog.pg_am method on method.oid = relation.relam
where space.nspname not in ('pg_catalog', 'information_schema', 'pg_toast')
order by size_bytes desc, schema, "index"
