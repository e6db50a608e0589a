"""Why a search went from row to row: what index_log prepares does not reach as far as it looked."""

from __future__ import annotations

from dataclasses import dataclass

from audit import mapping, prepared, text_index
from audit.registry import Installed
from audit.search import Filter
from audit.tables import Rows
from audit.values import PLAIN, findable
from audit.walk import lines


@dataclass(frozen=True)
class Behind:
    """What index_log would spare a search. create_extension: how its form has it that pg_trgm is made with it."""

    create_extension: str | None = None


def behind(rows: Rows, state: Installed, wanted: Filter, number: int) -> Behind | None:
    """number: down to which statement a search looked from row to row. None: index_log would not have spared it."""
    if wanted.key:
        return None
    if lines(state, wanted) and mapping.through(rows) < number:
        return Behind()
    reached = prepared.reached(rows) if wanted.column else None
    if wanted.column and (reached is None or reached.last_id < number):
        return Behind()
    return behind_in_texts(rows, state, wanted, number)


def behind_in_texts(rows: Rows, state: Installed, wanted: Filter, number: int) -> Behind | None:
    """Only what has three letters in a row is found by an index, and only where pg_trgm can be had."""
    known = text_index.extension(rows)
    if not findable([wanted.text, *PLAIN.findall(wanted.value)]) or not (known.schema or known.is_available):
        return None
    here = [month for month in prepared.months(rows, state, wanted) if month.low <= number <= month.high]
    if any(month.is_prepared for month in here) or all(month.name == "default" for month in here):
        return None
    return Behind(None if known.schema else "on")
