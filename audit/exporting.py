"""A search of the log as a file: lines of JSON or CSV, or a page to print, ended by a digest that is signed."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from hashlib import sha256
from typing import Any

from audit import changes, inside, listing, report, sealing, search
from audit.registry import Installed
from audit.search import Change, Filter
from audit.tables import Rows
from dbadmin.exports import safe_cell

#: Statements and rows that one file holds at most; beyond, its last line says so.
STATEMENTS, ROWS = 100_000, 500_000
COLUMNS = (
    "statement", "row", "at", "transaction", "operation", "table", "key", "person", "session_role", "set_role",
    "application_user", "client", "application", "note", "changed", "before", "after",
)  # fmt: skip


def records(rows: Rows, state: Installed, wanted: Filter) -> Iterator[dict[str, Any]]:
    """One record per changed row; one for a statement that has none. Newest first."""
    before: int | None = None
    statements = count = 0
    while statements < STATEMENTS and count < ROWS:
        page = inside.find(rows, state, wanted, before, limit=200)
        single = listing.single_rows(rows, state, page.statements)
        for statement in page.statements:
            statements += 1
            for record in of_statement(rows, state, statement, single.get(statement.id)):
                count += 1
                yield record
        if page.older is None:
            return
        before = page.older
    yield {
        "note": f"Cut after {statements} statements with {count} rows. Narrow the search by time for the rest."
    }


def of_statement(
    rows: Rows, state: Installed, statement: Any, only: Change | None = None
) -> Iterator[dict[str, Any]]:
    """The records of one statement: of its only row, when that was read already; else its rows, read in blocks."""
    head = {
        "statement": statement.id,
        "at": statement.at.isoformat(),
        "transaction": statement.xid,
        "operation": search.OPERATIONS.get(statement.operation, statement.operation),
        "table": str(state.watched.get(statement.watched_id, "")),
        "person": statement.person,
        "session_role": statement.session_role,
        "set_role": statement.set_role,
        "application_user": statement.app_user,
        "client": statement.client,
        "application": statement.application,
        "note": statement.note,
    }
    if only:
        yield {**head, **of_row(only)}
        return
    first = 1
    while block := changes.statement_changes(rows, state, statement, first, 1000):
        for one in block:
            yield {**head, **of_row(one)}
        first += 1000
    if first == 1:
        yield head


def of_row(one: Change) -> dict[str, Any]:
    """What is told of one row."""
    return {
        "row": one.n,
        "key": search.key_text(one.key),
        "changed": one.changed if one.kind == "update" else None,
        "before": one.old,
        "after": one.new,
    }


def signed(lines: Iterator[str], last: str) -> Iterator[str]:
    """The lines, and one more with the digest of all before it and its signature."""
    digest = sha256()
    for line in lines:
        digest.update(line.encode())
        yield line
    yield last.format(json.dumps(sealing.signed_digest(digest.hexdigest())))


def report_lines(found: Iterator[dict[str, Any]], title: str, facts: dict[str, str]) -> Iterator[str]:
    """A page to print."""
    return signed(report.lines(found, title, facts), "<!-- {} -->\n")


def json_lines(found: Iterator[dict[str, Any]]) -> Iterator[str]:
    """One object per line."""
    return signed((json.dumps(record, ensure_ascii=False) + "\n" for record in found), "{}\n")


def csv_lines(found: Iterator[dict[str, Any]]) -> Iterator[str]:
    """A heading, and one line per record; before and after are JSON."""
    return signed(csv_rows(found), "# {}\n")


def csv_rows(found: Iterator[dict[str, Any]]) -> Iterator[str]:
    """Quoted where it is needed; what a spreadsheet would take for a formula gets a quote before it."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(COLUMNS)
    for record in found:
        writer.writerow([safe_cell(record.get(name)) for name in COLUMNS])
        yield out.getvalue()
        out.seek(0)
        out.truncate()
    if out.getvalue():
        yield out.getvalue()
