-- title:    Clients of the pooler
-- about:    Every client that is connected to PgBouncer.
-- empty:    No client is connected to PgBouncer.
-- scope:    instance
-- source:   pgbouncer
-- every:    30s
-- series:   rows
-- rename:   user=role, addr=client, application_name=application, wait=wait_seconds
-- column wait_seconds: how long it waits for a connection
SHOW CLIENTS
