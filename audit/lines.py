"""The line that tells who did what from where: of a statement, or of a change that is written down in short."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from psycopg.sql import SQL, Composable, Composed, Identifier, Literal

from audit.log_tables import FRESH

if TYPE_CHECKING:
    from audit.capture import Choices

NO_ROLE = "none"
MOMENT = "pg_catalog.clock_timestamp()"
NUMBER = "pg_catalog.nextval('dbadmin_audit.statement_id'::pg_catalog.regclass)"
LINE = """INSERT INTO dbadmin_audit.{into} (id, at, xid, watched_id, shape_id, operation,
        session_role, set_role, app_user, client, application{columns})
    VALUES ({number}, {moment}, pg_catalog.pg_current_xact_id(), {watched}, {version}, {operation},
        session_user::pg_catalog.text, {set_role}, {app_user}, pg_catalog.inet_client_addr(),
        {application}{values})"""


def setting(arguments: Composable, otherwise: str = "") -> Composable:
    """A setting of the session; null when it is not made."""
    return SQL(
        "CASE WHEN pg_catalog.current_setting({0}) OPERATOR(pg_catalog.<>) {1}"
        " THEN pg_catalog.current_setting({0}) END"
    ).format(arguments, Literal(otherwise))


def line(watched_id: int, choices: Choices, images: str, operation: str, note: str = "") -> Composable:
    """The statement's own line in the log."""
    more = {"images": SQL(images)} | ({"note": SQL(note)} if note else {})
    return header("statement", watched_id, choices, operation, more)


def header(
    into: str,
    watched_id: int,
    choices: Choices,
    operation: str,
    more: Mapping[str, Composable],
    version: str = "version",
) -> Composable:
    """A line that tells what was done by whom. more: what else it holds, by column; version: of the columns.

    What is written down in short is read once and as it is, and put right when it is listed.
    """
    in_short = into == FRESH
    if choices.query_text:
        more = {**more, "query": SQL("pg_catalog.left(pg_catalog.current_query(), 4000)")}
    settings = {
        name: SQL("pg_catalog.current_setting({})").format(arguments)
        if in_short
        else setting(arguments, otherwise)
        for name, arguments, otherwise in (
            ("set_role", Literal("role"), NO_ROLE),
            ("app_user", SQL("{}, true").format(Literal(choices.user_setting)), ""),
            ("application", Literal("application_name"), ""),
        )
    }
    return SQL(LINE).format(
        into=Identifier(into),
        number=SQL(NUMBER if in_short else "number"),
        moment=SQL(MOMENT if in_short else "moment"),
        version=SQL(version),
        watched=Literal(watched_id),
        operation=SQL(operation),
        columns=Composed([SQL(", {}").format(Identifier(name)) for name in more]),
        values=Composed([SQL(", {}").format(value) for value in more.values()]),
        **settings,
    )
