-- title:    Partitions and parents
-- about:    The table that it is a part of, and its own parts, each with everything below it.
-- empty:    It is no partition, and has none.
-- scope:    database
-- params:   schema, table
-- column relation:         what the other table is to this one
-- column holds:            the values that go there
-- column partitions_count: counted in this row; empty when it has none of its own
-- column total_bytes:      heap, indexes and TOAST together, as of the last vacuum or analyze (relpages)
-- column live_rows:        as of the last vacuum or analyze; empty if there was none
-- column last_vacuum_at:   by hand or by autovacuum; the oldest of the partitions below it, empty if one never was
with recursive chosen as (
    select relation.oid
    from pg_catalog.pg_class relation
    join pg_catalog.pg_namespace space on space.oid = relation.relnamespace
    where space.nspname = %(schema)s::text and relation.relname = %(table)s::text
), relative as (
    select link.inhparent as oid, 0 as place, link.inhseqno, false as is_leaving
    from chosen
    join pg_catalog.pg_inherits link on link.inhrelid = chosen.oid
    union all
    select link.inhrelid, 1, link.inhseqno, coalesce((to_jsonb(link) ->> 'inhdetachpending')::bool, false)
    from chosen
    join pg_catalog.pg_inherits link on link.inhparent = chosen.oid
), tree as (
    select relative.oid as root, relative.oid from relative
    union all
    select tree.root, link.inhrelid
    from tree
    join pg_catalog.pg_inherits link on link.inhparent = tree.oid
), whole as (
    select
        tree.root,
        count(*) filter (where tree.oid <> tree.root)                           as parts,
        sum(greatest(relation.relpages, 0) + coalesce(store.relpages, 0)
            + coalesce((select sum(index.relpages) from pg_catalog.pg_index entry
                join pg_catalog.pg_class index on index.oid = entry.indexrelid
                where entry.indrelid in (relation.oid, nullif(relation.reltoastrelid, 0))), 0))
            filter (where relation.relkind = 'r')                               as pages,
        case when bool_and(relation.reltuples >= 0) filter (where relation.relkind <> 'p')
            then sum(relation.reltuples) filter (where relation.relkind <> 'p') end as tuples,
        case when bool_and(moment.vacuumed_at is not null) filter (where relation.relkind = 'r')
            then min(moment.vacuumed_at) filter (where relation.relkind = 'r') end as vacuumed_at
    from tree
    join pg_catalog.pg_class relation on relation.oid = tree.oid
    left join pg_catalog.pg_class store on store.oid = relation.reltoastrelid and relation.reltoastrelid <> 0
    cross join lateral (
        select greatest(pg_catalog.pg_stat_get_last_vacuum_time(relation.oid),
            pg_catalog.pg_stat_get_last_autovacuum_time(relation.oid)) as vacuumed_at
    ) moment
    group by tree.root
)
select
    case when relative.place = 0 then case when chosen.relispartition then 'parent' else 'inherits from' end
        when relation.relispartition then case when relative.is_leaving then 'partition, being detached'
            else 'partition' end
        else 'inherited by' end                                                 as relation,
    space.nspname                                                               as schema,
    relation.relname                                                            as table,
    pg_catalog.regexp_replace(pg_catalog.pg_get_expr(
        case when relative.place = 1 then relation.relpartbound else chosen.relpartbound end, 0),
        '^FOR VALUES ', '')                                                     as holds,
    nullif(whole.parts, 0)                                                      as partitions_count,
    (whole.pages * pg_catalog.current_setting('block_size')::int8)::int8        as total_bytes,
    whole.tuples::int8                                                          as live_rows,
    whole.vacuumed_at                                                           as last_vacuum_at
from relative
join whole on whole.root = relative.oid
join pg_catalog.pg_class relation on relation.oid = relative.oid
join pg_catalog.pg_namespace space on space.oid = relation.relnamespace
cross join (select relation.relispartition, relation.relpartbound
    from pg_catalog.pg_class relation join chosen using (oid)) chosen
order by relative.place, relative.inhseqno, holds, relation.relname
