-- title:    Subscriptions
-- about:    Logical replication into this server: what each worker has received, and what failed.
-- empty:    This server subscribes to nothing.
-- scope:    instance
-- every:    60s
-- key:      subscription
-- warning:  silent_seconds > 120
-- column state:          working, switched off, or no worker: it should run and does not
-- column silent_seconds: since the publisher was last heard
-- column errors_total:   failed to apply a change or to copy a table, from PostgreSQL 15
-- column tables_syncing_count: tables whose first copy is not finished; only those of this database
select
    subscription.subname                                                              as subscription,
    subscription.datname                                                              as database,
    case when not subscription.subenabled then 'switched off' when worker.pid is null then 'no worker' else 'working' end as state,
    extract(epoch from pg_catalog.clock_timestamp() - worker.last_msg_receipt_time)::float8 as silent_seconds,
    pg_catalog.pg_wal_lsn_diff(worker.received_lsn, worker.latest_end_lsn)::int8      as unconfirmed_bytes,
    null::int8                                                                        as errors_total,
    (select count(*) from pg_catalog.pg_subscription_rel part
     where part.srsubid = subscription.oid and part.srsubstate <> 'r')                as tables_syncing_count,
    worker.pid
from (
    select subscription.oid, subscription.subname, subscription.subenabled, database.datname
    from pg_catalog.pg_subscription subscription
    join pg_catalog.pg_database database on database.oid = subscription.subdbid
) subscription
left join pg_catalog.pg_stat_subscription worker on worker.subid = subscription.oid and worker.relid is null
order by state, silent_seconds desc nulls last, subscription
