"""Copy rows that were brought back beside a live table into it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import psycopg
from django import forms
from django.urls import reverse

from backups.comparing import compare_again
from backups.models import RowComparison, RowDifference
from backups.row_copy import Copying, Named, Wanted
from backups.row_diff import CHANGED, MARKS, MISSING
from backups.row_places import TableName
from backups.row_sequences import SEQUENCES
from backups.row_undo import FOLLOWERS
from backups.side_schemas import kept_name
from dbadmin.addresses import whole
from dbadmin.failures import sentence
from dbadmin.models import Run, Server
from dbadmin.operations import Operation, Refused, Risk
from dbadmin.steps import Call, Step
from dbadmin.units import count

if TYPE_CHECKING:
    from dbadmin.runner import Work

BOTH = "both"


class NumbersField(forms.Field):
    """Numbers of rows that were ticked on a page."""

    widget = hidden_widget = forms.MultipleHiddenInput

    def clean(self, value: Any) -> list[int]:
        found = [whole(str(each)) for each in value or []]
        if None in found:
            raise forms.ValidationError("Tick the rows on the page of differences.")
        return [each for each in found if each is not None]


class CopyRowsForm(forms.Form):
    """Which rows of which table."""

    comparison = forms.TypedChoiceField(coerce=int, label="Table")
    kind = forms.ChoiceField(
        choices=[
            (MISSING, "Rows that are missing in the live table"),
            (CHANGED, "Rows that are changed in it"),
            (BOTH, "Both"),
        ],
        label="Which rows",
    )
    keys = forms.CharField(
        required=False, widget=forms.Textarea(attrs={"rows": 3}),
        help_text="Only these: the keys as the page of differences shows them, one a line. Empty: all of this kind.",
    )  # fmt: skip

    rows = NumbersField(required=False, label="Ticked on the page of differences")

    def __init__(self, *args: Any, server: Server | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        found = RowComparison.objects.filter(server=server, side__dropped_at=None).exclude(side=None)
        self.fields["comparison"].choices = [  # type: ignore[attr-defined]
            (str(each.pk), f"{each} from {each.side}") for each in found.select_related("side")
        ]


class CopyRows(Operation):
    """Copy rows from tables that were brought back into the live table; what they replace is kept, to be taken back."""

    title = "Copy rows back"
    risk = Risk.DESTROYS
    queue = "backups"
    Form = CopyRowsForm

    def comparison(self) -> RowComparison:
        found = RowComparison.objects.filter(
            server=self.server, pk=self.params["comparison"], side__dropped_at=None
        )
        comparison = found.exclude(side=None).select_related("side").first()
        if comparison is None:
            raise Refused("This comparison is gone, or what it compared with.", field="comparison")
        if not comparison.key:
            raise Refused(f"No key tells the rows of {comparison} apart, so none can be copied back.")
        return comparison

    def target(self) -> str:
        found = RowComparison.objects.filter(pk=self.params["comparison"]).first()
        return str(found) if found else ""

    def kinds(self) -> list[str]:
        return [MISSING, CHANGED] if self.params["kind"] == BOTH else [str(self.params["kind"])]

    def chosen(self, comparison: RowComparison) -> list[RowDifference] | None:
        """The differences to copy; None for all of the kind, which are more than are listed."""
        found = list(comparison.differences.filter(kind__in=self.kinds()))
        if ticked := set(self.params.get("rows") or ()):
            rows = [each for each in found if each.pk in ticked]
            if len(rows) < len(ticked):
                raise Refused(
                    f"{count(len(ticked) - len(rows))} of the ticked rows are not listed any more: the tables were "
                    "compared anew. Tick them again.",
                    field="comparison",
                )
            return rows
        wanted = [line.strip() for line in str(self.params.get("keys") or "").splitlines() if line.strip()]
        if wanted:
            known: dict[str, list[RowDifference]] = {label: [] for label in wanted}
            for row in found:
                known.get(row.label, []).append(row)
            if strange := [label for label, rows in known.items() if not rows]:
                raise Refused(f"No such row differs in this way: {'; '.join(strange[:5])}.", field="keys")
            if several := [label for label, rows in known.items() if len(rows) > 1]:
                raise Refused(
                    f"{several[0]} is how the keys of several rows are written. Tick those rows on the page of "
                    "differences.",
                    field="keys",
                )
            return [row for (row,) in known.values()]
        total = sum(self.counts(comparison).values())
        if not total:
            raise Refused(f"No row of {comparison} differs in this way.", field="kind")
        return found if len(found) == total else None

    def counts(self, comparison: RowComparison) -> dict[str, int]:
        """How many rows there are to update and to insert."""
        return {kind: getattr(comparison, kind) if kind in self.kinds() else 0 for kind in (CHANGED, MISSING)}

    def wanted(self, comparison: RowComparison) -> Wanted:
        """What is to be copied."""
        rows = self.chosen(comparison)
        if rows is None:
            counts, marks = self.counts(comparison), [comparison.changed_marks]
        else:
            counts = {kind: sum(row.kind == kind for row in rows) for kind in (CHANGED, MISSING)}
            marks = [row.live_mark for row in rows if row.kind == CHANGED]
        if not counts[CHANGED]:
            return Wanted(counts, 0, named(rows))
        if None in marks:
            raise Refused(
                f"{comparison} was compared by an earlier version, which did not keep how the rows were: who changed "
                "one since would lose that. Compare it again.",
                field="comparison",
            )
        return Wanted(counts, sum(each for each in marks if each is not None) % MARKS, named(rows))

    def plan(self) -> Sequence[Step]:
        """Exact numbers: a row that comes or goes before it runs stops all of it."""
        comparison = self.comparison()
        wanted = self.wanted(comparison)
        says = (
            f"-- In {comparison.database}, in one transaction, from {comparison.other_schema}.{comparison.other_name}\n"
            f"UPDATE {comparison}: {count(wanted.counts[CHANGED])} rows\n"
            f"INSERT INTO {comparison}: {count(wanted.counts[MISSING])} rows\n"
            f"-- What is there now is kept in the schema {comparison.other_schema}. Triggers fire as usual. "
            "An error, or a row that came, went or was changed since the comparison, leaves everything as it is."
            + self._sequences(comparison)
            + (self._followers(comparison) if wanted.counts[MISSING] else "")
        )
        return [
            Call(
                lambda work: self._copy(work, comparison, wanted),
                says,
                "The operation “Take copied rows back”.",
            )
        ]

    def _sequences(self, comparison: RowComparison) -> str:
        """Which may be moved, for the preview."""
        rows = self.server.rows(SEQUENCES, {"table": live(comparison).regclass}, database=comparison.database)
        names = [f"{row.schema}.{row.name}" for row in rows if row.column in comparison.columns]
        if not names:
            return ""
        return (
            f"\n-- Sequences that stand before the copied values are moved behind them: {', '.join(names)}. "
            "They stay there when the copy is taken back."
        )

    def _followers(self, comparison: RowComparison) -> str:
        """Whose rows may forbid the undo, for the preview."""
        rows = self.server.rows(FOLLOWERS, [live(comparison).regclass], database=comparison.database)
        names = dict.fromkeys(f"{row.schema}.{row.name}" for row in rows)
        if not names:
            return ""
        return (
            f"\n-- It cannot be taken back while rows of {', '.join(names)} refer to rows that it inserted: they"
            " would go or change with them."
        )

    def _copy(self, work: Work, comparison: RowComparison, wanted: Wanted) -> None:
        facts = {
            "side": comparison.side_id, "database": comparison.database, "key": comparison.key,
            "live": [comparison.schema, comparison.name], "beside": [comparison.other_schema, comparison.other_name],
            "columns": list(comparison.columns),
        }  # fmt: skip
        work.remember(copying=facts)
        with work.connect(comparison.database) as connection:
            outcome = copying(work.run.pk, facts).copy(connection, wanted)
        for line in outcome.lines:
            work.log(line)
        work.say(outcome.message)
        self._compare(work, comparison)

    def _compare(self, work: Work, comparison: RowComparison) -> None:
        """What differs now; the copy is made, whether this succeeds or not."""
        try:
            with work.connect(comparison.database) as source, work.connect(comparison.database) as other:
                found = compare_again(
                    comparison, (source, other), work.run, lambda *_: work.stop_if_cancelled()
                )
            work.log(f"Compared anew: {count(found.missing + found.changed)} rows are not as in the backup.")
        except psycopg.Error as error:
            work.log(f"It could not be compared anew: {sentence(error, self.server)}")

    def clean_up(self, work: Work) -> None:
        """Nothing to remove: say it where the rows were copied all the same, and only the comparison was not made."""
        if not (facts := work.facts.get("copying")):
            return
        kept = copying(work.run.pk, facts).kept
        if self.server.value("select to_regclass(%s)::text", [kept.regclass], database=facts["database"]):
            work.stands(
                f"The rows were copied before this ended. What was there is in {kept}: the operation “Take copied rows "
                "back” returns it."
            )

    def undo(self, run: Run) -> tuple[str, dict[str, Any]] | None:
        return "undo_copy_rows", {"run": run.pk}

    def result_url(self, run: Run) -> str:
        side = (run.facts.get("copying") or {}).get("side")
        return reverse("side_schema", args=[self.server.name, side]) if side else ""


def named(rows: Sequence[RowDifference] | None) -> list[Named] | None:
    return None if rows is None else [(row.kind, row.key, row.live_mark) for row in rows]


def live(comparison: RowComparison) -> TableName:
    return TableName(comparison.schema, comparison.name)


def copying(run: int, facts: dict[str, Any]) -> Copying:
    beside = TableName(*facts["beside"])
    kept = TableName(beside.schema, kept_name(run))
    return Copying(TableName(*facts["live"]), beside, kept, facts["key"], facts["columns"])
