-- title:    Indexes
-- about:    How big each index is and how often it is used; the 20 000 largest.
-- empty:    There is no index in this database.
-- scope:    database
-- every:    15m
-- key:      schema, index
-- series:   size_bytes, scans_total
-- timeout:  10s
-- column size_bytes:       as of the last vacuum or analyze (relpages); an index of a partitioned table counts all its partitions
-- column partitions_count: indexes of partitions counted in this row; empty when the table has none
-- column last_used_at:     from PostgreSQL 16
-- column scans_total:      reads through this index; checks of uniqueness do not count
-- column enforces:         what would be lost without it: primary key, unique, exclusion; empty for a plain index
-- column is_valid:         false for the leftover of a failed concurrent build
with parted as (
    -- An index of a partitioned table is what its parts on the partitions are together.
    select pg_catalog.pg_partition_root(relation.oid) as root, count(*) as partitions,
        sum(relation.relpages)::int8 as pages,
        sum(pg_catalog.pg_stat_get_numscans(relation.oid))::int8 as scans, null::timestamptz as used_at
    from pg_catalog.pg_inherits link
    join pg_catalog.pg_class relation on relation.oid = link.inhrelid
    where relation.relkind = 'i' and relation.relispartition and relation.relpersistence <> 't'
    group by 1
), whole as (
    select relation.relnamespace, owner.relname as owner, relation.relname, relation.relpages::int8 as pages,
        pg_catalog.pg_stat_get_numscans(relation.oid) as scans, null::timestamptz as used_at, relation.relam,
        detail.indisprimary, detail.indisexclusion, detail.indisunique, detail.indisvalid, null::int8 as partitions
    from pg_catalog.pg_class relation
    join pg_catalog.pg_index detail on detail.indexrelid = relation.oid
    join pg_catalog.pg_class owner on owner.oid = detail.indrelid
    where relation.relkind = 'i' and not relation.relispartition and relation.relpersistence <> 't'
        and relation.relnamespace <> 'pg_toast'::pg_catalog.regnamespace and relation.oid >= 16384
    union all
    select root.relnamespace, owner.relname, root.relname, parted.pages, parted.scans, parted.used_at, root.relam,
        detail.indisprimary, detail.indisexclusion, detail.indisunique, detail.indisvalid, parted.partitions
    from parted
    join pg_catalog.pg_class root on root.oid = parted.root
    join pg_catalog.pg_index detail on detail.indexrelid = root.oid
    join pg_catalog.pg_class owner on owner.oid = detail.indrelid
)
select
    space.nspname                                                       as schema,
    whole.owner                                                         as table,
    whole.relname                                                       as index,
    whole.pages * pg_catalog.current_setting('block_size')::int8        as size_bytes,
    whole.scans                                                         as scans_total,
    whole.used_at                                                       as last_used_at,
    case
        when whole.indisprimary then 'primary key'
        when whole.indisexclusion then 'exclusion'
        when whole.indisunique then 'unique'
    end                                                                 as enforces,
    method.amname                                                       as method,
    whole.indisvalid                                                    as is_valid,
    whole.partitions                                                    as partitions_count
from whole
join pg_catalog.pg_namespace space on space.oid = whole.relnamespace
join pg_catalog.pg_am method on method.oid = whole.relam
where space.nspname not in ('pg_catalog', 'information_schema', 'pg_toast')
order by whole.pages desc
limit 20000
