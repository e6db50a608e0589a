"""Bring tables of a recovered cluster back beside the live ones, to be compared and copied row by row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from django import forms

from backups import beside
from backups.beside import Beside, BesideForm, BringsBeside, named, named_tables, told
from backups.forms import DatabaseField
from backups.of_recovered import RecoveredField, chosen, must_be_here, offered_databases
from backups.row_places import TableName
from backups.side_tables import NotCopied
from dbadmin.models import Server
from dbadmin.operations import Operation, Risk
from dbadmin.steps import Step

if TYPE_CHECKING:
    from backups.physical.models import RecoveredCluster
    from dbadmin.runner import Work


class BringBackRecoveredForm(BesideForm):
    """Which tables of which recovered cluster, and where they go."""

    cluster = RecoveredField()
    database = DatabaseField()
    into = forms.CharField(
        required=False,
        max_length=63,
        label="Live database",
        strip=False,
        help_text="Empty: of the same name.",
    )
    field_order = ("cluster", "database", "tables", "into")

    def __init__(self, *args: Any, server: Server | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["cluster"].offer(server)  # type: ignore[attr-defined]
        self.fields["database"].offer(offered_databases(server))  # type: ignore[attr-defined]


class BringBackRecovered(BringsBeside, Operation):
    """Copy chosen tables of a recovered cluster beside the live ones, and show what differs by key."""

    title = "Bring back tables of a moment"
    risk = Risk.LOADS
    for_admins = True
    queue = "backups"
    Form = BringBackRecoveredForm

    def target(self) -> str:
        """The live database."""
        return str(self.params.get("into") or self.params["database"])

    def plan(self) -> Sequence[Step]:
        row = chosen(self.server, self.params["cluster"], str(self.params["database"]))
        to = self.into(self.target(), row.target_at or row.reached_at or row.made_at, str(row))
        text = str(self.params["tables"])
        return to.steps(
            lambda work: _put(work, row, str(self.params["database"]), to, text), ", ".join(named(text, ()))
        )

    def clean_up(self, work: Work) -> None:
        beside.clean_up(work)


_TABLES = """
    select n.nspname as schema, c.relname as name
    from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where c.relkind in ('r', 'p') and c.relpersistence <> 't'
      and n.nspname not in ('pg_catalog', 'information_schema')"""


def _put(work: Work, row: RecoveredCluster, database: str, to: Beside, text: str) -> None:
    """Only here, on its host, can the cluster be asked which tables it has."""
    must_be_here(row)
    with work.connect(database, row.dsn) as source:
        to.tables, missing = named_tables(text, (TableName(*found) for found in source.execute(_TABLES)))
        if missing:
            raise NotCopied(
                f"{row} holds no table {', '.join(missing[:5])} in {database}. Write it as schema.table."
            )
        to.put(work, source, lambda table, rows: told(work, rows))
