"""How a server is, and the reason: reached or not, sampled or not, and what its readings' thresholds say."""

from __future__ import annotations

import datetime as dt
import functools
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from django.db import connection
from django.utils import timezone

from dbadmin import history, readings, units
from dbadmin.addresses import where
from dbadmin.by_hand import all_of, read
from dbadmin.models import Server, ServerState
from dbadmin.navigation import address
from dbadmin.operations import REGISTRY
from dbadmin.pages import PAGES, Page
from dbadmin.permissions import may
from dbadmin.probes import PROBES
from dbadmin.readiness import checks_of, score

#: Without any answer for so long, nobody samples the server.
SILENT = dt.timedelta(minutes=4)
#: The fleet and each overview ask both; Django would take longer to write them than the answers take.
STATES = f"select {all_of(ServerState)} from dbadmin_serverstate where server_id = any(%s)"  # noqa: S608 - our own names
CROSSED = """
select server_id, database, probe, state, state_count, state_text, state_since, state_action::text
from dbadmin_storedreading where server_id = any(%s) and state <> ''
"""
ORDER = {"critical": 0, "warning": 1, "unknown": 2, "ok": 3}


@dataclass
class Finding:
    """One thing that needs attention: what, since when, where to look, what to do."""

    state: str
    text: str
    url: str
    since: dt.datetime | None = None
    operation_url: str = ""
    operation_title: str = ""


#: Where apps add what they know of a server: called with server and person.
SOURCES: list[Callable[[Server, Any], Iterable[Finding]]] = []


@dataclass
class Health:
    """A server's line in the fleet."""

    server: Server
    state: str
    reason: str
    reason_url: str = ""
    version: str = ""
    replica_of: str = ""
    connections: str = ""
    load: list[float | None] = field(default_factory=list)
    size: str = ""
    backup_at: dt.datetime | None = None
    backup_state: str = ""
    backup_note: str = ""
    #: Percent of the readiness checks that are fine.
    score: int | None = None
    seen_at: dt.datetime | None = None
    #: State and reason when it gives no answer; the readings that cross their thresholds.
    silence: tuple[str, str] = ("", "")
    crossed: list[Any] = field(default_factory=list)


@functools.cache
def shown_on(probe: str) -> Page | None:
    """The first page with a panel of a probe."""
    pages = (page for page in PAGES.values() if not page.subject)
    return next((page for page in pages if any(panel.probe == probe for panel in page.panels)), None)


def page_of(server: Server, probe: str) -> str:
    """The room that shows a probe, at its panel; else the probe alone."""
    page = shown_on(probe)
    return f"{address(page, server.name)}#{probe}" if page else where("probe", server.name, probe)


def reached(state: ServerState | None) -> tuple[str, str]:
    """(state, reason) by whether the sampler gets answers; ("", "") when it does."""
    if state is None or state.asked_at is None:
        return "unknown", "Not read yet: the sampler has not come to it."
    if state.trouble:
        since = f" since {units.moment(state.reached_at)}" if state.reached_at else ""
        return "critical", f"No answer{since}: {state.trouble.get('message', '')}"
    if timezone.now() - state.asked_at > SILENT:
        return "warning", f"No sampler has read it since {units.moment(state.asked_at)}."
    return "", ""


def sentence(row: Any) -> str:
    """Long transactions: pid 4711: 12 min (and 3 more)."""
    probe = PROBES[row["probe"]]
    more = f" (and {units.count(row['state_count'] - 1)} more)" if row["state_count"] > 1 else ""
    return f"{probe.title}: {row['state_text']}{more}"


def crossed(servers: Iterable[Server]) -> dict[int, list[Any]]:
    """The readings that cross their thresholds, worst first, by server."""
    found: dict[int, list[Any]] = {}
    known = {server.pk: server for server in servers}
    with connection.cursor() as cursor:
        cursor.execute(CROSSED, [list(known)])
        names = [column.name for column in cursor.description or ()]
        rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    for row in rows:
        probe = PROBES.get(row["probe"])
        if probe and probe.is_judged_on(known[row["server_id"]]):
            row["state_action"] = json.loads(row["state_action"])
            found.setdefault(row["server_id"], []).append(row)
    for each in found.values():
        each.sort(key=lambda row: (ORDER[row["state"]], row["probe"]))
    return found


SHOWN = ("server_facts", "server_vitals", "database_sizes", "backup_age", "readiness")


def fleet(servers: Iterable[Server]) -> list[Health]:
    """All of them, worst first; replicas right after their primary, whose rank is that of the worst of them."""
    servers = list(servers)
    keys = [server.pk for server in servers]
    states = {state.server_id: state for state in read(ServerState, STATES, [keys])}
    findings = crossed(servers)
    shown = readings.latest_of(servers, SHOWN)
    lines = [line(server, states.get(server.pk), findings.get(server.pk, []), shown) for server in servers]
    heads = {each.server.pk: each.server.primary or each.server for each in lines}
    ranks: dict[int, int] = {}
    for each in lines:
        head = heads[each.server.pk].pk
        ranks[head] = min(ORDER[each.state], ranks.get(head, ORDER["ok"]))

    def place(each: Health) -> tuple[int, str, bool, int, str]:
        head = heads[each.server.pk]
        return (ranks[head.pk], head.name, head != each.server, ORDER[each.state], each.server.name)

    return sorted(lines, key=place)


def seen_by(user: Any, lines: list[Health]) -> list[Health]:
    """What the person may know of each: of a server whose statistics they may not see, that it is there."""
    return [
        each
        if may(user, "monitoring.view", each.server)
        else Health(each.server, "", "", replica_of=each.replica_of)
        for each in lines
    ]


def of(server: Server) -> Health:
    """One server's."""
    return fleet([server])[0]


def line(server: Server, state: ServerState | None, findings: list[Any], shown: dict[Any, Any]) -> Health:
    """Put one together."""
    silence = status, reason = reached(state)
    url = ""
    if not status and findings:
        worst = findings[0]
        status, reason, url = worst["state"], sentence(worst), page_of(server, worst["probe"])
        if worst["state_since"]:
            reason += f" since {units.moment(worst['state_since'])}"
        others = len(findings) - 1
        reason += f", and {others} more" if others else ""
    known = {probe: reading for (pk, _, probe), reading in shown.items() if pk == server.pk}
    mine = {probe: reading.rows for probe, reading in known.items()}
    vitals = next(iter(mine.get("server_vitals", [])), None)
    facts = next(iter(mine.get("server_facts", [])), None)
    sizes = [row.size_bytes for row in mine.get("database_sizes", []) if row.size_bytes is not None]
    backup = backup_of(mine.get("backup_age", []))
    return Health(
        server,
        status or "ok",
        reason or "OK",
        url,
        version=str(getattr(facts, "version", "") or ""),
        replica_of=server.primary.name if server.primary else "",
        connections=units.count(vitals.connections_count) if vitals else "",
        load=load_of(server),
        size=units.size(sum(sizes)) if sizes else "",
        backup_at=backup[0],
        backup_state=backup[1],
        backup_note=backup[2],
        score=score(checks_of(known["readiness"])) if "readiness" in known else None,
        seen_at=state.reached_at if state else None,
        silence=silence,
        crossed=findings,
    )


def backup_of(rows: list[Any]) -> tuple[dt.datetime | None, str, str]:
    """When the last proven backup of each database was taken, the oldest; a warning that says how many have none."""
    moments = [moment for row in rows if (moment := getattr(row, "proven_at", None)) is not None]
    if not rows:
        return None, "", ""
    if len(moments) == len(rows):
        return min(moments), "", ""
    return min(moments, default=None), "warning", f"{len(moments)} of {len(rows)} databases"


def load_of(server: Server) -> list[float | None]:
    """Transactions over the last hour, thinned for a sparkline."""
    now = timezone.now()
    lines = history.lines(server, "server_vitals", "commits_total", now - dt.timedelta(hours=1), now)
    return [value for _, value in lines[0].points] if lines else []


def findings(server: Server, user: Any = None, known: Health | None = None) -> list[Finding]:
    """What needs attention on one server, worst first."""
    known = known or of(server)
    status, reason = known.silence
    found = [Finding(status, reason, "")] if status else []
    found += [finding(server, user, row) for row in known.crossed]
    found += [each for source in SOURCES for each in source(server, user)]
    return sorted(found, key=lambda each: ORDER[each.state])


def finding(server: Server, user: Any, row: Any) -> Finding:
    """A reading that crosses its threshold, with the operation that mends its first row."""
    where = f", in database {row['database']}" if row["database"] else ""
    url, title = operation_of(server, user, row)
    looks = page_of(server, row["probe"])
    if row["database"]:
        path, _, anchor = looks.partition("#")
        looks = f"{path}?{urlencode({'db': row['database']})}" + (f"#{anchor}" if anchor else "")
    return Finding(row["state"], sentence(row) + where, looks, row["state_since"], url, title)


def operation_of(server: Server, user: Any, row: Any) -> tuple[str, str]:
    """The preview that mends the first row, and its name; nothing for those who may not do it."""
    action = row["state_action"]
    operation = REGISTRY.get(action.get("operation", ""))
    if operation is None or user is None or not may(user, operation.permission(), server):
        return "", ""
    params = dict(action["params"])
    if row["database"] and "database" in operation.Form.base_fields:
        params["database"] = row["database"]
    return f"{where('operate', server.name, operation.name)}?{urlencode(params)}", operation.title
