"""Recoveries do not come in each other's way, nor in that of others on their host; each stands as long as was asked."""

import socket
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from datetime import timedelta
from pathlib import Path

import pytest
from django.db.models import F

from backups.models import RecoveredCluster
from backups.physical.keeping import start_keeper
from backups.physical.scratch_cluster import ScratchCluster
from dbadmin.models import Run
from tests.backups.conftest import queue
from tests.backups.recovering import Source
from tests.backups.test_faults import worker
from tests.backups.test_point_in_time import lost_keeper, numbers, recover, stop
from tests.fixtures.runtime import until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.servers]


@pytest.fixture
def covered(source: Source) -> Source:
    """A source whose only row can be recovered."""
    source.base()
    source.insert(1)
    source.covered()
    return source


def test_a_port_that_others_took_while_the_base_backup_was_fetched_is_no_obstacle(
    covered: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    make: Callable[[ScratchCluster], None] = ScratchCluster.make

    def made(cluster: ScratchCluster) -> None:
        make(cluster)
        with suppress(OSError):  # somebody has it already
            others.enter_context(socket.create_server(("127.0.0.1", cluster.port)))

    with ExitStack() as others:
        monkeypatch.setattr(ScratchCluster, "make", made)
        row = recover(covered)
        assert numbers(row) == [1]
    stop(covered, row)


def test_two_that_begin_at_one_moment_both_stand(covered: Source) -> None:
    targets = [{"kind": "latest"}, {"kind": "time", "moment": covered.point.covered_at.isoformat()}]
    both = [queue(covered.server, "recover_to_moment", {**to, "hours": 8}) for to in targets]
    for process in [worker(run) for run in both]:
        process.wait(120)
    for run in both:
        run.refresh_from_db()
        assert run.status == Run.Status.SUCCEEDED, run.message
    one, other = (RecoveredCluster.objects.get(run=run) for run in both)
    assert (numbers(one), numbers(other)) == ([1], [1])
    assert one.port != other.port
    assert one.directory != other.directory
    stop(covered, one)
    stop(covered, other)


def test_a_cluster_stands_for_as_long_as_was_asked_whatever_the_clock_of_its_host_says(
    covered: Source,
) -> None:
    row = recover(covered)
    # What the keeper would see where the clock jumped a day ahead.
    day_before = RecoveredCluster.objects.filter(pk=row.pk)
    day_before.update(
        made_at=F("made_at") - timedelta(days=1), expires_at=F("expires_at") - timedelta(days=1)
    )
    time.sleep(3)  # it looks each second
    assert numbers(row) == [1]

    lost_keeper(row)
    day_before.update(expires_at=F("made_at") + timedelta(seconds=5), seen_at=None)
    row.refresh_from_db()
    (Path(row.directory) / "keeper.pid").unlink()
    start_keeper(row)
    until(lambda: day_before.get().ended_at, 60)
    assert day_before.get().ended_why == "Its time was over."
    assert not Path(row.directory).exists()
