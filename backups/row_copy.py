"""Rows copied from the tables beside into the live ones and taken back, in one transaction; what was there is kept."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import errors, sql

from backups.row_diff import CHANGED, MARKS, MISSING, mark_of
from backups.row_places import Shape, TableName, as_usual, rows_of, shape_of, steady
from backups.row_sequences import move_behind
from dbadmin.connections import named_rows
from dbadmin.failures import Told
from dbadmin.units import count

#: What a row is, CHANGED or MISSING, its key as texts, and how the live row was marked when it was compared.
Named = tuple[str, list[str], int | None]
#: In the table of what was kept: is a row as it was before the copy, or as the copy left it?
MOMENT = sql.Identifier("dbadmin moment")
_MARK = sql.Identifier("dbadmin mark")
_MOST_NAMED = 5
_KEYS = sql.Identifier("pg_temp", "dbadmin_keys")


class NotCopied(Told):
    """Nothing was changed; a sentence says why."""


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
class Copying:
    """One live table, its copy beside, and where the rows are kept that a copy replaces."""

    live: TableName
    side: TableName
    kept: TableName
    key: Sequence[str]
    columns: Sequence[str]

    def meet(self, one: str, other: str) -> sql.Composed:
        parts = [
            sql.SQL("{}.{} = {}.{}").format(
                sql.Identifier(one), sql.Identifier(name), sql.Identifier(other), sql.Identifier(name)
            )
            for name in self.key
        ]
        return sql.SQL(" AND ").join(parts)

    def copy(self, connection: psycopg.Connection[Any], wanted: Wanted) -> list[str]:
        """All of these rows or none; what else changed, as sentences."""
        steady(connection)
        connection.execute("set lock_timeout = '2s'")
        try:
            with connection.transaction():
                return self._copy(connection, wanted)
        except (errors.IntegrityError, errors.DataError) as error:
            raise NotCopied(
                f"Nothing was copied to {self.live}: {error.diag.message_primary}. "
                f"{error.diag.message_detail or ''} "
                "Copy the rows that these need first, or fewer rows."
            ) from error

    def _copy(self, connection: psycopg.Connection[Any], wanted: Wanted) -> list[str]:
        shape, beside = shape_of(connection, self.live), shape_of(connection, self.side)
        if shape is None or beside is None:
            raise NotCopied(f"There is no table {self.side if shape else self.live} any more.")
        if gone := [name for name in self.columns if name not in shape or name not in beside]:
            raise NotCopied(
                f"Nothing was copied: {self.live} has no column {gone[0]} any more. Bring it back anew."
            )
        self._make_list(connection)
        if wanted.rows is None:
            self._find(connection, shape, beside, wanted.counts)
        else:
            self._list(connection, wanted.rows)
        connection.execute(sql.SQL("ANALYZE {}").format(_KEYS))
        self._lock(connection, shape, wanted)
        make = sql.SQL("CREATE TABLE {} AS SELECT 'before'::text AS {}, l.* FROM {}")
        connection.execute(make.format(self.kept.quoted, MOMENT, self._listed(shape)))
        as_usual(connection)
        done = (self._update(connection, shape, beside), self._insert(connection, shape, beside))
        hoped = wanted.counts[CHANGED], wanted.counts[MISSING]
        if done != hoped or self._keep_after(connection, shape) != wanted.total:
            raise NotCopied(
                f"Nothing was copied to {self.live}: of {count(wanted.total)} rows only {count(sum(done))} could be "
                "written. A trigger, a rule or row security holds the others back, or they are gone beside."
            )
        return move_behind(connection, self.live, self.columns, self._listed(shape))

    def _listed(self, shape: Shape) -> sql.Composed:
        """What stands after FROM for the live rows of the list."""
        return sql.SQL("{} l JOIN {} k ON {}").format(rows_of(self.live, shape), _KEYS, self.meet("k", "l"))

    def _make_list(self, connection: psycopg.Connection[Any]) -> None:
        names = sql.SQL(", ").join(map(sql.Identifier, self.key))
        make = sql.SQL(
            "CREATE TEMP TABLE dbadmin_keys ON COMMIT DROP AS"
            " SELECT ''::text AS {}, 0::int8 AS {}, {} FROM {} WHERE false"
        )
        connection.execute(make.format(MOMENT, _MARK, names, self.live.quoted))

    def _list(self, connection: psycopg.Connection[Any], keys: Sequence[Named]) -> None:
        with (
            connection.cursor() as cursor,
            cursor.copy(sql.SQL("COPY {} FROM STDIN").format(_KEYS)) as into,
        ):
            for kind, key, mark in keys:
                into.write_row([kind, mark, *key])

    def _find(
        self, connection: psycopg.Connection[Any], shape: Shape, beside: Shape, wanted: Mapping[str, int]
    ) -> None:
        """Every row that is so now, found where the rows are; as many as the comparison counted."""
        live, beside_it = rows_of(self.live, shape), self.side.quoted
        key = sql.SQL(", ").join(value(name, shape, beside) for name in self.key)
        rest = [name for name in self.columns if name not in self.key]
        differs = sql.SQL(" OR ").join(
            sql.SQL("s.{0}::text IS DISTINCT FROM l.{0}::text").format(sql.Identifier(name)) for name in rest
        )
        missing = sql.SQL(
            "INSERT INTO {} SELECT {}, NULL, {} FROM {} s WHERE NOT EXISTS (SELECT FROM {} l WHERE {})"
        )
        changed = sql.SQL("INSERT INTO {} SELECT {}, NULL, {} FROM {} s JOIN {} l ON {} WHERE {}")
        common = [key, beside_it, live, self.meet("s", "l")]
        found = dict.fromkeys((CHANGED, MISSING), 0)
        if wanted[MISSING]:
            found[MISSING] = connection.execute(missing.format(_KEYS, sql.Literal(MISSING), *common)).rowcount
        if wanted[CHANGED] and rest:
            statement = changed.format(_KEYS, sql.Literal(CHANGED), *common, differs)
            found[CHANGED] = connection.execute(statement).rowcount
        if found != dict(wanted):
            now, then = _counts(found), _counts(wanted)
            raise NotCopied(
                f"Nothing was copied: of {self.live} {now} now, {then} at the comparison. Compare it anew."
            )

    def _lock(self, connection: psycopg.Connection[Any], shape: Shape, wanted: Wanted) -> None:
        """The rows that are there stay as they are until the end; one that is another since stops the copy."""
        rest = [name for name in self.columns if name not in self.key]
        key = sql.SQL(", ").join(sql.SQL("l.{}::text").format(sql.Identifier(name)) for name in self.key)
        locked = sql.SQL(
            "WITH locked AS (SELECT k.{kind} AS kind, k.{mark} AS mark, {mark_now} AS now, ARRAY[{key}] AS key"
            " FROM {rows} FOR UPDATE OF l)"
            " SELECT count(*) FILTER (WHERE kind = {changed}) AS present,"
            " count(*) FILTER (WHERE kind <> {changed}) AS came,"
            " coalesce(sum(now) FILTER (WHERE kind = {changed}), 0) % {marks} AS marks,"
            " coalesce(array_agg(key) FILTER (WHERE mark <> now), '{{}}') AS others FROM locked"
        ).format(
            kind=MOMENT, mark=_MARK, mark_now=mark_of(rest, "l"), key=key, rows=self._listed(shape),
            changed=sql.Literal(CHANGED), marks=MARKS,
        )  # fmt: skip
        (found,) = named_rows(connection.execute(locked))
        if (found.present, found.came) != (wanted.counts[CHANGED], 0):
            raise NotCopied(
                f"Nothing was copied: rows of {self.live} came or went since the comparison. Compare it anew."
            )
        if found.marks != wanted.marks:
            named = "; ".join(", ".join(key) for key in found.others[:_MOST_NAMED])
            raise NotCopied(
                f"Nothing was copied: somebody changed rows of {self.live} since the comparison, and would lose that"
                f"{f': {named}' if named else ''}. Compare it anew, and look at them."
            )

    def _update(self, connection: psycopg.Connection[Any], shape: Shape, beside: Shape) -> int:
        names = [name for name in writable(shape, self.columns) if name not in self.key]
        if not names:
            return 0
        sets = [sql.SQL("{} = {}").format(sql.Identifier(name), value(name, shape, beside)) for name in names]
        statement = sql.SQL("UPDATE {} l SET {} FROM {} s JOIN {} k ON {} WHERE k.{} = {} AND {}").format(
            rows_of(self.live, shape), sql.SQL(", ").join(sets), self.side.quoted, _KEYS, self.meet("k", "s"), MOMENT,
            sql.Literal(CHANGED), self.meet("k", "l"),
        )  # fmt: skip
        return connection.execute(statement).rowcount

    def _insert(self, connection: psycopg.Connection[Any], shape: Shape, beside: Shape) -> int:
        names = [name for name in self.columns if not shape.column(name).generated]
        statement = sql.SQL(
            "INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE SELECT {} FROM {} s JOIN {} k ON {} WHERE k.{} = {}"
        ).format(
            self.live.quoted, sql.SQL(", ").join(map(sql.Identifier, names)),
            sql.SQL(", ").join(value(name, shape, beside) for name in names),
            self.side.quoted, _KEYS, self.meet("k", "s"), MOMENT, sql.Literal(MISSING),
        )  # fmt: skip
        return connection.execute(statement).rowcount

    def _keep_after(self, connection: psycopg.Connection[Any], shape: Shape) -> int:
        keep = sql.SQL("INSERT INTO {} SELECT 'after', l.* FROM {}")
        return connection.execute(keep.format(self.kept.quoted, self._listed(shape))).rowcount

    def take_back(self, connection: psycopg.Connection[Any]) -> tuple[int, list[str]]:
        """The rows that are still as the copy left them go back; the keys of the others. All or none."""
        steady(connection)
        connection.execute("set lock_timeout = '2s'")
        try:
            with connection.transaction():
                return self._take_back(connection)
        except errors.IntegrityError as error:
            raise NotCopied(
                f"Nothing was taken back in {self.live}: {error.diag.message_primary}. "
                f"{error.diag.message_detail or ''} "
                "Remove first what refers to these rows."
            ) from error

    def _take_back(self, connection: psycopg.Connection[Any]) -> tuple[int, list[str]]:
        shape = shape_of(connection, self.live)
        if shape is None:
            raise NotCopied(f"There is no table {self.live} any more.")
        names = sql.SQL(", ").join(sql.SQL("l.{}").format(sql.Identifier(name)) for name in self.key)
        live = rows_of(self.live, shape)
        connection.execute(
            sql.SQL("SELECT 1 FROM {} l JOIN {} a ON {} FOR UPDATE OF l").format(
                live, self.kept.quoted, self.meet("a", "l")
            )
        )
        same = sql.SQL(
            "CREATE TEMP TABLE dbadmin_keys ON COMMIT DROP AS SELECT {} FROM {} l JOIN {} a ON {}"
            " WHERE a.{} = 'after' AND ROW('after'::text, l.*)::text = ROW(a.*)::text"
        ).format(names, live, self.kept.quoted, self.meet("a", "l"), MOMENT)
        right = connection.execute(same).rowcount
        as_usual(connection)
        done = self._write_back(connection, shape) + self._remove(connection, live)
        if done != right:
            raise NotCopied(
                f"Nothing was taken back in {self.live}: a trigger, a rule or row security holds rows back."
            )
        return done, self._others(connection)

    def _write_back(self, connection: psycopg.Connection[Any], shape: Shape) -> int:
        columns = [column.name for column in shape.columns]
        names = [name for name in writable(shape, columns) if name not in self.key]
        if not names:
            return 0
        sets = sql.SQL(", ").join(sql.SQL("{0} = b.{0}").format(sql.Identifier(name)) for name in names)
        statement = sql.SQL("UPDATE {} l SET {} FROM {} b JOIN {} k ON {} WHERE b.{} = 'before' AND {}")
        return connection.execute(
            statement.format(
                rows_of(self.live, shape),
                sets,
                self.kept.quoted,
                _KEYS,
                self.meet("k", "b"),
                MOMENT,
                self.meet("k", "l"),
            )
        ).rowcount

    def _remove(self, connection: psycopg.Connection[Any], live: sql.Composed) -> int:
        statement = sql.SQL(
            "DELETE FROM {} l USING {} k WHERE {} AND NOT EXISTS (SELECT FROM {} b WHERE b.{} = 'before' AND {})"
        )
        return connection.execute(
            statement.format(live, _KEYS, self.meet("k", "l"), self.kept.quoted, MOMENT, self.meet("k", "b"))
        ).rowcount

    def _others(self, connection: psycopg.Connection[Any]) -> list[str]:
        key = sql.SQL(", ").join(sql.SQL("a.{}::text").format(sql.Identifier(name)) for name in self.key)
        statement = sql.SQL(
            "SELECT ARRAY[{}] FROM {} a WHERE a.{} = 'after'"
            " AND NOT EXISTS (SELECT FROM {} k WHERE {}) ORDER BY 1"
        )
        rows = connection.execute(
            statement.format(key, self.kept.quoted, MOMENT, _KEYS, self.meet("k", "a"))
        ).fetchall()
        return [", ".join(found) for (found,) in rows]


def _counts(kinds: Mapping[str, int]) -> str:
    return f"{count(kinds[CHANGED])} rows are changed and {count(kinds[MISSING])} missing"


def writable(shape: Shape, names: Sequence[str]) -> list[str]:
    """Columns that an UPDATE may set."""
    return [
        name for name in names if not (shape.column(name).generated or shape.column(name).identity_always)
    ]


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
