"""Retention never deletes what somebody will need, on any history."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from backups.retention import Candidate, Rules, decide, simulate, usual_interval

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)

candidates = st.lists(
    st.builds(
        Candidate,
        key=st.integers(0, 10**6),
        at=st.integers(0, 3 * 365 * 24).map(lambda hours: NOW - timedelta(hours=hours)),
        size_bytes=st.integers(0, 10**12),
        proven=st.booleans(),
        marked=st.booleans(),
        leased=st.booleans(),
    ),
    max_size=60,
    unique_by=lambda each: each.key,
)
numbers = st.integers(0, 20)
rules = st.builds(
    Rules, last=numbers, daily=numbers, weekly=numbers, monthly=numbers, yearly=numbers, days=numbers,
    most_days=st.none() | st.integers(0, 400), most_bytes=st.none() | st.integers(0, 10**12), proven=numbers,
    time_zone=st.sampled_from(["UTC", "Europe/Berlin", "America/New_York"]),
)  # fmt: skip


@given(candidates, rules)
def test_the_newest_proven_ones_are_never_deleted(backups: list[Candidate], chosen: Rules) -> None:
    kept = {decision.backup.key for decision in decide(backups, chosen, NOW) if decision.keep}
    proven = sorted(
        (each for each in backups if each.proven), key=lambda each: (each.at, each.key), reverse=True
    )
    assert {each.key for each in proven[: max(1, chosen.proven)]} <= kept


@given(candidates, rules)
def test_marked_and_leased_ones_are_never_deleted(backups: list[Candidate], chosen: Rules) -> None:
    for decision in decide(backups, chosen, NOW):
        assert decision.keep or not (decision.backup.marked or decision.backup.leased)


@given(candidates, rules)
def test_marked_ones_take_the_place_of_no_other(backups: list[Candidate], chosen: Rules) -> None:
    others = [each for each in backups if not each.marked]
    if any(each.proven for each in others):
        limitless = replace(chosen, most_bytes=None)
        alone = {each.backup.key for each in decide(others, limitless, NOW) if each.keep}
        beside = {each.backup.key for each in decide(backups, limitless, NOW) if each.keep}
        assert alone <= beside


@given(candidates, rules)
def test_nothing_is_deleted_while_backups_fail_or_none_is_proven(
    backups: list[Candidate], chosen: Rules
) -> None:
    assert all(decision.keep for decision in decide(backups, chosen, NOW, failing=True))
    if not any(each.proven for each in backups):
        assert all(decision.keep for decision in decide(backups, chosen, NOW))


@given(candidates, rules)
def test_every_decision_has_its_reason(backups: list[Candidate], chosen: Rules) -> None:
    decisions = decide(backups, chosen, NOW)
    assert len(decisions) == len(backups)
    assert all(
        decision.sentence().startswith("Kept: " if decision.keep else "Goes: ") for decision in decisions
    )
    assert all(decision.reasons for decision in decisions if decision.keep)


@given(candidates, rules)
def test_deciding_twice_deletes_nothing_more(backups: list[Candidate], chosen: Rules) -> None:
    kept = [decision.backup for decision in decide(backups, chosen, NOW) if decision.keep]
    assert all(decision.keep for decision in decide(kept, chosen, NOW))


@given(candidates, rules)
def test_a_limit_of_size_holds_unless_only_protected_ones_are_left(
    backups: list[Candidate], chosen: Rules
) -> None:
    kept = [decision for decision in decide(backups, chosen, NOW) if decision.keep]
    total = sum(decision.backup.size_bytes for decision in kept)
    if chosen.most_bytes is not None and total > chosen.most_bytes:
        assert all(decision.firm for decision in kept)


@given(candidates, rules, numbers)
def test_a_more_generous_rule_keeps_no_less(backups: list[Candidate], chosen: Rules, more: int) -> None:
    plain = Rules(**{**chosen.__dict__, "most_bytes": None})
    generous = Rules(**{**plain.__dict__, "daily": plain.daily + more, "last": plain.last + more})
    kept = {decision.backup.key for decision in decide(backups, plain, NOW) if decision.keep}
    assert kept <= {decision.backup.key for decision in decide(backups, generous, NOW) if decision.keep}


def daily(count: int) -> list[Candidate]:
    return [Candidate(number, NOW - timedelta(days=number), 100) for number in range(count)]


def test_generations_over_a_year_of_nights() -> None:
    chosen = Rules(last=0, daily=7, weekly=4, monthly=12, yearly=0, days=0, proven=1)
    decisions = decide(daily(400), chosen, NOW)
    kept = [decision for decision in decisions if decision.keep]
    days = sum("day" in reason for decision in kept for reason in decision.reasons)
    weeks = sum("week" in reason for decision in kept for reason in decision.reasons)
    months = sum("month" in reason for decision in kept for reason in decision.reasons)
    assert (days, weeks, months) == (7, 4, 12)
    assert min(decision.backup.at for decision in kept) < NOW - timedelta(days=300)


def test_the_reasons_are_said() -> None:
    chosen = Rules(last=1, daily=1, weekly=0, monthly=0, days=0, proven=1)
    first, second = decide(daily(2), chosen, NOW)
    assert first.sentence() == (
        "Kept: proven number 1 of the 1 that are never deleted; number 1 of the last 1; the newest of day 1 of 1."
    )
    assert second.sentence() == "Goes: no rule keeps it."


def test_a_clock_that_jumped_into_the_future_deletes_no_more_than_its_rules() -> None:
    later = NOW + timedelta(days=3650)
    kept = [decision for decision in decide(daily(30), Rules(proven=3), later) if decision.keep]
    assert len(kept) >= 9


def test_the_simulation_ends_where_the_rules_lead() -> None:
    chosen = Rules(last=3, daily=7, weekly=4, monthly=2, days=2, proven=2)
    story = simulate(daily(3), chosen, NOW, 90)
    assert len(story) == 90
    assert story[-1].count == len([each for each in decide(daily(200), chosen, NOW) if each.keep])
    assert all(day.size_bytes == day.count * 100 for day in story)


def test_the_usual_interval_is_the_median() -> None:
    assert usual_interval([each.at for each in daily(10)]) == timedelta(days=1)
    assert usual_interval([]) == timedelta(days=1)
