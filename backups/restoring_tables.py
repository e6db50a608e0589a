"""Restore some tables of a backup: proven in a scratch database, then put beside the live ones."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from psycopg import sql

from backups import restoring, side_tables
from backups.before_restore import Wanted
from backups.compare import compare_tables
from backups.comparing import compare_rows
from backups.forms import names
from backups.logical import Selection
from backups.models import Backup, RowComparison, SideSchema, expiry
from backups.part import numbers, with_partitions
from backups.restoring import RestoreFailed, Restoring, ready
from backups.row_places import TableName
from backups.side_schemas import comment_of
from dbadmin.identifiers import fitting
from dbadmin.operations import Operation, Refused
from dbadmin.steps import Call, Step
from dbadmin.units import count

if TYPE_CHECKING:
    from dbadmin.runner import Work


def plan_tables(operation: Operation, backup: Backup, live: str, text: str) -> RestoringTables:
    """A restore of these tables beside a live database; raises Refused for one that the backup does not hold."""
    outlook = ready(operation.server, backup, Wanted(live=live), operation)
    held = {
        f"{each.schema}.{each.name}": TableName(each.schema, each.name)
        for each in outlook.manifest.contents.definitions
        if each.kind == "TABLE"
    }
    wanted = named(text, held)
    missing = [name for name in wanted if name not in held]
    if missing:
        raise Refused(
            f"The backup holds no table {', '.join(missing[:5])}. Write it as schema.table.", field="tables"
        )
    tables = list(dict.fromkeys(held[name] for name in wanted))
    return RestoringTables(backup, outlook, tables=tables)


def named(text: str, held: Collection[str]) -> list[str]:
    """The tables of a text, one a line or with commas between; a name may hold a comma, and lack its schema."""
    found = []
    for line in filter(None, map(str.strip, text.splitlines())):
        parts = [line] if line in held or f"public.{line}" in held else names(line)
        found += [
            part if part in held or f"public.{part}" not in held else f"public.{part}" for part in parts
        ]
    return found


@dataclass
class RestoringTables(Restoring):
    """One such restore under way; each method is a step of the plan."""

    tables: Sequence[TableName] = ()
    side: str = ""
    keep_hours: float = 168
    parts: set[TableName] = field(default_factory=set)
    comparisons: list[RowComparison] = field(default_factory=list)

    @property
    def listed(self) -> str:
        return ", ".join(str(table) for table in self.tables)

    def steps(self) -> list[Step]:
        """By way of a scratch database into a schema of the live one, and compared with what is there."""
        return [
            *super().steps()[:-3],
            Call(
                self.load_part,
                f"Load all definitions and the rows of {self.listed} into it with pg_restore {self.tools}, "
                "to the first error.",
            ),
            Call(self.prove_part, "Compare these rows with the manifest: every row, every value."),
            Call(
                self.put_beside,
                f'-- In {self.live}, in one transaction\nCREATE SCHEMA "{self.side}";\n'
                f"-- and copy {self.listed} into it, each with its key; kept for {self.keep_hours:.0f} hours",
                reverse="The operation “Drop tables brought back”.",
            ),
            Call(self.drop_part, "Drop the scratch database."),
            Call(
                self.compare_live, f"Compare each table with the live one in {self.live}, row by row, by key."
            ),
        ]

    def load_part(self, work: Work) -> None:
        self.parts = with_partitions(self.entries, self.tables)
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
        if not found.data_is_equal:
            raise RestoreFailed(
                f"The restored tables differ from the backup: {found.sentence()} The live ones are untouched."
            )
        rows = sum(table.rows_after or 0 for table in found.tables)
        work.log(f"All {count(rows)} rows of {self.listed} are as in the backup.")

    def put_beside(self, work: Work) -> None:
        with work.connect(self.scratch) as source, work.connect(self.live) as live:
            name = sql.Identifier(self.side).as_string(None)
            if live.execute("select 1 where pg_catalog.to_regnamespace(%s) is not null", [name]).fetchone():
                work.log(f"Somebody made a schema {self.side} meanwhile; it is left alone.")
                self.side = fitting(self.side, f"_{work.run.pk}")
            work.remember(side=self.side, side_database=self.live)
            copied = side_tables.fill(
                source,
                live,
                self.side,
                self.tables,
                comment_of(work.run.pk),
                lambda table, rows: self._tell(work, table, rows),
            )
        made = SideSchema.objects.create(
            server=self.server, database=self.live, name=self.side, label=f"backup of {self.backup}",
            backup=self.backup, run=work.run, tables=[asdict(each) for each in copied],
            expires_at=expiry(self.keep_hours),
        )  # fmt: skip
        work.remember(side_pk=made.pk)
        work.result(side=made.pk, schema=self.side)
        work.log(f"{self.listed} are in the schema {self.side} of {self.live}.")

    def _tell(self, work: Work, table: TableName, rows: int) -> None:
        total = sum(
            each.rows
            for each in self.manifest.contents.tables
            if (each.schema, each.name) == (table.schema, table.name)
        )
        work.progress(rows, max(total, rows), "rows")
        work.stop_if_cancelled()

    def drop_part(self, work: Work) -> None:
        self.drop_scratch(work)
        work.remember(scratch="")

    def compare_live(self, work: Work) -> None:
        compare_side(work, SideSchema.objects.get(pk=work.facts["side_pk"]))


def compare_side(work: Work, side: SideSchema) -> None:
    """Each table of a side schema with the live one that it once was."""
    with work.connect(side.database) as source, work.connect(side.database) as live:
        found = compare_rows(side, (source, live), work.run, lambda table, rows: _told(work, rows))
    for row in found:
        work.log(
            f"{row}: {row.problem}"
            if row.problem
            else f"{row}: {count(row.missing)} rows are missing in the live table, {count(row.changed)} are "
            f"changed, {count(row.extra)} are extra, {count(row.same)} are the same."
        )
    work.say(f"{count(sum(row.total for row in found))} rows differ in {len(found)} tables.")


def _told(work: Work, rows: int) -> None:
    work.progress(rows, None, "rows")
    work.stop_if_cancelled()


def clean_up(work: Work) -> None:
    """The scratch database goes; so does a side schema that nobody has written down."""
    restoring.clean_up(work)
    side, database = work.facts.get("side"), work.facts.get("side_database")
    if not side or SideSchema.objects.filter(run=work.run).exists():
        return
    name = sql.Identifier(side).as_string(None)
    with work.connect(database) as connection:
        rows = connection.execute(side_tables.TABLES_OF, [name]).fetchall()
        # A schema of this name that somebody else made meanwhile has not our comment.
        if connection.execute(side_tables.COMMENT_OF, [name]).fetchone() == (comment_of(work.run.pk),):
            for statement in side_tables.drop_statements([row[0] for row in rows], side):
                connection.execute(statement)
            work.log(f"Dropped the schema {side}.")
