-- What makes searches fast and costs writers nothing: it is brought up to date behind the end of the log.

-- How far it goes: all transactions before `high`; above: statements above this number only, since a restore.
CREATE TABLE IF NOT EXISTS dbadmin_audit.summary (
    only_one          boolean PRIMARY KEY DEFAULT true CHECK (only_one),
    system_identifier text NOT NULL,
    high              bigint NOT NULL,
    above             bigint NOT NULL,
    last_id           bigint NOT NULL,
    zone              text NOT NULL,
    at                timestamptz NOT NULL
);

-- Who did how much: a line for each day, person, table and operation. hours: one bit for each hour of the day.
CREATE TABLE IF NOT EXISTS dbadmin_audit.activity (
    day         date NOT NULL,
    person      text NOT NULL,
    watched_id  integer NOT NULL,
    operation   "char" NOT NULL,
    statements  bigint NOT NULL,
    rows        bigint NOT NULL,
    hours       integer NOT NULL,
    last_at     timestamptz NOT NULL,
    PRIMARY KEY (person, day, watched_id, operation)
);
CREATE INDEX IF NOT EXISTS activity_day ON dbadmin_audit.activity (day);
CREATE INDEX IF NOT EXISTS activity_table ON dbadmin_audit.activity (watched_id, operation, day);

-- The same by person and day alone, for the page of all people; made from the lines above where it is new.
CREATE TABLE IF NOT EXISTS dbadmin_audit.person_days (
    day         date NOT NULL,
    person      text NOT NULL,
    statements  bigint NOT NULL,
    rows        bigint NOT NULL,
    hours       integer NOT NULL,
    tables      integer[] NOT NULL,
    last_at     timestamptz NOT NULL,
    PRIMARY KEY (day, person)
);
INSERT INTO dbadmin_audit.person_days (day, person, statements, rows, hours, tables, last_at)
SELECT day, person, sum(statements), sum(rows), bit_or(hours), array_agg(DISTINCT watched_id), max(last_at)
FROM dbadmin_audit.activity WHERE NOT EXISTS (SELECT FROM dbadmin_audit.person_days) GROUP BY 1, 2;

-- Where a column changed: 64 neighbours in number share one line.
CREATE TABLE IF NOT EXISTS dbadmin_audit.touched (
    shape_id  integer NOT NULL,
    attnum    smallint NOT NULL,
    block     bigint NOT NULL,
    PRIMARY KEY (shape_id, attnum, block)
);

-- Where a table (t), a person (p), an operation (o) is found: a line for each stretch of 65,536 numbers, with a bit for
-- each 64 of them. A person is kept as a digest: names leave with the months that are dropped.
CREATE TABLE IF NOT EXISTS dbadmin_audit.stretch (
    kind    "char" NOT NULL,
    value   bigint NOT NULL,
    number  bigint NOT NULL,
    blocks  bit(1024) NOT NULL,
    PRIMARY KEY (kind, value, number)
);

-- All statements up to `through` are in it, for ever. marks: pairs of a transaction, and the last number that was given
-- before it began; what follows from them is the next `through`.
CREATE TABLE IF NOT EXISTS dbadmin_audit.mapped (
    only_one          boolean PRIMARY KEY DEFAULT true CHECK (only_one),
    system_identifier text NOT NULL,
    through           bigint NOT NULL,
    marks             bigint[] NOT NULL
);

-- A value as the log shows it, whatever the session's taste; so it may stand in an index.
CREATE OR REPLACE FUNCTION dbadmin_audit.exact_text(value anyelement) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp SET "TimeZone" = 'UTC'
SET "DateStyle" = 'ISO, YMD' SET "IntervalStyle" = 'postgres' SET extra_float_digits = 1 SET bytea_output = 'hex' AS $$
BEGIN
    RETURN value::text;
END $$;

-- The values of a row that was kept whole.
CREATE OR REPLACE FUNCTION dbadmin_audit.values_text(image jsonb) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
    SELECT string_agg(e.value, E'\n') FROM jsonb_each_text(image) e
$$;
REVOKE ALL ON dbadmin_audit.summary, dbadmin_audit.activity, dbadmin_audit.person_days, dbadmin_audit.touched FROM PUBLIC;
REVOKE ALL ON FUNCTION dbadmin_audit.exact_text(anyelement), dbadmin_audit.values_text(jsonb) FROM PUBLIC;
REVOKE ALL ON dbadmin_audit.stretch, dbadmin_audit.mapped FROM PUBLIC
