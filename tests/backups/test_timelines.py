"""Where a replica took over, a base backup leads on only if the new timeline descends from it."""

from datetime import UTC, datetime, timedelta

import pytest

from backups.models import BaseBackup, PointInTime, Store, WalSegment
from backups.physical.chains import Chain, Link, Wal, to_head
from backups.physical.marks import Mark, packed
from backups.physical.targets import Target, route
from backups.physical.wal import parse_history
from dbadmin.models import Server

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
SIZE = 16 << 20


def at(minutes: int) -> datetime:
    return NOON + timedelta(minutes=minutes)


def base(segment: int, timeline: int = 1) -> BaseBackup:
    """One that begins and ends in this segment."""
    return BaseBackup(
        timeline=timeline,
        start_lsn=segment * SIZE + 40,
        end_lsn=segment * SIZE + 4000,
        consistent_at=at(segment),
    )


def promoted() -> Wal:
    """The old primary wrote segments 1 to 5; the replica took over in the middle of 3, and is in 4."""
    old = [Link(1, number, (number + 1) * SIZE, at(number + 1)) for number in range(1, 6)]
    new = [Link(2, number, (number + 1) * SIZE, at(number + 10)) for number in (3, 4)]
    return Wal([*old, *new], {2: parse_history(2, "1\t0/3800000\tno recovery target specified\n")}, SIZE)


def test_a_base_backup_before_the_change_leads_on_to_the_new_timeline() -> None:
    chain = promoted().follow(base(1))
    assert (chain.timeline, chain.end_lsn, chain.until_at, chain.missing) == (2, 5 * SIZE, at(14), "")


def test_one_that_the_old_primary_made_after_the_change_leads_to_where_that_ended_and_no_further() -> None:
    chain = promoted().follow(base(4))
    assert (chain.timeline, chain.end_lsn, chain.until_at, chain.missing) == (1, 6 * SIZE, at(6), "")


def test_what_the_new_primary_has_written_since_is_not_said_to_be_in_the_old_ones_chain() -> None:
    wal = promoted()
    point = PointInTime(covered_lsn=5 * SIZE, covered_at=at(20))
    assert until(to_head(wal.follow(base(1)), point, wal.newest)) == at(20)
    assert until(to_head(wal.follow(base(4)), point, wal.newest)) == at(6)


@pytest.mark.django_db
def test_what_the_old_primary_wrote_after_the_change_need_not_be_reached(
    server: Server, store: Store
) -> None:
    point = PointInTime.objects.create(
        server=server, store=store, slot="s", system_id="1", segment_bytes=SIZE
    )
    switched = 0x3800000
    for timeline, number, marks in (
        (1, 3, [Mark(at(3), switched - 100), Mark(at(4), switched + 5000)]),
        (2, 3, [Mark(at(6), switched + 200)]),
        (2, 4, [Mark(at(8), switched + SIZE)]),
    ):
        WalSegment.objects.create(
            server=server, store=store, system_id="1", name=f"{timeline}-{number}", key="k", timeline=timeline,
            number=number, end_lsn=(number + 1) * SIZE, plain_bytes=SIZE, stored_bytes=1, stored_at=NOON,
            marks=packed(marks), until_at=marks[-1].at,
        )  # fmt: skip
    wal = promoted()
    for minutes, floor in ((5, switched - 100), (7, switched + 200)):
        found = route(point, wal, wal.follow(base(1)), Target("time", at(minutes)))
        assert (found.floor and found.floor.lsn, found.must_reach) == (floor, floor)


def until(chain: Chain) -> datetime | None:
    return chain.until_at
