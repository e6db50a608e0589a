"""Policies applied to the catalogue: which rules hold for a database, and what they would delete now."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from django.db.models import Q

from backups.models import Backup, BackupKey, BackupQuerySet, Policy, Store
from backups.retention import Candidate, Decision, Rules, decide
from dbadmin.clocks import earlier_now
from dbadmin.models import Run, Server
from dbadmin.operations import Refused


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


def policy_for(
    server: Server, database: str, tried: Policy | None = None, without: Policy | None = None
) -> Policy | None:
    """The most particular one that covers it: database before server before tag before all.

    `tried`: one that is not saved yet, or not as it is here; `without`: one that is taken for removed.
    """
    saved = Policy.objects.filter(enabled=True).exclude(pk__in=[each.pk for each in (tried, without) if each])
    found = [*saved, tried] if tried else list(saved)
    return min(
        (policy for policy in found if _covers(policy, server, database)),
        key=lambda policy: (not policy.database, policy.server_id is None, not policy.tag, policy.name),
        default=None,
    )


@dataclass(frozen=True)
class Orders:
    """What holds for the next backup of a database: where it goes, for whom it is encrypted, how small it is made."""

    store: Store | None
    copies: tuple[Store, ...]
    keys: tuple[BackupKey, ...]
    level: int | None
    policy: str = ""

    @property
    def recipients(self) -> list[str]:
        return [key.recipient for key in self.keys]

    @property
    def sealing(self) -> str:
        """What the plan says of it."""
        names = ", ".join(key.name for key in self.keys)
        return f"encrypt for {names}" if names else "do not encrypt (no backup key has been made)"


def orders(server: Server, database: str) -> Orders:
    """As its policy says; where that is silent, every key in use and the only store there is."""
    policy, keys = policy_for(server, database), BackupKey.objects.filter(retired_at=None)
    stores = list(Store.objects.filter(enabled=True)[:2])
    only = stores[0] if len(stores) == 1 else None
    if policy is None:
        return Orders(only, (), tuple(keys), None)
    chosen = tuple(policy.keys.filter(retired_at=None))
    if policy.keys.exists() and not chosen:
        raise Refused(
            f"Every key that the policy {policy} encrypts for is retired. Choose another key in the policy."
        )
    copies = tuple(policy.copies.filter(enabled=True))
    return Orders(policy.store or only, copies, chosen or tuple(keys), policy.compression, policy.name)


def store_for(server: Server, database: str, chosen: str) -> Store:
    """The store that a person named, else the one that the orders name."""
    if chosen:
        named = Store.objects.filter(name=chosen).first()
        if named is None:
            raise Refused(f"There is no store {chosen}.", field="store")
        return named
    found = orders(server, database).store
    if found is None:
        raise Refused(f"No policy names a store for {database}. Choose one.", field="store")
    return found


def _covers(policy: Policy, server: Server, database: str) -> bool:
    if policy.server_id and policy.server_id != server.pk:
        return False
    if policy.tag and policy.tag not in server.tags:
        return False
    return not policy.database or policy.database == database


#: So many attempts are looked back at.
ATTEMPTS = 20
_FAILED = (Run.Status.FAILED, Run.Status.LOST, Run.Status.REFUSED)


def failed_attempts(server: Server, database: str) -> int:
    """How many of the newest attempts failed in a row; those that somebody cancelled tell nothing."""
    alone = Q(operation="take_backup", target=database)
    runs = Run.objects.filter(alone | Q(operation="take_all_backups"), server=server).exclude(
        status__in=[*Run.OPEN, Run.Status.CANCELLED]
    )
    count = 0
    for run in runs.order_by("-queued_at", "-pk")[:ATTEMPTS]:
        if not _failed(run, database):
            break
        count += 1
    return count


def _failed(run: Run, database: str) -> bool:
    """Of a run for all databases only those count that it names; one that never came to its end names none."""
    if run.status not in _FAILED:
        return False
    if run.operation == "take_backup":
        return True
    if (named := run.result.get("failed")) is not None:
        return database in named
    return not Backup.objects.filter(run=run, database=database).exists()


def is_failing(server: Server, database: str) -> bool:
    """Did the newest attempt fail?"""
    return failed_attempts(server, database) > 0


def copies_missing(server: Server, database: str, found: BackupQuerySet) -> int | None:
    """Good backups that do not lie whole in every store for copies; unknown where no policy asks for any."""
    policy = policy_for(server, database)
    wanted = set(policy.copies.filter(enabled=True).values_list("pk", flat=True)) if policy else set()
    if not wanted:
        return None
    good = found.good().prefetch_related("copies")
    return sum(
        bool(wanted - {backup.store_id} - {copy.store_id for copy in backup.copies.all() if not copy.problem})
        for backup in good
    )


def judge(server: Server, database: str, policy: Policy) -> Verdict:
    """What the policy's rules say about every backup of a database."""
    backups = {backup.pk: backup for backup in Backup.objects.of(server, database)}
    rules = Rules.of(policy.rules)
    now = earlier_now()
    decisions = decide(map(candidate, backups.values()), rules, now, is_failing(server, database))
    return Verdict(database, policy, [(backups[each.backup.key], each) for each in decisions])


def verdicts(server: Server) -> Iterable[Verdict]:
    """One for each database that has backups and a policy."""
    names = sorted(set(Backup.objects.of(server).values_list("database", flat=True)))
    for name in names:
        policy = policy_for(server, name)
        if policy:
            yield judge(server, name, policy)
