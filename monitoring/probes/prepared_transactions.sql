-- title:    Prepared transactions
-- about:    Transactions prepared for two-phase commit. They hold locks and dead rows until someone ends them, even over a restart.
-- empty:    No transaction is prepared.
-- scope:    instance
-- judged:   primary
-- every:    60s
-- series:   rows, max(age_seconds)
-- warning:  age_seconds > 300
-- critical: age_seconds > 3600
-- actions:  rollback_prepared(name)
-- column locks_count: locks that it holds on relations
select
    prepared.gid                                                                    as name,
    prepared.database,
    prepared.owner                                                                  as role,
    prepared.prepared                                                               as prepared_at,
    extract(epoch from pg_catalog.clock_timestamp() - prepared.prepared)::float8    as age_seconds,
    pg_catalog.age(prepared.transaction)::int8                                      as xmin_age_count,
    (select count(*) from pg_catalog.pg_locks itself
     join pg_catalog.pg_locks lock on lock.virtualtransaction = itself.virtualtransaction and lock.pid is null
     where itself.pid is null and itself.locktype = 'transactionid'
        and itself.transactionid = prepared.transaction and lock.locktype = 'relation') as locks_count
from pg_catalog.pg_prepared_xacts prepared
order by prepared.prepared, prepared.gid
