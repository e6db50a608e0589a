-- The functions that every watched table shares. Runs again without harm, and without a lock that a writer could meet.
COMMENT ON SCHEMA dbadmin_audit IS 'dbadmin audit log, version 9';

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

-- The columns of a table as the statement itself sees them, in the form given (%I: the column's name).
CREATE OR REPLACE FUNCTION dbadmin_audit.column_list(relation oid, form text) RETURNS text[]
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    list text[] := '{}';
    name text;
    position integer := 0;
BEGIN
    LOOP
        position := position + 1;
        name := (pg_identify_object_as_address(1259, relation, position)).object_names[3];
        EXIT WHEN name IS NULL;
        CONTINUE WHEN name = '........pg.dropped.' || position || '........';
        list := list || format(form, name);
    END LOOP;
    RETURN list;
END $$;

-- A table whose columns changed since its capture was made is recorded in two steps. First: the types of its columns,
-- as they are read in this very statement.
CREATE OR REPLACE FUNCTION dbadmin_audit.loose_types(relation oid, operation text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT 'SELECT ARRAY[' || array_to_string(dbadmin_audit.column_list(relation,
            'pg_catalog.pg_typeof(r.%I)::pg_catalog.oid'), ', ')
        || ']::pg_catalog.oid[] FROM (SELECT) nothing LEFT JOIN ' || CASE operation WHEN 'INSERT' THEN 'new_rows' ELSE 'old_rows' END
        || ' r ON false'
$$;

-- Second: whole rows. Values of types that users made go in as text, by the type's own output: JSON would look for a
-- cast of theirs, which would run as the owner of this log. Types below 16384 are the system's. Virtual columns are null
-- to every trigger.
CREATE OR REPLACE FUNCTION dbadmin_audit.loose_insert(relation oid, operation text, types oid[]) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    columns text := (
        SELECT string_agg(CASE WHEN types[place] IN ('json'::regtype, 'json[]'::regtype)
                THEN format('dbadmin_audit.own_json(r.%s) AS %s', name, name)
            WHEN types[place] < '16384'::oid THEN 'r.' || name
            ELSE format('dbadmin_audit.own_text(r.%s) AS %s', name, name) END, ', ' ORDER BY place)
        FROM unnest(dbadmin_audit.column_list(relation, '%I')) WITH ORDINALITY AS c (name, place)
        WHERE NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = relation AND quote_ident(a.attname) = c.name
            AND a.attgenerated = 'v'));
    rows text := 'SELECT $1, $2, pg_catalog.row_number() OVER (), %L::pg_catalog."char", dbadmin_audit.hidden(r.*, $3, $2) FROM (SELECT %s FROM %s r) r';
    old_rows text := format(rows, CASE operation WHEN 'UPDATE' THEN 'o' ELSE 'x' END, columns, 'old_rows');
    new_rows text := format(rows, '+', columns, 'new_rows');
BEGIN
    RETURN 'INSERT INTO dbadmin_audit.loose (at, statement_id, n, side, image) ' || CASE operation
        WHEN 'INSERT' THEN new_rows WHEN 'DELETE' THEN old_rows ELSE old_rows || ' UNION ALL ' || new_rows END;
END $$;

-- A value as its type writes it, whatever the session's taste.
CREATE OR REPLACE FUNCTION dbadmin_audit.own_text(value anyelement) RETURNS text
LANGUAGE plpgsql STABLE STRICT SET search_path = pg_catalog, pg_temp SET "TimeZone" = 'UTC' SET "IntervalStyle" = 'postgres'
SET extra_float_digits = 1 SET bytea_output = 'hex' SET "DateStyle" = 'ISO, YMD' AS $$
BEGIN
    RETURN concat(value);
END $$;

-- What is json, or as the text that it is what jsonb does not take of it: the write would fail.
CREATE OR REPLACE FUNCTION dbadmin_audit.own_json(value anyelement) RETURNS jsonb
LANGUAGE plpgsql STABLE STRICT SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN to_jsonb(value);
EXCEPTION WHEN data_exception OR program_limit_exceeded THEN
    RETURN to_jsonb(concat(value));
END $$;

-- A row of values too long for jsonb, which takes no string of 256 MB, nor all together: of each long one the start,
-- its length and its digest. The write would fail.
CREATE OR REPLACE FUNCTION dbadmin_audit.cut_json(whole anyelement) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET "TimeZone" = 'UTC' SET "IntervalStyle" = 'postgres'
SET extra_float_digits = 1 SET bytea_output = 'hex' SET "DateStyle" = 'ISO, YMD' AS $$
    SELECT jsonb_object_agg(e.key, CASE WHEN octet_length(e.value::text) <= 1000000 THEN e.value::jsonb
        ELSE to_jsonb(left(e.text, 20000) || format('... (cut: %s bytes, MD5 %s)', octet_length(e.text), md5(e.text))) END)
    FROM (SELECT f.key, f.value, f.value #>> '{}' AS text FROM json_each(row_to_json(whole)) f) e
$$;

-- A whole row as JSON without what was chosen to be left out, for tables whose columns changed since the choice.
CREATE OR REPLACE FUNCTION dbadmin_audit.hidden(whole anyelement, watched integer, statement bigint) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET "TimeZone" = 'UTC' SET "IntervalStyle" = 'postgres'
SET extra_float_digits = 1 SET bytea_output = 'hex' SET "DateStyle" = 'ISO, YMD' AS $$
DECLARE
    rule record;
    salt text;
    image jsonb;
BEGIN
    BEGIN
        image := to_jsonb(whole);
    EXCEPTION WHEN program_limit_exceeded THEN
        image := dbadmin_audit.cut_json(whole);
    END;
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
    -- A database without an encoding has bytes that are nothing in UTF-8: converting them would fail the write.
    SELECT CASE treatment
        WHEN 'hashed' THEN 'sha256:' || encode(sha256(convert_to(salt || value, encoding)), 'hex')
        ELSE 'masked:' || left(encode(sha256(convert_to(statement || salt || value, encoding)), 'hex'), 12)
    END
    FROM (SELECT CASE getdatabaseencoding() WHEN 'SQL_ASCII' THEN 'SQL_ASCII' ELSE 'UTF8' END AS encoding) e
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

REVOKE ALL ON FUNCTION dbadmin_audit.signature(regclass), dbadmin_audit.column_list(oid, text),
    dbadmin_audit.loose_types(oid, text), dbadmin_audit.loose_insert(oid, text, oid[]), dbadmin_audit.own_text(anyelement),
    dbadmin_audit.own_json(anyelement), dbadmin_audit.cut_json(anyelement),
    dbadmin_audit.hidden(anyelement, integer, bigint), dbadmin_audit.digest(text, text, text, bigint),
    dbadmin_audit.first_id(timestamptz) FROM PUBLIC;
-- It reads as whoever asks: who may read every table may read the log, and searches it by time.
GRANT EXECUTE ON FUNCTION dbadmin_audit.first_id(timestamptz) TO pg_read_all_data
