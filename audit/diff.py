"""What differs between two values, for the eye: long text by words, JSON by path, all else whole."""

from __future__ import annotations

import difflib
import itertools
import json
import re
from dataclasses import dataclass, field
from typing import Any

#: Texts with fewer words are shown before and after; in longer ones the words are marked.
FEW_WORDS = 4
PROSE = re.compile(r"[^\W\d_]{2,}")
MOMENT = re.compile(r"^(\d{4,}-\d\d-\d\d \d\d:\d\d:\d\d)(\.\d+)?(\+00)?$")
#: Characters shown before the first that differs.
BEFORE_DIFFERENCE = 8
#: Characters beyond which words are no longer compared one by one.
TOO_LONG = 20_000
WORDS = re.compile(r"\s+|\w+|[^\w\s]")


@dataclass(frozen=True)
class Piece:
    """A part of a text. kind: "same", "old" or "new"."""

    kind: str
    text: str


@dataclass
class Line:
    """One column, or one path inside of it, before and after."""

    name: str
    pieces: list[Piece] = field(default_factory=list)
    changed: bool = True
    note: str = ""
    depth: int = 0


def by_words(old: str, new: str) -> list[Piece]:
    """The words that left and the words that came, in one text."""
    before, after = WORDS.findall(old), WORDS.findall(new)
    pieces: list[Piece] = []
    matcher = difflib.SequenceMatcher(None, before, after, autojunk=False)
    for tag, a, b, c, d in matcher.get_opcodes():
        if tag == "equal":
            pieces.append(Piece("same", "".join(before[a:b])))
            continue
        if b > a:
            pieces.append(Piece("old", "".join(before[a:b])))
        if d > c:
            pieces.append(Piece("new", "".join(after[c:d])))
    return pieces


def whole(old: str | None, new: str | None) -> list[Piece]:
    """Before, then after."""
    pieces = [Piece("old", shown(old))] if old != "" else [Piece("old", "(empty)")]
    return [*pieces, Piece("new", shown(new) if new != "" else "(empty)")]


def shown(value: str | None) -> str:
    """A value for the eye: null is a word of its own, and the text that reads like it is quoted."""
    if value is None:
        return "null"
    return '"null"' if value == "null" else value


def compared(old: str | None, new: str | None) -> list[Piece]:
    """The pieces of a changed value."""
    if old is None or new is None or max(len(old), len(new)) > TOO_LONG:
        return whole(old, new)
    if min(len(PROSE.findall(old)), len(PROSE.findall(new))) < FEW_WORDS:
        return whole(old, new)
    pieces = by_words(old, new)
    same = sum(len(piece.text) for piece in pieces if piece.kind == "same")
    return pieces if same * 3 > max(len(old), len(new)) else whole(old, new)


def as_json(text: str | None) -> Any:
    """An object or a list; None for anything that has no paths."""
    if not text or text[0] not in "{[":
        return None
    try:
        # Numbers stay as they are written: a float would lose digits.
        value = json.loads(text, parse_float=str, parse_int=str)
    except ValueError:
        return None
    return value if isinstance(value, dict | list) else None


def paths(value: Any, prefix: str = "") -> dict[str, str]:
    """Each leaf by its path: {"city": {"zip": "1"}} -> {"city.zip": "1"}."""
    if isinstance(value, dict) and value:
        pairs = [(f"{prefix}.{key}" if prefix else str(key), each) for key, each in value.items()]
    elif isinstance(value, list) and value:
        pairs = [(f"{prefix}[{number}]", each) for number, each in enumerate(value)]
    else:
        return {prefix: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}
    found: dict[str, str] = {}
    for path, each in pairs:
        found |= paths(each, path)
    return found


def json_lines(name: str, old: Any, new: Any) -> list[Line]:
    """One line for each path that differs."""
    before, after = paths(old), paths(new)
    lines = []
    for path in dict.fromkeys([*before, *after]):
        if before.get(path) == after.get(path):
            continue
        pieces = []
        if path in before:
            pieces.append(Piece("old", before[path]))
        if path in after:
            pieces.append(Piece("new", after[path]))
        lines.append(Line(f"{name}.{path}" if path[:1] != "[" else f"{name}{path}", pieces, depth=1))
    return lines or [Line(name, [Piece("same", "the same values, written differently")])]


def lines(old: dict[str, str | None] | None, new: dict[str, str | None] | None) -> list[Line]:
    """A change, column by column: changed ones first, as the table orders them."""
    if old is None or new is None:
        kind, row = ("new", new or {}) if old is None else ("old", old)
        return [Line(name, [Piece(kind, shown(value))], True) for name, value in row.items()]
    changed: list[Line] = []
    same: list[Line] = []
    for name in dict.fromkeys([*old, *new]):
        before, after = old.get(name), new.get(name)
        if before == after and (name in old) == (name in new):
            same.append(Line(name, [Piece("same", shown(before))], False))
            continue
        left, right = as_json(before), as_json(after)
        if left is not None and right is not None:
            changed += json_lines(name, left, right)
        else:
            changed.append(Line(name, compared(before, after), True, digest_note(before, after)))
    return changed + same


def digest_note(old: str | None, new: str | None) -> str:
    """Masked values are not values."""
    for value in (old, new):
        if value and value.startswith("masked:"):
            return "masked: only that it changed was kept"
        if value and value.startswith("sha256:"):
            return "hashed: equal digests mean equal values"
    return ""


def brief(old: dict[str, str | None] | None, new: dict[str, str | None] | None, most: int = 3) -> list[Line]:
    """The most telling columns, short, for a list: moments come last, they change with everything."""
    found = [line for line in lines(old, new) if line.changed]
    if old is None or new is None:
        found = [line for line in found if line.pieces[-1].text not in ("null", "")]
    found.sort(key=lambda line: bool(MOMENT.match(line.pieces[-1].text)))
    for line in found[:most]:
        line.pieces = cut(line.pieces)
    return found[:most]


def cut(pieces: list[Piece]) -> list[Piece]:
    """Each piece short; a before and an after that would look alike from where they differ."""
    shorter = [Piece(p.kind, short(p.text)) for p in pieces]
    if len({p.text for p in shorter}) == len(shorter) or [p.kind for p in pieces] != ["old", "new"]:
        return shorter
    if MOMENT.match(pieces[0].text) and MOMENT.match(pieces[1].text):
        return pieces
    alike = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(*(p.text for p in pieces), strict=False))
    start = sum(1 for _ in alike) - BEFORE_DIFFERENCE
    return [Piece(p.kind, f"…{short(p.text[start:])}") for p in pieces]


def short(text: str) -> str:
    """At most forty characters; moments to the second."""
    moment = MOMENT.match(text)
    if moment:
        return moment[1]
    return text if len(text) <= 40 else text[:39] + "…"
