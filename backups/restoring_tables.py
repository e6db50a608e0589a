"""Restore some tables of a backup: proven in a scratch database, then put beside the live ones."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from backups import beside, in_place
from backups.before_restore import Wanted
from backups.beside import KEEP_HOURS, Beside, named_tables, told
from backups.compare import compare_tables
from backups.logical import Selection
from backups.models import Backup
from backups.part import numbers, with_partitions
from backups.restoring import RestoreFailed, Restoring, ready
from backups.row_places import TableName
from dbadmin.operations import Operation, Refused
from dbadmin.steps import Call, Step
from dbadmin.units import count

if TYPE_CHECKING:
    from dbadmin.runner import Work


def plan_tables(operation: Operation, backup: Backup, to: Beside, text: str) -> RestoringTables:
    """A restore of these tables beside a live database; raises Refused for one that the backup does not hold."""
    outlook = ready(operation.server, backup, Wanted(live=to.live), operation)
    held = [
        TableName(each.schema, each.name)
        for each in outlook.manifest.contents.definitions
        if each.kind == "TABLE"
    ]
    to.tables, missing = named_tables(text, held)
    if missing:
        raise Refused(
            f"The backup holds no table {', '.join(missing[:5])}. Write it as schema.table.", field="tables"
        )
    return RestoringTables(backup, outlook, beside=to)


@dataclass
class RestoringTables(Restoring):
    """One such restore under way; each method is a step of the plan."""

    beside: Beside = field(default_factory=lambda: Beside("", "", KEEP_HOURS, ""))
    parts: set[TableName] = field(default_factory=set)

    def steps(self) -> list[Step]:
        """By way of a scratch database into a schema of the live one, and compared with what is there."""
        listed = self.beside.listed
        put, compare = self.beside.steps(self.put_beside)
        return [
            *super().steps()[:-3],
            Call(
                self.load_part,
                f"Load all definitions and the rows of {listed} into it with pg_restore {self.tools}, "
                "to the first error.",
            ),
            Call(self.prove_part, "Compare these rows with the manifest: every row, every value."),
            put,
            Call(self.drop_part, "Drop the scratch database."),
            compare,
        ]

    def load_part(self, work: Work) -> None:
        self.parts = with_partitions(self.entries, self.beside.tables)
        wanted = numbers(self.entries, self.parts)
        try:
            self.pour(work, wanted, ["--no-owner", "--no-privileges"])
        finally:
            self.spool.close()

    def prove_part(self, work: Work) -> None:
        names = {(table.schema, table.name) for table in self.parts}
        found = compare_tables(
            self.manifest.contents, self.dumped(work, Selection(tables=sorted(names))), names
        )
        for difference in found.differences[:100]:
            work.log(f"Differs: {difference}")
        if not found.nothing_is_lost:
            raise RestoreFailed(
                f"The restored tables differ from the backup: {found.sentence()} The live ones are untouched."
            )
        rows = sum(table.rows_after or 0 for table in found.tables)
        work.log(f"All {count(rows)} rows of {self.beside.listed} are as in the backup.")

    def put_beside(self, work: Work) -> None:
        with work.connect(self.scratch, self.dsn) as source:
            self.beside.put(work, source, lambda table, rows: self._tell(work, table, rows))

    def _tell(self, work: Work, table: TableName, rows: int) -> None:
        total = sum(
            each.rows
            for each in self.manifest.contents.tables
            if (each.schema, each.name) == (table.schema, table.name)
        )
        told(work, rows, max(total, rows))

    def drop_part(self, work: Work) -> None:
        self.drop_scratch(work)
        work.remember(scratch="")


def clean_up(work: Work) -> None:
    """The scratch database goes; so does a side schema that nobody has written down."""
    in_place.clean_up(work)
    beside.clean_up(work)
