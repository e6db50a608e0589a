"""The buttons of a row: operations with their forms filled from its columns."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from html import escape
from typing import Any
from urllib.parse import urlencode

from django.utils.safestring import SafeString, mark_safe

from dbadmin.addresses import where
from dbadmin.operations import REGISTRY, Operation, Risk
from dbadmin.permissions import may
from dbadmin.probe_headers import Action
from dbadmin.probes import Reading

#: The form, in the frame of every page, that the buttons of all rows send, each to an address of its own: a panel
#: holds no token, so that it is the same for all who have the same rights.
START_FORM = "start"
#: Buttons of a row at most.
MOST = 2

Offered = Sequence[tuple[type[Operation], Action]]


@dataclass(frozen=True)
class RowButtons:
    """What the rows of a reading offer. short: a row shows the verb alone where that is clear."""

    actions: Offered
    server_name: str
    database: str = ""
    taken_at: datetime | None = None
    short: bool = True

    @cached_property
    def places(self) -> dict[str, str]:
        """The page of each operation."""
        return {each.name: where("operate", self.server_name, each.name) for each, _ in self.actions}

    def of(self, row: Any) -> Iterable[str]:
        """The row's buttons: a click on a harmless one starts it, the others lead to a preview, filled in."""
        for operation, action in self.actions:
            values = {name: getattr(row, column, None) for name, column in action.fields}
            if any(value is None for value in values.values()):
                continue
            if self.database and "database" in operation.Form.base_fields:
                values["database"] = self.database
            if self.taken_at and "seen_at" in operation.Form.base_fields:
                values["seen_at"] = self.taken_at.isoformat()
            link = escape(f"{self.places[operation.name]}?{urlencode(values)}")
            verb = self.verb(operation.title)
            if starts_at_once(operation):
                yield f'<button class="small" form="{START_FORM}" formaction="{link}">{verb}</button>'
                continue
            danger = " danger" if operation.risk is Risk.DESTROYS else ""
            yield f'<a class="button small{danger}" href="{link}">{verb}…</a>'

    def verb(self, title: str) -> str:
        """Cancel (statement): a row shows the verb alone, unless two of its buttons begin alike."""
        first, _, rest = title.partition(" ")
        alike = sum(other.title.startswith(f"{first} ") for other, _ in self.actions) > 1
        if not rest or alike or not self.short:
            return escape(title)
        return f'{escape(first)}<span class="sr"> {escape(rest)}</span>'


def allowed(actions: Sequence[Action], user: Any, server: Any, most: int | None = MOST) -> Offered:
    """The actions that this person may take here."""
    known = [(REGISTRY[action.operation], action) for action in actions if action.operation in REGISTRY]
    return [pair for pair in known if may(user, pair[0].permission(), server)][:most]


def buttons_of(reading: Reading, row: Any, user: Any, server: Any) -> SafeString:
    """All that a reading of one row offers, with whole titles."""
    actions = allowed(reading.probe.actions, user, server, None)
    buttons = RowButtons(actions, str(server), reading.database, reading.taken_at, short=False)
    return mark_safe("".join(buttons.of(row)))  # noqa: S308 - each part is escaped where it is written


def starts_at_once(operation: type[Operation]) -> bool:
    """Harmless whatever its parameters are: nobody needs a preview of it."""
    return operation.risk is Risk.HARMLESS
