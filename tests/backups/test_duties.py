"""What the scheduler begins by itself for backups, and what is told where it cannot."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from backups import duties
from backups.models import PointInTime, Store
from dbadmin.connections import Session
from dbadmin.models import Run, Server
from dbadmin.probes import PROBES
from monitoring.alert_models import AlertRule
from tests.carrying_out import carry_out, operation

LOST = (
    "viewer may not do this (any more): This needs the role admin or operator on shop. Let an admin carry out “Change "
    "point-in-time recovery”: base backups are then taken in that admin's name."
)
GONE = (
    "Its owner, who is gone, may not do this (any more): It belongs to nobody; let somebody with the right start it. "
    "Let an admin carry out “Change point-in-time recovery”: base backups are then taken in that admin's name."
)


@pytest.fixture
def point(server: Server, store: Store) -> PointInTime:
    """Switched on, received, without a base backup."""
    return PointInTime.objects.create(
        server=server, store=store, slot="dbadmin_shop", system_id="1", seen_at=timezone.now()
    )


def told(server: Server, target: Session) -> Any:
    """What the probe says of base backups."""
    (row,) = PROBES["recovery_windows"].read(Session(target.connection, server)).rows
    return row.base_problem


def test_that_base_backups_end_with_the_right_of_a_person_is_told_once_and_alerted(
    point: PointInTime, server: Server, target: Session, user_as: Callable[..., Any]
) -> None:
    assert told(server, target) is None
    point.made_by = user_as("viewer")
    point.save()
    assert duties.take_due() == duties.take_due() == []
    (run,) = Run.objects.filter(operation="take_base_backup")
    assert (run.status, run.message, run.door) == (Run.Status.REFUSED, LOST, Run.Door.SCHEDULE)
    assert run.reason == "Point-in-time recovery needs a first base backup"
    assert told(server, target) == LOST
    rule = AlertRule.objects.get(origin="default:base_backup_not_taken")
    assert (rule.probe, rule.column, rule.warning, rule.tells) == (
        "recovery_windows",
        "base_problem",
        1.0,
        True,
    )
    Run.objects.update(queued_at=timezone.now() - timedelta(minutes=11))
    assert duties.take_due() == []
    assert Run.objects.count() == 1
    point.made_by.delete()
    assert duties.take_due() == []
    assert (Run.objects.count(), told(server, target)) == (2, GONE)


def test_whoever_changes_it_lends_base_backups_the_right(
    point: PointInTime, server: Server, user_as: Callable[..., Any]
) -> None:
    admin = user_as("admin")
    changed = operation("change_point_in_time", server, keep_days=9)
    assert carry_out(changed, admin).status == Run.Status.SUCCEEDED
    (run,) = duties.take_due()
    assert (run.user, run.status) == (admin, Run.Status.QUEUED)
