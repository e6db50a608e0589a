-- title:    Conflicts with recovery
-- about:    Queries on this standby that were cancelled because replaying WAL had to go on.
-- empty:    No query has been cancelled.
-- scope:    instance
-- on:       standby
-- every:    60s
-- key:      database
-- column snapshot_total: rows that the query could still see were removed on the primary; hot_standby_feedback prevents it
-- column lock_total:     the primary took an exclusive lock
select
    datname                     as database,
    confl_snapshot              as snapshot_total,
    confl_lock                  as lock_total,
    confl_bufferpin             as buffer_pin_total,
    confl_deadlock              as deadlock_total,
    confl_tablespace            as tablespace_total
from pg_catalog.pg_stat_database_conflicts
where datname not in ('template0', 'template1')
order by confl_snapshot + confl_lock + confl_bufferpin + confl_deadlock + confl_tablespace desc, database
