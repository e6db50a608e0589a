select
    subscription.subname                                                              as subscription,
    subscription.datname                                                              as database,
    case when not subscription.subenabled then 'switched off' when worker.pid is null then 'no worker' else 'working' end as state,
    extract(epoch from pg_catalog.clock_timestamp() - worker.last_msg_receipt_time)::float8 as silent_seconds,
    pg_catalog.pg_wal_lsn_diff(worker.received_lsn, worker.latest_end_lsn)::int8      as unconfirmed_bytes,
    (select failed.apply_error_count + failed.sync_error_count
     from pg_catalog.pg_stat_subscription_stats failed where failed.subid = subscription.oid) as errors_total,
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
