"""The database roles of the sample: an owner, and three that work."""

import hashlib
import hmac
import os
from collections.abc import Mapping

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

OWNER = "academy"
WEB, REPORTS, BATCH = "academy_web", "academy_reports", "academy_batch"
WORKING = (WEB, REPORTS, BATCH)


def password_of(role: str, dsn: str, environment: Mapping[str, str] = os.environ) -> str:
    """SAMPLE_WEB_PASSWORD and its like, else derived from the owner's password: load and work agree."""
    given = environment.get(f"SAMPLE_{role.removeprefix('academy_').upper()}_PASSWORD")
    secret = str(conninfo_to_dict(dsn).get("password") or environment.get("PGPASSWORD", ""))
    return given or hmac.new(secret.encode(), role.encode(), hashlib.sha256).hexdigest()[:32]


def dsn_of(role: str, dsn: str, pooler_dsn: str = "") -> str:
    """The way of a role to the database, through the pooler when there is one."""
    password = password_of(role, dsn)
    return make_conninfo(
        pooler_dsn or dsn, user=role, password=password, dbname=conninfo_to_dict(dsn).get("dbname")
    )


def exists(connection: psycopg.Connection, role: str) -> bool:
    return (
        connection.execute("select 1 from pg_catalog.pg_roles where rolname = %s", [role]).fetchone()
        is not None
    )


def may_create_roles(connection: psycopg.Connection) -> bool:
    row = connection.execute(
        "select rolsuper or rolcreaterole from pg_catalog.pg_roles where rolname = current_user"
    ).fetchone()
    return bool(row and row[0])


def prepare(connection: psycopg.Connection, dsn: str) -> None:
    """Create the roles that are missing and set passwords; without the right to, leave all as it is."""
    if not may_create_roles(connection):
        return
    if not exists(connection, OWNER):
        connection.execute(sql.SQL("create role {} nologin").format(sql.Identifier(OWNER)))
    for role in WORKING:
        if not exists(connection, role):
            connection.execute(sql.SQL("create role {} login").format(sql.Identifier(role)))
        if not signs_in(role, dsn):
            set_password(connection, role, password_of(role, dsn))
    # The reports sort more than the memory that somebody once gave them: they spill into temporary files.
    connection.execute(sql.SQL("alter role {} set work_mem = '1MB'").format(sql.Identifier(REPORTS)))


def signs_in(role: str, dsn: str) -> bool:
    try:
        psycopg.connect(dsn_of(role, dsn), connect_timeout=5).close()
    except psycopg.OperationalError:
        return False
    return True


def set_password(connection: psycopg.Connection, role: str, password: str) -> None:
    """Sent as its verifier: the server's log and pg_stat_statements keep the texts of such statements."""
    verifier = connection.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256")
    statement = sql.SQL("alter role {} password {}")
    connection.execute(statement.format(sql.Identifier(role), sql.Literal(verifier.decode())))


def grant(connection: psycopg.Connection) -> None:
    """Let the working roles reach the tables that the current role owns."""
    web, reports, batch = (sql.Identifier(role) for role in WORKING)
    if not all(exists(connection, role) for role in WORKING):
        return
    for schema in ("public", "billing"):
        names = {"schema": sql.Identifier(schema), "web": web, "reports": reports, "batch": batch}
        for text in (
            "grant usage on schema {schema} to {web}, {reports}, {batch}",
            "grant select, insert, update, delete on all tables in schema {schema} to {web}, {batch}",
            "grant usage on all sequences in schema {schema} to {web}, {batch}",
            "grant select on all tables in schema {schema} to {reports}",
        ):
            connection.execute(sql.SQL(text).format(**names))


def lend_ownership(connection: psycopg.Connection) -> None:
    """The batch refreshes materialized views, which only a member of the owning role may."""
    if may_create_roles(connection) and exists(connection, BATCH):
        connection.execute(sql.SQL("grant {} to {}").format(sql.Identifier(OWNER), sql.Identifier(BATCH)))
