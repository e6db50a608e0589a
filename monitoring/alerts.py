"""From judgements to alerts: opened when something lasts, changed while it does, resolved when it is well."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import Any

from django.db import IntegrityError, transaction
from django.utils import timezone

from dbadmin.models import Server
from dbadmin.probes import PROBES
from monitoring.alert_models import RANK, Alert, AlertRule
from monitoring.judging import Judgement, Key, Verdict
from monitoring.models import Mark, Statement

#: Alerts of one rule that one reading opens; the worst first.
MOST = 20
#: An alert whose matter does nothing any more ends after so long.
QUIET = dt.timedelta(minutes=30)
#: An open alert that stays as it is is written this often.
REFRESH = dt.timedelta(minutes=1)
#: How a statement is called, with its number, until its text is fetched.
UNTOLD = "statement "


class Book:
    """Alerts of one server: which are open, and what has been wrong since when without being one yet."""

    def __init__(self, server: Server | None) -> None:
        self.server = server
        self.since: dict[tuple[int, str, Key], dt.datetime] = {}
        self.open: dict[tuple[int, str, Key], Alert] = {}

    def read(self) -> None:
        """What is open, as the control database knows it."""
        found = Alert.objects.filter(server=self.server, resolved_at=None).exclude(rule=None)
        self.open = {(alert.rule_id or 0, *alert.key): alert for alert in found}

    def enter(self, rule: AlertRule, database: str, judgement: Judgement) -> None:
        """Compare what was judged with what is known, and write down the difference."""
        begun = []
        for key, verdict in judgement.verdicts.items():
            place = (rule.pk, database, key)
            alert = self.open.get(place)
            if not verdict.severity:
                self.since.pop(place, None)
                if alert is not None:
                    self.calm(alert, verdict, judgement.at)
            elif alert is not None:
                if alert.row_name.startswith(UNTOLD):
                    alert.row_name = row_name(rule, self.server, verdict)
                update(alert, verdict, judgement.at)
            else:
                since = self.since.setdefault(place, judgement.at)
                if self.lasts(rule, since, judgement.at):
                    begun.append((verdict, since))
        begun.sort(key=lambda each: (-RANK[each[0].severity], each[0].name))
        for verdict, since in begun[:MOST]:
            self.begin(rule, database, verdict, since, judgement.at)
        self.miss(rule, database, judgement)

    @staticmethod
    def lasts(rule: AlertRule, since: dt.datetime, now: dt.datetime) -> bool:
        """Long enough to be said? Numbers made of increases are means over that time already."""
        if rule.measure != AlertRule.Measure.VALUE:
            return True
        return (now - since).total_seconds() >= rule.for_seconds

    def begin(
        self, rule: AlertRule, database: str, verdict: Verdict, since: dt.datetime, now: dt.datetime
    ) -> None:
        """An alert opens, unless another process opened it a moment ago."""
        alert = Alert(
            rule=rule,
            name=rule.name,
            server=self.server,
            database=database,
            row_key=list(verdict.key),
            row_name=row_name(rule, self.server, verdict),
            severity=verdict.severity,
            since=since,
            opened_at=now,
            last_value=verdict.value,
            last_at=now,
            text=verdict.text,
            evidence=evidence_of(verdict),
        )
        try:
            with transaction.atomic():
                alert.save()
                alert.note("opened", sentence(alert))
                mark(alert, now, str(alert), verdict.severity)
        except IntegrityError:
            return
        self.open[(rule.pk, *alert.key)] = alert
        self.since.pop((rule.pk, *alert.key), None)

    def calm(self, alert: Alert, verdict: Verdict, now: dt.datetime) -> None:
        """Below the limit: the end if it is beyond the clear value, else still open with its new value."""
        if verdict.is_well and verdict.text.endswith("."):
            self.end(alert, now, verdict.text)
        elif verdict.is_well:
            alert.last_value = verdict.value
            self.end(alert, now, f"Back at {verdict.text}." if verdict.text else "It is well again.")
        else:
            alert.last_value, alert.text, alert.last_at = verdict.value, verdict.text, now
            alert.save(update_fields=["last_value", "text", "last_at"])

    def miss(self, rule: AlertRule, database: str, judgement: Judgement) -> None:
        """Rows that are gone end their alerts; those of which nothing is known stay as they are."""
        for (rule_id, where, key), alert in list(self.open.items()):
            if rule_id != rule.pk or where != database or key in judgement.verdicts:
                continue
            if judgement.is_whole and key not in judgement.unknown:
                self.end(alert, judgement.at, "It is no longer there.")
            elif rule.measure in QUIETENS and judgement.at - alert.last_at > QUIET:
                self.end(alert, judgement.at, "Too little was done for a while to speak of it.")
        if judgement.is_whole:
            for place in [place for place in self.since if place[:2] == (rule.pk, database)]:
                if place[2] not in judgement.verdicts and place[2] not in judgement.unknown:
                    del self.since[place]

    def end(self, alert: Alert, now: dt.datetime, because: str) -> None:
        """It is over."""
        self.open.pop((alert.rule_id or 0, *alert.key), None)
        resolve(alert, now, because)


#: Measures whose rows are silent when nothing is done.
QUIETENS = {AlertRule.Measure.PER, AlertRule.Measure.SHARE}


def evidence_of(verdict: Verdict) -> dict[str, Any]:
    """What is kept with an alert; the control database keeps no order of a row's columns."""
    return {"row": verdict.row, "columns": list(verdict.row), "baseline": verdict.baseline}


def update(alert: Alert, verdict: Verdict, now: dt.datetime) -> None:
    """Still so, better or worse; the highest severity stays until the end."""
    worse = RANK[verdict.severity] > RANK[alert.severity]
    same = alert.last_value == verdict.value and alert.text == verdict.text
    if not worse and same and now - alert.last_at < REFRESH:
        return
    alert.last_value, alert.last_at, alert.text = verdict.value, now, verdict.text
    if verdict.row:
        alert.evidence = evidence_of(verdict)
    if worse:
        alert.severity = verdict.severity
        alert.acknowledged_at, alert.acknowledged_by = None, ""
        alert.note("worse", f"It is {verdict.severity} now: {sentence(alert)}")
    alert.save(
        update_fields=[
            "last_value", "last_at", "text", "evidence", "severity", "acknowledged_at", "acknowledged_by", "row_name",
        ]
    )  # fmt: skip


def resolve(alert: Alert, now: dt.datetime, because: str) -> None:
    """Write its end."""
    alert.resolved_at, alert.resolved_because, alert.last_at = now, because, now
    with transaction.atomic():
        changed = Alert.objects.filter(pk=alert.pk, resolved_at=None).update(
            resolved_at=now, resolved_because=because, last_value=alert.last_value, last_at=now
        )
        if changed:
            alert.note("resolved", because)
            mark(alert, now, f"{alert}: over", "ok")


def mark(alert: Alert, at: dt.datetime, text: str, state: str) -> None:
    """An upright line on the charts of the server; chores that nobody is told of leave none."""
    if alert.server_id is not None and alert.rule is not None and alert.rule.tells:
        facts = {"alert": alert.pk, "state": state}
        Mark.objects.create(server_id=alert.server_id, at=at, kind="alert", text=text[:200], facts=facts)


def sentence(alert: Alert) -> str:
    """Vital signs: connections: 91 %, above 90 %."""
    where = f" in {alert.database}" if alert.database else ""
    return f"{alert}{where}: {alert.text}" if alert.text else f"{alert}{where}"


def row_name(rule: AlertRule, server: Server | None, verdict: Verdict) -> str:
    """A row's name; of a statement its text."""
    if rule.probe != "statements" or server is None:
        return verdict.name
    query_id = int(verdict.row.get("query_id") or 0)
    found = Statement.objects.filter(server=server, query_id=query_id).select_related("text").first()
    return " ".join(str(found.text).split())[:200] if found and found.text else f"{UNTOLD}{query_id}"


def states(server: Server | None, rule: AlertRule, seconds: float | None, text: str, name: str = "") -> None:
    """Enter how long a process or a server as a whole has been away; None if it is not."""
    now = timezone.now()
    book = Book(server)
    book.read()
    found = Judgement(now)
    limit = rule.critical if rule.critical is not None else rule.warning
    if seconds is not None and limit is not None and seconds > limit:
        severity = "critical" if rule.critical is not None and seconds > rule.critical else "warning"
        found.verdicts[()] = Verdict((), name, seconds, severity, False, text)
        book.since[(rule.pk, "", ())] = now - dt.timedelta(seconds=seconds)
    elif seconds is None:
        found.verdicts[()] = Verdict((), name, 0.0, "", True, "")
    else:
        found.is_whole = False
    book.enter(rule, "", found)


def narrowest(rules: Iterable[AlertRule], server: Server | None) -> list[AlertRule]:
    """The rules that hold on a server: of one subject only those with the narrowest scope."""
    best: dict[tuple[str, ...], list[AlertRule]] = {}
    for rule in rules:
        probe = PROBES.get(rule.probe)
        if not rule.covers(server) or (probe and not probe.is_judged_on(server)):
            continue
        others = best.setdefault(rule.subject, [])
        if others and others[0].narrowness > rule.narrowness:
            continue
        if others and others[0].narrowness < rule.narrowness:
            others.clear()
        others.append(rule)
    return [rule for rules in best.values() for rule in rules if rule.enabled]


def end_orphans() -> None:
    """Alerts whose rule was removed, switched off or narrowed elsewhere, or whose probe is no more, end."""
    now = timezone.now()
    rules = list(AlertRule.objects.all())
    kept: dict[Any, set[int]] = {}
    for alert in Alert.objects.filter(resolved_at=None).select_related("server", "rule"):
        holding = kept.setdefault(alert.server_id, {rule.pk for rule in narrowest(rules, alert.server)})
        if alert.rule_id not in holding:
            resolve(alert, now, "Its rule was removed, switched off, or holds elsewhere now.")
        elif alert.server is not None and not alert.server.enabled:
            resolve(alert, now, "The server is switched off here.")
        elif alert.rule and alert.rule.probe and alert.rule.probe not in PROBES:
            resolve(alert, now, f"There is no reading {alert.rule.probe} any more.")
