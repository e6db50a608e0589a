"""What differs between two values, for the eye: long text by words, JSON by path, all else whole."""

from __future__ import annotations

import difflib
import itertools
import json
import re
from dataclasses import dataclass, field
from typing import Any

from audit.long_values import LongText
from dbadmin.units import count

#: Texts with fewer words are shown before and after; in longer ones the words are marked.
FEW_WORDS = 4
PROSE = re.compile(r"[^\W\d_]{2,}")
MOMENT = re.compile(r"^(\d{4,}-\d\d-\d\d \d\d:\d\d:\d\d)(\.\d+)?(\+00)?$")
#: Characters shown before the first that differs.
BEFORE_DIFFERENCE = 8
#: Characters beyond which words are no longer compared one by one.
TOO_LONG = 20_000
#: Differing paths of a value beyond which a page would be of no use. An export has all.
MOST_PATHS = 1_000
#: Steps of a path beyond which JSON is a text like any other: nobody reads such a path, and each one costs a stack.
DEEPEST = 100
WORDS = re.compile(r"\s+|\w+|[^\w\s]")
NUMBER = re.compile(r"-?\d+(\.\d+)?([eE][-+]?\d+)?")
#: A step of a path that needs no quotes.
PLAIN_STEP = re.compile(r"[^.\[\]\"]+")


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
    #: Sides of which only the start is shown: "old", "new".
    cut: tuple[str, ...] = ()
    #: Differences that it tells of: many, where it counts the ones that are not shown.
    stands_for: int = 1


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
    if old is None or new is None:
        return whole(old, new)
    if min(len(PROSE.findall(old)), len(PROSE.findall(new))) < FEW_WORDS:
        return whole(old, new)
    head, tail = alike(old, new)
    left, right = (text[head : len(text) - tail] for text in (old, new))
    if max(len(left), len(right)) > TOO_LONG:
        return whole(old, new)
    around = [Piece("same", text) for text in (old[:head], old[len(old) - tail :])]
    pieces = [piece for piece in (around[0], *by_words(left, right), around[1]) if piece.text]
    same = sum(len(piece.text) for piece in pieces if piece.kind == "same")
    return pieces if same * 3 > max(len(old), len(new)) else whole(old, new)


def alike(old: str, new: str) -> tuple[int, int]:
    """Characters at the beginning and at the end that both have, in whole words."""
    head = begins_alike(old, new)
    while head and not old[head - 1].isspace():
        head -= 1
    tail = begins_alike(old[head:][::-1], new[head:][::-1])
    while tail and not old[len(old) - tail].isspace():
        tail -= 1
    return head, tail


def begins_alike(old: str, new: str) -> int:
    """Characters before the first that differs."""
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(old, new, strict=False)))


class Number(str):
    """A number of JSON as it is written: a float would lose digits."""

    __slots__ = ()


def members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object; ValueError for one that has a name twice, as `json` may: a path would mean either."""
    if len(found := dict(pairs)) < len(pairs):
        raise ValueError("A name is there twice.")
    return found


def as_paths(text: str | None) -> dict[str, str] | None:
    """Each leaf by its path: {"city": {"zip": 1}} -> {"city.zip": "1"}. None where there are none, or too deep ones."""
    if not text or text[0] not in "{[":
        return None
    try:
        value = json.loads(text, parse_float=Number, parse_int=Number, object_pairs_hook=members)
    except (ValueError, RecursionError):
        return None
    found: dict[str, str] = {}
    left: list[tuple[str, Any, int]] = [("", value, 0)]
    while left:
        path, each, depth = left.pop()
        if depth > DEEPEST:
            return None
        if isinstance(each, dict) and each:
            steps = [(step_of(name, path), one, depth + 1) for name, one in each.items()]
        elif isinstance(each, list) and each:
            steps = [(f"{path}[{number}]", one, depth + 1) for number, one in enumerate(each)]
        else:
            found[path] = leaf(each)
            continue
        left += reversed(steps)
    return found


def step_of(name: str, path: str) -> str:
    """The path to a member. A name with marks of a path in it has quotes, as the search takes it."""
    step = name if PLAIN_STEP.fullmatch(name) else json.dumps(name, ensure_ascii=False)
    return f"{path}.{step}" if path else step


def leaf(value: Any) -> str:
    """As JSON writes it; a text without quotes, unless it would read like something else."""
    if isinstance(value, Number):
        return str(value)
    written = json.dumps(value, ensure_ascii=False)
    return value if isinstance(value, str) and not reads_as_json(value) else written


def reads_as_json(text: str) -> bool:
    """Would it be taken for a number, a word of JSON, or something in brackets or quotes?"""
    return not text or text[0] in '{["' or text in ("null", "true", "false") or bool(NUMBER.fullmatch(text))


def json_lines(name: str, before: dict[str, str], after: dict[str, str]) -> list[Line]:
    """One line for each path that differs."""
    differing = [path for path in dict.fromkeys([*before, *after]) if before.get(path) != after.get(path)]
    lines = []
    for path in differing[:MOST_PATHS]:
        pieces = [Piece(kind, side[path]) for kind, side in (("old", before), ("new", after)) if path in side]
        lines.append(Line(f"{name}.{path}" if path[:1] != "[" else f"{name}{path}", pieces, depth=1))
    if len(differing) > MOST_PATHS:
        more = len(differing) - MOST_PATHS
        text = f"{count(more)} more path{'s differ' if more > 1 else ' differs'}: an export has all"
        lines.append(Line(name, [Piece("same", text)], depth=1, stands_for=more))
    return lines or [Line(name, [Piece("same", "the same values, written differently")])]


def lines(old: dict[str, str | None] | None, new: dict[str, str | None] | None) -> list[Line]:
    """A change, column by column: changed ones first, as the table orders them."""
    if old is None or new is None:
        kind, row = ("new", new or {}) if old is None else ("old", old)
        return [
            Line(name, [Piece(kind, shown(value))], True, cut=cut_sides(**{kind: value}))
            for name, value in row.items()
        ]
    changed: list[Line] = []
    same: list[Line] = []
    for name in dict.fromkeys([*old, *new]):
        before, after = old.get(name), new.get(name)
        if before == after and (name in old) == (name in new):
            same.append(Line(name, [Piece("same", shown(before))], False, cut=cut_sides(new=after)))
            continue
        left, right = as_paths(before), as_paths(after)
        if left is not None and right is not None:
            changed += json_lines(name, left, right)
        else:
            note, cut = digest_note(before, after), cut_sides(before, after)
            changed.append(Line(name, compared(before, after), True, note, cut=cut))
    return changed + same


def cut_sides(old: str | None = None, new: str | None = None) -> tuple[str, ...]:
    """The sides of which only the start is there."""
    return tuple(side for side, value in (("old", old), ("new", new)) if isinstance(value, LongText))


def digest_note(old: str | None, new: str | None) -> str:
    """Masked values are not values."""
    for value in (old, new):
        if value and value.startswith("masked:"):
            return "masked: only that it changed was kept"
        if value and value.startswith("sha256:"):
            return "hashed: equal digests mean equal values"
    return ""


class Brief(list[Line]):
    """The most telling columns of a change; more: columns, or paths inside of them, that changed too."""

    more: int = 0


def brief(old: dict[str, str | None] | None, new: dict[str, str | None] | None, most: int = 3) -> Brief:
    """The most telling columns, short, for a list: moments come last, they change with everything."""
    found = [line for line in lines(old, new) if line.changed]
    if old is None or new is None:
        found = [line for line in found if line.pieces[-1].text not in ("null", "")]
    found.sort(key=lambda line: bool(MOMENT.match(line.pieces[-1].text)))
    shown = Brief(found[:most])
    shown.more = sum(line.stands_for for line in found[most:])
    for line in shown:
        line.pieces = cut(line.pieces)
    return shown


def cut(pieces: list[Piece]) -> list[Piece]:
    """Each piece short; a before and an after that would look alike from where they differ."""
    shorter = [Piece(p.kind, short(p.text)) for p in pieces]
    if len({p.text for p in shorter}) == len(shorter) or [p.kind for p in pieces] != ["old", "new"]:
        return shorter
    if MOMENT.match(pieces[0].text) and MOMENT.match(pieces[1].text):
        return pieces
    start = begins_alike(pieces[0].text, pieces[1].text) - BEFORE_DIFFERENCE
    return [Piece(p.kind, f"…{short(p.text[start:])}") for p in pieces]


def short(text: str) -> str:
    """At most forty characters; moments to the second."""
    moment = MOMENT.match(text)
    if moment:
        return moment[1]
    return text if len(text) <= 40 else text[:39] + "…"
