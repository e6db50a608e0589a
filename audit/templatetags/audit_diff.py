"""Pieces of a diff as marked text."""

from django import template
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from audit.diff import Line, Piece, short

register = template.Library()
MARKS = {"old": "<del>{}</del>", "new": "<ins>{}</ins>", "same": "{}"}


@register.simple_tag
def pieces(line: Line) -> SafeString:
    """What left and what came, with a space between the two."""
    shown: list[SafeString] = []
    previous: Piece | None = None
    for piece in line.pieces:
        if previous and previous.kind == "old" and piece.kind == "new":
            shown.append(SafeString(" "))
        shown.append(format_html(MARKS[piece.kind], piece.text))
        previous = piece
    return format_html_join("", "{}", ((each,) for each in shown))


@register.simple_tag
def changes(lines: list[Line]) -> SafeString:
    """Several columns in one line of a list."""
    return format_html_join(
        ", ", '<span class="muted">{}</span> {}', ((line.name, pieces(line)) for line in lines)
    )


@register.filter
def in_order(row: dict[str, str | None], names: list[str]) -> list[str]:
    """The values of a row in the order of the columns, short; a dash for what it did not have."""
    return [short("null" if row[name] is None else str(row[name])) if name in row else "–" for name in names]
