-- title:    Resets of statistics
-- about:    Since when each part of the statistics counts. A change means a reset, a crash or a restart: older counts are another story.
-- empty:    The server does not tell.
-- scope:    instance
-- every:    60s
-- key:      part
-- column reset_at: empty when never reset; of a database also after a crash, and changed by the reset of a single table
select part, reset_at
from (
    select 1 as place, 'server start' as part, pg_catalog.pg_postmaster_start_time() as reset_at
    union all
    select 2, 'background writer', stats_reset from pg_catalog.pg_stat_bgwriter
    union all
    select 3, 'archiver', stats_reset from pg_catalog.pg_stat_archiver
    union all
    select 4, 'wal', stats_reset from pg_catalog.pg_stat_wal
    union all
    select 9, 'database ' || datname, stats_reset from pg_catalog.pg_stat_database where datname is not null
) epoch
order by place, part
