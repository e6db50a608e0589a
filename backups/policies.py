"""Policies applied to the catalogue: which rules hold for a database, and what they would delete now."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from django.utils import timezone

from backups.models import Backup, Policy
from backups.retention import Candidate, Decision, Rules, decide
from dbadmin.models import Run, Server


@dataclass(frozen=True)
class Verdict:
    """The decisions about all backups of one database."""

    database: str
    policy: Policy
    decisions: list[tuple[Backup, Decision]]

    @property
    def going(self) -> list[tuple[Backup, Decision]]:
        return [(backup, decision) for backup, decision in self.decisions if not decision.keep]


def candidate(backup: Backup) -> Candidate:
    """A backup of a part counts as no proof of the whole."""
    whole = not backup.selection.get("schemas") and not backup.selection.get("tables")
    proven = whole and not backup.problem and (backup.read_at is not None or backup.restored_at is not None)
    return Candidate(backup.pk, backup.started_at, backup.stored_bytes, proven, backup.keep, backup.is_leased)


def policy_for(server: Server, database: str) -> Policy | None:
    """The most particular one that covers it: database before server before tag before all."""
    found = [policy for policy in Policy.objects.filter(enabled=True) if _covers(policy, server, database)]
    return min(
        found,
        key=lambda policy: (not policy.database, policy.server_id is None, not policy.tag),
        default=None,
    )


def _covers(policy: Policy, server: Server, database: str) -> bool:
    if policy.server_id and policy.server_id != server.pk:
        return False
    if policy.tag and policy.tag not in server.tags:
        return False
    return not policy.database or policy.database == database


def is_failing(server: Server, database: str) -> bool:
    """Did the newest attempt fail?"""
    runs = Run.objects.filter(server=server, operation="take_backup", target=database)
    newest = runs.exclude(status__in=Run.OPEN).first()
    return newest is not None and newest.status in (Run.Status.FAILED, Run.Status.LOST, Run.Status.REFUSED)


def judge(server: Server, database: str, policy: Policy) -> Verdict:
    """What the policy's rules say about every backup of a database."""
    backups = {backup.pk: backup for backup in Backup.objects.of(server, database)}
    rules = Rules.of(policy.rules)
    decisions = decide(map(candidate, backups.values()), rules, timezone.now(), is_failing(server, database))
    return Verdict(database, policy, [(backups[each.backup.key], each) for each in decisions])


def verdicts(server: Server) -> Iterable[Verdict]:
    """One for each database that has backups and a policy."""
    names = sorted(set(Backup.objects.of(server).values_list("database", flat=True)))
    for name in names:
        policy = policy_for(server, name)
        if policy:
            yield judge(server, name, policy)
