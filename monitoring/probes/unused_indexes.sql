-- title:    Unused indexes
-- about:    Indexes above 1 MiB that no query has used since the statistics began. Each write pays for them.
-- empty:    Every index above 1 MiB is used, or enforces something.
-- scope:    database
-- every:    15m
-- series:   rows, sum(size_bytes)
-- actions:  drop_index(schema, index)
-- column index:            of a partitioned table the parent's index, unused on all partitions together
-- column verdict:          below a week of statistics, or beside a standby that may use it, nothing is certain
-- column observed_seconds: since the counters of this server began; empty when they do not tell
-- column writes_total:     changes of the table that had to be carried into this index, as far as the statistics reach; empty for a partitioned table
-- column partitions_count: indexes of partitions counted in this row
with candidate as (
    select
        relation.oid,
        case when relation.relispartition
            then coalesce(pg_catalog.pg_partition_root(relation.oid), relation.oid) else relation.oid end as root,
        relation.relispartition,
        relation.relpages
    from pg_catalog.pg_class relation
    where relation.relkind in ('i', 'I') and relation.relpersistence <> 't' and relation.oid >= 16384
        and (relation.relispartition or relation.relkind = 'I'
            or relation.relpages >= 1048576 / pg_catalog.current_setting('block_size')::int8)
), folded as (
    select
        root,
        count(*) filter (where relispartition)            as partitions,
        sum(relpages)                                     as pages,
        sum(pg_catalog.pg_stat_get_numscans(oid))         as scans
    from candidate
    group by root
), observed as (
    select greatest(
        (select stats_reset from pg_catalog.pg_stat_database where datname = current_database()),
        (select stats_reset from pg_catalog.pg_stat_bgwriter)) as since
), standby as (
    select count(*) as number from pg_catalog.pg_stat_replication
)
select
    space.nspname                                                           as schema,
    parent.relname                                                          as table,
    relation.relname                                                        as index,
    (folded.pages * pg_catalog.current_setting('block_size')::int8)::int8   as size_bytes,
    case
        when not detail.indisvalid then 'broken: rebuild or drop it'
        when observed.since is null or observed.since > now() - interval '7 days'
            then 'too early to tell'
        when pg_catalog.pg_is_in_recovery() then 'unused here, ask the primary'
        when standby.number > 0 then 'unused here, ask the standbys'
        else 'can be dropped'
    end                                                                     as verdict,
    extract(epoch from now() - observed.since)::float8                      as observed_seconds,
    case when parent.relkind <> 'p'
        then pg_catalog.pg_stat_get_tuples_inserted(parent.oid) + pg_catalog.pg_stat_get_tuples_updated(parent.oid)
            - pg_catalog.pg_stat_get_tuples_hot_updated(parent.oid) end     as writes_total,
    (select string_agg(part.attname, ', ' order by part.attnum)
     from pg_catalog.pg_attribute part where part.attrelid = relation.oid)  as columns,
    nullif(folded.partitions, 0)                                            as partitions_count
from folded
join pg_catalog.pg_class relation on relation.oid = folded.root
join pg_catalog.pg_namespace space on space.oid = relation.relnamespace
join pg_catalog.pg_index detail on detail.indexrelid = relation.oid
join pg_catalog.pg_class parent on parent.oid = detail.indrelid
cross join observed
cross join standby
where folded.scans = 0
    and folded.pages >= 1048576 / pg_catalog.current_setting('block_size')::int8
    and space.nspname not in ('pg_catalog', 'information_schema', 'pg_toast')
    and not detail.indisunique and not detail.indisexclusion and not detail.indisreplident
    and not exists (select from pg_catalog.pg_constraint where conindid = relation.oid)
    and not exists (
        select from pg_catalog.pg_constraint reference
        where reference.contype = 'f' and reference.conrelid = parent.oid and detail.indpred is null
            and reference.conkey <@ detail.indkey::int2[]
            and (select count(*) from unnest(detail.indkey::int2[]) with ordinality part (number, place)
                 where part.place <= cardinality(reference.conkey) and part.number = any (reference.conkey))
                = cardinality(reference.conkey))
order by size_bytes desc, schema, "index"
