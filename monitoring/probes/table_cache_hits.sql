-- title:    Cache hits by table
-- about:    The tables that fetched the most blocks from outside shared buffers.
-- empty:    No table has fetched a block yet.
-- scope:    database
-- every:    1h
-- timeout:  10s
-- key:      schema, table
-- series:   blocks_hit_total, blocks_read_total
-- column hit_ratio:       heap and indexes since the statistics began, empty below 50 000 blocks
-- column heap_read_bytes_total: fetched from the operating system for the table itself
with busiest as (
    select
        relation.oid,
        pg_catalog.pg_stat_get_blocks_fetched(relation.oid) as fetched,
        pg_catalog.pg_stat_get_blocks_hit(relation.oid)     as hit
    from pg_catalog.pg_class relation
    where relation.relkind in ('r', 'm', 'i', 't') and relation.relpersistence <> 't' and relation.oid >= 16384
), owned as (
    select
        coalesce(detail.indrelid, busiest.oid) as owner,
        busiest.fetched, busiest.hit, detail.indexrelid is not null as is_index
    from busiest
    left join pg_catalog.pg_index detail on detail.indexrelid = busiest.oid
    where busiest.fetched > 0
), total as (
    select
        coalesce(keeper.oid, owned.owner)                              as owner,
        sum(owned.fetched)                                             as fetched,
        sum(owned.hit)                                                 as hit,
        sum(owned.fetched - owned.hit) filter (where not owned.is_index) as heap_read,
        sum(owned.fetched - owned.hit) filter (where owned.is_index)   as index_read
    from owned
    left join pg_catalog.pg_class keeper on keeper.reltoastrelid = owned.owner and keeper.reltoastrelid <> 0
    group by 1
)
select
    space.nspname                                                                        as schema,
    relation.relname                                                                     as table,
    case when total.fetched >= 50000 then (total.hit / total.fetched)::float8 end        as hit_ratio,
    (coalesce(total.heap_read, 0) * pg_catalog.current_setting('block_size')::int8)::int8  as heap_read_bytes_total,
    (coalesce(total.index_read, 0) * pg_catalog.current_setting('block_size')::int8)::int8 as index_read_bytes_total,
    total.hit::int8                                                                      as blocks_hit_total,
    (total.fetched - total.hit)::int8                                                    as blocks_read_total
from total
join pg_catalog.pg_class relation on relation.oid = total.owner
join pg_catalog.pg_namespace space on space.oid = relation.relnamespace
where space.nspname not in ('pg_catalog', 'information_schema', 'pg_toast')
order by total.fetched - total.hit desc, schema, "table"
limit 200
