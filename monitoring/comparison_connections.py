"""Two windows side by side: how many connections there were, by state, role and database."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dbadmin.models import Server
from monitoring.blocks import column_named, find_source
from monitoring.comparison import SAME, TOO_FEW, Rates, Samples, Spans, factor, is_worth, known
from monitoring.keeper import lines_of
from monitoring.models import Source
from monitoring.series import kept_columns
from monitoring.significance import chance, clear


@dataclass(frozen=True)
class Connections:
    """A group of connections in both windows."""

    of: str
    name: str
    verdict: str
    mean_count: float | None
    mean_before_count: float | None
    highest_count: float | None
    highest_before_count: float | None


#: Reading -> what its lines are.
GROUPS = {
    "connections_by_state": "state",
    "connections_by_role": "role",
    "connections_by_database": "database",
}
CONNECTED = "connections_count"


def connections(server: Server, spans: Spans) -> list[Connections]:
    """All connections, then by state, role and database."""
    found: list[tuple[str, str, Rates, Rates]] = []
    for probe, kind in {"server_vitals": "all", **GROUPS}.items():
        source = find_source(server.pk, probe)
        if source is not None:
            found += groups(source, kind, [Samples(source, span) for span in (spans.before, spans.after)])
    chances = [chance(known(old), known(new)) for _, _, old, new in found]
    rows = [
        Connections(kind, name, word(old, new, one, is_sure), *ends(old, new))
        for (kind, name, old, new), one, is_sure in zip(found, chances, clear(chances), strict=True)
    ]
    return [row for row in rows if row.highest_count or row.highest_before_count]


def groups(source: Source, kind: str, parts: Sequence[Samples]) -> list[tuple[str, str, Rates, Rates]]:
    """(kind, name, parts before, parts now) of each line that a source has."""
    name = column_named(kept_columns(source), CONNECTED)
    if name is None:
        return []
    if kind == "all":
        return [(kind, "all connections", parts[0].of(name, None), parts[1].of(name, None))]
    keys = lines_of(source, {line for part in parts for line in part.past.lines()})
    return [
        (kind, str(key[0] or "(none)"), parts[0].of(name, line), parts[1].of(name, line))
        for line, key in sorted(keys.items(), key=lambda item: str(item[1]))
        if key
    ]


def ends(old: Rates, new: Rates) -> tuple[float | None, float | None, float | None, float | None]:
    """Mean now and before, highest part now and before."""
    now, before = known(new), known(old)
    return (
        sum(now) / len(now) if now else None,
        sum(before) / len(before) if before else None,
        max(now, default=None),
        max(before, default=None),
    )


def word(old: Rates, new: Rates, tested: float | None, is_sure: bool) -> str:
    """more, fewer, or that nothing can be said."""
    now, before, _, _ = ends(old, new)
    if tested is None or now is None or before is None:
        return TOO_FEW
    return factor("more", "fewer", now, before) if is_sure and is_worth(now, before) else SAME
