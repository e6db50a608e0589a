"""Statements written by hand, where Django would take longer to write one than the answer takes."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from django.db import connection
from django.db.models import Model

Found = TypeVar("Found", bound=Model)


def all_of(model: type[Model], table: str = "") -> str:
    """id, name, …: those columns that this process knows of a table, or of what a statement calls it.

    A session keeps the plan of what it asks often, and gives no answer once that has other columns: with * none
    after a migration that adds one, until the process is started anew.
    """
    own = table or model._meta.db_table
    return ", ".join(f"{own}.{field.column}" for field in model._meta.concrete_fields)


class Shape(NamedTuple):
    """What the columns of a statement are to a model: its fields with their places, and the others with theirs."""

    fields: list[str]
    places: list[int]
    changes: Sequence[tuple[int, Callable[[Any], Any]]]
    others: list[tuple[str, int]]


@functools.cache
def shape(model: type[Model], names: tuple[str, ...]) -> Shape:
    """Worked out once: it takes longer than the answer."""
    fields = [field for field in model._meta.concrete_fields if field.column in names]
    known = {field.column for field in fields}
    changes = []
    for place, field in enumerate(fields):
        column = field.get_col(model._meta.db_table)
        own = [*connection.ops.get_db_converters(column), *column.get_db_converters(connection)]
        changes += [
            (place, functools.partial(change, expression=column, connection=connection)) for change in own
        ]
    return Shape(
        [field.attname for field in fields],
        [names.index(field.column) for field in fields],
        changes,
        [(name, place) for place, name in enumerate(names) if name not in known],
    )


def read(model: type[Found], statement: str, params: Sequence[Any] | Mapping[str, Any] = ()) -> list[Found]:
    """The rows of a statement as models, as Model.objects.raw() gives them: what is no field is an attribute."""
    with connection.cursor() as cursor:
        cursor.execute(statement, params)
        fields, places, changes, others = shape(
            model, tuple(column.name for column in cursor.description or ())
        )
        rows = cursor.fetchall()
    found = []
    for row in rows:
        values = [row[place] for place in places]
        for place, change in changes:
            values[place] = change(values[place])
        one = model.from_db("default", fields, values)
        for name, place in others:
            setattr(one, name, row[place])
        found.append(one)
    return found
