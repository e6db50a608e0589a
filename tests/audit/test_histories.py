"""Random histories: the table at every moment, rebuilt from the log alone, equals the snapshot that was taken then."""

import random

import psycopg
import pytest

from audit import fresh, moments, search
from audit.moments import row_at

pytestmark = [pytest.mark.servers, pytest.mark.slow]
STEPS = 60


def snapshot(connection):
    """The table's rows as texts, by key."""
    cursor = connection.execute("select * from history limit 0")
    names = [column.name for column in cursor.description]
    texts = ", ".join(f'"{name}"::text' for name in names)
    rows = connection.execute(f"select {texts} from history").fetchall()
    return {(row[names.index("id")],): dict(zip(names, row, strict=True)) for row in rows}


class History:
    """Does something random to the table."""

    def __init__(self, connection, chance):
        self.connection, self.chance = connection, chance
        self.columns = ["name", "score", "data"]
        self.next_column = 0

    def value(self, column):
        if column == "score":
            return self.chance.choice(["1.10", "NaN", "99999999999999999999.5", "0", None])
        if column == "data":
            return self.chance.choice(['{"a": 1}', "[]", '{"b":  [1, 2]}', None])
        return self.chance.choice(["x", "", "long " * 50, "ü'\"\\", None])

    def key(self):
        return self.chance.randint(1, 12)

    def insert(self):
        column = self.chance.choice(self.columns)
        self.connection.execute(
            f'insert into history (id, "{column}") select g, %s from generate_series(%s::int, %s::int) g'
            " on conflict do nothing",
            [self.value(column), self.key(), self.key() + self.chance.randint(0, 3)],
        )

    def upsert(self):
        column = self.chance.choice(self.columns)
        self.connection.execute(
            f'insert into history (id, "{column}") values (%s, %s)'
            f' on conflict (id) do update set "{column}" = excluded."{column}"',
            [self.key(), self.value(column)],
        )

    def update(self):
        column = self.chance.choice(self.columns)
        self.connection.execute(
            f'update history set "{column}" = %s where id between %s and %s',
            [self.value(column), self.key(), self.key()],
        )

    def move_keys(self):
        self.connection.execute("update history set id = 13 - id where id between 1 and 12")

    def delete(self):
        self.connection.execute("delete from history where id between %s and %s", [self.key(), self.key()])

    def truncate(self):
        if self.chance.random() < 0.2:
            self.connection.execute("truncate history")

    def roll_back(self):
        with self.connection.transaction(force_rollback=True):
            self.step()

    def savepoint(self):
        with self.connection.transaction():
            self.update()
            with self.connection.transaction(force_rollback=True):
                self.delete()
            self.upsert()

    def step(self):
        self.chance.choice(
            [self.insert, self.upsert, self.update, self.update, self.move_keys, self.delete, self.truncate]
        )()


@pytest.mark.parametrize("seed", range(4))
def test_the_table_at_every_moment_is_rebuilt_from_the_log(audit, target, seed):
    chance, connection = random.Random(seed), target.connection
    connection.execute(
        "create table history (id int primary key deferrable initially deferred, name text, score numeric, data json)"
    )
    audit.watch("history")
    history = History(connection, chance)
    history.upsert = history.update  # a deferrable key takes no ON CONFLICT
    history.insert = lambda: insert_free(connection, history)
    moments_taken = []
    for number in range(STEPS):
        chance.choice([history.step, history.step, history.step, history.roll_back, history.savepoint])()
        if number % 20 == 19:
            name = f"more_{number}"
            connection.execute(f"alter table history add {name} text default 'd{number}'")
            history.columns.append(name)
            dropped = (
                history.columns.pop(0) if chance.random() < 0.3 and history.columns[0] == "name" else None
            )
            if dropped:
                connection.execute(f"alter table history drop {dropped}")
            audit.watch("history")
            connection.execute("update history set id = id")
            connection.execute("delete from history")
        last = target.value("select coalesce(max(id), 0) from dbadmin_audit.statement")
        moments_taken.append((last, snapshot(connection)))
    table = audit.state.active()[0]
    for last, expected in moments_taken:
        assert moments.table_at(target.rows, table, last) == expected


@pytest.mark.parametrize("seed", range(3))
def test_so_is_a_table_that_is_recorded_for_each_row(audit, target, seed):
    """Whatever is listed when; columns come and go, and for a while nothing is renewed."""
    chance, connection = random.Random(seed), target.connection
    connection.execute("create table history (id int primary key, name text, score numeric, data json)")
    audit.watch("history", level="row")
    history = History(connection, chance)
    history.move_keys = history.update  # they would meet
    moments_taken = []
    for number in range(STEPS):
        try:
            chance.choice([history.step, history.step, history.step, history.roll_back, history.savepoint])()
        except psycopg.errors.CardinalityViolation:
            continue
        if number % 20 == 19:
            connection.execute(f"alter table history add more_{number} text default 'd{number}'")
            history.columns.append(f"more_{number}")
            if chance.random() < 0.5:
                history.step()  # kept whole
            audit.watch("history", level="row")
            connection.execute(
                "delete from history"
            )  # a default of rows that are not written to is in no log
        given = target.value(
            "select case when is_called then last_value else 0 end from dbadmin_audit.statement_id"
        )
        moments_taken.append((given, snapshot(connection)))
        if chance.random() < 0.3:
            fresh.list_all(connection)
    fresh.list_all(connection)
    table = audit.state.active()[0]
    for last, expected in moments_taken:
        assert moments.table_at(target.rows, table, last) == expected


def insert_free(connection, history):
    column = history.chance.choice(history.columns)
    connection.execute(
        f'insert into history (id, "{column}") select g, %s from generate_series(%s::int, %s::int) g'
        " where not exists (select from history h where h.id = g)",
        [history.value(column), history.key(), history.key()],
    )


def test_a_row_as_it_was(audit, target, execute):
    execute("create table items (id int primary key, name text)")
    audit.watch("items")
    times = []
    for statement in (
        "insert into items values (1, 'a')",
        "update items set name = 'b'",
        "delete from items",
    ):
        times.append(target.value("select clock_timestamp()"))
        execute(statement)
    times.append(target.value("select clock_timestamp()"))
    table, state = audit.state.active()[0], audit.state
    was = [row_at(target.rows, state, table, "1", moment) for moment in times]
    assert [one.new if one else "unknown" for one in was] == [
        "unknown", {"id": "1", "name": "a"}, {"id": "1", "name": "b"}, None,
    ]  # fmt: skip
    with pytest.raises(search.BadFilter):
        row_at(target.rows, state, table, "x", times[0])


@pytest.mark.parametrize("level", ["statement", "row"])
def test_upserts_are_rebuilt_too(audit, target, execute, level):
    execute("create table history (id int primary key, name text, score numeric, data json)")
    audit.watch("history", level=level)
    history = History(target.connection, random.Random(7))
    for number in range(40):
        try:
            history.chance.choice([history.insert, history.upsert, history.update, history.delete])()
        except psycopg.errors.CardinalityViolation:
            continue
        if number % 15 == 14:
            fresh.list_all(target.connection)
    fresh.list_all(target.connection)
    last = target.value("select max(id) from dbadmin_audit.statement")
    assert moments.table_at(target.rows, audit.state.active()[0], last) == snapshot(target.connection)
