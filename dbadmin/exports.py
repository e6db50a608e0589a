"""A Reading as CSV and as JSON: exact values, units in the names, moments in UTC."""

from __future__ import annotations

import csv
import datetime as dt
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from django.http import HttpResponse, JsonResponse

from dbadmin.probes import Reading


def plain(value: Any) -> Any:
    """A value as JSON knows it: moments as ISO text, exact numbers, lists of the same."""
    match value:
        case dt.datetime() | dt.date():
            return value.isoformat()
        case dt.timedelta():
            return value.total_seconds()
        case Decimal():
            return int(value) if value == value.to_integral_value() else float(value)
        case bytes() | memoryview():
            return bytes(value).hex()
        case list() | tuple():
            return [plain(item) for item in value]
        case None | bool() | int() | float() | str() | dict():
            return value
        case _:
            return str(value)


def safe_cell(value: Any) -> Any:
    """Text that a spreadsheet would take for a formula is quoted; numbers stay numbers."""
    value = plain(value)
    if isinstance(value, list | dict):
        value = json.dumps(value, ensure_ascii=False)
    return f"'{value}" if isinstance(value, str) and value[:1] in {"=", "+", "-", "@", "\t", "\r"} else value


def as_csv(reading: Reading) -> str:
    """Header and rows; nothing for unknown."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([column.name for column in reading.columns])
    writer.writerows([safe_cell(value) for value in row] for row in reading.rows)
    return out.getvalue()


def rows_file(
    kind: str, name: str, names: Sequence[str], rows: Iterable[Any], about: Mapping[str, Any]
) -> HttpResponse:
    """A list that is no reading as a file, "csv" or "json"; about: what JSON says beside the rows."""
    if kind == "json":
        listed = [{each: plain(getattr(row, each)) for each in names} for row in rows]
        return JsonResponse({**about, "rows": listed})
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([safe_cell(getattr(row, each)) for each in names] for row in rows)
    file = HttpResponse(out.getvalue(), content_type="text/csv; charset=utf-8")
    file["Content-Disposition"] = f'attachment; filename="{name}.csv"'
    return file


def as_dict(reading: Reading) -> dict[str, Any]:
    """Everything that a program wants of a reading. Consumers should ignore fields they do not know."""
    problem = reading.problem
    return {
        "probe": reading.probe.name,
        "title": reading.probe.title,
        "server": reading.server_name,
        "database": reading.database,
        "taken_at": reading.taken_at.isoformat(),
        "took_ms": round(reading.took_ms, 3),
        "problem": {"kind": problem.kind, "message": problem.message, "remedy": problem.remedy}
        if problem
        else None,
        "columns": [
            {"name": column.name, "unit": column.unit.prometheus, "about": column.about}
            for column in reading.columns
        ],
        "rows": [
            {name: plain(value) for name, value in zip(names(reading), row, strict=True)}
            for row in reading.rows
        ],
        "cut": reading.cut,
    }


def names(reading: Reading) -> list[str]:
    """The columns' names."""
    return [column.name for column in reading.columns]
