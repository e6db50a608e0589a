"""Two databases compared by what their dumps contain: every row, every value, every definition."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from backups.archive import sum_text
from backups.manifest import Contents, Definition, Table

MOST_NAMED = 5
Row = TypeVar("Row", Table, Definition)


@dataclass(frozen=True)
class Difference:
    """One thing that is not as it was. `grave` means that something is lost; the rest is worded otherwise."""

    label: str
    says: str
    grave: bool

    def __str__(self) -> str:
        return f"{self.label}: {self.says}"


@dataclass(frozen=True)
class TableComparison:
    """One line of the table of tables: rows before and after."""

    label: str
    rows_before: int | None
    rows_after: int | None
    same: bool


@dataclass(frozen=True)
class Comparison:
    """The answer: what differs, and the tables side by side."""

    differences: Sequence[Difference]
    tables: Sequence[TableComparison]

    @property
    def nothing_is_lost(self) -> bool:
        return not any(difference.grave for difference in self.differences)

    @property
    def equal(self) -> bool:
        return not self.differences

    def sentence(self) -> str:
        rows = sum(table.rows_after or 0 for table in self.tables if table.label != "large objects")
        if self.equal:
            return (
                f"All {len(self.tables)} tables with {rows} rows, and every definition, are as in the backup."
            )
        named = "; ".join(str(difference) for difference in self.differences[:MOST_NAMED])
        more = len(self.differences) - MOST_NAMED
        return named + (f"; and {more} more." if more > 0 else ".")


def compare(
    before: Contents, after: Contents, made_by_reader: Sequence[str] = (), by_name: bool = False
) -> Comparison:
    """The manifest's contents against those of another database.

    `made_by_reader` names schemas that we ourselves add to databases; they are left out on both sides.
    by_name: definitions were written by programs of two major versions, so that their texts tell nothing.
    """
    tables, differences = _compare_tables(
        _without(before.tables, made_by_reader), _without(after.tables, made_by_reader)
    )
    differences += _compare_definitions(
        _without(before.definitions, made_by_reader), _without(after.definitions, made_by_reader), by_name
    )
    return Comparison(differences, tables)


def compare_tables(before: Contents, after: Contents, names: Collection[tuple[str, str]]) -> Comparison:
    """Only the rows of some tables."""
    tables, differences = _compare_tables(
        [table for table in before.tables if (table.schema, table.name) in names],
        [table for table in after.tables if (table.schema, table.name) in names],
    )
    return Comparison(tables=tables, differences=differences)


def _without(rows: Iterable[Row], schemas: Sequence[str]) -> list[Row]:
    return [row for row in rows if row.schema not in schemas]


def _compare_tables(
    before: Sequence[Table], after: Sequence[Table]
) -> tuple[list[TableComparison], list[Difference]]:
    if _portions(before) != _portions(after):
        before, after = _one_portion(before), _one_portion(after)
    old = {(table.kind, table.schema, table.name): table for table in before}
    new = {(table.kind, table.schema, table.name): table for table in after}
    lines, differences = [], []
    for key in sorted(old.keys() | new.keys()):
        was, now = old.get(key), new.get(key)
        says = _difference(was, now)
        label = (was or now).label  # type: ignore[union-attr]
        lines.append(TableComparison(label, was.rows if was else None, now.rows if now else None, not says))
        if says:
            differences.append(Difference(label, says, grave=True))
    return lines, differences


def _portions(tables: Iterable[Table]) -> set[str]:
    """Of the large objects; versions of pg_dump cut them otherwise."""
    return {table.name for table in tables if table.kind != "TABLE DATA"}


def _one_portion(tables: Iterable[Table]) -> list[Table]:
    """All large objects as one, by what is the same in any order; by number and size where a backup knows no more."""
    found = list(tables)
    rest = [table for table in found if table.kind == "TABLE DATA"]
    parts = [table for table in found if table.kind != "TABLE DATA"]
    if not parts:
        return rest
    sums = [int(part.sum256, 16) for part in parts if part.sum256]
    digest = sum_text(sum(sums)) if len(sums) == len(parts) else ""
    rows, size_bytes = sum(part.rows for part in parts), sum(part.size_bytes for part in parts)
    return [*rest, Table(parts[0].kind, "", "", rows, size_bytes, digest, digest)]


def _difference(was: Table | None, now: Table | None) -> str:
    if was is None:
        return "is not in the backup"
    if now is None:
        return f"is missing ({was.rows} rows)"
    if was.rows != now.rows:
        return f"has {now.rows} rows, the backup {was.rows}"
    if not (was.sha256 and now.sha256):
        return (
            ""
            if was.size_bytes == now.size_bytes
            else f"has {now.size_bytes} bytes, the backup {was.size_bytes}"
        )
    return (
        "" if was.sha256 == now.sha256 else f"has the same {was.rows} rows, but other values or another order"
    )


#: How large objects are listed depends on the version of the programs; their data are compared as data.
_LISTED_OTHERWISE = ("BLOB", "LARGE OBJECT")
#: Where a sequence stands is listed as a definition, is as good as data, and is written alike by every version.
_STANDS = "SEQUENCE SET"


def _compare_definitions(
    before: Sequence[Definition], after: Sequence[Definition], by_name: bool
) -> list[Difference]:
    if by_name:
        before, after = (
            [each for each in side if not each.kind.startswith(_LISTED_OTHERWISE)] for side in (before, after)
        )
    old, new = _grouped(before), _grouped(after)
    differences = []
    for key in sorted(old.keys() | new.keys()):
        was, now = old.get(key), new.get(key)
        sample = (was or now)[0]  # type: ignore[index]
        if was is None:
            differences.append(Difference(sample.label, "is not in the backup", grave=False))
        elif now is None:
            differences.append(Difference(sample.label, "is missing", grave=not by_name))
        elif sample.kind == _STANDS and was[0].digest != now[0].digest:
            differences.append(Difference(sample.label, "has another value", grave=True))
        elif not by_name and sorted(each.digest for each in was) != sorted(each.digest for each in now):
            differences.append(Difference(sample.label, "is defined otherwise", grave=False))
        elif sorted(each.owner for each in was) != sorted(each.owner for each in now):
            differences.append(
                Difference(sample.label, f"belongs to {now[0].owner}, not to {was[0].owner}", False)
            )
    return differences


def _grouped(rows: Sequence[Definition]) -> dict[tuple[str, str, str], list[Definition]]:
    groups: dict[tuple[str, str, str], list[Definition]] = {}
    for row in rows:
        groups.setdefault((row.kind, row.schema, row.name), []).append(row)
    return groups
