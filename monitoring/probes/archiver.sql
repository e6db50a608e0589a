-- title:    WAL archiving
-- about:    Whether finished WAL files reach the archive. While they do not, no point in time after the last can be restored.
-- empty:    The server does not tell.
-- scope:    instance
-- every:    60s
-- series:   archived_total, failed_total, failing_count
-- critical: failing_count > 0
-- column state:          off, also on a standby unless archive_mode is always; no command: WAL stays until there is one; working; or failing: the last attempt failed
-- column failing_count:  1 while it fails
-- column since_seconds:  time since the last file was archived
with archiving as (
    select
        pg_catalog.current_setting('archive_mode') = 'always' or pg_catalog.current_setting('archive_mode') = 'on'
            and not pg_catalog.pg_is_in_recovery() as is_on,
        coalesce(nullif(pg_catalog.current_setting('archive_command'), ''),
            nullif(pg_catalog.current_setting('archive_library', true), '')) is null as is_idle
)
select
    case
        when not archiving.is_on then 'off'
        when archiving.is_idle then 'no command'
        when last_failed_time > coalesce(last_archived_time, '-infinity') then 'failing'
        else 'working'
    end                                                                as state,
    case when archiving.is_on then (archiving.is_idle or last_failed_time is not null
        and last_failed_time > coalesce(last_archived_time, '-infinity'))::int end as failing_count,
    archived_count                                                     as archived_total,
    failed_count                                                       as failed_total,
    last_archived_wal                                                  as last_archived,
    last_archived_time                                                 as last_archived_at,
    extract(epoch from pg_catalog.clock_timestamp() - last_archived_time)::float8 as since_seconds,
    last_failed_wal                                                    as last_failed,
    last_failed_time                                                   as last_failed_at,
    stats_reset                                                        as reset_at
from pg_catalog.pg_stat_archiver
cross join archiving
