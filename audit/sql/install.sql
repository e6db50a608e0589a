-- The tables that every watched table shares, made once: making an index anew would wait for writers, though it is there.
REVOKE ALL ON SCHEMA dbadmin_audit FROM PUBLIC;

CREATE SEQUENCE IF NOT EXISTS dbadmin_audit.statement_id;

-- One row per watched table; a table that is watched again keeps its number, and so its history.
CREATE TABLE IF NOT EXISTS dbadmin_audit.watched (
    id             integer PRIMARY KEY,
    relid          oid NOT NULL,
    schema_name    text NOT NULL,
    table_name     text NOT NULL,
    since          timestamptz NOT NULL DEFAULT now(),
    until          timestamptz,
    choices        jsonb NOT NULL DEFAULT '{}',
    function_hash  text
);

-- The columns a watched table had, one row per version: a log row names its version and stays readable for ever.
CREATE TABLE IF NOT EXISTS dbadmin_audit.shape (
    id          integer PRIMARY KEY,
    watched_id  integer NOT NULL REFERENCES dbadmin_audit.watched,
    signature   text NOT NULL,
    columns     jsonb NOT NULL,
    key_columns text[] NOT NULL,
    since       timestamptz NOT NULL DEFAULT now()
);

-- One row per statement that changed something: who, when, what, how many. Opened, it leads to the rows.
CREATE TABLE IF NOT EXISTS dbadmin_audit.statement (
    id           bigint NOT NULL,
    at           timestamptz NOT NULL,
    xid          xid8 NOT NULL,
    images       bigint,
    watched_id   integer NOT NULL,
    shape_id     integer NOT NULL,
    operation    "char" NOT NULL,
    session_role text NOT NULL,
    set_role     text,
    app_user     text,
    client       inet,
    application  text,
    query        text,
    note         text
) PARTITION BY RANGE (at);
CREATE TABLE IF NOT EXISTS dbadmin_audit.statement_default PARTITION OF dbadmin_audit.statement DEFAULT;
CREATE INDEX IF NOT EXISTS statement_number ON dbadmin_audit.statement (id);
-- Transactions come nearly in order: a summary of each few pages finds one as fast, and costs a writer nothing.
CREATE INDEX IF NOT EXISTS statement_xid ON dbadmin_audit.statement USING brin ((xid::text::bigint))
    WITH (pages_per_range = 16, autosummarize = on);
-- Rows end where a table is emptied. What else is searched for is found by a map that is filled behind the writers.
CREATE INDEX IF NOT EXISTS statement_emptied ON dbadmin_audit.statement (watched_id, id) WHERE operation = 'T';

-- Rows of a table whose columns changed and whose capture has not been renewed yet: whole rows, whatever they hold.
CREATE TABLE IF NOT EXISTS dbadmin_audit.loose (
    at           timestamptz NOT NULL,
    statement_id bigint NOT NULL,
    n            integer NOT NULL,
    side         "char" NOT NULL,
    image        jsonb NOT NULL
) PARTITION BY RANGE (at);
CREATE TABLE IF NOT EXISTS dbadmin_audit.loose_default PARTITION OF dbadmin_audit.loose DEFAULT;
CREATE INDEX IF NOT EXISTS loose_statement ON dbadmin_audit.loose (statement_id, (n >> 8));

-- What capture could not record, and pauses: never silent.
CREATE TABLE IF NOT EXISTS dbadmin_audit.gap (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at          timestamptz NOT NULL DEFAULT clock_timestamp(),
    xid         xid8 NOT NULL DEFAULT pg_current_xact_id(),
    watched_id  integer,
    kind        text NOT NULL,
    text        text NOT NULL
);

-- The key of hashed and masked columns. It never leaves the server.
CREATE TABLE IF NOT EXISTS dbadmin_audit.secret (salt text NOT NULL);
INSERT INTO dbadmin_audit.secret
    SELECT gen_random_uuid()::text || gen_random_uuid()::text
    WHERE NOT EXISTS (SELECT FROM dbadmin_audit.secret);

REVOKE ALL ON ALL TABLES IN SCHEMA dbadmin_audit FROM PUBLIC;
-- Which tables are watched, and where the log has gaps, is for monitoring too; what is in the log is not.
GRANT USAGE ON SCHEMA dbadmin_audit TO pg_monitor;
GRANT SELECT ON dbadmin_audit.watched, dbadmin_audit.shape, dbadmin_audit.gap TO pg_monitor
