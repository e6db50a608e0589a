-- title:    Oldest tables
-- about:    The hundred tables that hold this database's transaction numbers back the most.
-- empty:    There is no table in this database.
-- scope:    database
-- judged:   primary
-- every:    1h
-- timeout:  10s
-- warning:  freeze_ratio > 1.5
-- critical: freeze_ratio > 5
-- actions:  vacuum_table(schema, table)
-- column table:               the owner when the oldest rows lie in its TOAST store
-- column freeze_ratio:        of the table's own limit, of transactions or multixacts, whichever is nearer; above 1 autovacuum freezes it even when switched off
-- column multixact_age_count: the same for shared row locks
with own as (
    select
        relation.oid,
        max(option.option_value) filter (where option.option_name = 'autovacuum_freeze_max_age')::float8 as xids,
        max(option.option_value) filter (where option.option_name = 'autovacuum_multixact_freeze_max_age')::float8 as multixacts
    from pg_catalog.pg_class relation
    cross join lateral pg_catalog.pg_options_to_table(relation.reloptions) option
    where relation.relkind in ('r', 'm', 't') and relation.reloptions is not null
    group by relation.oid
), oldest as (
    select
        relation.oid, relation.relkind, relation.relpages,
        pg_catalog.age(relation.relfrozenxid)        as xid_age,
        pg_catalog.mxid_age(relation.relminmxid)     as multixact_age,
        -- A table may ask for an earlier freeze, not for a later one.
        greatest(
            pg_catalog.age(relation.relfrozenxid)
                / least(pg_catalog.current_setting('autovacuum_freeze_max_age')::float8, own.xids),
            pg_catalog.mxid_age(relation.relminmxid)
                / least(pg_catalog.current_setting('autovacuum_multixact_freeze_max_age')::float8, own.multixacts)
        )                                            as freeze_ratio
    from pg_catalog.pg_class relation
    left join own on own.oid = relation.oid
    where relation.relkind in ('r', 'm', 't') and relation.relpersistence <> 't' and relation.relfrozenxid <> '0'
    order by freeze_ratio desc
    limit 100
)
select
    space.nspname                                          as schema,
    owner.relname                                          as table,
    oldest.relkind = 't'                                   as is_toast,
    oldest.freeze_ratio,
    oldest.xid_age::int8                                   as xid_age_count,
    oldest.multixact_age::int8                             as multixact_age_count,
    (oldest.relpages * pg_catalog.current_setting('block_size')::int8)::int8 as heap_bytes,
    greatest(pg_catalog.pg_stat_get_last_vacuum_time(oldest.oid),
        pg_catalog.pg_stat_get_last_autovacuum_time(oldest.oid)) as last_vacuum_at
from oldest
left join pg_catalog.pg_class keeper on oldest.relkind = 't' and keeper.reltoastrelid = oldest.oid
join pg_catalog.pg_class owner on owner.oid = coalesce(keeper.oid, oldest.oid)
join pg_catalog.pg_namespace space on space.oid = owner.relnamespace
order by oldest.freeze_ratio desc, heap_bytes desc, schema, "table"
