"""Pieces of a diff as marked text."""

from django import template
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from audit.diff import Brief, Line, Piece, short
from dbadmin.units import count

register = template.Library()
MARKS = {"old": "<del>{}</del>", "new": "<ins>{}</ins>", "same": "{}"}
#: Characters of a text that a page shows, and of one between two changes, which nobody looks for. An export has all.
MOST_TEXT, MOST_ALIKE = 50_000, 2_000


@register.simple_tag
def pieces(line: Line) -> SafeString:
    """What left and what came, with a space between the two."""
    shown: list[SafeString] = []
    previous: Piece | None = None
    for piece in line.pieces:
        if previous and previous.kind == "old" and piece.kind == "new":
            shown.append(SafeString(" "))
        shown.append(format_html(MARKS[piece.kind], within_limits(piece)))
        previous = piece
    return format_html_join("", "{}", ((each,) for each in shown))


def within_limits(piece: Piece) -> str | SafeString:
    """The text of a piece, or its ends and how much of it is not shown."""
    most = MOST_ALIKE if piece.kind == "same" else MOST_TEXT
    if (hidden := len(piece.text) - most) <= 0:
        return piece.text
    ends = piece.text[: most // 2], f"{count(hidden)} characters are not shown here", piece.text[-most // 2 :]
    return format_html('{} <span class="muted">… {} …</span> {}', *ends)


@register.simple_tag
def changes(lines: Brief, kind: str = "") -> SafeString:
    """Several columns in one line of a list, and how many more there are; kind: of the change, where it is known."""
    if not lines and kind == "update":  # its row did change, or unchanged ones are kept too
        return SafeString('<span class="muted">nothing that is recorded changed</span>')
    told = format_html_join(
        ", ", '<span class="muted">{}</span> {}', ((line.name, pieces(line)) for line in lines)
    )
    return format_html('{} <span class="muted">and {} more</span>', told, lines.more) if lines.more else told


@register.filter
def in_order(row: dict[str, str | None], names: list[str]) -> list[str]:
    """The values of a row in the order of the columns, short; a dash for what it did not have."""
    return [short("null" if row[name] is None else str(row[name])) if name in row else "–" for name in names]
