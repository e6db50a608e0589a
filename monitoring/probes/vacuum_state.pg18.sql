with setting as (
    select
        pg_catalog.current_setting('autovacuum')::bool                                  as is_on,
        pg_catalog.current_setting('autovacuum_vacuum_threshold')::float8               as vacuum_base,
        pg_catalog.current_setting('autovacuum_vacuum_scale_factor')::float8            as vacuum_scale,
        pg_catalog.current_setting('autovacuum_vacuum_max_threshold', true)::float8     as vacuum_most,
        pg_catalog.current_setting('autovacuum_vacuum_insert_threshold')::float8        as insert_base,
        pg_catalog.current_setting('autovacuum_vacuum_insert_scale_factor')::float8     as insert_scale,
        pg_catalog.current_setting('autovacuum_analyze_threshold')::float8              as analyze_base,
        pg_catalog.current_setting('autovacuum_analyze_scale_factor')::float8           as analyze_scale,
        pg_catalog.current_setting('autovacuum_freeze_max_age')::float8                 as freeze_age,
        pg_catalog.current_setting('autovacuum_multixact_freeze_max_age')::float8       as multixact_age
), own as (
    select
        relation.oid,
        bool_and(option.option_value::bool) filter (where option.option_name = 'autovacuum_enabled')             as is_on,
        max(option.option_value) filter (where option.option_name = 'autovacuum_vacuum_threshold')::float8           as vacuum_base,
        max(option.option_value) filter (where option.option_name = 'autovacuum_vacuum_scale_factor')::float8        as vacuum_scale,
        max(option.option_value) filter (where option.option_name = 'autovacuum_vacuum_max_threshold')::float8       as vacuum_most,
        max(option.option_value) filter (where option.option_name = 'autovacuum_vacuum_insert_threshold')::float8    as insert_base,
        max(option.option_value) filter (where option.option_name = 'autovacuum_vacuum_insert_scale_factor')::float8 as insert_scale,
        max(option.option_value) filter (where option.option_name = 'autovacuum_analyze_threshold')::float8          as analyze_base,
        max(option.option_value) filter (where option.option_name = 'autovacuum_analyze_scale_factor')::float8       as analyze_scale,
        max(option.option_value) filter (where option.option_name = 'autovacuum_freeze_max_age')::float8             as freeze_age,
        max(option.option_value) filter (where option.option_name = 'autovacuum_multixact_freeze_max_age')::float8   as multixact_age
    from pg_catalog.pg_class relation
    cross join lateral pg_catalog.pg_options_to_table(relation.reloptions) option
    where relation.relkind in ('r', 'm') and relation.oid >= 16384 and relation.reloptions is not null
        and option.option_name like 'autovacuum%'
    group by relation.oid
), state as (
    select
        relation.oid, relation.relnamespace, relation.relname,
        greatest(relation.reltuples, 0)                                       as tuples,
        -- Only what is not frozen yet counts for the threshold of inserts.
        case when relation.relpages > 0
            then 1 - least(relation.relallfrozen::float8 / relation.relpages, 1) else 1 end as unfrozen,
        case when counted.yes then pg_catalog.pg_stat_get_live_tuples(relation.oid)
            else nullif(relation.reltuples, -1)::int8 end                     as live,
        case when counted.yes then pg_catalog.pg_stat_get_dead_tuples(relation.oid) end       as dead,
        case when counted.yes then pg_catalog.pg_stat_get_ins_since_vacuum(relation.oid) end  as inserted,
        case when counted.yes then pg_catalog.pg_stat_get_mod_since_analyze(relation.oid) end as changed,
        pg_catalog.age(relation.relfrozenxid)                                 as xid_age,
        pg_catalog.mxid_age(relation.relminmxid)                              as multixact_age
    from pg_catalog.pg_class relation
    cross join lateral (
        -- Counters at zero may be an empty table or lost statistics: some trace of counting must be there.
        select relation.reltuples = 0
            or pg_catalog.pg_stat_get_live_tuples(relation.oid) > 0
            or pg_catalog.pg_stat_get_dead_tuples(relation.oid) > 0
            or pg_catalog.pg_stat_get_tuples_inserted(relation.oid) > 0
            or pg_catalog.pg_stat_get_vacuum_count(relation.oid) + pg_catalog.pg_stat_get_autovacuum_count(relation.oid) > 0
            or pg_catalog.pg_stat_get_analyze_count(relation.oid) + pg_catalog.pg_stat_get_autoanalyze_count(relation.oid) > 0
            as yes
    ) counted
    where relation.relkind in ('r', 'm') and relation.relpersistence <> 't' and relation.oid >= 16384
), due as (
    select
        state.*,
        setting.is_on and coalesce(own.is_on, true)                                                   as is_on,
        state.dead / (case
            when coalesce(own.vacuum_most, setting.vacuum_most) >= 0
                then least(coalesce(own.vacuum_most, setting.vacuum_most),
                    coalesce(own.vacuum_base, setting.vacuum_base)
                    + coalesce(own.vacuum_scale, setting.vacuum_scale) * state.tuples)
            else coalesce(own.vacuum_base, setting.vacuum_base)
                + coalesce(own.vacuum_scale, setting.vacuum_scale) * state.tuples end + 1)            as vacuum_due,
        case when coalesce(own.insert_base, setting.insert_base) >= 0
            then state.inserted / (coalesce(own.insert_base, setting.insert_base)
                + coalesce(own.insert_scale, setting.insert_scale) * state.tuples * state.unfrozen + 1) end as insert_due,
        state.changed / (coalesce(own.analyze_base, setting.analyze_base)
            + coalesce(own.analyze_scale, setting.analyze_scale) * state.tuples + 1)                  as analyze_due,
        greatest(state.xid_age / least(own.freeze_age, setting.freeze_age),
            state.multixact_age / least(own.multixact_age, setting.multixact_age))                    as freeze_due
    from state
    cross join setting
    left join own on own.oid = state.oid
), worst as (
    select *
    from due
    order by greatest(vacuum_due, insert_due, freeze_due) desc, analyze_due desc nulls last, oid
    limit 500
)
select
    space.nspname                                                as schema,
    worst.relname                                                as table,
    case when worst.is_on then worst.vacuum_due end              as vacuum_due_ratio,
    case when worst.is_on then worst.insert_due end              as insert_due_ratio,
    case when worst.is_on then worst.analyze_due end             as analyze_due_ratio,
    worst.freeze_due::float8                                         as freeze_ratio,
    worst.dead                                                   as dead_rows,
    worst.live                                                   as live_rows,
    worst.inserted                                               as inserted_since_vacuum_rows,
    worst.changed                                                as changed_since_analyze_rows,
    case when worst.is_on then 'on' else 'off' end               as autovacuum,
    pg_catalog.pg_stat_get_last_vacuum_time(worst.oid)           as last_vacuum_at,
    pg_catalog.pg_stat_get_last_autovacuum_time(worst.oid)       as last_autovacuum_at,
    pg_catalog.pg_stat_get_last_analyze_time(worst.oid)          as last_analyze_at,
    pg_catalog.pg_stat_get_last_autoanalyze_time(worst.oid)      as last_autoanalyze_at,
    pg_catalog.pg_stat_get_vacuum_count(worst.oid) + pg_catalog.pg_stat_get_autovacuum_count(worst.oid) as vacuums_total,
    pg_catalog.pg_stat_get_analyze_count(worst.oid) + pg_catalog.pg_stat_get_autoanalyze_count(worst.oid) as analyzes_total
from worst
join pg_catalog.pg_namespace space on space.oid = worst.relnamespace
where space.nspname not in ('pg_catalog', 'information_schema', 'pg_toast')
order by greatest(worst.vacuum_due, worst.insert_due, worst.freeze_due) desc, worst.analyze_due desc nulls last, schema, "table"
