-- title:    Vacuum progress
-- about:    Tables that are being vacuumed now, by hand or by autovacuum.
-- empty:    Nothing is being vacuumed.
-- scope:    instance
-- needs:    pg_monitor
-- every:    30s
-- series:   rows
-- actions:  cancel_backend(pid)
-- column relation:            empty when it lies in another database than the one asked
-- column scanned_ratio:       of the table's blocks
-- column index_passes_count:  times that all indexes were read; more than one means that its memory was too small
-- column why:                 autovacuum, or the statement; to prevent wraparound is not cancelled by others' locks
select
    progress.pid,
    progress.datname                                                       as database,
    case when progress.datname = current_database()
        then space.nspname || '.' || relation.relname end                  as relation,
    progress.phase,
    progress.heap_blks_scanned::float8 / nullif(progress.heap_blks_total, 0)  as scanned_ratio,
    progress.heap_blks_vacuumed::float8 / nullif(progress.heap_blks_total, 0) as vacuumed_ratio,
    progress.index_vacuum_count                                            as index_passes_count,
    extract(epoch from pg_catalog.clock_timestamp() - session.xact_start)::float8 as running_seconds,
    progress.heap_blks_total * pg_catalog.current_setting('block_size')::int8 as heap_bytes,
    session.wait_event_type || ': ' || session.wait_event                  as waits_for,
    session.query                                                          as why
from pg_catalog.pg_stat_progress_vacuum progress
left join pg_catalog.pg_stat_activity session on session.pid = progress.pid
left join pg_catalog.pg_class relation on relation.oid = progress.relid and progress.datname = current_database()
left join pg_catalog.pg_namespace space on space.oid = relation.relnamespace
order by running_seconds desc nulls last, progress.pid
