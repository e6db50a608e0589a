-- The owner of the log: a role that nobody can log in as.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'dbadmin_audit') THEN
        CREATE ROLE dbadmin_audit NOLOGIN;
    END IF;
    IF NOT pg_catalog.pg_has_role(current_user, 'dbadmin_audit', 'USAGE') THEN
        EXECUTE pg_catalog.format('GRANT dbadmin_audit TO %I', current_user);
    END IF;
END $$
