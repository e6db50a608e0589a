"""Seal what was recorded since the last seal."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

import psycopg
from django import forms

from audit import fresh
from audit.counting import record_uncounted
from audit.definitions import record_definitions
from audit.foundations import record_faults
from audit.gaps import record_switches
from audit.models import Seal
from audit.operations.watch_table import rows_of
from audit.registry import installed_version
from audit.seal_copies import copy_seals
from audit.sealed_states import record_differences
from audit.sealing import seal_next
from audit.stamping import NotStamped, stamp_last
from dbadmin import stores
from dbadmin.events import record
from dbadmin.operations import Operation, Refused, Risk
from dbadmin.runner import Work
from dbadmin.steps import Call, Step
from dbadmin.units import several

GONE = (
    "{} has no audit log any more, though seal {} of {:%Y-%m-%d %H:%M} UTC covers one: its schema was dropped, the"
    " comment on it was altered, or another database took its place. What was written meanwhile may not be recorded."
    " Ask who did that; a backup has the log, and the tables are to be watched again."
)


class SealLog(Operation):
    """Seal the changes that were recorded since the last seal, so that any later alteration of them shows.

    Put it on a schedule of a few minutes. It reads the log once. All it writes to the server is a line of the
    log where triggers of a watched table were switched, where what records changes is not as it was installed or a
    watch is not as it was sealed, where PostgreSQL counted more changes than were recorded, or where a table's
    definition changed and no event trigger told of it.
    """

    title = "Seal the audit log"
    risk = Risk.HARMLESS

    class Form(forms.Form):
        database = forms.CharField(required=False, help_text="The server's own database when empty.")

        store = forms.ChoiceField(
            required=False,
            choices=stores.choices(),
            label="Copy the seals to",
            help_text="A store with object lock: then not even who owns dbadmin's database can take a seal back.",
        )

    def target(self) -> str:
        return f"audit log of {self.params.get('database') or self.server}"

    def plan(self) -> Sequence[Step]:
        """One step: seals until nothing is left that is closed."""
        if not installed_version(rows_of(self)):
            raise Refused(self.why_not())
        says = "Hash every closed transaction since the last seal, sign the roots, keep them in dbadmin"
        steps = [Call(self.seal, says=says)]
        if self.params.get("store"):
            stores.open_store(self.params["store"])
            steps.append(Call(self.copy, says=f"Copy the seals to the store {self.params['store']}"))
        return steps

    def why_not(self) -> str:
        """Why there is no log: there never was one, or it is gone."""
        database = self.params.get("database") or self.server.value("select current_database()")
        last = Seal.objects.filter(server=self.server, database=database).first()
        return GONE.format(database, last.number, last.sealed_at) if last else "No table is watched here yet."

    def copy(self, work: Work) -> None:
        """What is not there yet, also from before."""
        name = self.params["store"]
        with work.connect(self.params.get("database") or None) as connection:
            database = connection.info.dbname
        count = copy_seals(stores.open_store(name), self.server, database, name)
        work.log(f"Copied {several(count, 'seal')} to {name}.")

    def seal(self, work: Work) -> None:
        """Batch after batch."""
        statements = images = seals = 0
        with work.connect(self.params.get("database") or None) as connection:
            database = connection.info.dbname
            self.record_unseen(connection, work)
            while seal := seal_next(connection, self.server):
                seals += 1
                statements += seal.statements
                images += seal.images
                work.progress(statements, None, "rows")
                work.stop_if_cancelled()
        work.log(
            f"Sealed {several(statements, 'statement')} with {several(images, 'row image')}"
            f" in {several(seals, 'seal')}."
        )
        self.stamp(work, database)
        work.result(seals=seals, statements=statements, images=images)

    def stamp(self, work: Work, database: str) -> None:
        """Where an authority is set: without its answer the seal stands as it is, and the next run asks again."""
        try:
            seal = stamp_last(self.server, database)
        except NotStamped as reason:
            work.log(f"Seal not time-stamped, the next run asks again: {reason}")
            record(
                None,
                "audit.unstamped",
                f"The newest seal of {self.server} has no time stamp: {reason}",
                self.server,
            )
            return
        if seal:
            work.log(
                f"Seal {seal.number} and all before it existed at {seal.stamped_at:%Y-%m-%d %H:%M:%S} UTC: stamped."
            )

    def record_unseen(self, connection: psycopg.Connection[Any], work: Work) -> None:
        """Into the log, so that they are sealed; where that is not allowed, the watch over gaps goes on naming them."""
        try:
            fresh.list_all(connection)
        except psycopg.Error as error:
            work.log(f"Changes that are recorded for each row could not all be listed: {error}".strip())
        if unlisted := fresh.waiting(fresh.asking(connection)):
            work.log(
                f"{several(unlisted, 'change')} not listed yet, nor sealed, and what came later neither."
            )
        try:
            seen = [record_faults(connection), record_switches(connection)]
            seen.append(record_differences(connection, self.server))
            for text in (*chain(*seen), *record_uncounted(connection, self.server)):
                work.log(f"Recorded a gap. {text}.")
            for text in record_definitions(connection, self.server):
                work.log(f"Recorded a change of a table's definition. {text}.")
        except (psycopg.errors.InsufficientPrivilege, psycopg.errors.ReadOnlySqlTransaction) as error:
            work.log(f"What was not captured could not be recorded: {error}".strip())
