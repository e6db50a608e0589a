"""The cells of a table: each column's way to write a value, escaped and ready."""

import datetime as dt
from collections.abc import Callable
from decimal import Decimal
from html import escape
from typing import Any

from django.utils import timezone
from django.utils.safestring import SafeString

from dbadmin import units
from dbadmin.probes import Column
from dbadmin.units import UNKNOWN

#: Characters from which a text wraps, of a long text that are shown, and that open in place.
WRAPPED, SHOWN, OPENED = 44, 110, 4000
CODE = ("query", "definition", "statement", "sql", "condition", "ddl", "plan")
IDENTIFIERS = ("pid", "pids", "oid", "port", "xid", "queryid", "relfilenode", "blocked_by", "blocks")


def is_identifier(name: str) -> bool:
    """A number that names something: shown as it is, without spaces between thousands."""
    return name in IDENTIFIERS or name.endswith(("_id", "_pid", "_oid"))


def is_code(name: str) -> bool:
    """SQL and the like: set in monospace."""
    return name in CODE or name.endswith(tuple(f"_{word}" for word in CODE))


def opens(text: str) -> str:
    """What of a long text opens in place, escaped."""
    return escape(text[:OPENED] + ("…" if len(text) > OPENED else ""))


def opened_bytes(value: Any) -> int:
    """How much of a page a text takes that opens in place; 0 for one that is shown whole."""
    is_long = isinstance(value, str) and not isinstance(value, SafeString) and len(value) > SHOWN
    return len(opens(value).encode()) if is_long else 0


def seen(text: str) -> str:
    """A text of blanks alone in quotes: it would look as if there were none."""
    return f"“{text}”" if text.isspace() else text


def text_cell(text: str, css: str, link: str = "") -> str:
    """A cell of text: escaped, cut when long, linked when there is somewhere to go."""
    if len(text) <= SHOWN:
        inside = escape(seen(text))
        css += " long" if len(text) > WRAPPED and css != "code" else ""
    else:
        short = escape(" ".join(text[: SHOWN * 2].split())[:SHOWN] + "…")
        if not link:
            more = opens(text)
            return (
                f'<td class="{css} opens"><details><summary>{short}</summary><pre>{more}</pre></details></td>'
            )
        inside = short
    return (
        f'<td class="{css}"><a href="{escape(link)}">{inside}</a></td>'
        if link
        else f'<td class="{css}">{inside}</td>'
    )


def number_cell(column: Column, css: str = "number") -> Callable[[Any], str]:
    """How a column of numbers writes a value: short, with the exact value on hover."""
    show, dash = column.unit.show, f'<td class="{css} dash">{UNKNOWN}</td>'

    def cell(value: Any) -> str:
        if value is None:
            return dash
        text = show(value)
        exact = f"{value:.9g}" if isinstance(value, float | Decimal) else str(value)
        if text.replace(units.THIN, "") == exact or not value:  # nothing to add to what is shown
            return f'<td class="{css}">{text}</td>'
        return f'<td class="{css}" title="{exact}">{text}</td>'

    return cell


def moment_cell() -> Callable[[Any], str]:
    """How a column of moments writes a value. The zone is looked up once a table."""
    zone, today = timezone.get_current_timezone(), timezone.localtime().date()

    def cell(value: Any) -> str:
        if value is None:
            return f'<td class="when dash">{UNKNOWN}</td>'
        if not isinstance(value, dt.datetime):
            return f'<td class="when">{escape(units.label(value))}</td>'
        local = value.astimezone(zone) if value.tzinfo else value
        text, exact = units.moment_text(local, today), local.isoformat(" ", "seconds")
        return f'<td class="when" title="{exact}">{text}</td>'

    return cell


def label_cell(name: str) -> Callable[..., str]:
    """How a column without a unit writes a value."""
    css = "code" if is_code(name) else "label"
    plain = is_identifier(name)

    def cell(value: Any, link: str = "") -> str:
        if isinstance(value, SafeString):  # a view made it: a sparkline, a meter, a status
            return f"<td>{value}</td>"
        if isinstance(value, str):
            return text_cell(value, css, link)
        if value is None:
            return f'<td class="dash">{UNKNOWN}</td>'
        if isinstance(value, dt.datetime):
            return moment_cell()(value)
        if isinstance(value, int) and not isinstance(value, bool):
            return (
                text_cell(str(value), css, link) if plain else f'<td class="number">{units.count(value)}</td>'
            )
        if isinstance(value, list) and plain:
            return text_cell(", ".join(map(str, value)), css, link)
        return text_cell(units.label(value), css, link)

    return cell
