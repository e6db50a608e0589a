"""In which order changes are taken back, so that no foreign key stands in the way."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg.sql import SQL, Composable, Identifier, Literal

from audit.tables import Rows

#: Of a partitioned table its own, not those that its partitions have from it.
FOREIGN_KEYS = """
select c.conrelid::int8 as child, c.confrelid::int8 as parent, c.confdeltype in ('c', 'n', 'd') as takes_along,
    c.confupdtype = 'c' as follows,
    array(select pg_catalog.format('operator(%%I.%%s)', s.nspname, o.oprname)
        from pg_catalog.unnest(c.conpfeqop) with ordinality k (oid, place)
        join pg_catalog.pg_operator o on o.oid = k.oid join pg_catalog.pg_namespace s on s.oid = o.oprnamespace
        order by place) as equals,
    n.nspname as schema, t.relname as name,
    array(select a.attname::text from unnest(c.conkey) with ordinality k (num, place)
        join pg_catalog.pg_attribute a on a.attrelid = c.conrelid and a.attnum = k.num order by place) as columns,
    array(select a.attname::text from unnest(c.confkey) with ordinality k (num, place)
        join pg_catalog.pg_attribute a on a.attrelid = c.confrelid and a.attnum = k.num order by place) as referenced
from pg_catalog.pg_constraint c
join pg_catalog.pg_class t on t.oid = c.conrelid join pg_catalog.pg_namespace n on n.oid = t.relnamespace
where c.contype = 'f' and c.conparentid = 0 and c.confrelid = any(%s)
  and coalesce((to_jsonb(c) ->> 'conenforced')::bool, true)  -- else nothing is refused, and nothing follows
"""

Row = Mapping[str, str | None]
Values = tuple[str, ...]


@dataclass(frozen=True)
class ForeignKey:
    """takes_along: rows that refer to a deleted row are deleted, or emptied, with it; follows: they get its new key.
    equals: the operators that compare what is referred to with what refers, each with its schema."""

    child: int
    parent: int
    takes_along: bool
    follows: bool
    schema: str
    name: str
    columns: tuple[str, ...]
    referenced: tuple[str, ...]
    equals: tuple[str, ...]

    def same(
        self, value: Callable[[str], Composable], child: Callable[[str], Composable]
    ) -> list[Composable]:
        """Conditions that a row refers to another, by what a column of either is called."""
        return [
            SQL("{} {} {}").format(value(named), SQL(operator), child(column))
            for named, operator, column in zip(self.referenced, self.equals, self.columns, strict=True)
        ]

    def referring(self, row: Row) -> Composable:
        """FROM and WHERE of the rows that refer to this one."""
        same = self.same(lambda named: Literal(row.get(named)), Identifier)
        return SQL("FROM {} WHERE {}").format(Identifier(self.schema, self.name), SQL(" AND ").join(same))


def foreign_keys(rows: Rows, relids: Iterable[int]) -> list[ForeignKey]:
    """Those that refer to one of these tables."""
    return [
        ForeignKey(
            r.child,
            r.parent,
            r.takes_along,
            r.follows,
            r.schema,
            r.name,
            tuple(r.columns),
            tuple(r.referenced),
            tuple(r.equals),
        )
        for r in rows(FOREIGN_KEYS, [list(relids)])
    ]


def values(row: Row | None, names: Sequence[str]) -> Values | None:
    """The row's values there; None where one of them is empty, or there is no row."""
    found = [None if row is None else row.get(name) for name in names]
    return None if None in found else tuple(map(str, found))


@dataclass(frozen=True)
class Taking:
    """One change as it is taken back: `gone` is the row as it is now, `back` as it will be; None: there is no row."""

    relid: int
    gone: Row | None
    back: Row | None
    rows: set[Any]

    @property
    def changed(self) -> set[str]:
        """Columns of a row that stays, but with other values."""
        if self.gone is None or self.back is None:
            return set()
        return {name for name, value in self.gone.items() if self.back.get(name) != value}

    def leaves(self, names: Sequence[str]) -> Values | None:
        """The values that the row has there now, if it will have others or be away."""
        now = values(self.gone, names)
        return None if now == values(self.back, names) else now

    def comes_to(self, names: Sequence[str]) -> Values | None:
        """The values that the row will have there, if it has others now or is away."""
        then = values(self.back, names)
        return None if then == values(self.gone, names) else then


def by_themselves(takings: Sequence[Taking], keys: Sequence[ForeignKey]) -> set[int]:
    """Places of rows that get nothing back but the key of the row that they refer to: they follow it."""
    found: set[int] = set()
    for key in keys:
        if key.follows:
            moved = {
                (one.leaves(key.referenced), one.comes_to(key.referenced))
                for one in takings
                if one.relid == key.parent
            }
            found |= {
                place
                for place, one in enumerate(takings)
                if one.relid == key.child
                and one.changed == set(key.columns)
                and (one.leaves(key.columns), one.comes_to(key.columns)) in moved
            }
    return found


def in_order(takings: Sequence[Taking], keys: Sequence[ForeignKey], without: set[int]) -> list[int]:
    """Places of what is taken back, given newest first, in the order to do it.

    A row comes back after the row that it refers to, and goes after those that refer to it; of one row the newer change
    goes first. What refers to each other in a circle stays in its order. without: places that are not done at all.
    """
    before: list[set[int]] = [set() for _ in takings]
    newest: dict[Any, int] = {}
    for place, one in enumerate(takings):
        before[place] |= {newest[row] for row in one.rows if row in newest}
        newest |= dict.fromkeys(one.rows, place)
    for key in keys:
        parents, children = defaultdict[Values, list[int]](list), defaultdict[Values, list[int]](list)
        for place, one in enumerate(takings):
            if one.relid == key.parent and (found := one.comes_to(key.referenced)):
                parents[found].append(place)
            if one.relid == key.child and (found := one.leaves(key.columns)):
                children[found].append(place)
        for place, one in enumerate(takings):
            if one.relid == key.child and (found := one.comes_to(key.columns)):
                before[place] |= set(parents.get(found, ()))
            if one.relid == key.parent and (found := one.leaves(key.referenced)):
                before[place] |= set(children.get(found, ()))
    return [place for place in sorted_by([some - without for some in before]) if place not in without]


def sorted_by(before: Sequence[set[int]]) -> list[int]:
    """The places, each after those that go before it, else in their order."""
    order: list[int] = []
    done: set[int] = set()
    rest = list(range(len(before)))
    while rest:
        place = next((each for each in rest if before[each] - {each} <= done), rest[0])
        rest.remove(place)
        done.add(place)
        order.append(place)
    return order
