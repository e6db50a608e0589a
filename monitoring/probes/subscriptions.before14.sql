select
    subscription.subname                                                              as subscription,
    subscription.datname                                                              as database,
    case when not subscription.subenabled then 'switched off' when worker.pid is null then 'no worker' else 'working' end as state,
    extract(epoch from pg_catalog.clock_timestamp() - worker.last_msg_receipt_time)::float8 as silent_seconds,
    pg_catalog.pg_wal_lsn_diff(worker.received_lsn, worker.latest_end_lsn)::int8      as unconfirmed_bytes,
    null::int8                                                                        as errors_total,
    (select count(*) from pg_catalog.pg_subscription_rel part
     where part.srsubid = worker.subid and part.srsubstate <> 'r')                    as tables_syncing_count,
    worker.pid
from (
    -- The number of a subscription is for superusers only; its name is unique in its database.
    select subscription.subname, subscription.subenabled, database.datname
    from pg_catalog.pg_subscription subscription
    join pg_catalog.pg_database database on database.oid = subscription.subdbid
    where database.datname = current_database()
) subscription
left join pg_catalog.pg_stat_subscription worker on worker.subname = subscription.subname and worker.relid is null
order by state, silent_seconds desc nulls last, subscription
