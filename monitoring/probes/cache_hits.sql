-- title:    Cache hits
-- about:    How many of the blocks that each database asked for were already in shared buffers.
-- empty:    No database has been read yet.
-- scope:    instance
-- every:    60s
-- key:      database
-- column hit_ratio: since the statistics began, empty below 50 000 blocks; what the operating system's cache served counts as read
-- column read_bytes_total: fetched from the operating system
select
    coalesce(activity.datname, '(shared catalogs)')                             as database,
    case when activity.blks_hit + activity.blks_read >= 50000
        then activity.blks_hit::float8 / (activity.blks_hit + activity.blks_read) end as hit_ratio,
    activity.blks_hit                                                           as blocks_hit_total,
    activity.blks_read                                                          as blocks_read_total,
    activity.blks_read * pg_catalog.current_setting('block_size')::int8         as read_bytes_total,
    case when pg_catalog.current_setting('track_io_timing')::bool
        then activity.blk_read_time / 1000 end                                  as read_seconds_total,
    activity.stats_reset                                                        as reset_at
from pg_catalog.pg_stat_database activity
where activity.datname is null or activity.datname not in ('template0', 'template1')
order by hit_ratio nulls last, activity.blks_read desc, database
