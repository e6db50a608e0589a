"""Copied rows taken back, in one transaction: those that are still as the copy left them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import errors, sql

from backups.row_copy import Copying, writable
from backups.row_places import Expression, Shape, as_usual, meet, of, rows_of, shape_of
from backups.row_writing import KEYS, MOMENT, MOST_NAMED, Advice, NotWritten, all_or_none, write
from dbadmin.connections import named_rows

_HELD = "Another row of the live table has that by now: give it another value first."
_ADVICE: Advice = {
    errors.ForeignKeyViolation: "Remove first what refers to these rows.",
    errors.UniqueViolation: _HELD,
    errors.ExclusionViolation: _HELD,
    errors.FeatureNotSupported: "Take it back by hand.",
}
#: What follows a row that is removed. keys: pairs of a column here and there with the operator by which they are equal.
FOLLOWERS = """
    select n.nspname as schema, r.relname as name, r.oid = c.confrelid as is_itself,
           array(select array[h.attname::text, t.attname::text,
                              pg_catalog.format('OPERATOR(%%I.%%s)', s.nspname, o.oprname)]
                 from unnest(c.confkey, c.conkey, c.conpfeqop) with ordinality k (here, there, equals, place)
                 join pg_catalog.pg_attribute h on h.attrelid = c.confrelid and h.attnum = k.here
                 join pg_catalog.pg_attribute t on t.attrelid = c.conrelid and t.attnum = k.there
                 join pg_catalog.pg_operator o on o.oid = k.equals
                 join pg_catalog.pg_namespace s on s.oid = o.oprnamespace
                 order by k.place) as keys
    from pg_catalog.pg_constraint c
    join pg_catalog.pg_class r on r.oid = c.conrelid
    join pg_catalog.pg_namespace n on n.oid = r.relnamespace
    where c.confrelid = pg_catalog.to_regclass(%s) and c.contype = 'f' and c.confdeltype in ('c', 'n', 'd')
      and coalesce((pg_catalog.to_jsonb(c) ->> 'conenforced')::bool, true)  -- else nothing follows
      -- A partition has what its table has.
      and not exists (select from pg_catalog.pg_constraint p where p.oid = c.conparentid and p.confrelid = c.confrelid)
    order by 1, 2"""


def take_back(
    job: Copying, connection: psycopg.Connection[Any], last: Callable[[psycopg.Connection[Any]], None]
) -> tuple[int, list[str]]:
    """The rows that are still as the copy left them go back; the keys of the others. All or none.

    last: is called when only the commit is missing.
    """
    with all_or_none(connection, f"Nothing was taken back in {job.live}", _ADVICE):
        done = _TakingBack.of(job, connection).run()
        last(connection)
        return done


def obstacle(job: Copying, connection: psycopg.Connection[Any]) -> str:
    """Why nothing can be taken back, in sentences; empty if it can, or if that takes longer to see than a page waits.

    connection: a steady one.
    """
    try:
        _TakingBack.of(job, connection).look()
    except NotWritten as reason:
        return str(reason)
    except errors.QueryCanceled:
        return ""  # The run looks again, for as long as it takes.
    return ""


def _altered(kept: Shape, live: Shape) -> str:
    """How the columns are others than those that were kept, after the one that tells the moment."""
    before = [f"{column.name} {column.type}" for column in kept.columns[1:]]
    now = [f"{column.name} {column.type}" for column in live.columns]
    gone, new = [each for each in before if each not in now], [each for each in now if each not in before]
    told = [f"{what}: {', '.join(which)}" for what, which in (("gone", gone), ("new", new)) if which]
    return "; ".join(told) or ("they are in another order" if before != now else "")


@dataclass(frozen=True)
class _TakingBack:
    """Under way. In its statements l is the live table, a what the copy left, b what was before, k the keys."""

    job: Copying
    connection: psycopg.Connection[Any]
    shape: Shape
    kept: Shape

    @classmethod
    def of(cls, job: Copying, connection: psycopg.Connection[Any]) -> _TakingBack:
        shape, kept = shape_of(connection, job.live), shape_of(connection, job.kept)
        if shape is None or kept is None:
            raise NotWritten(f"There is no table {job.kept if shape else job.live} any more.")
        return cls(job, connection, shape, kept)

    def run(self) -> tuple[int, list[str]]:
        self.connection.execute(sql.SQL("SELECT 1 FROM {} FOR UPDATE OF l").format(self._left))
        self.look()
        gone, back = self._list()
        as_usual(self.connection)
        done = write(self.connection, self._remove() if gone else None, self._write_back() if back else None)
        if done != (gone, back):
            raise NotWritten(
                f"Nothing was taken back in {self.job.live}: a trigger, a rule or row security holds rows back."
            )
        return sum(done), self._others()

    def look(self) -> None:
        """Raises NotWritten when rows would come into other columns, or rows of others would go with them."""
        if how := _altered(self.kept, self.shape):
            raise NotWritten(
                f"The columns of {self.job.live} are not those of the copy any more ({how}). What was there before is"
                f" in {self.job.kept}: take it back by hand."
            )
        found = [(each, self._followed(each)) for each in self._followers()]
        names = [f"{each.schema}.{each.name}" for each, keys in found if keys]
        if names:
            keys = dict.fromkeys(key for _, followed in found for key in followed)
            raise NotWritten(
                f"Rows of {' and '.join(names)} refer to rows of {self.job.live} that this copy inserted "
                f"({'; '.join(list(keys)[:MOST_NAMED])}), and would go or change with them. Remove those rows first,"
                " or let them refer to others."
            )

    def _followers(self) -> list[Any]:
        return named_rows(self.connection.execute(FOLLOWERS, [self.job.live.regclass]))

    def _followed(self, each: Any) -> list[str]:
        """The keys of rows that would be removed though rows of this table refer to them that stay as they are."""
        going = sql.SQL("{} WHERE {} AND NOT {}").format(self._left, self._same, self._was_there)
        refers = sql.SQL(" AND ").join(
            sql.SQL("l.{} {} c.{}").format(sql.Identifier(here), sql.SQL(equals), sql.Identifier(there))
            for here, there, equals in each.keys
        )
        if each.is_itself:
            ours = sql.SQL("SELECT FROM {} WHERE {} AND {}").format(
                self._left, self._same, self._meet(of("l"), of("c"))
            )
            refers = sql.SQL("{} AND NOT EXISTS ({})").format(refers, ours)
        statement = sql.SQL("SELECT {} FROM {} AND EXISTS (SELECT FROM {} c WHERE {})").format(
            self._key("l"), going, sql.Identifier(each.schema, each.name), refers
        )
        return [", ".join(key) for (key,) in self.connection.execute(statement).fetchall()]

    @property
    def _live(self) -> sql.Composed:
        return rows_of(self.job.live, self.shape)

    @property
    def _left(self) -> sql.Composed:
        """What stands after FROM for the live rows that the copy wrote, with how it left them."""
        return sql.SQL("{} l JOIN {} a ON a.{} = 'after' AND {}").format(
            self._live, self.job.kept.quoted, MOMENT, self._meet(of("a"), of("l"))
        )

    @property
    def _same(self) -> sql.Composable:
        return sql.SQL("ROW('after'::text, l.*)::text = ROW(a.*)::text")

    @property
    def _was_there(self) -> sql.Composed:
        """Was the row there before the copy?"""
        return sql.SQL("EXISTS (SELECT FROM {} b WHERE b.{} = 'before' AND {})").format(
            self.job.kept.quoted, MOMENT, self._meet(of("b"), of("a"))
        )

    def _key(self, alias: str) -> sql.Composed:
        texts = sql.SQL(", ").join(sql.SQL("{}::text").format(of(alias)(name)) for name in self.job.key)
        return sql.SQL("ARRAY[{}]").format(texts)

    def _meet(self, one: Expression, other: Expression) -> sql.Composed:
        return meet(self.shape, self.job.key, one, other)

    def _list(self) -> tuple[int, int]:
        """How many rows are to be removed, and how many to be written back."""
        names = sql.SQL(", ").join(map(of("l"), self.job.key))
        make = sql.SQL(
            "CREATE TEMP TABLE dbadmin_keys ON COMMIT DROP AS SELECT {} AS {}, {} FROM {} WHERE {}"
        )
        self.connection.execute(make.format(self._was_there, MOMENT, names, self._left, self._same))
        counted = sql.SQL(
            "SELECT count(*) FILTER (WHERE NOT k.{0}), count(*) FILTER (WHERE k.{0}) FROM {1} k"
        )
        ((gone, back),) = self.connection.execute(counted.format(MOMENT, KEYS)).fetchall()
        return gone, back

    def _write_back(self) -> sql.Composed | None:
        columns = [column.name for column in self.shape.columns]
        names = [name for name in writable(self.shape, columns) if name not in self.job.key]
        if not names:
            return None
        sets = sql.SQL(", ").join(sql.SQL("{0} = b.{0}").format(sql.Identifier(name)) for name in names)
        return sql.SQL("UPDATE {} l SET {} FROM {} b JOIN {} k ON {} WHERE b.{} = 'before' AND {}").format(
            self._live, sets, self.job.kept.quoted, KEYS, self._meet(of("k"), of("b")), MOMENT,
            self._meet(of("k"), of("l")),
        )  # fmt: skip

    def _remove(self) -> sql.Composed:
        return sql.SQL("DELETE FROM {} l USING {} k WHERE {} AND NOT k.{}").format(
            self._live, KEYS, self._meet(of("k"), of("l")), MOMENT
        )

    def _others(self) -> list[str]:
        statement = sql.SQL(
            "SELECT {} FROM {} a WHERE a.{} = 'after' AND NOT EXISTS (SELECT FROM {} k WHERE {}) ORDER BY 1"
        ).format(self._key("a"), self.job.kept.quoted, MOMENT, KEYS, self._meet(of("k"), of("a")))
        return [", ".join(key) for (key,) in self.connection.execute(statement).fetchall()]
