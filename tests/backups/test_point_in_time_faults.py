"""Whatever dies or fills up while WAL is received, copied or replayed: nothing is missing or left, and it is told."""

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from backups.models import BackupKey, BaseBackup, Store
from backups.physical.chains import recoverable
from backups.physical.scratch_cluster import recovered_folder
from backups.physical.taking import manifest_of
from dbadmin.models import Run
from dbadmin.units import size
from tests.backups.conftest import queue
from tests.backups.cutting import Wire
from tests.backups.recovering import Source
from tests.backups.test_faults import died, refusal, sessions, when, worker
from tests.backups.test_interrupted_restores import between
from tests.backups.test_point_in_time import numbers, recover, sockets, stop
from tests.fixtures.runtime import are_gone, until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.servers]


def receiving(source: Source) -> list[int]:
    """The processes of pg_receivewal."""
    receiver = source.receivers[-1]
    return [pid for pid in receiver.descendants() if is_called(pid, "pg_receivewal")]


def is_called(pid: int, name: str) -> bool:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip() == name
    except OSError:
        return False


def postmasters_of(folder: Path) -> list[int]:
    """Servers that run on a directory."""
    return [
        int(path.parent.name)
        for path in Path("/proc").glob("[0-9]*/cmdline")
        if is_called(int(path.parent.name), "postgres") and str(folder) in path.read_text()
    ]


def assert_nothing_is_lost(source: Source) -> None:
    """What was begun goes on by itself, and all rows are recovered."""
    source.covered()
    until(lambda: source.point.problem == "")
    row = recover(source)
    assert numbers(row) == [1, 2, 3]
    stop(source, row)
    assert recoverable(source.server).holes == []


def test_a_killed_pg_receivewal_is_started_again_and_nothing_is_missing(source: Source) -> None:
    source.base()
    source.insert(1)
    (pid,) = receiving(source)
    os.kill(pid, signal.SIGKILL)
    source.insert(2)
    source.execute("select pg_switch_wal()")
    source.insert(3)
    until(lambda: receiving(source) not in ([], [pid]))
    assert_nothing_is_lost(source)


@pytest.fixture
def small_disk(source: Source) -> Iterator[Source]:
    """A source whose WAL comes to a disk that takes less than one segment."""
    if os.geteuid() != 0:
        pytest.skip("a disk of its own is mounted by root alone")
    source.base()
    source.insert(1)
    source.covered()
    source.receivers[0].end()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(source.spool)]
    subprocess.run(mount, check=True)
    yield source
    source.receivers[-1].end()
    subprocess.run(["umount", str(source.spool)], check=True)


def test_a_full_disk_of_the_receiver_is_told_and_the_source_keeps_its_wal_meanwhile(
    small_disk: Source,
) -> None:
    source = small_disk
    source.insert(2)
    source.receive_only()
    until(lambda: source.point.problem.startswith("pg_receivewal ended: could not "), 60)
    assert source.point.problem.endswith(
        ": No space left on device. Free space on this host; the server keeps the WAL in its slot meanwhile."
    )
    source.insert(3)
    subprocess.run(["mount", "-o", "remount,size=100m", str(source.spool)], check=True)
    assert_nothing_is_lost(source)


def test_a_worker_killed_in_a_base_backup_leaves_nothing_and_the_next_one_is_whole(
    make_source: Callable[..., Source], wired: tuple[Store, Wire]
) -> None:
    bucket, between = wired
    source = make_source(kept_in=bucket)
    before = {item.key for item in bucket.open().items() if "/wal/" not in item.key}
    run = queue(source.server, "take_base_backup", {})
    between.hold_after = 1 << 20
    process = worker(run)
    when(lambda: (Run.objects.get(pk=run.pk).progress_done or 0) > 1 << 20)
    process.kill()
    between.hold_after = 0
    between.hold.set()
    run = died(run, process)
    assert run.status == Run.Status.LOST
    assert run.message.startswith("Its worker died in step 1 of 3. ")
    assert {item.key for item in bucket.open().items() if "/wal/" not in item.key} == before
    assert sessions(source.postgres, run) == 0
    assert not BaseBackup.objects.exists()
    source.base()
    source.insert(1)
    source.covered()
    row = recover(source)
    assert numbers(row) == [1]
    stop(source, row)


def test_a_worker_killed_in_a_recovery_leaves_nothing_and_the_next_one_stands(
    source: Source, key: BackupKey
) -> None:
    source.base()
    source.insert(1)
    source.covered()
    run = queue(source.server, "recover_to_moment", {"kind": "latest", "hours": 8})
    folder = recovered_folder() / str(run.pk)
    process = worker(run)
    servers = when(lambda: postmasters_of(folder))
    beside = sockets(folder)
    assert beside.is_dir()
    run = died(run, process)
    assert run.status == Run.Status.LOST
    assert run.message.startswith("Its worker died in step 3 of 5. ")
    until(lambda: are_gone(servers))
    assert not folder.exists()
    assert not beside.exists()
    assert not source.server.recovered_clusters.exists()
    row = recover(source)
    assert numbers(row) == [1]
    stop(source, row)


@pytest.fixture
def filling_disk(source: Source) -> Iterator[Callable[[int], None]]:
    """Recoveries have a disk of their own, of which so many KiB are left after a call."""
    if os.geteuid() != 0:
        pytest.skip("a disk of its own is mounted by root alone")
    recovered_folder().mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=600m", "tmpfs", str(recovered_folder())], check=True)

    def fill(left: int) -> None:
        blocks = os.statvfs(recovered_folder())
        with (recovered_folder().parent / "recovered" / "filler").open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, blocks.f_bavail * blocks.f_frsize - left * 1024)

    yield fill
    subprocess.run(["umount", "--lazy", str(recovered_folder())], check=True)


OURS = "No space is left on the worker's disk. Free space there, and start it again."
POSTGRESQLS = "No space left on device."


@pytest.mark.parametrize(
    ("step", "left", "says"), [(1, 4096, OURS), (2, 4096, OURS), (3, 512, POSTGRESQLS)],
    ids=["base", "WAL", "replay"],
)  # fmt: skip
def test_a_disk_that_fills_up_in_a_recovery_ends_it_and_is_free_again(
    step: int, left: int, says: str, source: Source, key: BackupKey, filling_disk: Callable[[int], None]
) -> None:
    source.base()
    source.insert(1)
    source.switch()
    source.insert(2)
    source.covered()
    run = queue(source.server, "recover_to_moment", {"kind": "latest", "hours": 8})
    done = between(run, step, lambda: filling_disk(left))
    assert done.status == Run.Status.FAILED
    assert done.message.startswith(f"Step {step} of 5 failed: "), done.message
    assert done.message.endswith(says), done.message
    (recovered_folder() / "filler").unlink()
    assert not list(recovered_folder().iterdir())
    assert not source.server.recovered_clusters.exists()
    row = recover(source)
    assert numbers(row) == [1, 2]
    stop(source, row)


def test_the_room_that_wal_needs_is_counted_before_a_recovery(
    source: Source, filling_disk: Callable[[int], None]
) -> None:
    base = source.base()
    for _ in range(4):
        source.switch()
    source.insert(1)
    source.covered()
    unpacked = manifest_of(base).plain_bytes
    needed = size(unpacked + 6 * source.point.segment_bytes)
    filling_disk(int(unpacked * 1.1 / 1024) + 20 * 1024)
    free = shutil.disk_usage(recovered_folder()).free
    assert refusal(source.server, "recover_to_moment", kind="latest") == (
        f"Not started: the unpacked base backup and its WAL need {needed} on this worker, "
        f"{recovered_folder()} has {size(free)} free. Free space, or set DBADMIN_STATE to a larger disk."
    )
