-- title:    Vital signs
-- about:    The state of the whole server in one row: sessions, waits, transactions, reads and WAL.
-- empty:    The server gave no vital signs.
-- scope:    instance
-- needs:    pg_monitor
-- every:    60s
-- series:   connections_count, connections_ratio, active_count, waiting_count, blocked_count, idle_in_transaction_count, oldest_transaction_seconds, oldest_query_seconds, commits_total, rollbacks_total, blocks_hit_total, blocks_read_total, changed_rows_total, temp_files_total, temp_bytes_total, deadlocks_total, wal_bytes_total
-- warning:  connections_ratio > 0.8
-- critical: connections_ratio > 0.9
-- column connections_count:          client connections, our own included
-- column connections_limit_count:    what ordinary roles may open: max_connections without the reserved ones
-- column waiting_count:              active sessions that wait for something, a lock, a disk or another process
-- column blocked_count:              sessions that wait for a lock that another session holds
-- column oldest_transaction_seconds: empty when no transaction is open
-- column hit_ratio:                  of all reads since the statistics began; the operating system's cache is not counted
-- column wal_bytes_total:            position in the WAL: written on a primary, replayed on a standby
with clients as (
    select
        count(*)                                                                        as connections,
        count(*) filter (where session.state = 'active')                                as active,
        count(*) filter (where session.state = 'idle')                                  as idle,
        count(*) filter (where session.state like 'idle in transaction%')               as idle_in_transaction,
        count(*) filter (where session.state = 'active' and session.wait_event_type is not null) as waiting,
        count(*) filter (where session.wait_event_type = 'Lock')                        as blocked,
        extract(epoch from now() - min(session.xact_start))::float8                     as oldest_transaction,
        extract(epoch from now() - min(session.query_start) filter (where session.state = 'active'))::float8
                                                                                        as oldest_query
    from (
        select *
        from pg_catalog.pg_stat_activity
        where backend_type = 'client backend' and pid <> pg_catalog.pg_backend_pid()
    ) session
), work as (
    select
        sum(xact_commit)     as commits,
        sum(xact_rollback)   as rollbacks,
        sum(blks_hit)        as blocks_hit,
        sum(blks_read)       as blocks_read,
        sum(tup_inserted + tup_updated + tup_deleted) as changed_rows,
        sum(temp_files)      as temp_files,
        sum(temp_bytes)      as temp_bytes,
        sum(deadlocks)       as deadlocks
    from pg_catalog.pg_stat_database
), allowed as (
    select
        pg_catalog.current_setting('max_connections')::int8
        - pg_catalog.current_setting('superuser_reserved_connections')::int8
        - coalesce(pg_catalog.current_setting('reserved_connections', true), '0')::int8 as connections
)
select
    clients.connections + 1                                               as connections_count,
    allowed.connections                                                   as connections_limit_count,
    (clients.connections + 1)::float8 / nullif(allowed.connections, 0)    as connections_ratio,
    clients.active                                                        as active_count,
    clients.idle                                                          as idle_count,
    clients.idle_in_transaction                                           as idle_in_transaction_count,
    clients.waiting                                                       as waiting_count,
    clients.blocked                                                       as blocked_count,
    clients.oldest_transaction                                            as oldest_transaction_seconds,
    clients.oldest_query                                                  as oldest_query_seconds,
    work.commits::int8                                                    as commits_total,
    work.rollbacks::int8                                                  as rollbacks_total,
    work.blocks_hit::int8                                                 as blocks_hit_total,
    work.blocks_read::int8                                                as blocks_read_total,
    work.blocks_hit::float8 / nullif(work.blocks_hit + work.blocks_read, 0)::float8 as hit_ratio,
    work.changed_rows::int8                                               as changed_rows_total,
    work.temp_files::int8                                                 as temp_files_total,
    work.temp_bytes::int8                                                 as temp_bytes_total,
    work.deadlocks::int8                                                  as deadlocks_total,
    pg_catalog.pg_wal_lsn_diff(
        case
            when pg_catalog.pg_is_in_recovery() then pg_catalog.pg_last_wal_replay_lsn()
            else pg_catalog.pg_current_wal_lsn()
        end, '0/0')::int8                                                 as wal_bytes_total
from clients, work, allowed
