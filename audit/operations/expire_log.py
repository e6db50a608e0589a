"""Drop the months of the audit log that policy no longer keeps."""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from django import forms
from psycopg.sql import SQL, Composable, Identifier, Literal

from audit import archive, log_tables, open_text, parquet, plans, sealing
from audit.log_tables import SCHEMA, is_there
from audit.models import Expiry, Seal
from audit.operations.watch_table import rows_of
from audit.prepared import reached
from audit.registry import installed_version
from audit.tables import Rows
from dbadmin import stores
from dbadmin.models import Server
from dbadmin.operations import Operation, Refused, Risk
from dbadmin.runner import Work
from dbadmin.steps import Call, Sql, Step, Transaction
from dbadmin.units import several

PARTITIONS = """
select c.relname as name, c.relpages::bigint * current_setting('block_size')::bigint as size_bytes
from pg_catalog.pg_class c
where c.relnamespace = 'dbadmin_audit'::regnamespace and c.relispartition and c.relkind = 'r' order by 1
"""
MONTH = re.compile(r"^(statement|loose|rows_\d+|pairs_\d+)_(\d{4})_(\d{2})$")


class ExpireLog(Operation):
    """Drop the months of the audit log that are older than what is kept, after a signed copy of each went to a store.

    Without a store they do not come back.
    Only sealed months are dropped, and a signed record says so: a later verification tells expired from removed.
    """

    title = "Expire the audit log"
    risk = Risk.DESTROYS

    class Form(forms.Form):
        database = forms.CharField(required=False, help_text="The server's own database when empty.")
        keep_months = forms.IntegerField(
            min_value=1,
            max_value=600,
            initial=24,
            label="Months to keep",
            help_text="Whole months before this one.",
        )
        store = forms.ChoiceField(
            required=False,
            choices=stores.choices(),
            label="Copy them first to",
            help_text="Compressed, signed and read back before anything is dropped; load_month brings a month back.",
        )
        written_as = forms.ChoiceField(
            required=False,
            choices=list(archive.KINDS.items()),
            initial="jsonl.zst",
            label="Write the copy as",
            help_text="Parquet is a file for each table, with types, for DuckDB, Spark and the like; it needs pyarrow.",
        )

    def __init__(self, server: Server, params: Mapping[str, Any]) -> None:
        super().__init__(server, params)
        self.archived: dict[str, Any] = {}

    def target(self) -> str:
        return f"audit log of {self.params.get('database') or self.server}"

    def plan(self) -> Sequence[Step]:
        """A signed record, then the drops, one transaction per month."""
        rows, database = rows_of(self), self.params.get("database") or ""
        if not installed_version(rows):
            raise Refused("No table is watched here yet.")
        today: dt.date = rows(plans.ABILITIES)[0].today
        first_kept = log_tables.month(today.replace(day=1), -int(self.params["keep_months"]))
        months: dict[str, list[str]] = {}
        for row in rows(PARTITIONS):
            found = MONTH.match(row.name)
            if found and dt.date(int(found[2]), int(found[3]), 1) < first_kept:
                months.setdefault(f"{found[2]}-{found[3]}", []).append(row.name)
        if not months:
            raise Refused(f"Nothing is older than {first_kept:%Y-%m}.")
        names = [name for parts in months.values() for name in parts if name.startswith("statement_")]
        self.refuse_unsealed(names)
        says = f"Record, signed, that {', '.join(sorted(months))} expire by policy"
        own = plans.owned(rows)
        # It locks the log's tables whole: who writes would wait behind us for whoever reads them.
        drops = [
            Transaction(
                plans.as_owner(own, [Sql(drop(name), settings=plans.LOCK) for name in parts]),
                database=database,
                says=month,
            )
            for month, parts in sorted(months.items())
        ]
        return [
            *self.copies(months),
            Call(lambda work: self.keep_record(work, names, sorted(months)), says=says),
            *drops,
            *self.forgets(rows, own, first_kept, database),
        ]

    @property
    def kind(self) -> str:
        """How copies are written."""
        return self.params.get("written_as") or "jsonl.zst"

    def copies(self, months: dict[str, list[str]]) -> list[Step]:
        """Each month into the store; one that failed ends the run before anything is dropped."""
        name = self.params.get("store")
        if not name:
            return []
        stores.open_store(name)
        if self.kind == "parquet" and not parquet.is_installed():
            raise Refused(parquet.MISSING, field="written_as")
        says = "Copy {} as {} to the store {}, compressed and signed, and read it back"
        written_as = archive.KINDS[self.kind]
        return [
            Call(partial(self.copy, month=month, leaves=leaves), says=says.format(month, written_as, name))
            for month, leaves in sorted(months.items())
        ]

    def copy(self, work: Work, month: str, leaves: list[str]) -> None:
        """One month; a month that was copied before and loaded again is not copied twice."""
        shelf = stores.open_store(self.params["store"])
        with work.connect(self.params.get("database") or None) as connection:
            database = connection.info.dbname
            if month in archive.keys(shelf, self.server, database):
                made = archive.described(shelf, self.server, database, month)
                work.log(f"{month} is in {self.params['store']} already: {several(made.lines, 'line')}.")
            else:
                made = archive.write(
                    connection,
                    shelf,
                    self.server,
                    month,
                    leaves,
                    self.kind,
                    lambda done: work.progress(done, None, "rows"),
                )
                work.log(
                    f"Copied {month} to {made.key}: {several(made.lines, 'line')} in {made.size_bytes} bytes."
                )
        self.archived[month] = made.said()

    def forgets(self, rows: Rows, own: bool, first_kept: dt.date, database: str) -> list[Step]:
        """Sums of who did how much go with their months, and texts that were copied while a month was written to."""
        inside: list[Sql] = []
        if reached(rows) is not None:
            tables = ["activity", *(["person_days"] if is_there(rows, "person_days") else [])]
            query = SQL("DELETE FROM {} WHERE day < {}")
            inside = [Sql(query.format(Identifier(SCHEMA, name), Literal(first_kept))) for name in tables]
        if is_there(rows, "open_text_reached"):
            inside += [Sql(each) for each in open_text.forget(first_kept)]
        if not inside:
            return []
        says = "Forget who did how much in them, and their copied texts"
        return [Transaction(plans.as_owner(own, inside), database=database, says=says)]

    def refuse_unsealed(self, names: list[str]) -> None:
        """What was never sealed cannot be proven to have been dropped whole."""
        rows = rows_of(self)
        database = self.params.get("database") or rows("select current_database() as name")[0].name
        last = Seal.objects.filter(server=self.server, database=database).first()
        high = last.high if last else 0
        for name in names:
            query = SQL("select exists (select from {} where xid::text::bigint >= {}) as found")
            if rows(query.format(Identifier(SCHEMA, name), Literal(high)))[0].found:
                raise Refused("These months hold changes that are not sealed yet. Seal the audit log first.")

    def keep_record(self, work: Work, names: list[str], months: list[str]) -> None:
        """Through which statement the log is gone."""
        with work.connect(self.params.get("database") or None) as connection:
            query = SQL(" union all ").join(
                [SQL("select max(id) from {}").format(Identifier(SCHEMA, n)) for n in names]
            )
            tops = [row[0] for row in connection.execute(query).fetchall() if row[0] is not None]
            database = connection.info.dbname
        key = sealing.signing_key()
        through = max(tops, default=0)
        facts = {"server": str(self.server.key), "database": database, "through": through, "months": months,
                 "archives": self.archived, "store": self.params.get("store") or "",
                 "recorded_at": dt.datetime.now(dt.UTC).isoformat(timespec="seconds")}  # fmt: skip
        text = json.dumps(facts, sort_keys=True)
        Expiry.objects.create(
            server=self.server, database=database, through_id=through, text=text, key=key,
            signature=sealing.sign(key, text),
        )  # fmt: skip
        work.log(f"Statements through {through} expire.")


def drop(name: str) -> Composable:
    """One partition."""
    return SQL("DROP TABLE {}").format(Identifier(SCHEMA, name))
