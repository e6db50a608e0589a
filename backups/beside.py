"""Tables put into a schema of their own beside the live ones, for a while, and compared with them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

import psycopg
from django import forms
from django.urls import reverse
from psycopg import sql

from backups import preflight, side_tables
from backups.comparing import compare_rows
from backups.forms import names, short_enough
from backups.models import Backup, SideSchema, expiry
from backups.row_places import TableName
from backups.side_schemas import comment_of
from dbadmin.identifiers import fitting
from dbadmin.models import Run, Server
from dbadmin.operations import Refused
from dbadmin.steps import Call, Step
from dbadmin.units import count

if TYPE_CHECKING:
    from dbadmin.runner import Work

#: Hours that a side schema is kept unless somebody says otherwise.
KEEP_HOURS = 168


class BesideForm(forms.Form):
    """Which tables, and what schema they come into; whose they are comes from the form that is made of this."""

    tables = forms.CharField(
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text="As schema.table, one a line or with commas between.",
    )
    schema = forms.CharField(
        required=False,
        validators=[short_enough],
        help_text="The name of the schema. Empty: by the moment that the rows are of.",
    )
    keep_hours = forms.IntegerField(
        initial=KEEP_HOURS, min_value=1, max_value=24 * 90, required=False,
        help_text="For how many hours the schema is kept.",
    )  # fmt: skip

    def clean_keep_hours(self) -> int:
        return self.cleaned_data.get("keep_hours") or KEEP_HOURS


@dataclass
class Beside:
    """Some tables under way into a side schema.

    live: the database; side: the schema's name; label: where the rows come from, in words.
    """

    live: str
    side: str
    keep_hours: float
    label: str
    backup: Backup | None = None
    tables: Sequence[TableName] = field(default_factory=list)

    @property
    def listed(self) -> str:
        return ", ".join(str(table) for table in self.tables)

    def steps(self, put: Callable[[Work], None], listed: str = "") -> list[Step]:
        """put: opens the source, and calls self.put; listed: the tables, where only the source can find them."""
        return [
            Call(
                put,
                f"-- In {self.live}, in one transaction\nCREATE SCHEMA {preflight.quoted(self.side)};\n"
                f"-- and copy {listed or self.listed} into it, each with its key; kept for {self.keep_hours:.0f} hours",
                reverse="The operation “Drop tables brought back”.",
            ),
            Call(compare, f"Compare each table with the live one in {self.live}, row by row, by key."),
        ]

    def put(
        self, work: Work, source: psycopg.Connection[Any], tell: Callable[[TableName, int], None]
    ) -> None:
        """Copy the tables from a source into the live database, all or none, and write down that they are there.

        tell: is given a table and how many of its rows have come.
        """
        with work.connect(self.live) as live:
            name = sql.Identifier(self.side).as_string(None)
            if live.execute("select 1 where pg_catalog.to_regnamespace(%s) is not null", [name]).fetchone():
                work.log(f"Somebody made a schema {self.side} meanwhile; it is left alone.")
                self.side = fitting(self.side, f"_{work.run.pk}")
            work.remember(side=self.side, side_database=self.live)
            copied = side_tables.fill(source, live, self.side, self.tables, comment_of(work.run.pk), tell)
        made = SideSchema.objects.create(
            server=work.server, database=self.live, name=self.side, label=self.label, backup=self.backup,
            run=work.run, tables=[asdict(each) for each in copied], expires_at=expiry(self.keep_hours),
        )  # fmt: skip
        work.remember(side_pk=made.pk)
        work.result(side=made.pk, schema=self.side)
        work.log(f"{self.listed} are in the schema {self.side} of {self.live}.")


def compare(work: Work) -> None:
    """The side schema that this run made, with the live tables."""
    compare_side(work, SideSchema.objects.get(pk=work.facts["side_pk"]))


def compare_side(work: Work, side: SideSchema) -> None:
    """Each table of a side schema with the live one that it once was."""
    with work.connect(side.database) as source, work.connect(side.database) as live:
        found = compare_rows(side, (source, live), work.run, lambda table, rows: told(work, rows))
    for row in found:
        work.log(
            f"{row}: {row.problem}"
            if row.problem
            else f"{row}: {count(row.missing)} rows are missing in the live table, {count(row.changed)} are "
            f"changed, {count(row.extra)} are extra, {count(row.same)} are the same."
        )
    where = "1 table" if len(found) == 1 else f"{len(found)} tables"
    work.say(f"{count(sum(row.total for row in found))} rows differ in {where}.")


def told(work: Work, rows: int, total: int | None = None) -> None:
    """Rows on their way; raises when the run was cancelled."""
    work.progress(rows, total, "rows")
    work.stop_if_cancelled()


def named_tables(text: str, held: Iterable[TableName]) -> tuple[list[TableName], list[str]]:
    """The tables of a text, one a line or with commas between, and what is none: a name may lack its schema."""
    known = {f"{table.schema}.{table.name}": table for table in held}
    wanted = named(text, known)
    tables = [known[name] for name in wanted if name in known]
    return list(dict.fromkeys(tables)), [name for name in wanted if name not in known]


def named(text: str, held: Collection[str]) -> list[str]:
    """The names in such a text; one that is held may itself have a comma in it."""
    found = []
    for line in filter(None, map(str.strip, text.splitlines())):
        parts = [line] if line in held or f"public.{line}" in held else names(line)
        found += [
            part if part in held or f"public.{part}" not in held else f"public.{part}" for part in parts
        ]
    return found


class BringsBeside:
    """For operations that put tables into a side schema; their form is made of BesideForm."""

    server: Server
    params: Mapping[str, Any]

    def into(self, live: str, moment: datetime, label: str, backup: Backup | None = None) -> Beside:
        """As it was asked for; raises Refused for a database that can take no side schema, and a name that is taken.

        moment: of the rows.
        """
        _check_live(self.server, live)
        name = _schema_name(self.server, live, str(self.params.get("schema") or ""), moment)
        return Beside(live, name, float(self.params.get("keep_hours") or KEEP_HOURS), label, backup)

    def undo(self, run: Run) -> tuple[str, dict[str, Any]] | None:
        """The side schema is dropped again."""
        side = run.result.get("side")
        return ("drop_side_schema", {"side": side}) if side else ("", {})

    def result_url(self, run: Run) -> str:
        """Where its tables are shown."""
        side = run.result.get("side")
        return reverse("side_schema", args=[self.server.name, side]) if side else ""


def _check_live(server: Server, database: str) -> None:
    preflight.database_of(server, database)
    if server.value("select datistemplate from pg_catalog.pg_database where datname = %s", [database]):
        raise Refused(
            f"{database} is a template: every new database would get these tables.", field="database"
        )
    preflight.check_create_schema(server, database)


def _schema_name(server: Server, database: str, chosen: str, moment: datetime) -> str:
    """The name that was chosen, else the moment of the rows with the first number that is free."""
    taken = {
        row.nspname for row in server.rows("select nspname from pg_catalog.pg_namespace", database=database)
    }
    if chosen.startswith("pg_"):
        raise Refused("PostgreSQL keeps names of schemas that begin with pg_ for itself.", field="schema")
    if chosen in taken:
        raise Refused(f"{database} cannot have a new schema {chosen}: the name is taken.", field="schema")
    plain = f"restored_{moment:%Y%m%d_%H%M}"
    free = (name for name in (plain, *(f"{plain}_{n}" for n in range(2, 1000))) if name not in taken)
    return chosen or next(free)


def clean_up(work: Work) -> None:
    """A side schema that nobody has written down goes."""
    side, database = work.facts.get("side"), work.facts.get("side_database")
    if not side:
        return
    if made := SideSchema.objects.filter(run=work.run).first():
        work.stands(
            f"The tables are in the schema {made.name} of {made.database}, all of them. Only their comparison with the "
            "live ones may be missing: the operation “Compare again” makes it."
        )
        return
    name = sql.Identifier(side).as_string(None)
    with work.connect(database) as connection:
        rows = connection.execute(side_tables.TABLES_OF, [name]).fetchall()
        # A schema of this name that somebody else made meanwhile has not our comment.
        if connection.execute(side_tables.COMMENT_OF, [name]).fetchone() == (comment_of(work.run.pk),):
            connection.execute("set lock_timeout = '2s'")  # nobody queues behind us; it is tried again
            for statement in side_tables.drop_statements([row[0] for row in rows], side):
                connection.execute(statement)
            work.log(f"Dropped the schema {side}.")
