-- What version 1 of capture installed for two tables; {…} stands for what differs from database to database.
-- Install the audit log's shared objects
BEGIN;
-- The log belongs to a role that nobody logs in as
-- The owner of the log: a role that nobody can log in as.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'dbadmin_audit') THEN
        CREATE ROLE dbadmin_audit NOLOGIN;
    END IF;
    IF NOT pg_catalog.pg_has_role(current_user, 'dbadmin_audit', 'USAGE') THEN
        EXECUTE pg_catalog.format('GRANT dbadmin_audit TO %I', current_user);
    END IF;
END $$;
CREATE SCHEMA IF NOT EXISTS "dbadmin_audit" AUTHORIZATION "dbadmin_audit";
SET LOCAL ROLE "dbadmin_audit";
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
GRANT SELECT ON dbadmin_audit.watched, dbadmin_audit.shape, dbadmin_audit.gap TO pg_monitor;
RESET ROLE;
-- Changes of the tables' definitions, seen by the server itself. Needs a superuser (or the provider's stand-in for one).
CREATE OR REPLACE FUNCTION dbadmin_audit.on_ddl() RETURNS event_trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    command record;
    target record;
    trigger_name text;
BEGIN
    FOR command IN SELECT * FROM pg_event_trigger_ddl_commands() WHERE classid = 'pg_class'::regclass LOOP
        -- A partition made or attached since: it gets the triggers of the watched table above it.
        FOR target IN
            SELECT w.id, c.oid::regclass AS leaf
            FROM pg_partition_ancestors(command.objid) a
            JOIN dbadmin_audit.watched w ON w.relid = a.relid AND w.until IS NULL
            CROSS JOIN LATERAL (
                SELECT t.relid AS oid FROM pg_partition_tree(a.relid) t
                WHERE NOT EXISTS (SELECT FROM pg_trigger g WHERE g.tgrelid = t.relid AND g.tgname = 'dbadmin_audit_insert')
            ) c
            WHERE command.command_tag IN ('CREATE TABLE', 'ALTER TABLE')
        LOOP
            PERFORM dbadmin_audit.watch_leaf(target.id, target.leaf);
        END LOOP;
        INSERT INTO dbadmin_audit.statement (id, at, xid, watched_id, shape_id, operation, session_role, set_role, app_user,
            client, application, note)
        SELECT nextval('dbadmin_audit.statement_id'), clock_timestamp(), pg_current_xact_id(), w.id, 0, 'A', session_user,
            nullif(current_setting('role'), 'none'), nullif(current_setting('app.current_user_id', true), ''),
            inet_client_addr(), nullif(current_setting('application_name'), ''),
            command.command_tag || ' ' || command.object_identity
        FROM dbadmin_audit.watched w
        WHERE w.until IS NULL AND w.relid IN (SELECT a.relid FROM pg_partition_ancestors(command.objid) a
            UNION SELECT command.objid UNION SELECT i.indrelid FROM pg_index i WHERE i.indexrelid = command.objid);
    END LOOP;
EXCEPTION WHEN OTHERS THEN
    RAISE WARNING 'dbadmin_audit could not record a change of a table: %', SQLERRM;
END $$;

CREATE OR REPLACE FUNCTION dbadmin_audit.on_drop() RETURNS event_trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO dbadmin_audit.statement (id, at, xid, watched_id, shape_id, operation, session_role, set_role, app_user,
        client, application, note)
    SELECT nextval('dbadmin_audit.statement_id'), clock_timestamp(), pg_current_xact_id(), w.id, 0, 'A', session_user,
        nullif(current_setting('role'), 'none'), nullif(current_setting('app.current_user_id', true), ''),
        inet_client_addr(), nullif(current_setting('application_name'), ''), TG_TAG || ' ' || d.object_identity
    FROM pg_event_trigger_dropped_objects() d
    JOIN dbadmin_audit.watched w ON w.relid = d.objid AND w.until IS NULL
    WHERE d.classid = 'pg_class'::regclass
       OR d.object_type = 'table column';
    UPDATE dbadmin_audit.watched w SET until = now()
    FROM pg_event_trigger_dropped_objects() d
    WHERE d.classid = 'pg_class'::regclass AND d.objid = w.relid AND d.objsubid = 0 AND w.until IS NULL;
EXCEPTION WHEN OTHERS THEN
    RAISE WARNING 'dbadmin_audit could not record a change of a table: %', SQLERRM;
END $$;

CREATE OR REPLACE FUNCTION dbadmin_audit.watch_leaf(watched integer, leaf regclass) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    part record;
BEGIN
    FOR part IN
        SELECT * FROM (VALUES
            ('insert', 'INSERT', 'REFERENCING NEW TABLE AS new_rows'),
            ('update', 'UPDATE', 'REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows'),
            ('delete', 'DELETE', 'REFERENCING OLD TABLE AS old_rows'),
            ('truncate', 'TRUNCATE', '')) v (name, event, referencing)
    LOOP
        EXECUTE format('CREATE TRIGGER %I AFTER %s ON %s %s FOR EACH STATEMENT EXECUTE FUNCTION dbadmin_audit.%I()',
            'dbadmin_audit_' || part.name, part.event, leaf, part.referencing, 'capture_' || watched);
    END LOOP;
END $$;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA dbadmin_audit FROM PUBLIC;

DROP EVENT TRIGGER IF EXISTS dbadmin_audit_ddl;
CREATE EVENT TRIGGER dbadmin_audit_ddl ON ddl_command_end
    WHEN TAG IN ('ALTER TABLE', 'CREATE TABLE', 'CREATE TRIGGER', 'CREATE INDEX', 'CREATE POLICY', 'ALTER POLICY')
    EXECUTE FUNCTION dbadmin_audit.on_ddl();
DROP EVENT TRIGGER IF EXISTS dbadmin_audit_drop;
CREATE EVENT TRIGGER dbadmin_audit_drop ON sql_drop EXECUTE FUNCTION dbadmin_audit.on_drop();
COMMIT;
-- Watch public.users: every change is recorded in the transaction that makes it
BEGIN;
SET LOCAL ROLE "dbadmin_audit";
INSERT INTO "dbadmin_audit".watched (id, relid, schema_name, table_name, choices) VALUES (1, {users}, 'public', 'users', '{"on_failure": "fail", "query_text": false, "rules": {}, "skip_unchanged": true, "user_setting": "app.current_user_id"}');
CREATE TABLE "dbadmin_audit"."rows_1" (at timestamptz NOT NULL, statement_id bigint NOT NULL, n integer NOT NULL, side "char" NOT NULL, "c1" "pg_catalog"."int4", "c2" "pg_catalog"."text", "c3" "pg_catalog"."text") PARTITION BY RANGE (at);
CREATE TABLE "dbadmin_audit"."rows_1_default" PARTITION OF "dbadmin_audit"."rows_1" DEFAULT;
CREATE INDEX "rows_1_statement" ON "dbadmin_audit"."rows_1" (statement_id, (n >> 8));
CREATE INDEX "rows_1_key" ON "dbadmin_audit"."rows_1" ("c1", statement_id) WHERE side <> '-';
INSERT INTO "dbadmin_audit".shape (id, watched_id, signature, columns, key_columns) VALUES (1, 1, '{users signature}', '[{"attnum": 1, "name": "id", "type": "integer", "rule": "", "long_text": false, "kept_type": "int4"}, {"attnum": 2, "name": "name", "type": "text", "rule": "", "long_text": true, "kept_type": "text"}, {"attnum": 3, "name": "mood", "type": "mood", "rule": "", "long_text": true, "kept_type": "text"}]', '{id}');
CREATE OR REPLACE FUNCTION "dbadmin_audit"."capture_1"() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $capture$
DECLARE
    moment timestamptz := clock_timestamp();
    number bigint := nextval('dbadmin_audit.statement_id');
    version integer := 1;
    written bigint := 0;
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        NULL;
    ELSIF dbadmin_audit.signature('{users}'::regclass) = '{users signature}' THEN
        IF TG_OP = 'UPDATE' THEN
            IF EXISTS (SELECT FROM old_rows OFFSET 1) THEN
                INSERT INTO "dbadmin_audit"."rows_1" (at, statement_id, n, side, "c1", "c2", "c3")
                SELECT moment, number, row_number() OVER (), CASE WHEN (SELECT sum(hashint8extended("o"."id", 0)) FROM old_rows o) = (SELECT sum(hashint8extended("n"."id", 0)) FROM new_rows n) THEN '-'::"char" ELSE 'o'::"char" END, "o"."id", "o"."name", "o"."mood"::text FROM old_rows o
                UNION ALL SELECT moment, number, row_number() OVER (), '+'::"char", "n"."id", "n"."name", "n"."mood"::text FROM new_rows n;
                GET DIAGNOSTICS written = ROW_COUNT;
            ELSE
                INSERT INTO "dbadmin_audit"."rows_1" (at, statement_id, n, side, "c1", "c2", "c3")
                SELECT moment, number, 1, CASE WHEN o."id" IS NOT DISTINCT FROM n."id" THEN '-'::"char" ELSE 'o'::"char" END, "o"."id", "o"."name", "o"."mood"::text FROM old_rows o, new_rows n WHERE o *<> n
                UNION ALL SELECT moment, number, 1, '+'::"char", "n"."id", "n"."name", "n"."mood"::text FROM old_rows o, new_rows n WHERE o *<> n;
                GET DIAGNOSTICS written = ROW_COUNT;
                IF written = 0 AND EXISTS (SELECT FROM old_rows)
                    AND NOT EXISTS (SELECT FROM new_rows) THEN
                    INSERT INTO "dbadmin_audit"."rows_1" (at, statement_id, n, side, "c1", "c2", "c3")
                    SELECT moment, number, row_number() OVER (), CASE WHEN (SELECT sum(hashint8extended("o"."id", 0)) FROM old_rows o) = (SELECT sum(hashint8extended("n"."id", 0)) FROM new_rows n) THEN '-'::"char" ELSE 'o'::"char" END, "o"."id", "o"."name", "o"."mood"::text FROM old_rows o
                UNION ALL SELECT moment, number, row_number() OVER (), '+'::"char", "n"."id", "n"."name", "n"."mood"::text FROM new_rows n;
                    GET DIAGNOSTICS written = ROW_COUNT;
                END IF;
            END IF;
        ELSIF TG_OP = 'INSERT' THEN
            INSERT INTO "dbadmin_audit"."rows_1" (at, statement_id, n, side, "c1", "c2", "c3")
            SELECT moment, number, row_number() OVER (), '+'::"char", "n"."id", "n"."name", "n"."mood"::text FROM new_rows n;
            GET DIAGNOSTICS written = ROW_COUNT;
        ELSE
            INSERT INTO "dbadmin_audit"."rows_1" (at, statement_id, n, side, "c1", "c2", "c3")
            SELECT moment, number, row_number() OVER (), 'x'::"char", "o"."id", "o"."name", "o"."mood"::text FROM old_rows o;
            GET DIAGNOSTICS written = ROW_COUNT;
        END IF;
    ELSE
        version := 0;
        IF TG_OP = 'UPDATE' THEN
            INSERT INTO dbadmin_audit.loose (at, statement_id, n, side, image)
            SELECT moment, number, row_number() OVER (), 'o'::"char", dbadmin_audit.hidden("o", 1, number) FROM old_rows o
            UNION ALL SELECT moment, number, row_number() OVER (), '+'::"char", dbadmin_audit.hidden("n", 1, number) FROM new_rows n;
            GET DIAGNOSTICS written = ROW_COUNT;
        ELSIF TG_OP = 'INSERT' THEN
            INSERT INTO dbadmin_audit.loose (at, statement_id, n, side, image)
            SELECT moment, number, row_number() OVER (), '+'::"char", dbadmin_audit.hidden("n", 1, number) FROM new_rows n;
            GET DIAGNOSTICS written = ROW_COUNT;
        ELSE
            INSERT INTO dbadmin_audit.loose (at, statement_id, n, side, image)
            SELECT moment, number, row_number() OVER (), 'x'::"char", dbadmin_audit.hidden("o", 1, number) FROM old_rows o;
            GET DIAGNOSTICS written = ROW_COUNT;
        END IF;
    END IF;
    IF written = 0 AND TG_OP <> 'TRUNCATE' THEN
        RETURN NULL;
    END IF;
    INSERT INTO dbadmin_audit.statement (id, at, xid, images, watched_id, shape_id, operation,
        session_role, set_role,
        app_user, client, application)
    VALUES (number, moment, pg_current_xact_id(), written, 1, version, left(TG_OP, 1)::"char",
        session_user,
        nullif(current_setting('role'), 'none'), nullif(current_setting('app.current_user_id', true), ''),
        inet_client_addr(), nullif(current_setting('application_name'), ''));
    RETURN NULL;
END
$capture$;
REVOKE ALL ON FUNCTION "dbadmin_audit"."capture_1"() FROM PUBLIC;
UPDATE "dbadmin_audit".watched SET function_hash = md5((SELECT prosrc FROM pg_catalog.pg_proc WHERE oid = 'dbadmin_audit.capture_1'::regproc)) WHERE id = 1;
RESET ROLE;
CREATE TRIGGER "dbadmin_audit_insert" AFTER INSERT ON "public"."users" REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION "dbadmin_audit"."capture_1"();
CREATE TRIGGER "dbadmin_audit_update" AFTER UPDATE ON "public"."users" REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION "dbadmin_audit"."capture_1"();
CREATE TRIGGER "dbadmin_audit_delete" AFTER DELETE ON "public"."users" REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION "dbadmin_audit"."capture_1"();
CREATE TRIGGER "dbadmin_audit_truncate" AFTER TRUNCATE ON "public"."users" FOR EACH STATEMENT EXECUTE FUNCTION "dbadmin_audit"."capture_1"();
COMMIT;
-- Watch public.items: every change is recorded in the transaction that makes it
BEGIN;
SET LOCAL ROLE "dbadmin_audit";
INSERT INTO "dbadmin_audit".watched (id, relid, schema_name, table_name, choices) VALUES (2, {items}, 'public', 'items', '{"on_failure": "fail", "query_text": false, "rules": {}, "skip_unchanged": true, "user_setting": "app.current_user_id"}');
CREATE TABLE "dbadmin_audit"."rows_2" (at timestamptz NOT NULL, statement_id bigint NOT NULL, n integer NOT NULL, side "char" NOT NULL, "c1" "pg_catalog"."int4", "c2" "pg_catalog"."text") PARTITION BY RANGE (at);
CREATE TABLE "dbadmin_audit"."rows_2_default" PARTITION OF "dbadmin_audit"."rows_2" DEFAULT;
CREATE INDEX "rows_2_statement" ON "dbadmin_audit"."rows_2" (statement_id, (n >> 8));
CREATE INDEX "rows_2_key" ON "dbadmin_audit"."rows_2" ("c1", statement_id) WHERE side <> '-';
INSERT INTO "dbadmin_audit".shape (id, watched_id, signature, columns, key_columns) VALUES (2, 2, '{items signature}', '[{"attnum": 1, "name": "id", "type": "integer", "rule": "", "long_text": false, "kept_type": "int4"}, {"attnum": 2, "name": "name", "type": "text", "rule": "", "long_text": true, "kept_type": "text"}]', '{id}');
CREATE OR REPLACE FUNCTION "dbadmin_audit"."capture_2"() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $capture$
DECLARE
    moment timestamptz := clock_timestamp();
    number bigint := nextval('dbadmin_audit.statement_id');
    version integer := 2;
    written bigint := 0;
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        NULL;
    ELSIF dbadmin_audit.signature('{items}'::regclass) = '{items signature}' THEN
        IF TG_OP = 'UPDATE' THEN
            IF EXISTS (SELECT FROM old_rows OFFSET 1) THEN
                INSERT INTO "dbadmin_audit"."rows_2" (at, statement_id, n, side, "c1", "c2")
                SELECT moment, number, row_number() OVER (), CASE WHEN (SELECT sum(hashint8extended("o"."id", 0)) FROM old_rows o) = (SELECT sum(hashint8extended("n"."id", 0)) FROM new_rows n) THEN '-'::"char" ELSE 'o'::"char" END, "o"."id", "o"."name" FROM old_rows o
                UNION ALL SELECT moment, number, row_number() OVER (), '+'::"char", "n"."id", "n"."name" FROM new_rows n;
                GET DIAGNOSTICS written = ROW_COUNT;
            ELSE
                INSERT INTO "dbadmin_audit"."rows_2" (at, statement_id, n, side, "c1", "c2")
                SELECT moment, number, 1, CASE WHEN o."id" IS NOT DISTINCT FROM n."id" THEN '-'::"char" ELSE 'o'::"char" END, "o"."id", "o"."name" FROM old_rows o, new_rows n WHERE o *<> n
                UNION ALL SELECT moment, number, 1, '+'::"char", "n"."id", "n"."name" FROM old_rows o, new_rows n WHERE o *<> n;
                GET DIAGNOSTICS written = ROW_COUNT;
                IF written = 0 AND EXISTS (SELECT FROM old_rows)
                    AND NOT EXISTS (SELECT FROM new_rows) THEN
                    INSERT INTO "dbadmin_audit"."rows_2" (at, statement_id, n, side, "c1", "c2")
                    SELECT moment, number, row_number() OVER (), CASE WHEN (SELECT sum(hashint8extended("o"."id", 0)) FROM old_rows o) = (SELECT sum(hashint8extended("n"."id", 0)) FROM new_rows n) THEN '-'::"char" ELSE 'o'::"char" END, "o"."id", "o"."name" FROM old_rows o
                UNION ALL SELECT moment, number, row_number() OVER (), '+'::"char", "n"."id", "n"."name" FROM new_rows n;
                    GET DIAGNOSTICS written = ROW_COUNT;
                END IF;
            END IF;
        ELSIF TG_OP = 'INSERT' THEN
            INSERT INTO "dbadmin_audit"."rows_2" (at, statement_id, n, side, "c1", "c2")
            SELECT moment, number, row_number() OVER (), '+'::"char", "n"."id", "n"."name" FROM new_rows n;
            GET DIAGNOSTICS written = ROW_COUNT;
        ELSE
            INSERT INTO "dbadmin_audit"."rows_2" (at, statement_id, n, side, "c1", "c2")
            SELECT moment, number, row_number() OVER (), 'x'::"char", "o"."id", "o"."name" FROM old_rows o;
            GET DIAGNOSTICS written = ROW_COUNT;
        END IF;
    ELSE
        version := 0;
        IF TG_OP = 'UPDATE' THEN
            INSERT INTO dbadmin_audit.loose (at, statement_id, n, side, image)
            SELECT moment, number, row_number() OVER (), 'o'::"char", dbadmin_audit.hidden("o", 2, number) FROM old_rows o
            UNION ALL SELECT moment, number, row_number() OVER (), '+'::"char", dbadmin_audit.hidden("n", 2, number) FROM new_rows n;
            GET DIAGNOSTICS written = ROW_COUNT;
        ELSIF TG_OP = 'INSERT' THEN
            INSERT INTO dbadmin_audit.loose (at, statement_id, n, side, image)
            SELECT moment, number, row_number() OVER (), '+'::"char", dbadmin_audit.hidden("n", 2, number) FROM new_rows n;
            GET DIAGNOSTICS written = ROW_COUNT;
        ELSE
            INSERT INTO dbadmin_audit.loose (at, statement_id, n, side, image)
            SELECT moment, number, row_number() OVER (), 'x'::"char", dbadmin_audit.hidden("o", 2, number) FROM old_rows o;
            GET DIAGNOSTICS written = ROW_COUNT;
        END IF;
    END IF;
    IF written = 0 AND TG_OP <> 'TRUNCATE' THEN
        RETURN NULL;
    END IF;
    INSERT INTO dbadmin_audit.statement (id, at, xid, images, watched_id, shape_id, operation,
        session_role, set_role,
        app_user, client, application)
    VALUES (number, moment, pg_current_xact_id(), written, 2, version, left(TG_OP, 1)::"char",
        session_user,
        nullif(current_setting('role'), 'none'), nullif(current_setting('app.current_user_id', true), ''),
        inet_client_addr(), nullif(current_setting('application_name'), ''));
    RETURN NULL;
END
$capture$;
REVOKE ALL ON FUNCTION "dbadmin_audit"."capture_2"() FROM PUBLIC;
UPDATE "dbadmin_audit".watched SET function_hash = md5((SELECT prosrc FROM pg_catalog.pg_proc WHERE oid = 'dbadmin_audit.capture_2'::regproc)) WHERE id = 2;
RESET ROLE;
CREATE TRIGGER "dbadmin_audit_insert" AFTER INSERT ON "public"."items" REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION "dbadmin_audit"."capture_2"();
CREATE TRIGGER "dbadmin_audit_update" AFTER UPDATE ON "public"."items" REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION "dbadmin_audit"."capture_2"();
CREATE TRIGGER "dbadmin_audit_delete" AFTER DELETE ON "public"."items" REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION "dbadmin_audit"."capture_2"();
CREATE TRIGGER "dbadmin_audit_truncate" AFTER TRUNCATE ON "public"."items" FOR EACH STATEMENT EXECUTE FUNCTION "dbadmin_audit"."capture_2"();
COMMIT;
