-- title:    Small caches
-- about:    The server's caches of transaction states, multixacts and subtransactions. Many misses slow everything down.
-- empty:    The server does not tell.
-- scope:    instance
-- every:    5m
-- key:      cache
-- column hit_ratio: since the statistics began, empty below 10 000 blocks
select
    name                            as cache,
    case when blks_hit + blks_read >= 10000 then blks_hit::float8 / (blks_hit + blks_read) end as hit_ratio,
    blks_hit                        as hits_total,
    blks_read                       as reads_total,
    blks_written                    as writes_total,
    stats_reset                     as reset_at
from pg_catalog.pg_stat_slru
order by blks_read desc, cache
