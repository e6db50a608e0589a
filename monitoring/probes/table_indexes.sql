-- title:    Indexes
-- about:    Of this table, the largest first; of a partitioned table with the parts on all its partitions.
-- empty:    It has no index.
-- scope:    database
-- params:   schema, table
-- actions:  reindex_index(schema, index), drop_index(schema, index=plain)
-- column size_bytes:   as of the last vacuum or analyze (relpages)
-- column scans_total:  reads through it; checks of uniqueness do not count
-- column last_used_at: from PostgreSQL 16
-- column is_valid:     false for the leftover of a failed concurrent build
-- column enforces:     what would be lost without it; empty for a plain index
-- column plain:        its name when nothing is lost without it but speed
with recursive chosen as (
    select relation.oid
    from pg_catalog.pg_class relation
    join pg_catalog.pg_namespace space on space.oid = relation.relnamespace
    where space.nspname = %(schema)s::text and relation.relname = %(table)s::text
), tree as (
    select entry.indexrelid as root, entry.indexrelid as oid
    from chosen
    join pg_catalog.pg_index entry on entry.indrelid = chosen.oid
    union all
    select tree.root, link.inhrelid
    from tree
    join pg_catalog.pg_inherits link on link.inhparent = tree.oid
), whole as (
    select
        tree.root,
        sum(greatest(relation.relpages, 0))                                     as pages,
        sum(pg_catalog.pg_stat_get_numscans(tree.oid))                          as scans,
        max((select (to_jsonb(counted) ->> 'last_idx_scan')::timestamptz from pg_catalog.pg_stat_all_indexes counted
             where counted.indexrelid = tree.oid))                              as used_at
    from tree
    join pg_catalog.pg_class relation on relation.oid = tree.oid
    group by tree.root
)
select
    space.nspname                                                               as schema,
    relation.relname                                                            as index,
    -- An expression goes by the name of its column: to write it out, a lock on the table would be awaited.
    (select concat_ws(' including ',
        string_agg(part.attname, ', ' order by part.attnum) filter (where part.attnum <= detail.indnkeyatts),
        string_agg(part.attname, ', ' order by part.attnum) filter (where part.attnum > detail.indnkeyatts))
     from pg_catalog.pg_attribute part where part.attrelid = relation.oid)      as columns,
    detail.indexprs is not null                                                 as has_expressions,
    detail.indpred is not null                                                  as is_partial,
    method.amname                                                               as method,
    case when detail.indisprimary then 'primary key' when detail.indisexclusion then 'exclusion'
        when detail.indisunique then 'unique' end                               as enforces,
    detail.indisvalid                                                           as is_valid,
    (whole.pages * pg_catalog.current_setting('block_size')::int8)::int8        as size_bytes,
    whole.scans::int8                                                           as scans_total,
    whole.used_at                                                               as last_used_at,
    case when not detail.indisunique and not detail.indisexclusion and not relation.relispartition
        then relation.relname end                                               as plain
from whole
join pg_catalog.pg_class relation on relation.oid = whole.root
join pg_catalog.pg_index detail on detail.indexrelid = relation.oid
join pg_catalog.pg_namespace space on space.oid = relation.relnamespace
join pg_catalog.pg_am method on method.oid = relation.relam
order by size_bytes desc, relation.relname
