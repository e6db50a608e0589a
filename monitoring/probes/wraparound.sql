-- title:    Wraparound
-- about:    How near each database is to running out of transaction numbers.
-- empty:    There is no database.
-- scope:    instance
-- judged:   primary
-- every:    5m
-- key:      database
-- warning:  used_ratio > 0.4
-- critical: used_ratio > 0.75
-- column used_ratio:         of the numbers after which the server refuses to write, of transactions or multixacts, whichever is nearer
-- column freeze_ratio:       of autovacuum_freeze_max_age; above 1 autovacuum works against the clock
-- column xid_age_count:      transactions since the oldest row that is not frozen
-- column multixact_age_count: the same for shared row locks
select
    database.datname                                                         as database,
    greatest(pg_catalog.age(database.datfrozenxid), pg_catalog.mxid_age(database.datminmxid)) / 2144483647.0::float8
                                                                             as used_ratio,
    greatest(
        pg_catalog.age(database.datfrozenxid)
            / pg_catalog.current_setting('autovacuum_freeze_max_age')::float8,
        pg_catalog.mxid_age(database.datminmxid)
            / pg_catalog.current_setting('autovacuum_multixact_freeze_max_age')::float8) as freeze_ratio,
    pg_catalog.age(database.datfrozenxid)::int8                              as xid_age_count,
    pg_catalog.mxid_age(database.datminmxid)::int8                           as multixact_age_count,
    2144483647 - greatest(pg_catalog.age(database.datfrozenxid), pg_catalog.mxid_age(database.datminmxid))::int8
                                                                             as left_count,
    database.datallowconn                                                    as allows_connections
from pg_catalog.pg_database database
order by used_ratio desc, database
