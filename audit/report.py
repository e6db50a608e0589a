"""A search of the log as a page to print: one file that needs nothing else, ended by a digest that is signed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

HEAD = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{title}</title>
<style>
body {{ font: 10pt/1.4 system-ui, sans-serif; color: #111; margin: 1.5cm; }}
table {{ border-collapse: collapse; width: 100%; }}
th, td {{ text-align: left; vertical-align: top; border-bottom: 1px solid #bbb; padding: 2pt 6pt 2pt 0; }}
thead {{ display: table-header-group; }}
tr {{ break-inside: avoid; }}
td {{ overflow-wrap: break-word; }}
.values {{ overflow-wrap: anywhere; min-width: 4cm; }}
@page {{ size: landscape; margin: 1cm; }}
@media print {{ body {{ margin: 0; }} }}
</style>
</head>
<body>
<h1>{title}</h1>
<table>
{facts}</table>
<h2>Changes, newest first</h2>
<table>
<thead><tr>{columns}</tr></thead>
<tbody>
"""
COLUMNS = ("Moment", "Who", "What", "Table and key", "Transaction", "Before", "After")
END = """</tbody>
</table>
<p>{count} lines. The last line of this file is a comment with the SHA-256 of all before it, signed by dbadmin
(Ed25519). Check it with: verify_audit_log.py --export FILE --key PUBLIC_KEY</p>
</body>
</html>
"""


def lines(found: Iterator[dict[str, Any]], title: str, facts: Mapping[str, str]) -> Iterator[str]:
    """The page, line by line. facts: what its head tells, such as the server, the search and who asked."""
    told = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td>{escape(value)}</td></tr>\n'
        for name, value in facts.items()
    )
    heads = "".join(f'<th scope="col">{name}</th>' for name in COLUMNS)
    yield HEAD.format(title=escape(title), facts=told, columns=heads)
    count = 0
    for record in found:
        count += 1
        yield row(record)
    yield END.format(count=count)


def row(record: Mapping[str, Any]) -> str:
    """One change."""
    if "at" not in record:  # the search was cut: the line says so
        return f'<tr><td colspan="{len(COLUMNS)}">{escape(str(record["note"]))}</td></tr>\n'
    shown = record.get("changed")
    cells = (
        record["at"].replace("T", " "),
        who(record),
        " ".join(str(part) for part in (record["operation"], record["note"]) if part),
        " ".join(str(part) for part in (record["table"], record.get("key")) if part),
        str(record["transaction"]),
        values(record.get("before"), shown),
        values(record.get("after"), shown),
    )
    *told, before, after = (escape(cell) for cell in cells)
    columns = "".join(f"<td>{cell}</td>" for cell in told)
    return f'<tr>{columns}<td class="values">{before}</td><td class="values">{after}</td></tr>\n'


def who(record: Mapping[str, Any]) -> str:
    """The person, and from where."""
    parts = [record["person"], record["client"] and f"from {record['client']}", record["application"]]
    return ", ".join(str(part) for part in parts if part)


def values(image: Mapping[str, Any] | None, shown: list[str] | None) -> str:
    """What a row held; of an update, the columns that changed."""
    if image is None:
        return ""
    names = image if shown is None else [name for name in shown if name in image]
    return "; ".join(f"{name}: {json.dumps(image[name], ensure_ascii=False)}" for name in names)
