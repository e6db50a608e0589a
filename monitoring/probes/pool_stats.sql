-- title:    Pool statistics
-- about:    What went through PgBouncer for each database.
-- empty:    Nothing has gone through PgBouncer yet.
-- scope:    instance
-- source:   pgbouncer
-- every:    60s
-- key:      database
-- rename:   total_xact_count=transactions_total, total_query_count=queries_total, total_received=received_bytes_total, total_sent=sent_bytes_total
SHOW STATS
