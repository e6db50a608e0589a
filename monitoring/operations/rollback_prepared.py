"""Roll back a prepared transaction."""

from collections.abc import Sequence

from django import forms
from psycopg import sql

from dbadmin.operations import Operation, Refused, Risk
from dbadmin.steps import Sql


class RollbackPrepared(Operation):
    """Roll back a prepared transaction that nobody will commit: what it did is lost, what it locks is free."""

    title = "Roll back prepared transaction"
    risk = Risk.DESTROYS

    class Form(forms.Form):
        name = forms.CharField()

    def target(self) -> str:
        return str(self.params["name"])

    def plan(self) -> Sequence[Sql]:
        """Only a session of its own database may end it."""
        found = self.server.row(
            "select database, prepared::text as prepared_at from pg_catalog.pg_prepared_xacts where gid = %s",
            [self.target()],
        )
        if found is None:
            raise Refused(f"There is no prepared transaction {self.target()} on {self.server}.", field="name")
        return [
            Sql(
                sql.SQL("ROLLBACK PREPARED {}").format(sql.Literal(self.target())),
                database=found.database,
                says=f"prepared at {found.prepared_at}",
            )
        ]
