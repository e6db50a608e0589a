-- title:    WAL archiving
-- about:    Whether finished WAL files reach the archive. While they do not, no point in time after the last can be restored.
-- empty:    The server does not tell.
-- scope:    instance
-- every:    60s
-- series:   archived_total, failed_total, failing_count
-- critical: failing_count > 0
-- column state:          off, working, or failing: the last attempt failed
-- column failing_count:  1 while it fails
-- column since_seconds:  time since the last file was archived
select
    case
        when pg_catalog.current_setting('archive_mode') = 'off' then 'off'
        when last_failed_time > coalesce(last_archived_time, '-infinity') then 'failing'
        else 'working'
    end                                                                as state,
    case when pg_catalog.current_setting('archive_mode') <> 'off'
        then (last_failed_time > coalesce(last_archived_time, '-infinity') and last_failed_time is not null)::int end
                                                                       as failing_count,
    archived_count                                                     as archived_total,
    failed_count                                                       as failed_total,
    last_archived_wal                                                  as last_archived,
    last_archived_time                                                 as last_archived_at,
    extract(epoch from pg_catalog.clock_timestamp() - last_archived_time)::float8 as since_seconds,
    last_failed_wal                                                    as last_failed,
    last_failed_time                                                   as last_failed_at,
    stats_reset                                                        as reset_at
from pg_catalog.pg_stat_archiver
