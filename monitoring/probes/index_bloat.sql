-- title:    Index bloat
-- about:    Room in B-tree indexes above 1 MiB that holds no entry, estimated from the statistics of their columns.
-- empty:    No B-tree index is above 1 MiB.
-- scope:    database
-- needs:    pg_read_all_data
-- every:    1h
-- timeout:  20s
-- series:   sum(bloat_bytes)
-- actions:  reindex_index(schema, index)
-- column bloat_bytes:      estimate against a freshly built index
-- column bloat_low_bytes:  at least this much: pages two thirds full are normal where keys arrive in no order, and equal keys may be stored apart
-- column bloat_high_bytes: at most this much
-- column bloat_ratio:      of the index; empty when the estimate has no ground
-- column confidence:       good, or what makes the estimate weak
with large as materialized (
    select
        relation.oid, relation.relname, space.nspname, relation.relpages::float8 as pages,
        nullif(relation.reltuples, -1)::float8 as tuples,
        owner.oid as owner, owner.relname as owner_name, detail.indkey::int2[] as keys,
        detail.indnatts, detail.indnkeyatts, detail.indisunique,
        pg_catalog.current_setting('block_size')::float8 as block,
        coalesce((select option.option_value::float8 from pg_catalog.pg_options_to_table(relation.reloptions) option
                  where option.option_name = 'fillfactor'), 90) / 100 as fill,
        coalesce((select option.option_value::bool from pg_catalog.pg_options_to_table(relation.reloptions) option
                  where option.option_name = 'deduplicate_items'), true) as folds
    from pg_catalog.pg_class relation
    join pg_catalog.pg_namespace space on space.oid = relation.relnamespace
    join pg_catalog.pg_index detail on detail.indexrelid = relation.oid
    join pg_catalog.pg_class owner on owner.oid = detail.indrelid
    where relation.relkind = 'i' and relation.relam = 403 and relation.relpersistence <> 't' and relation.oid >= 16384
        and relation.relpages >= 1048576 / pg_catalog.current_setting('block_size')::int8
        and space.nspname not in ('pg_catalog', 'information_schema', 'pg_toast')
), part as materialized (
    select
        large.oid, number.place, statistic.null_frac, statistic.avg_width, statistic.n_distinct,
        statistic.attname is null as is_unknown,
        -- Numbers with a scale, floating point and jsonb may be equal and look different: never stored together.
        detail.atttypid in (700, 701, 1700, 3802) as never_folds
    from large
    cross join lateral generate_series(1, large.indnatts) number (place)
    join pg_catalog.pg_attribute detail on detail.attrelid = large.oid and detail.attnum = number.place
    left join pg_catalog.pg_attribute source
        on source.attrelid = large.owner and source.attnum = large.keys[number.place - 1] and source.attnum > 0
    left join pg_catalog.pg_stats statistic
        on statistic.schemaname = large.nspname and not statistic.inherited
        and statistic.tablename = case when source.attname is null then large.relname else large.owner_name end
        and statistic.attname = coalesce(source.attname, detail.attname)
), entry as (
    select
        large.*,
        count(*) filter (where part.is_unknown) as unknown,
        ceil((8 + case when bool_or(part.null_frac > 0) then 8 else 0 end
            + sum(coalesce(part.avg_width, 0) * (1 - coalesce(part.null_frac, 0)))) / 8) * 8 + 4 as width,
        large.folds and not large.indisunique and large.indnatts = large.indnkeyatts
            and not bool_or(part.never_folds) as may_fold,
        least(large.tuples, exp(sum(ln(greatest(
            case when part.n_distinct < 0 then -part.n_distinct * large.tuples else part.n_distinct end, 1))))) as different
    from large
    join part on part.oid = large.oid
    group by large.oid, large.relname, large.nspname, large.pages, large.tuples, large.owner, large.owner_name, large.keys,
        large.indnatts, large.indnkeyatts, large.indisunique, large.block, large.fill, large.folds
), need as (
    select
        entry.*,
        -- Meta page, one page of a few hundred above the leaves.
        2 + 1.005 * entry.tuples * entry.width / ((entry.block - 40) * entry.fill) as plain,
        2 + 1.005 * (least(entry.different * entry.width, entry.tuples * entry.width)
            + case when entry.different < entry.tuples then entry.tuples * (6 + entry.width / 200.0) else 0 end)
            / ((entry.block - 40) * entry.fill) as folded
    from entry
), verdict as (
    select
        need.*,
        case when need.may_fold then least(need.plain, need.folded) else need.plain end as expected,
        case
            when need.tuples is null then 'none: its table was never vacuumed or analyzed'
            when need.unknown > 0 then 'none: no statistics of its columns'
            when pg_catalog.pg_stat_get_mod_since_analyze(need.owner) > 0.2 * greatest(need.tuples, 1000)
                then 'weak: its table changed much since the last analyze'
            else 'good'
        end as confidence
    from need
)
select
    verdict.nspname                                                           as schema,
    verdict.owner_name                                                        as table,
    verdict.relname                                                           as index,
    (verdict.pages * verdict.block)::int8                                     as size_bytes,
    case when verdict.confidence not like 'none%'
        then (verdict.block * greatest(verdict.pages - verdict.expected, 0))::int8 end as bloat_bytes,
    case when verdict.confidence not like 'none%'
        then (verdict.block * greatest(verdict.pages - verdict.plain * verdict.fill / 0.6, 0))::int8 end as bloat_low_bytes,
    case when verdict.confidence not like 'none%'
        then (verdict.block * greatest(verdict.pages - verdict.expected * 0.9, 0))::int8 end as bloat_high_bytes,
    case when verdict.confidence not like 'none%'
        then greatest(verdict.pages - verdict.expected, 0) / nullif(verdict.pages, 0) end as bloat_ratio,
    verdict.confidence
from verdict
order by bloat_low_bytes desc nulls last, bloat_bytes desc nulls last, size_bytes desc, schema, "index"
limit 500
