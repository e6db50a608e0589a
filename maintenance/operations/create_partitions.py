"""Create the partitions that a table divided by time lacks."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from functools import cached_property

from django import forms
from psycopg import sql

from dbadmin.identifiers import fitting
from dbadmin.operations import Refused, Risk
from dbadmin.steps import Call, Step
from dbadmin.units import unit_of
from dbadmin.work import Work
from maintenance import new_partition, ranges
from maintenance.new_partition import Partitioned
from maintenance.relations import OnRelation, RelationForm

#: Bytes of a default partition that are read at once while its writers wait.
AT_ONCE = 64 * 2**20
#: Partitions that one run makes at most.
MOST = 400


class CreatePartitions(OnRelation):
    """Create the partitions of the coming time that a table divided by date or time lacks; readers and writers go on.

    How long they are, what they are called and where they are stored follows those that are there. On a schedule it
    keeps so many ready; with nothing missing it does nothing.
    """

    title = "Create partitions"
    risk = Risk.BLOCKS
    least_risk = Risk.LOADS
    kinds = "p"

    class Form(RelationForm):
        table = forms.CharField()
        ahead = forms.IntegerField(
            initial=3,
            min_value=1,
            max_value=MOST,
            label="Partitions ahead",
            help_text="So many stand ready after the present one; what is there already counts.",
        )

    @cached_property
    def found(self) -> Partitioned:
        """The table, its partitions, and how it is divided."""
        return new_partition.look_at(self.server, self.find(), self.short_name(), self.database)

    @cached_property
    def step(self) -> ranges.Step:
        """How long its partitions are."""
        step = ranges.step_of(self.found.ranges)
        if step is None:
            raise Refused(
                f"{self.short_name()} has no partition with a beginning and an end: how long the next one is to be"
                " cannot be told. Create the first one by hand.",
                "table",
            )
        return step

    @cached_property
    def pieces(self) -> list[tuple[dt.datetime, dt.datetime]]:
        """What has no partition."""
        found = self.found
        return list(ranges.missing(found.ranges, self.step, found.now, self.params["ahead"]))

    def risk_now(self) -> Risk:
        return Risk.BLOCKS if self.pieces and self.found.default_bytes > AT_ONCE else Risk.LOADS

    def waits(self) -> str:
        if self.risk_now() is Risk.LOADS:
            return ""
        size = unit_of("size_bytes").text(self.found.default_bytes)
        return (
            f"Who reads or writes the default partition {self.found.default} waits, for each new partition, while"
            f" PostgreSQL reads the {size} of it to see that no row belongs elsewhere."
        )

    def plan(self) -> Sequence[Step]:
        found, names = self.found, set[str]()
        if len(self.pieces) > MOST:
            raise Refused(
                f"That would be {len(self.pieces)} partitions; at most {MOST} are made at once.", "ahead"
            )
        self.refuse_strays()
        steps: list[Step] = []
        for starts, ends in self.pieces:
            name = self.name_of(starts, names)
            names.add(name)
            steps += new_partition.steps(found, name, found.literal(starts), found.literal(ends))
        if not steps:
            return [Call(nothing_to_do, says="All partitions are there: nothing is to be done")]
        count = f"{len(names)} partitions" if len(names) > 1 else f"the partition {names.pop()}"
        until = found.literal(self.pieces[-1][1])
        return [
            *steps[:-1],
            new_partition.last(steps[-1], f"Created {count} of {self.short_name()}, until {until}."),
        ]

    def name_of(self, starts: dt.datetime, known: set[str]) -> str:
        """What the partition is called; a table of that name that is no partition is a riddle for people."""
        base, ending = ranges.name_like(self.found.ranges, self.step, self.params["table"], starts)
        name = fitting(base, ending)
        if name in known or name in {each.name for each in self.found.ranges}:
            name = fitting(self.params["table"], ranges.spelled(starts, "_%Y_%m_%d_%H%M"))
        full = sql.Identifier(self.params["schema"], name).as_string(None)
        if self.server.value("select to_regclass(%s) is not null", [full], self.database):
            raise Refused(
                f"There is {self.params['schema']}.{name} already, and it holds no part of {self.short_name()} from"
                f" {self.found.literal(starts)} on. Attach or rename it first.",
                "table",
            )
        return name

    def refuse_strays(self) -> None:
        """Rows of the new partitions that lie in the default one forbid them."""
        if not self.pieces or not self.found.default:
            return
        count = new_partition.strays(self.found, self.pieces)
        if not count:
            return
        rows = unit_of("strays_count").text(count)
        raise Refused(
            f"The default partition {self.found.default} holds {rows} {'row' if count == 1 else 'rows'} of the time"
            f" from {self.found.literal(self.pieces[0][0])} to {self.found.literal(self.pieces[-1][1])}."
            " Move them first, in one transaction: detach the default partition, create the new ones, insert the rows"
            " into the table, delete them from the default partition, attach it again.",
            "table",
        )

    def clean_up(self, work: Work) -> None:
        new_partition.remove_unattached(work)


def nothing_to_do(work: Work) -> None:
    """On most days: a schedule that found nothing missing has succeeded."""
    work.say("All partitions are there.")
