select
    database.datname                                        as database,
    database.oid                                            as database_id,
    activity.numbackends                                    as connections_count,
    nullif(database.datconnlimit, -1)                       as connections_limit_count,
    case when database.datconnlimit > 0
        then activity.numbackends::float8 / database.datconnlimit end as connections_ratio,
    activity.xact_commit                                    as commits_total,
    activity.xact_rollback                                  as rollbacks_total,
    activity.blks_hit                                       as blocks_hit_total,
    activity.blks_read                                      as blocks_read_total,
    case when activity.blks_hit + activity.blks_read >= 1000
        then activity.blks_hit::float8 / (activity.blks_hit + activity.blks_read) end as hit_ratio,
    activity.tup_returned                                   as returned_rows_total,
    activity.tup_fetched                                    as fetched_rows_total,
    activity.tup_inserted                                   as inserted_rows_total,
    activity.tup_updated                                    as updated_rows_total,
    activity.tup_deleted                                    as deleted_rows_total,
    activity.temp_files                                     as temp_files_total,
    activity.temp_bytes                                     as temp_bytes_total,
    activity.deadlocks                                      as deadlocks_total,
    activity.conflicts                                      as conflicts_total,
    activity.checksum_failures                              as checksum_failures_total,
    case when pg_catalog.current_setting('track_io_timing')::bool
        then activity.blk_read_time / 1000 end              as read_seconds_total,
    case when pg_catalog.current_setting('track_io_timing')::bool
        then activity.blk_write_time / 1000 end             as write_seconds_total,
    null::float8                                            as session_seconds_total,
    null::float8                                            as active_seconds_total,
    null::float8                                            as idle_in_transaction_seconds_total,
    null::int8                                              as sessions_total,
    null::int8                                              as abandoned_sessions_total,
    null::int8                                              as failed_sessions_total,
    null::int8                                              as killed_sessions_total,
    pg_catalog.age(database.datfrozenxid)::int8             as xid_age_count,
    activity.stats_reset                                    as reset_at
from pg_catalog.pg_database database
join pg_catalog.pg_stat_database activity on activity.datid = database.oid
where not database.datistemplate
order by activity.numbackends desc, activity.xact_commit desc, database.datname
