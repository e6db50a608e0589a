-- title:    Partitioned tables
-- about:    Each partitioned table as a whole: partitions, size, and until when there is a partition for new rows.
-- empty:    No table is partitioned.
-- scope:    database
-- judged:   primary
-- every:    15m
-- timeout:  10s
-- key:      schema, table
-- warning:  covered_seconds < lead_seconds
-- critical: covered_seconds < lead_seconds / 7
-- actions:  create_partitions(schema, table, ahead=wanted_count)
-- column partitioned_by:   range, list or hash, and the columns
-- column ends_at:          upper end of the last partition, when it is divided by time
-- column hole_at:          where the first hole before that end begins: rows of then have no partition
-- column covered_seconds:  time until the first hole or the end; below zero new rows have no partition, or go to the default one; empty when it is not divided by time, or the last partition ended over a month ago, as in an archive
-- column lead_seconds:     how far ahead there should be partitions: 7 of those of up to a day, a week of longer ones, the next whole one of those of a month, a month of those that are longer still
-- column wanted_count:     so many whole partitions after the present one reach as far; empty when they are there
-- column outgrown_ratio:  size of the present partition against the usual one, the median of the six before it; empty with fewer than three of them, when these are below 8 MiB, or when it has partitions of its own
-- column default_rows:     rows that found no partition of their own, as of the last vacuum or analyze; empty when there is no default partition
-- column total_bytes:      heap, indexes and TOAST of all partitions together, as of the last vacuum or analyze (relpages); empty before the first
with root as (
    select relation.oid, relation.relname, space.nspname, detail.partstrat, detail.partdefid,
        detail.partnatts, detail.partattrs::int2[] as keys
    from pg_catalog.pg_partitioned_table detail
    join pg_catalog.pg_class relation on relation.oid = detail.partrelid
    join pg_catalog.pg_namespace space on space.oid = relation.relnamespace
    where not relation.relispartition
), leaf as (
    select
        pg_catalog.pg_partition_root(relation.oid)      as root,
        relation.oid,
        -- Rows in no page: there was no vacuum or analyze yet, so nobody knows the size.
        case when relation.relpages > 0 or pg_catalog.pg_stat_get_live_tuples(relation.oid) = 0
            then greatest(relation.relpages, 0)::int8 end as heap_pages,
        coalesce(toast.relpages, 0)                     as toast_pages,
        coalesce((select sum(index.relpages) from pg_catalog.pg_index detail
                  join pg_catalog.pg_class index on index.oid = detail.indexrelid
                  where detail.indrelid in (relation.oid, relation.reltoastrelid)), 0) as index_pages,
        nullif(relation.reltuples, -1)                  as tuples
    from pg_catalog.pg_class relation
    left join pg_catalog.pg_class toast on toast.oid = relation.reltoastrelid and relation.reltoastrelid <> 0
    where relation.relispartition and relation.relkind = 'r' and relation.relpersistence <> 't'
), whole as (
    select root, count(*) as partitions,
        case when count(*) = count(heap_pages) then sum(heap_pages) end as heap_pages,
        case when count(*) = count(heap_pages) then sum(index_pages) end as index_pages,
        case when count(*) = count(heap_pages) then sum(toast_pages) end as toast_pages,
        case when not bool_or(tuples is null) then sum(tuples) end as tuples
    from leaf
    group by root
), bound as materialized (
    -- Both ends of each direct partition; only dates and times can be compared with now.
    select root.oid as root, case when part.relkind = 'r' then greatest(part.relpages, 0)::int8 end as pages,
        coalesce(substring(said.bound from 'FROM \(''([^'']+)''')::timestamptz, '-infinity') as starts,
        case when said.bound like '% TO (MAXVALUE%' then 'infinity'
            else substring(said.bound from ' TO \(''([^'']+)''')::timestamptz end as ends
    from root
    join pg_catalog.pg_attribute key
        on key.attrelid = root.oid and key.attnum = root.keys[0]
        and key.atttypid in (1082, 1114, 1184)
    join pg_catalog.pg_inherits link on link.inhparent = root.oid
    join pg_catalog.pg_class part on part.oid = link.inhrelid
    cross join lateral (select pg_catalog.pg_get_expr(part.relpartbound, 0) as bound) said
    where root.partstrat = 'r' and root.partnatts >= 1
), cover as (
    -- What follows now without a hole ends where no partition begins.
    select bound.root, max(bound.ends) as last_end,
        case when bool_or(bound.starts <= now() and bound.ends > now())
            then min(bound.ends) filter (where bound.ends > now() and not exists (
                select from bound next where next.root = bound.root and next.starts = bound.ends))
            else max(bound.ends) filter (where bound.ends <= now()) end as hole
    from bound
    where bound.ends is not null
    group by bound.root
), step as (
    -- The length of the last partition before the hole; one that is open below says nothing.
    select cover.root, extract(epoch from bound.ends - bound.starts)::float8 as seconds
    from cover
    join bound on bound.root = cover.root and bound.ends = cover.hole
        and bound.ends <> 'infinity' and bound.starts <> '-infinity'
), lead as (
    select root, seconds as step, least(greatest(seconds, least(7 * seconds, 7 * 86400)), 31 * 86400) as seconds
    from step
), present as (
    select bound.root, bound.pages::float8 / earlier.pages as outgrown
    from bound
    cross join lateral (
        select percentile_cont(0.5) within group (order by last.pages) as pages
        from (select before.pages from bound before
              where before.root = bound.root and before.ends <= bound.starts and before.pages is not null
              order by before.ends desc limit 6) last
        having count(*) >= 3
    ) earlier
    where bound.starts <= now() and bound.ends > now()
        and earlier.pages >= 8388608 / pg_catalog.current_setting('block_size')::int8
)
select
    root.nspname                                                                            as schema,
    root.relname                                                                            as table,
    case root.partstrat when 'r' then 'range' when 'l' then 'list' else 'hash' end || ' of ' ||
        coalesce((select string_agg(coalesce(key.attname, 'an expression'), ', ' order by number.place)
         from unnest(root.keys) with ordinality number (value, place)
         left join pg_catalog.pg_attribute key
            on key.attrelid = root.oid and key.attnum = number.value and number.value > 0), '') as partitioned_by,
    coalesce(whole.partitions, 0)                                                           as partitions_count,
    (case when whole.root is null then 0 else whole.heap_pages + whole.index_pages + whole.toast_pages end
        * pg_catalog.current_setting('block_size')::int8)::int8                             as total_bytes,
    (coalesce(whole.index_pages, 0) * pg_catalog.current_setting('block_size')::int8)::int8 as index_bytes,
    whole.tuples::int8                                                                      as live_rows,
    nullif(cover.last_end, 'infinity')                                                      as ends_at,
    case when cover.hole < cover.last_end then cover.hole end                               as hole_at,
    ahead.seconds                                                                           as covered_seconds,
    case when ahead.seconds is not null then coalesce(lead.seconds, 7 * 86400) end          as lead_seconds,
    case when ahead.seconds < lead.seconds then ceil(lead.seconds / lead.step)::int8 end    as wanted_count,
    present.outgrown                                                                        as outgrown_ratio,
    (select nullif(fallback.reltuples, -1)::int8 from pg_catalog.pg_class fallback
     where fallback.oid = root.partdefid)                                                   as default_rows
from root
left join whole on whole.root = root.oid
left join cover on cover.root = root.oid
left join lead on lead.root = root.oid
left join present on present.root = root.oid
cross join lateral (
    select case when cover.last_end > now() - interval '31 days' and cover.hole is distinct from 'infinity'
        then extract(epoch from coalesce(cover.hole, now()) - now())::float8 end as seconds
) ahead
order by covered_seconds nulls last, total_bytes desc nulls last, schema, "table"
