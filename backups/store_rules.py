"""What a store does by itself, held against what the policies want of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from django.db.models import Q
from django.utils import timezone

from backups import catalogue
from backups.models import PointInTime, Policy, Store
from backups.retention import Rules
from backups.stores import Finding, StoreError
from backups.stores.bucket import Facts, Rule
from dbadmin import stores

if TYPE_CHECKING:
    from dbadmin.work import Work


@dataclass(frozen=True)
class Wanted:
    """How long backups of a store must be able to lie there; None: for ever."""

    days: int | None
    because: str


def longest(rules: Rules) -> tuple[str, int]:
    """The rule that may keep a backup longest, taken one a day, and up to which age; the limit on age cuts it."""
    ages = {
        "days": rules.days, "last": rules.last, "daily": rules.daily, "weekly": rules.weekly * 7,
        "monthly": rules.monthly * 31, "yearly": rules.yearly * 366, "proven": rules.proven,
    }  # fmt: skip
    name = max(ages, key=lambda each: ages[each])
    if rules.most_days is not None and rules.most_days < ages[name]:
        return "most_days", rules.most_days
    return name, ages[name]


def longest_days(rules: Rules) -> int:
    """The age up to which a rule may keep a backup."""
    return longest(rules)[1]


def wanted(store: Store) -> Wanted:
    """The longest wish of all policies whose backups or copies go there, of point-in-time recovery, and of others."""
    if for_ever := " and ".join(each.what for each in stores.held(store.name)):
        return Wanted(None, f"{for_ever} lie there for ever")
    # By its key, which one that is only tried has too.
    here = Q(store__key=store.key) | Q(store=None) | Q(copies__key=store.key)
    found = Policy.objects.filter(enabled=True).filter(here)
    wishes = [
        (days, f"the policy {policy.name} keeps backups for up to {days} days")
        for policy in found.distinct()
        for days in [longest_days(Rules.of(policy.rules))]
    ]
    if not wishes:
        return Wanted(None, "without a policy every backup is kept")
    points = PointInTime.objects.filter(enabled=True, store__key=store.key).select_related("server")
    wishes += [
        (days, f"point-in-time recovery of {point.server} needs base backups and WAL for up to {days} days")
        for point in points
        for days in [point.longest_days]
    ]
    return Wanted(*max(wishes))


def tried(store: Store, is_its_disk: bool) -> list[Finding]:
    """Write, list, read and delete; nothing stays, no directory either.

    is_its_disk: it is new there, or what lies there now is to be taken for it.
    """
    made: list[Path] = []
    try:
        if store.kind == Store.Kind.LOCAL and is_its_disk:
            store.is_marked = False
            made = [path for path in (store.path, *store.path.parents) if not path.exists()]
            store.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        else:
            catalogue.lacks_mark(store)
        return store.open().test()
    except StoreError as reason:
        return [Finding("Reach the store", False, str(reason))]
    except OSError as reason:
        says = f"The directory {store.path} cannot be made: {reason.strerror}. Enter another, or make it yourself."
        return [Finding("Reach the store", False, says)]
    finally:
        for path in made:
            with suppress(OSError):
                path.rmdir()


def look(store: Store) -> list[Finding]:
    """Ask the store; what it says of itself as lines of its test. A directory does nothing by itself."""
    facts = store.open().facts()
    return list(findings(store, facts, wanted(store))) if facts else []


@dataclass(frozen=True)
class Against:
    """What a store does by itself against the rules of a policy, and the rule that it concerns."""

    rule: str
    state: str
    says: str


def against(rules: Rules, places: Iterable[Store]) -> Iterator[Against]:
    """Where a store deletes earlier, or holds longer or shorter than the rules keep; asked in haste."""
    rule, days = longest(rules)
    wish = Wanted(days, f"this policy keeps backups for up to {days} days")
    for store in places:
        try:
            facts = store.open().in_haste().facts()
        except StoreError as why:
            yield Against(rule, "unknown", f"Whether {store} deletes by itself is unknown: {why}")
            continue
        for finding in [_lifecycle(facts, wish), *_held(store, facts, days)] if facts else []:
            if finding.state != "ok":
                yield Against(rule, finding.state, f"{finding.what} of {store}: {finding.says}")


def _held(store: Store, facts: Facts, days: int) -> Iterator[Finding]:
    """A lock that is not as long as the rules: space that is not freed, or backups that can be deleted."""
    locked = max(store.lock_days, facts.lock_days or 0) if facts.locks else 0
    says = f"an object is locked for {locked} days, but this policy keeps backups for up to {days} days. "
    if locked > days:
        says += "What it deletes stays and is paid for until then. Shorten the lock, or keep backups as long."
    else:
        says += (
            "After that whoever holds the keys can delete a backup. Lengthen the lock where that must not be."
        )
    if locked not in (0, days):
        yield Finding("Object lock", True, says[0].upper() + says[1:], "warning")


def note(store: Store) -> list[str]:
    """Before each backup: what contradicts the policy now, kept with the store, so that its page and alerts know it."""
    try:
        wrong = [finding for finding in look(store) if finding.state == "critical"]
    except StoreError:
        return []  # the backup itself will say so
    problem = f"{wrong[0].what}: {wrong[0].says}" if wrong else ""
    Store.objects.filter(pk=store.pk).update(tested_at=timezone.now(), test_problem=problem)
    return [f"{finding.what} of {store}: {finding.says}" for finding in wrong]


def tell_what_stays(store: Store, work: Work) -> None:
    """Once a run: whether what it deleted there is only hidden, and its room not free."""
    if store.pk in (told := work.facts.get("told_what_stays", [])):
        return
    work.remember(told_what_stays=[*told, store.pk])
    try:
        facts = store.open().in_haste().facts()
    except StoreError:
        return
    if facts is None or not facts.versions:
        return
    ends = [rule.noncurrent_days for rule in facts.rules or () if rule.noncurrent_days]
    until = f"for {min(ends)} days more" if ends else "until somebody deletes old versions"
    work.log(f"The bucket of {store} keeps versions: what was removed stays there and is paid for {until}.")


def findings(store: Store, facts: Facts, wish: Wanted) -> Iterator[Finding]:
    yield _lifecycle(facts, wish)
    yield from _cold(facts.rules or ())
    yield from _unfinished(facts)
    yield _lock(store, facts, wish)
    yield _encryption(store, facts)
    yield from _versions(facts)


def _unknown(what: str, facts: Facts, fact: str) -> Finding:
    return Finding(what, True, f"Unknown: {facts.why.get(fact, 'the store does not tell')}.", "unknown")


def _lifecycle(facts: Facts, wish: Wanted) -> Finding:
    what = "Lifecycle rules"
    if facts.rules is None:
        return _unknown(what, facts, "rules")
    ending = sorted((age, rule) for rule in facts.rules if (age := _age(rule)) is not None)
    if not ending:
        return Finding(what, True, "None deletes backups: only dbadmin does.")
    age, rule = ending[0]
    if wish.days is None or age < wish.days:
        mends = "Lengthen the rule, or shorten the policy."
        if wish.days is None:
            mends = "Remove the rule, or let it spare our folder."
        says = f"The rule {rule.name} deletes objects after {age} days, but {wish.because}. {mends}"
        return Finding(what, False, says)
    return Finding(what, True, f"The rule {rule.name} deletes after {age} days; {wish.because}.")


def _age(rule: Rule) -> int | None:
    """After how many days it deletes what is written now."""
    if rule.days is not None:
        return rule.days
    return max(0, (rule.date - timezone.now()) // timedelta(days=1)) if rule.date else None


def _cold(rules: Iterable[Rule]) -> Iterator[Finding]:
    for rule in rules:
        if rule.cold_days is not None:
            yield Finding(
                "Storage class",
                True,
                f"The rule {rule.name} freezes objects after {rule.cold_days} days: they must be thawed for hours "
                "before a restore, and cannot be proven meanwhile.",
                "warning",
            )


def _unfinished(facts: Facts) -> Iterator[Finding]:
    if facts.rules is not None and not any(rule.aborts_days for rule in facts.rules):
        yield Finding(
            "Unfinished uploads",
            True,
            "No rule aborts them. Add one (AbortIncompleteMultipartUpload, 7 days) for what a lost worker leaves.",
            "warning",
        )


def _lock(store: Store, facts: Facts, wish: Wanted) -> Finding:
    what = "Object lock"
    if facts.locks is None:
        if not store.lock_days:
            return _unknown(what, facts, "locks")
        return Finding(
            what, False, f"Asked for {store.lock_days} days, but {facts.why.get('locks', 'unknown')}."
        )
    if not facts.locks:
        if store.lock_days:
            return Finding(
                what,
                False,
                f"Asked for {store.lock_days} days, but the bucket has none. Make a bucket with a lock.",
            )
        return Finding(what, True, "None: whoever holds the keys can delete backups.", "unknown")
    days = max(store.lock_days, facts.lock_days or 0)
    if not days:
        return Finding(what, True, "The bucket can lock, but nothing asks it to.", "unknown")
    mode = "COMPLIANCE" if store.lock_days else facts.lock_mode
    says = f"{mode}, {days} days: until then nobody can delete a backup."
    if wish.days is not None and days > wish.days:
        return Finding(
            what, True, f"{says} That is longer than {wish.days} days of the policy; deleting frees no space before.",
            "warning",
        )  # fmt: skip
    return Finding(what, True, says)


def _encryption(store: Store, facts: Facts) -> Finding:
    what = "Encryption by the store"
    if facts.encryption is None:
        return _unknown(what, facts, "encryption")
    by_default = f"The bucket's own: {facts.encryption or 'none'}."
    asked = f"{store.encryption} is asked for with each object. " if store.encryption else ""
    return Finding(what, True, asked + by_default)


def _versions(facts: Facts) -> Iterator[Finding]:
    if facts.versions and facts.rules is not None and not any(rule.noncurrent_days for rule in facts.rules):
        yield Finding(
            "Versions",
            True,
            "The bucket keeps every version: what is deleted stays and is paid for. Add a rule that ends old versions "
            "(NoncurrentVersionExpiration).",
            "warning",
        )
