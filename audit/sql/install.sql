-- The objects that every watched table shares. Runs again without harm; version 1.
REVOKE ALL ON SCHEMA dbadmin_audit FROM PUBLIC;
COMMENT ON SCHEMA dbadmin_audit IS 'dbadmin audit log, version 1';

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
-- Four thousand neighbours share one entry, so these three stay at ten to twenty bytes a statement.
CREATE INDEX IF NOT EXISTS statement_table ON dbadmin_audit.statement (watched_id, (id >> 12));
CREATE INDEX IF NOT EXISTS statement_person ON dbadmin_audit.statement
    ((coalesce(app_user, set_role, session_role)), (id >> 12));
CREATE INDEX IF NOT EXISTS statement_operation ON dbadmin_audit.statement (operation, (id >> 12));

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

-- The columns that a table has now, as one text. It is declared immutable on purpose: the planner computes it once,
-- keeps the result as a constant, and throws the plan away when the table is altered. So the check costs nothing per
-- write and cannot miss a change. Names come from the system caches, which see what the statement itself sees; the
-- file number tells when this transaction's own snapshot is older than that, and then the answer is "not known".
CREATE OR REPLACE FUNCTION dbadmin_audit.signature(relation regclass) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    names text := '';
    types text;
    name text;
    position integer := 0;
    node oid;
BEGIN
    LOOP
        position := position + 1;
        name := (pg_identify_object_as_address(1259, relation, position)).object_names[3];
        EXIT WHEN name IS NULL;
        names := names || position || ' ' || name || E'\n';
    END LOOP;
    SELECT string_agg(attnum || ' ' || atttypid, ',' ORDER BY attnum) INTO types
        FROM pg_attribute WHERE attrelid = relation AND attnum > 0 AND NOT attisdropped;
    SELECT relfilenode INTO node FROM pg_class WHERE oid = relation;
    IF nullif(node, 0) IS DISTINCT FROM pg_relation_filenode(relation)::oid THEN
        RETURN 'not known';
    END IF;
    RETURN md5(names || types);
EXCEPTION WHEN OTHERS THEN
    RETURN 'not known';
END $$;

-- A whole row as JSON without what was chosen to be left out, for tables whose columns changed since the choice.
CREATE OR REPLACE FUNCTION dbadmin_audit.hidden(whole anyelement, watched integer, statement bigint) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET "TimeZone" = 'UTC' SET "IntervalStyle" = 'postgres'
SET extra_float_digits = 1 SET bytea_output = 'hex' SET "DateStyle" = 'ISO, YMD' AS $$
DECLARE
    rule record;
    salt text;
    image jsonb := to_jsonb(whole);
BEGIN
    FOR rule IN
        SELECT a.attname::text AS name, r.value AS treatment
        FROM dbadmin_audit.watched w
        CROSS JOIN jsonb_each_text(coalesce(w.choices -> 'rules', '{}')) r
        JOIN pg_attribute a ON a.attrelid = w.relid AND a.attnum = r.key::smallint
        WHERE w.id = watched
        -- By name too: in a restored copy of the database, tables and columns have other numbers.
        UNION SELECT c ->> 'name', c ->> 'rule'
        FROM dbadmin_audit.shape s CROSS JOIN jsonb_array_elements(s.columns) c
        WHERE s.watched_id = watched AND c ->> 'rule' <> ''
    LOOP
        IF rule.treatment = 'excluded' THEN
            image := image - rule.name;
        ELSIF image ->> rule.name IS NOT NULL THEN
            SELECT s.salt INTO salt FROM dbadmin_audit.secret s;
            image := jsonb_set(image, ARRAY[rule.name], to_jsonb(dbadmin_audit.digest(
                rule.treatment, image ->> rule.name, salt, statement)));
        END IF;
    END LOOP;
    RETURN image;
END $$;

-- 'hashed' gives equal values equal digests for ever; 'masked' only within one statement, to tell that it changed.
CREATE OR REPLACE FUNCTION dbadmin_audit.digest(treatment text, value text, salt text, statement bigint) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE treatment
        WHEN 'hashed' THEN 'sha256:' || encode(sha256(convert_to(salt || value, 'UTF8')), 'hex')
        ELSE 'masked:' || left(encode(sha256(convert_to(statement || salt || value, 'UTF8')), 'hex'), 12)
    END
$$;

-- The first statement of a moment, without an index on time: numbers and times rise together, so halving finds it.
CREATE OR REPLACE FUNCTION dbadmin_audit.first_id(moment timestamptz) RETURNS bigint
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    low bigint;
    high bigint;
    middle bigint;
    found_at timestamptz;
BEGIN
    SELECT min(id), max(id) + 1 INTO low, high FROM dbadmin_audit.statement;
    WHILE low < high LOOP
        middle := (low + high) / 2;
        SELECT at INTO found_at FROM dbadmin_audit.statement WHERE id >= middle ORDER BY id LIMIT 1;
        IF found_at >= moment THEN
            high := middle;
        ELSE
            low := middle + 1;
        END IF;
    END LOOP;
    RETURN coalesce(low, 0);
END $$;

REVOKE ALL ON ALL TABLES IN SCHEMA dbadmin_audit FROM PUBLIC;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA dbadmin_audit FROM PUBLIC;
-- Which tables are watched, and where the log has gaps, is for monitoring too; what is in the log is not.
GRANT USAGE ON SCHEMA dbadmin_audit TO pg_monitor;
GRANT SELECT ON dbadmin_audit.watched, dbadmin_audit.shape, dbadmin_audit.gap TO pg_monitor
