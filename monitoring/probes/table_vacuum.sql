-- title:    Vacuum and analyze
-- about:    How far it is from the next ones, by its own thresholds, and when they are due at the pace since the last.
-- empty:    Autovacuum does not come here: it works on tables and materialized views, of a partitioned table on each partition.
-- scope:    database
-- on:       primary
-- params:   schema, table
-- warning:  reached_ratio > 2
-- critical: reached_ratio > 10
-- column part:        the table, or its TOAST store, which is vacuumed by itself
-- column counts:      what is counted against the threshold
-- column now_count:   empty when the statistics were lost and nobody has analyzed the table since
-- column reached_ratio:   at 100 % autovacuum comes; empty when it is switched off for the table
-- column due_seconds: until then, at the pace since the last one; empty when that is not known
-- column last_at:     by hand or by autovacuum
-- column runs_total:  since the statistics began
with chosen as (
    select relation.*, relation.oid as number, 'table'::text as part, relation.reloptions as options,
        -- Counters at zero may be an empty table or lost statistics: some trace of counting must be there.
        relation.reltuples = 0
            or pg_catalog.pg_stat_get_live_tuples(relation.oid) > 0
            or pg_catalog.pg_stat_get_dead_tuples(relation.oid) > 0
            or pg_catalog.pg_stat_get_tuples_inserted(relation.oid) > 0
            or pg_catalog.pg_stat_get_vacuum_count(relation.oid) + pg_catalog.pg_stat_get_autovacuum_count(relation.oid) > 0
            or pg_catalog.pg_stat_get_analyze_count(relation.oid) + pg_catalog.pg_stat_get_autoanalyze_count(relation.oid) > 0
            as counted
    from pg_catalog.pg_class relation
    join pg_catalog.pg_namespace space on space.oid = relation.relnamespace
    where space.nspname = %(schema)s::text and relation.relname = %(table)s::text
        and relation.relkind in ('r', 'm') and relation.relpersistence <> 't'
), target as (
    select * from chosen
    union all
    select store.*, store.oid, 'TOAST store', coalesce(store.reloptions, chosen.options), chosen.counted
    from chosen
    join pg_catalog.pg_class store on store.oid = chosen.reltoastrelid
), own as (
    select
        target.number,
        coalesce(pg_catalog.jsonb_object_agg(option.option_name, option.option_value)
            filter (where option.option_name is not null), '{}') as given
    from target
    left join lateral pg_catalog.pg_options_to_table(target.options) option on true
    group by target.number
), limits as (
    -- The table's own setting, else that of the server; unknown to an older version: null.
    select
        own.number                                                              as owner,
        coalesce((own.given ->> 'autovacuum_enabled')::bool, true)
            and pg_catalog.current_setting('autovacuum')::bool                  as is_on,
        value.*
    from own
    cross join lateral (
        select
            max(value) filter (where name = 'autovacuum_vacuum_threshold')             as vacuum_base,
            max(value) filter (where name = 'autovacuum_vacuum_scale_factor')          as vacuum_scale,
            max(value) filter (where name = 'autovacuum_vacuum_max_threshold')         as vacuum_most,
            max(value) filter (where name = 'autovacuum_vacuum_insert_threshold')      as insert_base,
            max(value) filter (where name = 'autovacuum_vacuum_insert_scale_factor')   as insert_scale,
            max(value) filter (where name = 'autovacuum_analyze_threshold')            as analyze_base,
            max(value) filter (where name = 'autovacuum_analyze_scale_factor')         as analyze_scale,
            min(value) filter (where name = 'autovacuum_freeze_max_age')               as freeze_age,
            min(value) filter (where name = 'autovacuum_multixact_freeze_max_age')     as multixact_age
        from (
            select name, coalesce((own.given ->> name)::float8, pg_catalog.current_setting(name, true)::float8) as value
            from unnest(array['autovacuum_vacuum_threshold', 'autovacuum_vacuum_scale_factor',
                'autovacuum_vacuum_max_threshold', 'autovacuum_vacuum_insert_threshold',
                'autovacuum_vacuum_insert_scale_factor', 'autovacuum_analyze_threshold',
                'autovacuum_analyze_scale_factor']) name
            union all
            -- A table may ask for an earlier one, not for a later one.
            select name, least((own.given ->> name)::float8, pg_catalog.current_setting(name)::float8)
            from unnest(array['autovacuum_freeze_max_age', 'autovacuum_multixact_freeze_max_age']) name
        ) setting
    ) value
), state as (
    select
        target.number, target.part, target.counted, target.relfrozenxid, target.relminmxid, limits.*,
        greatest(target.reltuples, 0)                                           as tuples,
        -- From version 18 on only what is not frozen yet counts for the threshold of inserts.
        coalesce(1 - least((to_jsonb(target) ->> 'relallfrozen')::float8 / nullif(target.relpages, 0), 1), 1) as unfrozen,
        greatest(pg_catalog.pg_stat_get_last_vacuum_time(target.number),
            pg_catalog.pg_stat_get_last_autovacuum_time(target.number))         as vacuumed_at,
        greatest(pg_catalog.pg_stat_get_last_analyze_time(target.number),
            pg_catalog.pg_stat_get_last_autoanalyze_time(target.number))        as analyzed_at,
        pg_catalog.pg_stat_get_vacuum_count(target.number)
            + pg_catalog.pg_stat_get_autovacuum_count(target.number)            as vacuums,
        pg_catalog.pg_stat_get_analyze_count(target.number)
            + pg_catalog.pg_stat_get_autoanalyze_count(target.number)           as analyzes
    from target
    join limits on limits.owner = target.number
), line as (
    select 1 as place, state.*, 'vacuum' as leads_to, 'dead rows' as counts,
        pg_catalog.pg_stat_get_dead_tuples(state.number)::float8 as now,
        case when vacuum_most >= 0 then least(vacuum_most, vacuum_base + vacuum_scale * tuples)
            else vacuum_base + vacuum_scale * tuples end as bound, vacuumed_at as last_at, vacuums as runs
    from state
    union all
    select 2, state.*, 'vacuum', 'rows inserted since the last vacuum',
        pg_catalog.pg_stat_get_ins_since_vacuum(state.number),
        insert_base + insert_scale * tuples * unfrozen, vacuumed_at, vacuums
    from state
    where insert_base >= 0
    union all
    select 3, state.*, 'analyze', 'rows changed since the last analyze',
        pg_catalog.pg_stat_get_mod_since_analyze(state.number),
        analyze_base + analyze_scale * tuples, analyzed_at, analyzes
    from state
    where part = 'table'
    union all
    select 4, state.*, 'vacuum to freeze', 'age of its oldest transaction number',
        pg_catalog.age(relfrozenxid), freeze_age, null, null
    from state
    union all
    select 5, state.*, 'vacuum to freeze', 'age of its oldest multixact',
        pg_catalog.mxid_age(relminmxid), multixact_age, null, null
    from state
    where relminmxid::text <> '0'
)
select
    line.part,
    line.leads_to,
    line.counts,
    case when line.place > 3 or line.counted then line.now::int8 end            as now_count,
    line.bound::int8                                                            as limit_count,
    case when line.is_on and line.counted or line.place > 3 then line.now / (line.bound + 1) end as reached_ratio,
    case when line.place > 3 or not (line.is_on and line.counted) then null
        when line.now > line.bound then 0
        else (line.bound - line.now) * extract(epoch from now() - line.last_at)::float8 / nullif(line.now, 0) end as due_seconds,
    case when line.is_on then 'on' else 'off' end                               as autovacuum,
    line.last_at                                                                as last_at,
    line.runs                                                                   as runs_total
from line
order by line.part = 'TOAST store', line.place
