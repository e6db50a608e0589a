"""Tables, views and indexes of a server: found by name for an operation, or refused in a sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from psycopg import sql

from dbadmin.operations import Operation, Refused

if TYPE_CHECKING:
    from dbadmin.models import Server

#: For locks that others would queue behind us for: give up soon, try again later.
SHORT_LOCK = {"lock_timeout": "2s"}
ATTEMPTS = 5

RELATION = (
    "select relation.oid, relation.relkind as kind, relation.relispopulated as is_populated,"
    " relation.relispartition as is_partition, owner.rolname as owner,"
    " pg_catalog.pg_has_role(current_user, relation.relowner, 'usage') as is_ours, current_user as role,"
    " pg_catalog.pg_is_in_recovery() as in_recovery, pg_catalog.current_database() as database"
    " from pg_catalog.pg_class relation"
    " join pg_catalog.pg_namespace namespace on namespace.oid = relation.relnamespace"
    " join pg_catalog.pg_roles owner on owner.oid = relation.relowner"
    " where namespace.nspname = %s and relation.relname = %s"
)
#: From 17 on a role may be allowed to maintain what it does not own.
MAY_MAINTAIN = (
    "select pg_catalog.current_setting('server_version_num')::int >= 170000 and"
    " case when pg_catalog.current_setting('server_version_num')::int >= 170000"
    " then pg_catalog.has_table_privilege(%s::oid, 'maintain') end"
)
KINDS = {
    "r": "a table",
    "p": "a partitioned table",
    "m": "a materialized view",
    "v": "a view",
    "i": "an index",
    "I": "a partitioned index",
    "f": "a foreign table",
    "S": "a sequence",
    "t": "a TOAST table",
    "c": "a type",
}


class RelationForm(forms.Form):
    """Where to look."""

    database = forms.CharField(required=False, help_text="Empty: the one of the server's own DSN.")
    schema = forms.CharField(initial="public")


class OnRelation(Operation):
    """An operation on one table, view or index, whose name is the form's field of this word."""

    what = "table"
    kinds = "r"
    may_maintain = False

    @property
    def database(self) -> str | None:
        """Where it lies; None for the server's own database."""
        return self.params.get("database") or None

    @property
    def identifier(self) -> sql.Identifier:
        """Its name, quoted."""
        return sql.Identifier(self.params["schema"], self.params[self.what])

    def target(self) -> str:
        """schema.name, with the database where that was chosen."""
        name = f"{self.params['schema']}.{self.params[self.what]}"
        return f"{self.database}.{name}" if self.database else name

    def find(self) -> Any:
        """The relation's row; raises Refused when it is not there, is something else, or is not ours."""
        found = self.server.row(RELATION, [self.params["schema"], self.params[self.what]], self.database)
        if found is None:
            where = f" in {self.database}" if self.database else ""
            raise Refused(
                f"There is no {self.what} {self.short_name()}{where} on {self.server}.", field=self.what
            )
        if found.kind not in self.kinds:
            wanted = " or ".join(KINDS[kind] for kind in self.kinds)
            raise Refused(
                f"{self.short_name()} is {KINDS.get(found.kind, 'something else')}, not {wanted}.", self.what
            )
        if found.in_recovery:
            raise Refused(f"{self.server} is a standby: do it on its primary, and it follows.")
        if not found.is_ours and not (
            self.may_maintain and may_maintain(self.server, found.oid, self.database)
        ):
            grant = sql.SQL("GRANT {} TO {};").format(sql.Identifier(found.owner), sql.Identifier(found.role))
            raise Refused(
                f"The role {found.role} does not own {self.short_name()}. Remedy: {grant.as_string(None)}"
            )
        return found

    def short_name(self) -> str:
        """schema.name."""
        return f"{self.params['schema']}.{self.params[self.what]}"


def may_maintain(server: Server, oid: int, database: str | None) -> bool:
    """Was the MAINTAIN privilege granted (17 and later)?"""
    return bool(server.value(MAY_MAINTAIN, [oid], database))
