"""The same in sets, for more rows than are taken back one by one: what each row was the server reads from the log, and
compares and writes there, so that neither the SQL nor our memory grows with the rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from psycopg.sql import SQL, Composable, Composed, Identifier, Literal

from audit.capture import text_of
from audit.log_tables import before_name
from audit.registry import Installed, KeptColumn, Shape, Watched, images_of
from audit.search import OPERATIONS
from audit.tables import Rows
from audit.undo import CannotUndo, Columns, columns_gone, columns_today, name_of
from audit.undo_order import ForeignKey, foreign_keys, sorted_by

#: Rows that one undo takes back at most, and how many conflicts are named.
MOST, MOST_TOLD = 1_000_000, 20
PARTS = SQL(
    "select watched_id, shape_id, operation::text as operation, count(*) as statements,"
    " coalesce(sum(images), 0)::bigint as images, min(at) as first, max(at) as last, max(id) as newest,"
    " (pg_catalog.array_agg(id order by id))[:{}] as ids"
    " from dbadmin_audit.statement where {} and operation in ('I', 'U', 'D') group by 1, 2, 3 order by 1, 2, 3"
)
#: Is the key one still, and are the rows that are found by it all in this table?
KEYED = """
select exists (
    select from pg_catalog.pg_index i
    where i.indrelid = c.oid and i.indisunique and i.indisvalid and i.indpred is null and i.indexprs is null
      and (select pg_catalog.array_agg(a.attname::text order by a.attname::text collate "C")::text
           from pg_catalog.pg_attribute a
           where a.attrelid = c.oid and a.attnum = any((i.indkey::int2[])[0:i.indnkeyatts - 1]))
          = (select pg_catalog.array_agg(k order by k collate "C")::text from pg_catalog.unnest(%s::text[]) k)
) and (c.relkind = 'p' or not c.relhassubclass) as is_keyed
from pg_catalog.pg_class c where c.oid = %s
"""
ONE_BY_ONE = " That is taken back only one by one, 1,000 rows at once at most: undo fewer statements."
MISSED = (
    "Nothing was taken back: % of {} changes still fit, the others were followed by other changes while this ran."
    " Look at a new plan."
)
BODY = """
DECLARE
    one record;
    fitting bigint;
    taken bigint := 0;
BEGIN
    FOR one IN {order}
    LOOP
        {branches}
        ELSE
            CONTINUE;
        END IF;
        GET DIAGNOSTICS fitting = ROW_COUNT;
        taken := taken + fitting;
    END LOOP;
    IF taken <> {expected} THEN
        RAISE EXCEPTION {missed}, taken;
    END IF;
END
"""


NEWEST_FIRST = (
    "SELECT id, at, shape_id, operation FROM dbadmin_audit.statement WHERE {where} ORDER BY id DESC"
)
#: What a delete took along is in the log after it: within its transaction its rows come back before all else, up to
#: what else was done in its table.
PARENTS_FIRST = """SELECT o.* FROM (
            SELECT id, at, shape_id, operation, max(id) OVER (PARTITION BY xid) AS ended,
                pg_catalog.array_position({parents}, watched_id) AS rank,
                CASE WHEN operation <> 'D' OR watched_id <> ALL ({parents}) THEN id ELSE coalesce(
                    min(id) FILTER (WHERE operation <> 'D') OVER (PARTITION BY xid, watched_id ORDER BY id
                        ROWS BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING), 9223372036854775807) END AS turn
            FROM dbadmin_audit.statement WHERE {where}) o
        ORDER BY o.ended DESC, o.turn DESC, o.operation = 'D', o.rank, o.id DESC"""


@dataclass(frozen=True)
class Wanted:
    """Which statements: a condition on them; their numbers where they are few."""

    where: Composable
    ids: tuple[int, ...] = ()


def numbered(ids: Sequence[int]) -> Wanted:
    """These statements."""
    return Wanted(SQL("id = any({})").format(Literal(list(ids))), tuple(ids))


@dataclass(frozen=True)
class Part:
    """What is wanted of one version of a table's columns and one kind of statement.

    changed: columns of which some row has another value, in the order of the table; of deleted rows those that hold
    anything. count: rows that changed.
    """

    table: Watched
    shape: Shape
    columns: Columns
    row: Any
    wanted: Wanted
    #: Foreign keys by which rows of others would go, or be emptied, with its own.
    keys: tuple[ForeignKey, ...] = ()
    changed: tuple[KeptColumn, ...] = ()
    count: int = 0

    @property
    def operation(self) -> str:
        """I, U or D."""
        return str(self.row.operation)

    @property
    def name(self) -> Composable:
        """What its rows are called in a query."""
        return Identifier(f"part_{self.shape.id}_{self.operation.lower()}")

    @property
    def of_log(self) -> Composable:
        """All of its rows in the log, as a condition."""
        numbers: Composable = SQL(
            "(select id from dbadmin_audit.statement where {} and shape_id = {} and operation = {})"
        ).format(self.wanted.where, Literal(self.shape.id), Literal(self.operation))
        if self.wanted.ids:
            numbers = SQL("any({})").format(Literal(self.row.ids))
        return SQL("r.at between {} and {} and r.statement_id {} {}").format(
            Literal(self.row.first), Literal(self.row.last),
            SQL("=" if self.wanted.ids else "in"), numbers,
        )  # fmt: skip

    @property
    def key(self) -> Composable:
        """A row's key as one text: no operator of a user's comes in its way."""
        values = [as_text(self.side(c)) for c in self.shape.key_columns]
        return as_text(SQL("array[{}]").format(SQL(", ").join(values)))

    @property
    def told(self) -> list[KeptColumn]:
        """Columns that a row is told from others by, beyond its key: those that must be as the change left them."""
        key = set(self.shape.key)
        if self.operation == "D":
            return []
        if self.operation == "U":
            return [c for c in self.writes if c.name not in key]
        there = self.columns.numbers
        return [c for c in self.shape.kept if c.name in there and not c.rule and c.name not in key]

    @property
    def writes(self) -> list[KeptColumn]:
        """Columns that get values from the log."""
        there = self.columns.writable
        names = self.changed if self.operation == "U" else self.shape.kept
        return [c for c in names if c.name in there and not c.rule]

    def side(self, column: KeptColumn) -> Composable:
        """The value that the row had last: of a deleted row the one before."""
        return Identifier("r", before(column) if self.operation == "D" else column.kept_name)

    def rows(self, which: Composable, columns: Sequence[KeptColumn]) -> Composable:
        """SELECT of rows of the log: b1, b2 … before, c1, c2 … after."""
        old = [SQL("r.{} as {}").format(Identifier(c.kept_name), Identifier(before(c))) for c in columns]
        new = [SQL("r.{}").format(Identifier(c.kept_name)) for c in columns]
        head, source = SQL("select r.statement_id, r.n"), images_of(self.shape)
        if self.operation != "U":
            return SQL("{} from {} r where {}").format(
                SQL(", ").join([head, *(old if self.operation == "D" else new)]), source, which
            )
        after = [
            SQL("pg_catalog.lead({}) over w as {}").format(one, Identifier(c.kept_name))
            for one, c in zip(new, columns, strict=True)
        ]
        values = SQL(", ").join([head, *old, *after, SQL("pg_catalog.lead(r.side) over w as later")])
        return SQL(
            "select * from ({} from {} r where {}"
            " window w as (partition by r.statement_id, r.n order by r.side desc)) r where r.later = '+'"
        ).format(values, source, which)

    def same_row(self) -> Composable:
        """The key, compared as the table compares it."""
        return SQL(" and ").join(
            [
                SQL("t.{} {} {}").format(
                    Identifier(c.name), self.columns.types[c.name].equality, self.read(c, self.side(c))
                )
                for c in self.shape.key_columns
            ]
        )

    def read(self, column: KeptColumn, value: Composable) -> Composable:
        """A value of the log as the column's type today, read as that type reads it."""
        today = self.columns.types[column.name]
        if column.kept_type != "text" and column.type == today.said:
            return value
        if today.has_cast:
            return SQL(
                "(pg_catalog.jsonb_populate_record(null::{}, pg_catalog.jsonb_build_object({}, {}))).{}"
            ).format(name_of(self.table), Literal(column.name), as_text(value), Identifier(column.name))
        return SQL("{}::{}").format(as_text(value), Identifier(today.schema, today.name))

    def still(self) -> Composable:
        """The row is as the change left it, where the change had a hand in it."""
        parts: list[Composable] = [SQL("true")]
        for c in self.told:
            now = text_of(Identifier("t", c.name), c.name in self.columns.users)
            same = SQL("{} is not distinct from {}").format(now, as_text(self.side(c)))
            parts.append(SQL("({} or not {})").format(same, differs(c)) if self.operation == "U" else same)
        return SQL(" and ").join(parts)

    def unreferred(self, parts: Sequence[Part] = ()) -> Composable:
        """No rows of others would go, or be emptied, with it; parts: what is taken back too does not count."""
        found: list[Composable] = [SQL("true")]
        for key in self.keys if self.operation == "I" else ():
            same = key.same(partial(Identifier, "t"), partial(Identifier, "c"))
            same += [other.not_among_keys("c") for other in parts if other.columns.relid == key.child]
            child = SQL("not exists (select from {} c where {})")
            found.append(child.format(Identifier(key.schema, key.name), SQL(" and ").join(same)))
        return SQL(" and ").join(found)

    def not_among_keys(self, alias: str) -> Composable:
        """A row of the table today is none of those that changed."""
        now = [text_of(Identifier(alias, name), name in self.columns.users) for name in self.shape.key]
        return SQL(
            "array[{}]::pg_catalog.text not in (select o.key from keys o where o.watched_id = {})"
        ).format(SQL(", ").join(now), Literal(self.table.id))


def before(column: KeptColumn) -> str:
    """What a column is called that holds the value before."""
    return before_name(column.kept_name)


def as_text(value: Composable) -> Composable:
    """As the log has it."""
    return SQL("{}::pg_catalog.text").format(value)


def differs(column: KeptColumn) -> Composable:
    """The update gave the column another value."""
    return SQL("({} is distinct from {})").format(
        as_text(Identifier("r", before(column))), as_text(Identifier("r", column.kept_name))
    )


def was_there(column: KeptColumn) -> Composable:
    """The deleted row had a value in the column."""
    return SQL("r.{} is not null").format(Identifier(before(column)))


def any_differs(columns: Sequence[KeptColumn]) -> Composable:
    """The update changed any of them."""
    return SQL("({})").format(SQL(" or ").join([SQL("false"), *map(differs, columns)]))


def parts_of(rows: Rows, state: Installed, wanted: Wanted) -> list[Part]:
    """What is wanted, by tables, versions of their columns and kinds."""
    found = rows(PARTS.format(Literal(len(wanted.ids)), wanted.where))
    if not wanted.ids and found:
        newest = max(row.newest for row in found)
        wanted = Wanted(SQL("{} and id <= {}").format(wanted.where, Literal(newest)))
    if (total := sum(rows_in(row) for row in found)) > MOST:
        raise CannotUndo(f"{total:,} rows are more than the {MOST:,} that one undo takes back.")
    today: dict[int, Columns] = {}
    for row in found:
        if row.watched_id not in today:
            today[row.watched_id] = columns_today(rows, state.watched[row.watched_id])
    keys = foreign_keys(rows, [each.relid for each in today.values()])
    return [part_of(rows, state, row, wanted, today[row.watched_id], keys) for row in found]


def rows_in(row: Any) -> int:
    """Rows that its statements changed: an update has two images of each."""
    images = int(row.images or 0)
    return (images + 1) // 2 if row.operation == "U" else images


def part_of(
    rows: Rows, state: Installed, row: Any, wanted: Wanted, columns: Columns, keys: list[ForeignKey]
) -> Part:
    """One of them, with what the log says of its rows; refuses what sets cannot take back."""
    table, shape = state.watched[row.watched_id], state.shapes.get(row.shape_id)
    if shape is None:
        raise CannotUndo(f"{table} had just been altered: its rows were kept whole.{ONE_BY_ONE}")
    if not shape.key or len(shape.key_columns) != len(shape.key):
        raise CannotUndo(f"{table} has no key in the log: its rows cannot be told apart.")
    gone = columns_gone(table, shape, columns)
    if not gone & set(shape.key) and not rows(KEYED, [shape.key, columns.relid])[0].is_keyed:
        raise CannotUndo(f"({', '.join(shape.key)}) is no unique key of {table} any more.{ONE_BY_ONE}")
    along = tuple(key for key in keys if key.parent == columns.relid and key.takes_along)
    if row.operation == "I" and any(key.child == columns.relid for key in along):
        raise CannotUndo(f"Rows of {table} refer to each other, and go with each other.{ONE_BY_ONE}")
    part = Part(table, shape, columns, row, wanted, along)
    return counted(rows, part, gone)


def counted(rows: Rows, part: Part, gone: set[str]) -> Part:
    """The same, with the columns that changed and how many rows did."""
    table, shape, kept = part.table, part.shape, part.shape.kept
    plain = [c for c in kept if c.name in part.columns.writable or c.rule]
    flags: list[Composable] = []
    for c in kept:
        test = {"U": differs(c), "D": was_there(c)}.get(part.operation, SQL("false"))
        flags.append(SQL("bool_or({})").format(test))
    found = rows(
        SQL(
            "select count(*) as images, count(*) filter (where {changes}) as changes,"
            " count(*) filter (where {moved}) as moved, array[{columns}]::bool[] as changed from ({rows}) r"
        ).format(
            changes=any_differs(plain) if part.operation == "U" else SQL("true"),
            moved=any_differs(shape.key_columns) if part.operation == "U" else SQL("false"),
            columns=SQL(", ").join(flags),
            rows=part.rows(part.of_log, kept),
        )
    )[0]
    images = found.images * 2 if part.operation == "U" else found.images
    what = f"{OPERATIONS[part.operation]}s of {table}"
    if images != part.row.images:
        raise CannotUndo(f"The log does not have both sides of all {what}: rows moved between partitions, or were"
            f" kept back.{ONE_BY_ONE}")  # fmt: skip
    if found.moved:
        raise CannotUndo(f"{found.moved:,} {what} moved keys.{ONE_BY_ONE}")
    changed = tuple(c for c, is_so in zip(kept, found.changed, strict=True) if is_so)
    if lost := sorted(gone & {*shape.key, *(c.name for c in changed if not c.rule)}):
        raise CannotUndo(f"{', '.join(lost)} of {table} is not there any more, or has another name: its"
            f" {OPERATIONS[part.operation]}s cannot be taken back as they were.")  # fmt: skip
    if part.operation == "U" and (lost := [c.name for c in changed if c.rule]):
        raise CannotUndo(f"{', '.join(lost)} of {table}: the log does not keep the value.")
    return replace(part, changed=changed, count=found.changes)


def judged(parts: Sequence[Part]) -> Composable:
    """WITH: changed has all changes of these parts, and whether the newest one of their row fits: only that can be
    judged ahead. Nothing is joined here: how many rows a statement has the planner does not know."""
    rows, keys, changes = list[Composable](), list[Composable](), list[Composable]()
    for part in parts:
        counts = any_differs(part.writes) if part.operation == "U" else SQL("true")
        rows.append(SQL("{} as materialized ({})").format(part.name, part.rows(part.of_log, part.shape.kept)))
        keys.append(SQL("select {}::int as watched_id, {} as key from {} r").format(
            Literal(part.table.id), part.key, part.name))  # fmt: skip
        changes.append(
            SQL("select {}::int as watched_id, {} as key, r.statement_id, r.n, {} as fits from {} r where {}").format(
                Literal(part.table.id), part.key, fits(part, parts), part.name, counts))  # fmt: skip
    return SQL(
        "with {}, keys as ({}), changed as materialized (select *, pg_catalog.first_value(fits) over row as row_fits,"
        " row_number() over row as age from (select * from ({}) r offset 0) r"
        " window row as (partition by watched_id, key order by statement_id desc, n desc))"
    ).format(
        *(
            SQL(word).join(some)
            for word, some in ((", ", rows), (" union all ", keys), (" union all ", changes))
        )
    )


def fits(part: Part, parts: Sequence[Part]) -> Composable:
    """Is a row as it was left, or its key free again?"""
    there = SQL("exists (select from {} t where {})")
    if part.operation == "D":
        return SQL("not ") + there.format(name_of(part.table), part.same_row())
    same = [part.same_row(), part.still(), part.unreferred(parts)]
    return there.format(name_of(part.table), SQL(" and ").join(same))


@dataclass
class Judged:
    """What there is to take back: changes in all, those in the way and the first of them, and what they leave out."""

    changes: int = 0
    misfits: int = 0
    left_out: int = 0
    first: list[tuple[int, int]] = field(default_factory=list)


def judge(rows: Rows, parts: Sequence[Part]) -> Judged:
    """Count what fits, before anything is done."""
    row = rows(
        SQL(
            "{} select count(*) as changes, count(*) filter (where age = 1 and not fits) as misfits,"
            " count(*) filter (where not row_fits) as left_out, array(select array[statement_id, n] from changed"
            " where age = 1 and not fits order by statement_id desc, n limit {}) as first from changed"
        ).format(judged(parts), Literal(MOST_TOLD))
    )[0]
    return Judged(row.changes, row.misfits, row.left_out, [(number, n) for number, n in row.first])


def statement(part: Part, leave: bool) -> Composable:
    """What takes one statement of the log back; leave: but for rows that are left out."""
    kept: list[Composable] = [SQL("true")]
    if leave:
        kept.append(
            SQL("{} NOT IN (SELECT o.key FROM dbadmin_left_out o WHERE o.watched_id = {})").format(
                part.key, Literal(part.table.id)
            )
        )
    left = SQL(" and ").join(kept)
    needed = {c.kept_name: c for c in (*part.shape.key_columns, *part.told, *part.writes)}
    rows = part.rows(SQL("r.statement_id = one.id and r.at = one.at"), list(needed.values()))
    table, same = name_of(part.table), part.same_row()
    if part.operation == "I":
        delete = SQL("DELETE FROM {} t USING ({}) r WHERE {} AND {} AND {} AND {}").format(
            table, rows, same, part.still(), part.unreferred(), left
        )
        if not part.keys:
            return delete
        # What is being written that refers to them has to be seen.
        lock = SQL("PERFORM FROM {} t, ({}) r WHERE {} AND {} FOR UPDATE OF t").format(
            table, rows, same, left
        )
        return SQL("{};\n            {}").format(lock, delete)
    if part.operation == "D":
        return SQL(
            "INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE SELECT {} FROM ({}) r"
            " WHERE NOT EXISTS (SELECT FROM {} t WHERE {}) AND {}"
        ).format(
            table, SQL(", ").join([Identifier(c.name) for c in part.writes]),
            SQL(", ").join([part.read(c, Identifier("r", before(c))) for c in part.writes]), rows, table, same, left,
        )  # fmt: skip
    sets = [
        SQL("{0} = CASE WHEN {1} THEN {2} ELSE t.{0} END").format(
            Identifier(c.name), differs(c), part.read(c, Identifier("r", before(c)))
        )
        for c in part.writes
    ]
    return SQL("UPDATE {} t SET {} FROM ({}) r WHERE {} AND {} AND {} AND {}").format(
        table, SQL(", ").join(sets), rows, any_differs(part.writes), same, part.still(), left
    )


def statements(parts: Sequence[Part], expected: int, leave: bool) -> list[Composed]:
    """All that is run, inside of one transaction."""
    there = [part for part in parts if part.count]
    branches = [
        SQL("{} one.shape_id = {} AND one.operation = {} THEN\n            {};").format(
            SQL("IF" if part is there[0] else "ELSIF"),
            Literal(part.shape.id), Literal(part.operation), statement(part, leave),
        )
        for part in there
    ]  # fmt: skip
    body = SQL(BODY).format(
        order=in_order(there),
        branches=SQL("\n        ").join(branches),
        expected=Literal(expected),
        missed=Literal(MISSED.format(f"{expected:,}")),
    )
    left_out = SQL(
        "CREATE TEMPORARY TABLE dbadmin_left_out ON COMMIT DROP AS\n"
        "{} select watched_id, key from changed where age = 1 and not fits"
    )
    return [*([left_out.format(judged(there))] if leave else []), SQL("DO {}").format(quoted(body))]


def in_order(parts: Sequence[Part]) -> Composable:
    """The statements of the log, in the order to take them back."""
    where = parts[0].wanted.where
    tables = {part.columns.relid: part for part in parts}
    children = {
        relid: {key.child for key in part.keys if key.child in tables} for relid, part in tables.items()
    }
    above = [{place for place, other in enumerate(tables) if relid in children[other]} for relid in tables]
    ranked = [list(tables)[place] for place in sorted_by(above)]
    parents = [relid for relid in ranked if children[relid]]
    if not parents:
        return SQL(NEWEST_FIRST).format(where=where)
    numbers = SQL("{}::int[]").format(Literal([tables[relid].table.id for relid in parents]))
    return SQL(PARENTS_FIRST).format(where=where, parents=numbers)


def quoted(body: Composed) -> Composable:
    """A body between dollars, to be read; a column may bear any name."""
    if "$undo$" in body.as_string(None):
        return Literal(body.as_string(None))
    return Composed([SQL("$undo$"), body, SQL("$undo$")])
