"""Read the sealed log anew and name what was altered."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import psycopg
from django import forms
from django.conf import settings

from audit import fresh, seal_copies, searched, stamping, verifying
from audit.foundations import faults
from audit.models import Seal, SealCheck
from dbadmin import stores
from dbadmin.connections import named_rows
from dbadmin.events import record
from dbadmin.operations import Operation, Refused, Risk
from dbadmin.runner import Work
from dbadmin.steps import Call, Step
from dbadmin.units import several


class VerifySeals(Operation):
    """Read the sealed part of the audit log anew, compare it with its seals, and name what was altered since."""

    title = "Verify the audit log"
    risk = Risk.LOADS
    changes_nothing = True
    for_auditors = True

    class Form(forms.Form):
        database = forms.CharField(required=False, help_text="The server's own database when empty.")
        last = forms.IntegerField(
            required=False,
            min_value=1,
            max_value=1_000_000,
            label="The last … seals only",
            help_text="All of them when empty.",
        )

    def target(self) -> str:
        return f"audit log of {self.params.get('database') or self.server}"

    def seals(self) -> list[Seal]:
        """Those to look at, oldest first."""
        database = self.params.get("database") or self.server.value("select current_database()")
        found = (
            Seal.objects.filter(server=self.server, database=database)
            .select_related("key")
            .order_by("-number")
        )
        last = self.params.get("last")
        return list(found[:last] if last else found)[::-1]

    def plan(self) -> Sequence[Step]:
        """One step: read, hash, compare."""
        count = len(self.seals())
        if not count:
            raise Refused("Nothing is sealed here yet.")
        return [
            Call(
                self.verify,
                says="Read the sealed statements and rows anew, hash them, compare with the signed roots",
            )
        ]

    def verify(self, work: Work) -> None:
        """Compare, and keep what was found."""
        started, seals = time.monotonic(), self.seals()
        with work.connect(self.params.get("database") or None) as connection:
            self.list_fresh(connection, work)
            found = [*self.compare_copies(seals), *self.stamps(work, seals)]
            found += verifying.verify(connection, seals, lambda done, of: work.progress(done, of, "objects"))
            found += self.foundations(connection, seals[-1].number)
            found += searched.differences(connection, seals[-1].number, verifying.expired_through(seals))
        check = SealCheck.objects.create(
            server=self.server,
            database=seals[0].database,
            seals=len(seals),
            statements=sum(seal.statements for seal in seals),
            images=sum(seal.images for seal in seals),
            seconds=time.monotonic() - started,
            findings=[finding.said() for finding in found],
        )
        for finding in found[:50]:
            work.log(finding.what)
        work.result(findings=len(found), statements=check.statements)
        if found:
            what = check.says
            record(None, "audit.tampered", f"{what}: {found[0].what}", self.server)
            raise Refused(f"{what}. The first: {found[0].what}")
        read = f"{several(check.statements, 'statement')} with {several(check.images, 'row image')}"
        said = f"{read} are as they were sealed."
        work.log(said)
        work.say(said)

    def list_fresh(self, connection: psycopg.Connection[Any], work: Work) -> None:
        """A server that was put back to an earlier moment may have changes to list that were sealed."""
        try:
            fresh.list_all(connection)
        except psycopg.Error as error:
            work.log(f"Changes that are not listed yet were left as they are: {error}".strip())

    def foundations(self, connection: psycopg.Connection[Any], seal: int) -> list[verifying.Finding]:
        """What the log stands on: by what is wrong there, changes may be missing that no seal knows of."""
        found = faults(lambda query, params=None: named_rows(connection.execute(query, params)))
        return [
            verifying.Finding("capture", seal, f"{fault.problem}.")
            for fault in found
            if fault.state == "critical"
        ]

    def stamps(self, work: Work, seals: list[Seal]) -> list[verifying.Finding]:
        """Time stamps against their seals."""
        stamped = [seal for seal in seals if seal.stamp]
        if stamped and not settings.DBADMIN_TSA_CA:
            work.log(f"{len(stamped)} time stamps were not checked: DBADMIN_TSA_CA names no certificates.")
            return []
        try:
            found = [verifying.Finding(*one) for one in stamping.differences(stamped)]
        except stamping.NotStamped as reason:
            work.log(f"{len(stamped)} time stamps were not checked: {reason}")
            return []
        if stamped:
            work.log(f"{len(stamped) - len(found)} of {len(stamped)} time stamps fit their seals.")
        return found

    def compare_copies(self, seals: list[Seal]) -> list[verifying.Finding]:
        """Dbadmin's seals against their copies in stores."""
        return [
            verifying.Finding(*found)
            for name in sorted({seal.store for seal in seals if seal.store})
            for found in seal_copies.differences(stores.open_store(name), name, self.server, seals)
        ]

    def result_url(self, run: Any) -> str:
        return f"/servers/{self.server.name}/audit/seals/"
