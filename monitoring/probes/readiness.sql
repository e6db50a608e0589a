-- title:    Readiness
-- about:    What this server allows us to see, and the exact statement for what is missing.
-- empty:    The server could not be asked.
-- scope:    instance
-- every:    5m
-- key:      check
-- warning:  missing_count > 0
-- column state:         ready, missing, advised, or unknown when this role may not know
-- column remedy:        run it as a superuser, on the primary
-- column missing_count: 1 when something will stay unknown without it
with role as (
    select
        pg_catalog.pg_has_role('pg_monitor', 'usage') as monitors,
        pg_catalog.pg_has_role(pg_catalog.to_regrole('pg_read_all_data'), 'usage') as reads_data,
        pg_catalog.format('%I', current_user) as name
), library as (
    select setting, setting ~ '(^|[, "])pg_stat_statements($|[, "])' as loads,
        (select string_agg(pg_catalog.quote_literal(trim(both ' "' from name)), ', ')
         from unnest(string_to_array(setting, ',')) name where trim(both ' "' from name) <> '') as quoted
    from pg_catalog.pg_settings where name = 'shared_preload_libraries'
), extension as (
    select installed.extversion as version, available.default_version as newest
    from (values (1)) one
    left join pg_catalog.pg_extension installed on installed.extname = 'pg_stat_statements'
    left join pg_catalog.pg_available_extensions available on available.name = 'pg_stat_statements'
), setting (place, name, good, why, restart, is_needed) as (
    values
        (21, 'track_counts', '^on$', 'Without it no table or index statistics exist, and autovacuum does not run.', false, true),
        (22, 'track_activities', '^on$', 'Without it sessions do not say what they do.', false, true),
        (23, 'track_io_timing', '^on$', 'Without it the time of reads and writes stays unknown.', false, true),
        (24, 'compute_query_id', '^(on|auto|regress)$', 'Without it sessions and plans cannot be matched to statements.', false, true),
        (25, 'track_commit_timestamp', '^on$', 'Without it the exact time of a view''s refresh stays unknown.', true, false),
        (26, 'autovacuum', '^on$', 'Without it dead rows pile up and transaction numbers run out.', false, true),
        (27, 'track_activity_query_size', '^(4kB|[48]kB|1[0-9]kB|[2-9][0-9]kB|[0-9]{3,}kB|.*MB|[0-9]{5,}B|[4-9][0-9]{3}B)$',
            'Texts of running statements are cut at this length.', true, false)
), finding as (
    select 1 as place, 'member of pg_monitor' as check, case when monitors then 'ready' else 'missing' end as state,
        'Sees other roles'' sessions, statements, all settings, WAL and temporary files.' as why,
        'GRANT pg_monitor TO ' || name || ';' as remedy
    from role
    union all
    select 2, 'member of pg_read_all_data', case when reads_data then 'ready' else 'missing' end,
        'Bloat, index advice, plans and sequences need the statistics of column values; without it they stay unknown.',
        'GRANT pg_read_all_data TO ' || name || ';'
    from role where reads_data is not null
    union all
    select 3, 'PostgreSQL 14 or newer', 'advised', 'Version 13 tells nothing of WAL, COPY, times of sessions and the'
        || ' statements that sessions run; bloat and sequences only to a superuser. It gets no corrections any more.', null
    where pg_catalog.current_setting('server_version_num')::int between 130000 and 139999
    union all
    select 3, 'PostgreSQL 13 or newer', 'missing', 'dbadmin does not know older versions: what it shows of this one may be wrong.',
        null
    where pg_catalog.current_setting('server_version_num')::int < 130000
    union all
    select 11, 'pg_stat_statements is loaded',
        case when library.loads then 'ready' when library.setting is null then 'unknown' else 'missing' end,
        'Counts what every statement costs. Needs a restart of the server.',
        case when library.setting is null then 'GRANT pg_monitor TO ' || role.name || ';'
            else 'ALTER SYSTEM SET shared_preload_libraries = ' || coalesce(library.quoted || ', ', '')
                || '''pg_stat_statements''; -- then restart the server' end
    from role left join library on true
    union all
    select 12, 'pg_stat_statements is installed here',
        case when extension.version is null then 'missing' else 'ready' end,
        'Its view must exist in the database that we connect to: ' || current_database() || '.',
        'CREATE EXTENSION pg_stat_statements;'
    from extension
    union all
    select 13, 'pg_stat_statements is up to date', case when version = newest then 'ready' else 'advised' end,
        'Installed is ' || version || ', the server offers ' || newest || '; newer ones tell more.',
        'ALTER EXTENSION pg_stat_statements UPDATE;'
    from extension where version is not null and newest is not null
    union all
    select 14, 'pg_stat_statements counts', case when value in ('top', 'all') then 'ready' else 'missing' end,
        'With track = none it counts nothing.', 'ALTER SYSTEM SET pg_stat_statements.track = ''top''; SELECT pg_reload_conf();'
    from (select pg_catalog.current_setting('pg_stat_statements.track', true) as value) tracking
    where value is not null
    union all
    select setting.place, setting.name,
        case when pg_catalog.current_setting(setting.name) ~ setting.good then 'ready'
            when setting.is_needed then 'missing' else 'advised' end,
        setting.why,
        case setting.name when 'track_activity_query_size' then 'ALTER SYSTEM SET track_activity_query_size = ''4kB'''
            when 'compute_query_id' then 'ALTER SYSTEM SET compute_query_id = ''auto'''
            else 'ALTER SYSTEM SET ' || setting.name || ' = on' end
        || case when setting.restart then '; -- then restart the server' else '; SELECT pg_reload_conf();' end
    from setting
    where pg_catalog.current_setting(setting.name, true) is not null
)
select
    finding.check,
    finding.state,
    finding.why,
    case when finding.state <> 'ready' then finding.remedy end             as remedy,
    case when finding.state = 'missing' then 1 else 0 end                  as missing_count
from finding
order by array_position(array['missing', 'unknown', 'advised', 'ready'], finding.state), finding.place
