"""A moment is the one that was meant, also where clocks change, and what can be recovered is said whole."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from django import forms
from django.utils import timezone

from backups.bars import text
from backups.operations.recover_to_moment import MomentField
from backups.physical.chains import Hole, Recoverable, Window
from backups.physical.targets import outside

BERLIN = ZoneInfo("Europe/Berlin")
SECOND_HALF_PAST_TWO = datetime(2026, 10, 25, 1, 30, tzinfo=UTC)


def test_the_hour_that_comes_twice_is_written_with_its_zone_and_read_as_that() -> None:
    with timezone.override(BERLIN):
        written = text(SECOND_HALF_PAST_TWO)
        assert written == "2026-10-25 02:30:00+01:00"
        assert datetime.fromisoformat(MomentField().clean(written)) == SECOND_HALF_PAST_TWO
        assert text(SECOND_HALF_PAST_TWO + timedelta(hours=1)) == "2026-10-25 03:30:00"


@pytest.mark.parametrize("day", ["2026-10-25", "2026-03-29"])
def test_a_moment_that_clocks_showed_twice_or_never_is_not_guessed(day: str) -> None:
    with timezone.override(BERLIN), pytest.raises(forms.ValidationError) as refused:
        MomentField().clean(f"{day} 02:30")
    zones = ("+02:00", "+01:00") if day == "2026-10-25" else ("+01:00", "+02:00")
    assert refused.value.messages == [
        f"Clocks changed then: write the zone as well, {day} 02:30:00{zones[0]} or {day} 02:30:00{zones[1]}."
    ]


def test_windows_are_named_with_the_days_on_which_they_end() -> None:
    first = datetime(2026, 3, 1, 22, 0, tzinfo=UTC)
    windows = [
        Window(first, first + timedelta(days=3)),
        Window(first + timedelta(days=4), first + timedelta(days=5)),
    ]
    hole = Hole(windows[0].end, windows[1].start, "000000010000000000000007")
    assert outside(Recoverable([], windows, [hole]), first + timedelta(days=3, hours=1)) == (
        "2026-03-04 23:00:00 UTC cannot be recovered: the WAL segment 000000010000000000000007 is missing. What can: "
        "from 2026-03-01 22:00:00 to 2026-03-04 22:00:00 and from 2026-03-05 22:00:00 to 2026-03-06 22:00:00 UTC."
    )
