select part, reset_at
from (
    select 1 as place, 'server start' as part, pg_catalog.pg_postmaster_start_time() as reset_at
    union all
    select 2, 'background writer', stats_reset from pg_catalog.pg_stat_bgwriter
    union all
    select 3, 'archiver', stats_reset from pg_catalog.pg_stat_archiver
    union all
    select 9, 'database ' || datname, stats_reset from pg_catalog.pg_stat_database where datname is not null
) epoch
order by place, part
