"""A reading as a table: sorted, filtered, paged; its cells are ready before the template sees them."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from html import escape
from typing import Any

from django.http import QueryDict
from django.utils.safestring import SafeString, mark_safe

from dbadmin import subjects, units
from dbadmin.addresses import changed, whole
from dbadmin.cells import is_code, is_identifier, label_cell, moment_cell, number_cell, opened_bytes
from dbadmin.charts import Figure
from dbadmin.operations import Operation
from dbadmin.probe_headers import Action
from dbadmin.probes import Column, Problem, Reading
from dbadmin.row_buttons import RowButtons, allowed, buttons_of

PAGE = 100
#: What the tables of a page weigh at most, in cells: no page has more than 1,500 tags or 60 kB. A table's frame, a
#: heading, a button, a link and the frame of a text that opens in place weigh as so many cells; the text by its bytes.
CELLS, FRAME, HEADING, BUTTON, LINK, OPENING, CELL_BYTES = 1000, 24, 2, 4, 3, 3, 40
#: Rows of a tree are set in no further than this.
DEEPEST = 4
#: Said after a label that two columns share.
KINDS = {
    "_seconds": " time", "_seconds_total": " time", "_bytes": " size", "_bytes_total": " size",
    "_ratio": " share", "_at": " at", "_count": " count",
}  # fmt: skip
MINUTE = 60
#: What an address says of one table asked for alone, which no other address takes over.
ALONE = {"panel", "room", "columns", "format"}
STATES = {"critical": "Critical", "warning": "Warning"}
Link = Callable[[Any], str]


def told_apart(columns: Sequence[Column]) -> dict[str, str]:
    """Name -> label; where another column is called the same, with the kind of its unit."""
    shared = Counter(column.label for column in columns)
    return {
        column.name: column.label + (KINDS.get(column.unit.suffix, "") if shared[column.label] > 1 else "")
        for column in columns
    }


@dataclass(frozen=True)
class Pager:
    """Where we are in a long list."""

    first: int
    last: int
    total: int
    previous_url: str = ""
    next_url: str = ""

    @property
    def text(self) -> str:
        """101–200 of 3 400."""
        return f"{units.count(self.first)}–{units.count(self.last)} of {units.count(self.total)}"


@dataclass
class TableView:
    """A reading, or any columns and rows, for _reading.html.

    prefix parts the parameters of several tables on a page (`sessions.sort=…`); links: column -> address of
    a row; live: seconds between refreshes by url, which answers with
    this very section; state_of: critical, warning or ""; ask_url: asks what is only asked when somebody wants it;
    more, more_url: the page that tells more; columns_url: where its columns are chosen.
    """

    id: str
    title: str
    columns: Sequence[Column]
    rows: Sequence[Any]
    params: QueryDict = field(default_factory=QueryDict)
    prefix: str = ""
    about: str = ""
    empty: str = "Nothing to show."
    empty_state: str = "ok"
    problem: Problem | None = None
    state_of: Callable[[Any], str] | None = None
    trips: Mapping[str, str] = field(default_factory=dict)
    actions: Sequence[tuple[type[Operation], Action]] = ()
    server_name: str = ""
    database: str = ""
    taken_at: datetime | None = None
    links: Mapping[str, Link] = field(default_factory=dict)
    limit: int = PAGE
    room: int = CELLS
    live: float | None = None
    url: str = ""
    read_note: str = ""
    stale: str = ""
    cut: int = 0
    csv_url: str = ""
    json_url: str = ""
    columns_url: str = ""
    searchable: bool | None = None
    ask_url: str = ""
    more: str = ""
    more_url: str = ""

    @classmethod
    def of(
        cls, reading: Reading, request: Any, server: Any, columns: Sequence[str] = (), **kwargs: Any
    ) -> "TableView":
        """The table of a reading, with its thresholds, buttons and notes."""
        probe = reading.probe
        params = request.GET
        shown = [column for column in reading.columns if not columns or column.name in columns]
        if columns:
            shown.sort(key=lambda column: list(columns).index(column.name))
        options: dict[str, Any] = {
            "about": probe.about,
            "empty": probe.empty,
            "problem": reading.problem,
            "server_name": str(server),
            "state_of": probe.state_of if probe.warning or probe.critical else None,
            "trips": {str(t.column): "" for t in (probe.warning, probe.critical) if t},
            "actions": allowed(probe.actions, request.user, server),
            "read_note": read_note(reading),
            "stale": stale_note(reading),
            "cut": reading.cut,
            "database": reading.database,
            "links": subjects.links(
                str(server), reading.database, [column.name for column in reading.columns]
            ),
            "taken_at": reading.taken_at,
            "url": changed(params, ALONE, panel=probe.name),
            "csv_url": changed(params, ALONE, format="csv", panel=probe.name),
            "json_url": changed(params, ALONE, format="json", panel=probe.name),
        }
        title = kwargs.pop("title", "") or probe.title
        return cls(probe.name, title, shown, reading.rows, params, **{**options, **kwargs})

    def name(self, parameter: str) -> str:
        """The address's word for sort, q or page of this table."""
        return f"{self.prefix}.{parameter}" if self.prefix else parameter

    def share(self, room: int) -> None:
        """Take no more of the page than this, also when only this table is asked for again."""
        self.room = room
        self.url = f"{self.url}&room={room}"

    def query(self, **changes: Any) -> str:
        """The address with this table's parameters changed; another order or filter starts at page one."""
        unwanted = {*ALONE, self.name("page"), *map(self.name, changes)}
        given = {self.name(name): str(value) for name, value in changes.items() if value not in (None, "")}
        return changed(self.params, unwanted, **given)

    @property
    def total(self) -> int:
        """Rows without the filter."""
        return len(self.rows)

    @property
    def filter(self) -> str:
        """What the person looks for."""
        return self.params.get(self.name("q"), "").strip()

    @property
    def filter_name(self) -> str:
        """The field's name."""
        return self.name("q")

    @property
    def is_searchable(self) -> bool:
        """A filter is offered where there is something to look through."""
        return self.searchable if self.searchable is not None else bool(self.filter) or len(self.rows) > 7

    @property
    def unfiltered_url(self) -> str:
        """Without the filter."""
        return self.query(q=None)

    @property
    def other_params(self) -> list[tuple[str, str]]:
        """What the filter's form keeps of the address."""
        dropped = {*ALONE, self.filter_name, self.name("page")}
        return [(name, self.params.get(name, "")) for name in self.params if name not in dropped]

    @cached_property
    def order(self) -> tuple[str, bool]:
        """Column and whether downwards; ("", False) is the probe's own order."""
        asked = self.params.get(self.name("sort"), "")
        name = asked.removeprefix("-")
        return (name, asked.startswith("-")) if any(c.name == name for c in self.columns) else ("", False)

    @cached_property
    def found(self) -> Sequence[Any]:
        """All rows that match, in order; unknown values come last in either direction."""
        rows = list(self.matching()) if self.filter else self.rows
        name, downwards = self.order
        if not name:
            return rows
        known = [row for row in rows if getattr(row, name) is not None]
        unknown = [row for row in rows if getattr(row, name) is None]
        try:
            known.sort(key=lambda row: getattr(row, name), reverse=downwards)
        except TypeError:  # values of several kinds
            known.sort(key=lambda row: str(getattr(row, name)), reverse=downwards)
        return known + unknown

    def matching(self) -> Iterable[Any]:
        """Rows with the filter's words in any of their texts."""
        words = self.filter.lower().split()
        names = [column.name for column in self.columns if not column.unit.numeric]
        for row in self.rows:
            text = " ".join(str(getattr(row, name)) for name in names).lower()
            if all(word in text for word in words):
                yield row

    @cached_property
    def bounds(self) -> tuple[int, int, int]:
        """The page, from one, its first row and the one after its last; a number beyond the end is the last page."""
        asked = whole(self.params.get(self.name("page"), "1")) or 1
        page, start, end = 1, 0, self.end_of(0)
        while page < asked and end < len(self.found):
            page, start, end = page + 1, end, self.end_of(end)
        return page, start, end

    def end_of(self, start: int) -> int:
        """Where a page that starts here ends."""
        return start + self.extent(start)[0]

    def extent(self, start: int) -> tuple[int, float]:
        """How many rows a page has that starts here, and what all of it weighs."""
        linked = sum(column.name in self.links for column in self.columns)
        row_cells = 1 + len(self.columns) + BUTTON * len(self.actions) + LINK * linked
        used = float(FRAME + HEADING * len(self.columns))
        most = max(0, min(self.limit, len(self.found) - start))
        if not self.opening:
            count = min(most, max(1, int(self.room - used) // row_cells))
            return count, used + count * row_cells
        for number in range(most):
            weight = row_cells + self.opened_cells(self.found[start + number])
            if number and used + weight > self.room:
                return number, used
            used += weight
        return most, used

    @cached_property
    def opening(self) -> list[str]:
        """The columns whose long texts open in place."""
        texts = [c for c in self.columns if not c.unit.numeric and c.unit.suffix != "_at"]
        return [column.name for column in texts if column.name not in self.links]

    def opened_cells(self, row: Any) -> float:
        """What the texts of a row that open in place weigh."""
        opened = [opened_bytes(getattr(row, name)) for name in self.opening]
        return sum(OPENING + size / CELL_BYTES for size in opened if size)

    @property
    def page(self) -> int:
        """From one."""
        return self.bounds[0]

    @cached_property
    def shown(self) -> Sequence[Any]:
        """The rows of this page."""
        _, start, end = self.bounds
        return self.found[start:end]

    @property
    def is_empty(self) -> bool:
        """No row to show."""
        return not self.found

    @property
    def pager(self) -> Pager | None:
        """Nothing when all rows are on one page."""
        count = len(self.found)
        page, start, end = self.bounds
        if end - start >= count:
            return None
        before = self.query(page=page - 1 if page > 2 else None) if page > 1 else ""
        after = self.query(page=page + 1) if end < count else ""
        return Pager(start + 1, end, count, before, after)

    @property
    def has_footer(self) -> bool:
        """Is there anything to say below the rows?"""
        return bool(self.read_note or self.stale or self.cut or self.csv_url or self.pager)

    @property
    def cut_note(self) -> str:
        """Said when the reading was longer than we keep."""
        return f"{units.count(self.cut)} more rows were left out." if self.cut else ""

    @cached_property
    def states(self) -> list[str]:
        """critical, warning or "" of each shown row."""
        return [self.state_of(row) for row in self.shown] if self.state_of else [""] * len(self.shown)

    @property
    def head(self) -> SafeString:
        """The heading cells: a link that sorts, downwards first for numbers."""
        cells = ['<th scope="col">Status</th>'] if any(self.states) else []
        now, downwards = self.order
        headings = told_apart(self.columns)
        rest = self.query(sort=None)
        sorting = f"{rest}{'&' if len(rest) > 1 else ''}{self.name('sort')}="
        for column in self.columns:
            number = self.is_number(column)
            down_first = number or column.unit.suffix == "_at"
            down = not downwards if column.name == now else down_first
            sort = f' aria-sort="{"descending" if downwards else "ascending"}"' if column.name == now else ""
            about = f' title="{escape(column.about)}"' if column.about else ""
            link = escape(f"{sorting}{'-' if down else ''}{column.name}")
            css = ' class="number"' if number else ' class="code"' if is_code(column.name) else ""
            cells.append(
                f'<th scope="col"{css}{sort}{about}><a href="{link}">{escape(headings[column.name])}</a></th>'
            )
        if self.actions:
            cells.append('<th scope="col" class="row-actions"><span class="sr">Actions</span></th>')
        return mark_safe("".join(cells))  # noqa: S308 - each part is escaped above

    @property
    def is_tree(self) -> bool:
        """Rows below others, as their depth says, which then needs no column; only in the tree's own order."""
        shown = any(column.name == "depth" for column in self.columns)
        return bool(self.rows) and hasattr(self.rows[0], "depth") and not shown and not self.order[0]

    def is_number(self, column: Column) -> bool:
        """Right-aligned: has a numeric unit, or holds whole numbers that name nothing."""
        if column.unit.numeric:
            return True
        if is_identifier(column.name) or column.unit.suffix:
            return False
        first = next(
            (v for v in (getattr(row, column.name) for row in self.shown[:20]) if v is not None), None
        )
        return isinstance(first, int) and not isinstance(first, bool)

    @property
    def body(self) -> SafeString:
        """The rows, each cell escaped; joined here because a template's loop costs ten times as much."""
        writers = [self.writer(column) for column in self.columns]
        any_state = any(self.states)
        is_tree = self.is_tree
        buttons = RowButtons(self.actions, self.server_name, self.database, self.taken_at)
        html = []
        for row, state in zip(self.shown, self.states, strict=True):
            cells = [write(row) for write in writers]
            if is_tree and row.depth:
                cells[0] = cells[0].replace('<td class="', f'<td class="depth-{min(row.depth, DEEPEST)} ', 1)
            if any_state:
                mark = f'<span class="status {state}">{STATES[state]}</span>' if state else ""
                cells.insert(0, f"<td>{mark}</td>")
            if self.actions:
                cells.append(f'<td class="row-actions">{"".join(buttons.of(row))}</td>')
            html.append(
                f'<tr class="{state}">{"".join(cells)}</tr>' if state else f"<tr>{''.join(cells)}</tr>"
            )
        return mark_safe("\n".join(html))  # noqa: S308 - each cell is escaped where it is written

    def writer(self, column: Column) -> Callable[[Any], str]:
        """How this column writes its cell of a row."""
        name, link = column.name, self.links.get(column.name)
        if column.unit.numeric:
            cell = number_cell(column, "number trips" if name in self.trips else "number")
            return lambda row: cell(getattr(row, name))
        if column.unit.suffix == "_at":
            moment = moment_cell()
            return lambda row: moment(getattr(row, name))
        write = label_cell(name)
        if link:
            return lambda row: write(getattr(row, name), link(row))
        return lambda row: write(getattr(row, name))


@dataclass
class FiguresView:
    """Key figures in a panel, for _figures_panel.html."""

    id: str
    title: str
    figures: Sequence[Figure]
    about: str = ""
    problem: Problem | None = None
    empty: str = "Nothing to show."
    live: float | None = None
    url: str = ""
    read_note: str = ""
    stale: str = ""
    buttons: SafeString | str = ""

    @classmethod
    def of(
        cls, reading: Reading, request: Any, server: Any, columns: Sequence[str] = (), **kwargs: Any
    ) -> "FiguresView":
        """The first row of a reading as figures, with its buttons; those that cross a threshold say so."""
        probe, row = reading.probe, reading.rows[0] if reading.rows else None
        names = columns or [column.name for column in reading.columns]
        labels = told_apart([probe.column(name) for name in names])
        figures = [figure(probe, row, name, labels[name]) for name in names if hasattr(row, name)]
        options: dict[str, Any] = {
            "about": probe.about,
            "problem": reading.problem,
            "empty": probe.empty,
            "read_note": read_note(reading),
            "stale": stale_note(reading),
            "url": changed(request.GET, panel=probe.name),
            "buttons": buttons_of(reading, row, request.user, server) if row else "",
        }
        return cls(probe.name, kwargs.pop("title", "") or probe.title, figures, **{**options, **kwargs})


def figure(probe: Any, row: Any, name: str, label: str) -> Figure:
    """One column of a row as a key figure."""
    state, column = probe.state_of(row), probe.column(name)
    threshold = getattr(probe, state) if state else None
    if threshold is None or threshold.column != name:
        return Figure.of(name, getattr(row, name), label=label, note=column.about)
    note = f"{STATES[state]}: {threshold.comparison} {column.unit.text(threshold.limit_for(row))}"
    return Figure.of(name, getattr(row, name), label=label, note=note, state=state)


def read_note(reading: Reading) -> str:
    """Read at 09:47:49 in database shop in 12 ms, each 5 min; what is read each minute or live shows it by itself."""
    where = f" in database {reading.database}" if reading.database else ""
    every = reading.probe.every or 0
    pace = f", each {units.duration(every)}" if every > MINUTE else ""
    return (
        f"Read at {units.moment(reading.taken_at)}{where} in {units.significant(reading.took_ms)} ms{pace}."
    )


def stale_note(reading: Reading) -> str:
    """Since when a reading was not renewed."""
    if not reading.is_stale:
        return ""
    age = units.duration(round(reading.age_seconds))
    return f"Not renewed since {units.moment(reading.taken_at)}, {age} ago."
