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
    switches text;
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
    -- For what fires no usual trigger: logical replication, and sessions that are set like it.
    FOR part IN
        SELECT * FROM (VALUES
            ('dbadmin_audit_replica_truncate', 'TRUNCATE', 'STATEMENT', 'capture_'),
            ('dbadmin_audit_replica', 'INSERT OR UPDATE OR DELETE', 'ROW', 'capture_row_')) v (name, event, level, function)
        WHERE level = 'STATEMENT' OR (SELECT relkind FROM pg_class WHERE oid = leaf) <> 'p'
    LOOP
        EXECUTE format('CREATE TRIGGER %I AFTER %s ON %s FOR EACH %s EXECUTE FUNCTION dbadmin_audit.%I()',
            part.name, part.event, leaf, part.level, part.function || watched);
        switches := concat_ws(', ', switches, format('ENABLE REPLICA TRIGGER %I', part.name));
    END LOOP;
    EXECUTE format('ALTER TABLE %s %s', leaf, switches);
END $$;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA dbadmin_audit FROM PUBLIC;

DROP EVENT TRIGGER IF EXISTS dbadmin_audit_ddl;
CREATE EVENT TRIGGER dbadmin_audit_ddl ON ddl_command_end
    WHEN TAG IN ('ALTER TABLE', 'CREATE TABLE', 'CREATE TRIGGER', 'CREATE INDEX', 'CREATE POLICY', 'ALTER POLICY')
    EXECUTE FUNCTION dbadmin_audit.on_ddl();
ALTER EVENT TRIGGER dbadmin_audit_ddl ENABLE ALWAYS;
DROP EVENT TRIGGER IF EXISTS dbadmin_audit_drop;
CREATE EVENT TRIGGER dbadmin_audit_drop ON sql_drop EXECUTE FUNCTION dbadmin_audit.on_drop();
ALTER EVENT TRIGGER dbadmin_audit_drop ENABLE ALWAYS
