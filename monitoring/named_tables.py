"""Which tables the text of a statement names, as far as the text alone can tell."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from monitoring.texts import TOKEN

#: Schema ("" when the text does not say it) and table.
Name = tuple[str, str]

#: After these a table is named; after the first ones a list of columns may follow it, or a list of tables.
WITH_COLUMNS = {
    "into",
    "table",
    "copy",
    "analyze",
    "vacuum",
    "references",
    "truncate",
    "view",
    "cluster",
    "lock",
}
LEADS = {"from", "join", "update", "using", *WITH_COLUMNS}
LISTS = {"from", "using", "truncate", "table", "lock"}
#: They may stand before the name.
BEFORE = {
    "only",
    "if",
    "not",
    "exists",
    "lateral",
    "table",
    "concurrently",
    "view",
    "verbose",
    "freeze",
    "full",
}
#: Statements that take several tables after the word TABLE.
SEVERAL = {"truncate", "lock", "drop"}
#: They may have options in brackets before the table.
OPTIONS = {"vacuum", "analyze", "cluster"}
#: A list of tables ends with these.
ENDS = {
    "where",
    "group",
    "order",
    "having",
    "limit",
    "set",
    "select",
    "returning",
    "union",
    "window",
    "values",
}
#: These are no names.
RESERVED = ENDS | {
    "on",
    "with",
    "insert",
    "delete",
    "case",
    "array",
    "cast",
    "as",
    "distinct",
    "all",
    "default",
}
#: What begins a query: FROM inside other brackets, as in extract(epoch FROM at), names no table.
QUERIES = {"select", "delete", "insert", "update", "merge"}
#: FOR UPDATE, DO UPDATE, NO KEY UPDATE, IS DISTINCT FROM.
NOT_AFTER = {"update": {"for", "do", "key"}, "from": {"distinct"}, "table": {"unlogged"}}
WITH = re.compile(r"\bwith\b", re.IGNORECASE)


@dataclass
class Level:
    """What is known inside one pair of brackets. before: VACUUM (ANALYZE) orders goes on behind them."""

    before: str = ""
    has_query: bool = False
    is_list: bool = False


def tokens(text: str) -> list[tuple[str, str]]:
    """(kind, text) of what matters: words in small letters, quoted names without their quotes, marks."""
    found = []
    for token in TOKEN.finditer(text):
        if token["word"] is not None:
            found.append(("word", token["word"].lower()))
        elif token["name"] is not None:
            found.append(("name", token["name"][1:-1].replace('""', '"')))
        elif token["mark"] is not None:
            found.append(("mark", token["mark"]))
        elif token["literal"] is not None:
            found.append(("literal", ""))
    return found


def names(text: str) -> set[Name]:
    """All tables that it names; what a WITH clause calls so is none."""
    found = tokens(text)
    own = set(with_queries(found)) if WITH.search(text) else set()
    return {name for name in tables(found) if name[0] or name[1] not in own}


def with_queries(found: Sequence[tuple[str, str]]) -> Iterator[str]:
    """Names that are followed by AS (."""
    for place, (kind, text) in enumerate(found):
        if kind in {"word", "name"}:
            rest = [word for _, word in found[place + 1 : place + 5] if word not in {"not", "materialized"}]
            if rest[:2] == ["as", "("] or (rest[:1] == ["("] and is_after_columns(found, place + 1)):
                yield text


def is_after_columns(found: Sequence[tuple[str, str]], place: int) -> bool:
    """name (a, b) AS (: does AS ( follow the closing bracket?"""
    end = next((at for at in range(place, len(found)) if found[at] == ("mark", ")")), len(found))
    return [text for _, text in found[end + 1 : end + 3]] == ["as", "("]


def tables(found: Sequence[tuple[str, str]]) -> Iterator[Name]:
    """What stands where a table is named."""
    levels, lead, place, before = [Level()], "", 0, ""
    first = found[0][1] if found else ""
    while place < len(found):
        kind, text = found[place]
        here = levels[-1]
        place += 1
        if lead and (kind == "name" or (kind == "word" and text not in RESERVED | BEFORE | LEADS)):
            name, place = qualified(found, place - 1)
            is_call = place < len(found) and found[place] == ("mark", "(") and lead not in WITH_COLUMNS
            if not is_call:
                yield name
            lead = ""
        elif kind == "word":
            here.has_query = here.has_query or text in QUERIES
            here.is_list = here.is_list and text not in ENDS
            if leads(text, before, first, levels):
                lead, here.is_list = (
                    text,
                    here.is_list or (text in LISTS and (text != "table" or first in SEVERAL)),
                )
            elif text not in BEFORE:
                lead = ""
        elif (kind, text) == ("mark", "("):
            levels.append(Level(lead if lead in OPTIONS else ""))
            lead = ""
        elif (kind, text) == ("mark", ")"):
            levels, lead = levels[:-1] or [Level()], here.before
        else:
            lead = "from" if (kind, text) == ("mark", ",") and here.is_list else ""
        before = text


def leads(word: str, before: str, first: str, levels: Sequence[Level]) -> bool:
    """Does a table follow this word?"""
    if word not in LEADS or before in NOT_AFTER.get(word, ()):
        return False
    if word == "using":
        return first in {"delete", "merge", "with"}
    if word == "analyze":
        return first in {"analyze", "vacuum"}
    return len(levels) == 1 or levels[-1].has_query or word == "join"


def qualified(found: Sequence[tuple[str, str]], place: int) -> tuple[Name, int]:
    """A name with what stands before its dots, and where the text goes on."""
    parts = [found[place][1]]
    place += 1
    while (
        place + 1 < len(found) and found[place] == ("mark", ".") and found[place + 1][0] in {"word", "name"}
    ):
        parts.append(found[place + 1][1])
        place += 2
    return (parts[-2] if len(parts) > 1 else "", parts[-1]), place
