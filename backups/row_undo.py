"""Copied rows taken back, in one transaction: those that are still as the copy left them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from backups.row_copy import KEYS, MOMENT, Copying, NotCopied, all_or_none, writable
from backups.row_places import Expression, Shape, as_usual, meet, of, rows_of, shape_of


def take_back(job: Copying, connection: psycopg.Connection[Any]) -> tuple[int, list[str]]:
    """The rows that are still as the copy left them go back; the keys of the others. All or none."""
    with all_or_none(
        connection, f"Nothing was taken back in {job.live}", "Remove first what refers to these rows."
    ):
        shape = shape_of(connection, job.live)
        if shape is None:
            raise NotCopied(f"There is no table {job.live} any more.")
        return _TakingBack(job, connection, shape).run()


@dataclass(frozen=True)
class _TakingBack:
    """Under way. In its statements l is the live table, a what the copy left, b what was before, k the keys."""

    job: Copying
    connection: psycopg.Connection[Any]
    shape: Shape

    def run(self) -> tuple[int, list[str]]:
        right = self._list()
        as_usual(self.connection)
        done = self._write_back() + self._remove()
        if done != right:
            raise NotCopied(
                f"Nothing was taken back in {self.job.live}: a trigger, a rule or row security holds rows back."
            )
        return done, self._others()

    @property
    def _live(self) -> sql.Composed:
        return rows_of(self.job.live, self.shape)

    def _meet(self, one: Expression, other: Expression) -> sql.Composed:
        return meet(self.shape, self.job.key, one, other)

    def _list(self) -> int:
        names = sql.SQL(", ").join(map(of("l"), self.job.key))
        found = sql.SQL("{} l JOIN {} a ON {}").format(
            self._live, self.job.kept.quoted, self._meet(of("a"), of("l"))
        )
        self.connection.execute(sql.SQL("SELECT 1 FROM {} FOR UPDATE OF l").format(found))
        same = sql.SQL(
            "CREATE TEMP TABLE dbadmin_keys ON COMMIT DROP AS SELECT {} FROM {}"
            " WHERE a.{} = 'after' AND ROW('after'::text, l.*)::text = ROW(a.*)::text"
        )
        return self.connection.execute(same.format(names, found, MOMENT)).rowcount

    def _write_back(self) -> int:
        columns = [column.name for column in self.shape.columns]
        names = [name for name in writable(self.shape, columns) if name not in self.job.key]
        if not names:
            return 0
        sets = sql.SQL(", ").join(sql.SQL("{0} = b.{0}").format(sql.Identifier(name)) for name in names)
        statement = sql.SQL("UPDATE {} l SET {} FROM {} b JOIN {} k ON {} WHERE b.{} = 'before' AND {}").format(
            self._live, sets, self.job.kept.quoted, KEYS, self._meet(of("k"), of("b")), MOMENT,
            self._meet(of("k"), of("l")),
        )  # fmt: skip
        return self.connection.execute(statement).rowcount

    def _remove(self) -> int:
        statement = sql.SQL(
            "DELETE FROM {} l USING {} k WHERE {} AND NOT EXISTS (SELECT FROM {} b WHERE b.{} = 'before' AND {})"
        ).format(
            self._live, KEYS, self._meet(of("k"), of("l")), self.job.kept.quoted, MOMENT,
            self._meet(of("k"), of("b")),
        )  # fmt: skip
        return self.connection.execute(statement).rowcount

    def _others(self) -> list[str]:
        key = sql.SQL(", ").join(sql.SQL("a.{}::text").format(sql.Identifier(name)) for name in self.job.key)
        statement = sql.SQL(
            "SELECT ARRAY[{}] FROM {} a WHERE a.{} = 'after' AND NOT EXISTS (SELECT FROM {} k WHERE {}) ORDER BY 1"
        )
        rows = self.connection.execute(
            statement.format(key, self.job.kept.quoted, MOMENT, KEYS, self._meet(of("k"), of("a")))
        ).fetchall()
        return [", ".join(found) for (found,) in rows]
