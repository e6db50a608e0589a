"""Rows copied from the tables beside into the live ones, in one transaction; what was there is kept."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, LiteralString

import psycopg
from psycopg import errors, sql

from backups.row_diff import CHANGED, MARKS, MISSING, mark_of
from backups.row_places import Expression, Shape, TableName, as_usual, meet, of, rows_of, shape_of
from backups.row_sequences import move_behind
from backups.row_writing import HELD, KEYS, MOMENT, MOST_NAMED, Advice, NotWritten, all_or_none, write
from dbadmin.connections import named_rows
from dbadmin.units import count, several

#: What a row is, CHANGED or MISSING, its key as texts, and how the live row was marked when it was compared.
Named = tuple[str, list[str], int | None]
_MARK = sql.Identifier("dbadmin mark")


_ADVICE: Advice = {
    errors.ForeignKeyViolation: "Copy the rows that these need first, or fewer rows.",
    errors.UniqueViolation: HELD,
    errors.ExclusionViolation: HELD,
    errors.FeatureNotSupported: "Copy the missing rows and the changed ones apart.",
}
#: What pg_trigger.tgtype has for an UPDATE and an INSERT.
_TRIGGER_BITS = {CHANGED: 16, MISSING: 4}
_TRIGGERS = """
    select distinct g.tgname from pg_catalog.pg_trigger g
    where g.tgrelid in (select pg_catalog.to_regclass(%(table)s)
                        union select relid from pg_catalog.pg_partition_tree(pg_catalog.to_regclass(%(table)s)))
      and not g.tgisinternal and g.tgenabled in ('O', 'A') and g.tgtype & %(kinds)s <> 0
    order by 1"""


@dataclass(frozen=True)
class Wanted:
    """The rows to copy: so many of each kind, CHANGED and MISSING, and the marks of the changed ones together.

    rows: which; None: every row that is so now.
    """

    counts: Mapping[str, int]
    marks: int
    rows: Sequence[Named] | None = None

    @property
    def total(self) -> int:
        return sum(self.counts.values())


@dataclass(frozen=True)
class Outcome:
    """What became of the rows, in a sentence, and what else there is to say, a line each."""

    message: str
    lines: Sequence[str]


@dataclass(frozen=True)
class Copying:
    """One live table, its copy beside, and where the rows are kept that a copy replaces."""

    live: TableName
    side: TableName
    kept: TableName
    key: Sequence[str]
    columns: Sequence[str]

    def copy(self, connection: psycopg.Connection[Any], wanted: Wanted) -> Outcome:
        """All of these rows or none."""
        with all_or_none(connection, f"Nothing was copied to {self.live}", _ADVICE):
            shape, beside = shape_of(connection, self.live), shape_of(connection, self.side)
            if shape is None or beside is None:
                raise NotWritten(f"There is no table {self.side if shape else self.live} any more.")
            if gone := [name for name in self.columns if name not in shape or name not in beside]:
                raise NotWritten(
                    f"Nothing was copied: {self.live} has no column {gone[0]} any more. Bring it back anew."
                )
            return _Copy(self, wanted, connection, shape, beside).run()


@dataclass(frozen=True)
class _Copy:
    """One copy under way in its transaction. In its statements l is the live table, s the one beside, k the list."""

    job: Copying
    wanted: Wanted
    connection: psycopg.Connection[Any]
    shape: Shape
    beside: Shape

    def run(self) -> Outcome:
        live, wanted = self.job.live, self.wanted
        self._make_list()
        if wanted.rows is None:
            self._find()
        else:
            self._list(wanted.rows)
        self.connection.execute(sql.SQL("ANALYZE {}").format(KEYS))
        self._lock()
        self._keep("CREATE TABLE {} AS SELECT 'before'::text AS {}, l.* FROM {}", MOMENT)
        as_usual(self.connection)
        done = write(self.connection, self._update(), self._insert())
        kept = self._keep("INSERT INTO {} SELECT {}, l.* FROM {}", sql.Literal("after"))
        if (*done, kept) != (wanted.counts[CHANGED], wanted.counts[MISSING], wanted.total):
            raise NotWritten(
                f"Nothing was copied to {live}: of {count(wanted.total)} rows only {count(sum(done))} could be "
                "written. A trigger, a rule or row security holds the others back, or they are gone beside."
            )
        message, lines = self._compare()
        return Outcome(
            message, [*move_behind(self.connection, live, self.job.columns, self._listed()), *lines]
        )

    def _compare(self) -> tuple[str, list[str]]:
        """How the rows came out: a trigger, a type or an expression of the live table may have changed them."""
        differs = {
            name: sql.SQL("l.{0}::text IS DISTINCT FROM s.{0}::text").format(sql.Identifier(name))
            for name in self.job.columns
        }
        both = sql.SQL("{} JOIN {} s ON {}").format(
            self._listed(), self.job.side.quoted, self._meet_side("k")
        )
        of_each = sql.SQL(", ").join(
            sql.SQL("count(*) FILTER (WHERE {})").format(one) for one in differs.values()
        )
        any_of_them = sql.SQL("({})").format(sql.SQL(" OR ").join(differs.values()))
        total, *counts = self.connection.execute(
            sql.SQL("SELECT count(*) FILTER (WHERE {}), {} FROM {}").format(any_of_them, of_each, both)
        ).fetchall()[0]
        written = f"{several(self.wanted.total, 'row')} of {self.job.live}"
        if not total:
            return f"{written} {'is' if self.wanted.total == 1 else 'are'} as in the backup.", []
        names = [name for name, number in zip(differs, counts, strict=True) if number]
        key = sql.SQL(", ").join(sql.SQL("l.{}::text").format(sql.Identifier(name)) for name in self.job.key)
        keys = self.connection.execute(
            sql.SQL("SELECT ARRAY[{}] FROM {} WHERE {} ORDER BY 1 LIMIT 20").format(key, both, any_of_them)
        ).fetchall()
        these = (
            "is not as in the backup: it differs" if total == 1 else "are not as in the backup: they differ"
        )
        differ = f"{count(total)} of them {these} in {', '.join(names)}."
        told = [f"Not as in the backup: {', '.join(key)}" for (key,) in keys]
        return f"{written} {'was' if self.wanted.total == 1 else 'were'} copied. {differ}", [
            *self._triggers(),
            *told,
        ]

    def _triggers(self) -> list[str]:
        kinds = [_TRIGGER_BITS[kind] for kind, number in self.wanted.counts.items() if number]
        rows = self.connection.execute(
            _TRIGGERS, {"table": self.job.live.regclass, "kinds": sum(kinds)}
        ).fetchall()
        names = ", ".join(name for (name,) in rows)
        return [f"Triggers that are enabled for such rows: {names}."] if names else []

    @property
    def _rest(self) -> list[str]:
        return [name for name in self.job.columns if name not in self.job.key]

    def _value(self, name: str) -> sql.Composed:
        return value(name, self.shape, self.beside)

    def _meet(self, one: Expression, other: Expression) -> sql.Composed:
        return meet(self.shape, self.job.key, one, other)

    def _meet_side(self, alias: str) -> sql.Composed:
        """The same key beside: as a text where it is one there, which need not be a value of the live type."""
        parts = [
            sql.SQL("{}::text OPERATOR(pg_catalog.=) s.{}").format(
                sql.Identifier(alias, name), sql.Identifier(name)
            )
            if is_text_of_another(name, self.shape, self.beside)
            else meet(self.shape, [name], of(alias), self._value)
            for name in self.job.key
        ]
        return sql.SQL(" AND ").join(parts)

    def _listed(self) -> sql.Composed:
        """What stands after FROM for the live rows of the list."""
        return sql.SQL("{} l JOIN {} k ON {}").format(
            rows_of(self.job.live, self.shape), KEYS, self._meet(of("k"), of("l"))
        )

    def _make_list(self) -> None:
        names = sql.SQL(", ").join(map(sql.Identifier, self.job.key))
        make = sql.SQL(
            "CREATE TEMP TABLE dbadmin_keys ON COMMIT DROP AS"
            " SELECT ''::text AS {}, 0::int8 AS {}, {} FROM {} WHERE false"
        )
        self.connection.execute(make.format(MOMENT, _MARK, names, self.job.live.quoted))

    def _list(self, rows: Sequence[Named]) -> None:
        copy = sql.SQL("COPY {} FROM STDIN").format(KEYS)
        with self.connection.cursor() as cursor, cursor.copy(copy) as into:
            for kind, key, mark in rows:
                into.write_row([kind, mark, *key])

    def _find(self) -> None:
        """Every row that is so now, found where the rows are; as many as the comparison counted."""
        differs = sql.SQL(" OR ").join(
            sql.SQL("s.{0}::text IS DISTINCT FROM l.{0}::text").format(sql.Identifier(name))
            for name in self._rest
        )
        missing = sql.SQL(
            "INSERT INTO {} SELECT {}, NULL, {} FROM {} s WHERE NOT EXISTS (SELECT FROM {} l WHERE {})"
        )
        changed = sql.SQL("INSERT INTO {} SELECT {}, NULL, {} FROM {} s JOIN {} l ON {} WHERE {}")
        common = [
            sql.SQL(", ").join(map(self._value, self.job.key)), self.job.side.quoted,
            rows_of(self.job.live, self.shape), self._meet_side("l"),
        ]  # fmt: skip
        found, wanted = dict.fromkeys((CHANGED, MISSING), 0), self.wanted.counts
        if wanted[MISSING]:
            statement = missing.format(KEYS, sql.Literal(MISSING), *common)
            found[MISSING] = self.connection.execute(statement).rowcount
        if wanted[CHANGED] and self._rest:
            statement = changed.format(KEYS, sql.Literal(CHANGED), *common, differs)
            found[CHANGED] = self.connection.execute(statement).rowcount
        if found != dict(wanted):
            now, then = _counts(found), _counts(wanted)
            raise NotWritten(
                f"Nothing was copied: of {self.job.live} {now} now, {then} at the comparison. Compare it anew."
            )

    def _lock(self) -> None:
        """The rows that are there stay as they are until the end; one that is another since stops the copy."""
        key = sql.SQL(", ").join(sql.SQL("l.{}::text").format(sql.Identifier(name)) for name in self.job.key)
        locked = sql.SQL(
            "WITH locked AS (SELECT k.{kind} AS kind, k.{mark} AS mark, {mark_now} AS now, ARRAY[{key}] AS key"
            " FROM {rows} FOR UPDATE OF l)"
            " SELECT count(*) FILTER (WHERE kind = {changed}) AS present,"
            " coalesce(array_agg(key) FILTER (WHERE kind <> {changed}), '{{}}') AS came,"
            " coalesce(sum(now) FILTER (WHERE kind = {changed}), 0) % {marks} AS marks,"
            " coalesce(array_agg(key) FILTER (WHERE mark <> now), '{{}}') AS others FROM locked"
        ).format(
            kind=MOMENT, mark=_MARK, mark_now=mark_of(self._rest, "l"), key=key, rows=self._listed(),
            changed=sql.Literal(CHANGED), marks=MARKS,
        )  # fmt: skip
        (found,) = named_rows(self.connection.execute(locked))
        if found.came:
            raise NotWritten(
                f"Nothing was copied: rows of {self.job.live} that were missing at the comparison are there now,"
                f" or have such a key in another spelling: {_named(found.came)}. Compare it anew."
            )
        if gone := self.wanted.counts[CHANGED] - found.present:
            raise NotWritten(
                f"Nothing was copied: {count(gone)} rows of {self.job.live} went since the comparison. Compare it anew."
            )
        if found.marks != self.wanted.marks:
            which = f": {_named(found.others)}" if found.others else ""
            raise NotWritten(
                f"Nothing was copied: somebody changed rows of {self.job.live} since the comparison, and would lose"
                f" that{which}. Compare it anew, and look at them."
            )

    def _update(self) -> sql.Composed | None:
        names = writable(self.shape, self._rest)
        if not names or not self.wanted.counts[CHANGED]:
            return None
        sets = [sql.SQL("{} = {}").format(sql.Identifier(name), self._value(name)) for name in names]
        return sql.SQL("UPDATE {} l SET {} FROM {} s JOIN {} k ON {} WHERE k.{} = {} AND {}").format(
            rows_of(self.job.live, self.shape), sql.SQL(", ").join(sets), self.job.side.quoted, KEYS,
            self._meet_side("k"), MOMENT, sql.Literal(CHANGED), self._meet(of("k"), of("l")),
        )  # fmt: skip

    def _insert(self) -> sql.Composed | None:
        names = [name for name in self.job.columns if not self.shape.column(name).generated]
        if not self.wanted.counts[MISSING]:
            return None
        return sql.SQL(
            "INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE SELECT {} FROM {} s JOIN {} k ON {} WHERE k.{} = {}"
        ).format(
            self.job.live.quoted, sql.SQL(", ").join(map(sql.Identifier, names)),
            sql.SQL(", ").join(map(self._value, names)), self.job.side.quoted, KEYS,
            self._meet_side("k"), MOMENT, sql.Literal(MISSING),
        )  # fmt: skip

    def _keep(self, statement: LiteralString, moment: sql.Composable) -> int:
        keep = sql.SQL(statement).format(self.job.kept.quoted, moment, self._listed())
        return self.connection.execute(keep).rowcount


def _named(keys: Sequence[Sequence[str]]) -> str:
    return "; ".join(", ".join(key) for key in keys[:MOST_NAMED])


def _counts(kinds: Mapping[str, int]) -> str:
    return f"{count(kinds[CHANGED])} rows are changed and {count(kinds[MISSING])} missing"


def writable(shape: Shape, names: Sequence[str]) -> list[str]:
    """Columns that an UPDATE may set."""
    return [
        name for name in names if not (shape.column(name).generated or shape.column(name).identity_always)
    ]


def is_text_of_another(name: str, shape: Shape, beside: Shape) -> bool:
    """Is it a text beside, since the live database has not got the type as it was?"""
    return bool(beside.column(name).type == "text" != shape.column(name).base_type)


def value(name: str, shape: Shape, beside: Shape) -> sql.Composed:
    """What is beside, as the live column takes it. No cast where the types agree: it would cut a text silently."""
    column = sql.SQL("s.{}").format(sql.Identifier(name))
    there, here = _bare(beside.column(name).type), _bare(shape.column(name).base_type)
    if there == here or here in ("character", "bit"):
        return column
    return sql.SQL("{}::{}").format(column, sql.SQL(here))


def _bare(kind: str) -> str:
    """A type without its length."""
    return re.sub(r"\(\d+(,-?\d+)?\)", "", kind)
