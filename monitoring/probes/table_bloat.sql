-- title:    Table bloat
-- about:    Room in tables above 1 MiB that holds no row, estimated from the statistics of their columns.
-- empty:    No table is above 1 MiB.
-- scope:    database
-- needs:    pg_read_all_data
-- every:    1h
-- timeout:  20s
-- series:   sum(bloat_bytes)
-- actions:  vacuum_table(schema, table)
-- column bloat_bytes:      estimate; room that fillfactor keeps free on purpose does not count
-- column bloat_low_bytes:  at least this much, if padding between columns is as large as it can be
-- column bloat_high_bytes: at most this much, if there is no padding
-- column bloat_ratio:      of the table without its indexes and TOAST store; empty when the estimate has no ground
-- column confidence:       good, or what makes the estimate weak
with recursive large as materialized (
    select
        relation.oid, relation.relname, space.nspname, relation.relpages::float8 as pages,
        nullif(relation.reltuples, -1)::float8 as tuples, relation.relnatts,
        pg_catalog.current_setting('block_size')::float8 as block,
        -- Those that are computed when they are read (PostgreSQL 18) take no room, but are marked as null in each row.
        exists (select from pg_catalog.pg_attribute computed
                where computed.attrelid = relation.oid and computed.attgenerated = 'v') as has_virtual,
        coalesce((select option.option_value::float8 from pg_catalog.pg_options_to_table(relation.reloptions) option
                  where option.option_name = 'fillfactor'), 100) / 100 as fill
    from pg_catalog.pg_class relation
    join pg_catalog.pg_namespace space on space.oid = relation.relnamespace
    where relation.relkind in ('r', 'm') and relation.relpersistence <> 't' and relation.oid >= 16384
        and relation.relpages >= 1048576 / pg_catalog.current_setting('block_size')::int8
        and space.nspname not in ('pg_catalog', 'information_schema')
), part as materialized (
    select
        large.oid, row_number() over (partition by large.oid order by detail.attnum) as place,
        detail.attlen,
        case detail.attalign when 'd' then 8 when 'i' then 4 when 's' then 2 else 1 end as alignment,
        statistic.null_frac, statistic.avg_width, statistic.attname is null as is_unknown
    from large
    join pg_catalog.pg_attribute detail
        on detail.attrelid = large.oid and detail.attnum > 0 and not detail.attisdropped and detail.attgenerated <> 'v'
    left join pg_catalog.pg_stats statistic
        on statistic.schemaname = large.nspname and statistic.tablename = large.relname
        and statistic.attname = detail.attname and not statistic.inherited
), walk as (
    -- Column after column as a row is laid out. The offset is exact until the first value of varying length.
    select large.oid, 0::int8 as place, 0::float8 as width, 0::float8 as padding, true as is_exact
    from large
    union all
    select
        part.oid, part.place,
        walk.width + (1 - coalesce(part.null_frac, 0)) * coalesce(part.avg_width, 0)
            + case when walk.is_exact and part.attlen > 0
                then (part.alignment - walk.width::int8 % part.alignment) % part.alignment else 0 end,
        walk.padding + case
            when walk.is_exact and part.attlen > 0 then 0
            when part.attlen < 0 and coalesce(part.avg_width, 0) < 127 then 0
            else (part.alignment - 1) * (1 - coalesce(part.null_frac, 0)) end,
        walk.is_exact and part.attlen > 0 and coalesce(part.null_frac, 0) = 0
    from walk
    join part on part.oid = walk.oid and part.place = walk.place + 1
), layout as (
    select distinct on (walk.oid) walk.oid, walk.width, walk.padding
    from walk
    order by walk.oid, walk.place desc
), ground as (
    select
        part.oid,
        ceil((23 + case when bool_or(part.null_frac > 0 or large.has_virtual) then (max(large.relnatts) + 7) / 8 else 0 end) / 8.0) * 8 as header,
        count(*) filter (where part.is_unknown) as unknown
    from part
    join large on large.oid = part.oid
    group by part.oid
), need as (
    select
        large.*, ground.unknown,
        -- Rows end on a multiple of eight and need a pointer of four bytes.
        ceil((ground.header + layout.width) / 8) * 8 + 4                      as row_low,
        ceil((ground.header + layout.width + layout.padding / 2) / 8) * 8 + 4 as row_mid,
        ceil((ground.header + layout.width + layout.padding) / 8) * 8 + 4     as row_high
    from large
    join ground on ground.oid = large.oid
    join layout on layout.oid = large.oid
), verdict as (
    select
        need.*,
        need.block * greatest(need.pages - ceil(need.tuples / greatest(floor((need.block - 24) * need.fill / need.row_high), 1)), 0) as low,
        need.block * greatest(need.pages - ceil(need.tuples / greatest(floor((need.block - 24) * need.fill / need.row_mid), 1)), 0)  as mid,
        need.block * greatest(need.pages - ceil(need.tuples / greatest(floor((need.block - 24) * need.fill / need.row_low), 1)), 0)  as high,
        case
            when need.tuples is null then 'none: never vacuumed or analyzed'
            when need.unknown > 0 then 'none: never analyzed, or too new to have statistics'
            when exists (select from pg_catalog.pg_attribute gone where gone.attrelid = need.oid and gone.attisdropped)
                then 'weak: rows may still hold dropped columns'
            when pg_catalog.pg_stat_get_mod_since_analyze(need.oid) > 0.2 * greatest(need.tuples, 1000)
                then 'weak: changed much since the last analyze'
            else 'good'
        end as confidence
    from need
)
select
    verdict.nspname                                                            as schema,
    verdict.relname                                                            as table,
    (verdict.pages * verdict.block)::int8                                      as heap_bytes,
    case when verdict.confidence not like 'none%' then verdict.mid::int8 end   as bloat_bytes,
    case when verdict.confidence not like 'none%' then verdict.low::int8 end   as bloat_low_bytes,
    case when verdict.confidence not like 'none%' then verdict.high::int8 end  as bloat_high_bytes,
    case when verdict.confidence not like 'none%' then verdict.mid / nullif(verdict.pages * verdict.block, 0) end as bloat_ratio,
    verdict.confidence
from verdict
order by bloat_low_bytes desc nulls last, bloat_bytes desc nulls last, heap_bytes desc, schema, "table"
limit 500
