"""WAL and base backups in a bucket of an S3 server: received, recovered, expired, and whole again after a cut."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
from django.db import connection as control
from django.db.models import F

from backups.models import BaseBackup, Store
from backups.physical.chains import recoverable
from dbadmin.models import Run
from tests.backups.cutting import Wire
from tests.backups.recovering import Source
from tests.backups.test_point_in_time import numbers, recover, stop
from tests.backups.test_store_faults import EXPIRED
from tests.carrying_out import carry_out, operation
from tests.fixtures.runtime import until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.servers]


def keys(store: Store, prefix: str) -> list[str]:
    """The objects below a prefix, by the last part of their names."""
    return sorted(item.key.rpartition("/")[2] for item in store.open().items(prefix))


def parts(store: Store, source: Source) -> list[str]:
    """The objects that hold the beginning of a segment; the newest is the last."""
    return [key for key in keys(store, source.point.folder) if ".partial." in key]


def test_rows_are_exactly_those_of_the_moment(make_source: Callable[..., Source], bucket: Store) -> None:
    source = make_source(kept_in=bucket)
    source.insert(1)
    source.base()
    moments = [source.insert(number) for number in (2, 3)]
    source.switch()
    source.insert(4)
    source.covered()
    assert parts(bucket, source)
    assert source.spool.is_dir()
    row = recover(source, moments[0])
    assert numbers(row) == [1, 2]
    stop(source, row)
    row = recover(source)
    assert numbers(row) == [1, 2, 3, 4]
    stop(source, row)


def test_a_part_is_read_while_the_receiver_is_between_its_object_and_its_row(
    make_source: Callable[..., Source], bucket: Store
) -> None:
    """It may stay there for ever: a receiver that is killed then changes the row no more."""
    source = make_source(kept_in=bucket)
    source.insert(1)
    source.base()
    source.switch()
    source.insert(2)
    source.covered()
    part = source.server.wal_segments.filter(kind="partial").latest("number")
    with psycopg.connect(**control.get_connection_params()) as other:
        locked = "select key from backups_walsegment where id = %s for update"
        (read,) = other.execute(locked, [part.pk]).fetchone() or ("gone",)
        source.insert(3)
        until(lambda: parts(bucket, source)[-1] > read.rpartition("/")[2], 60)
        row = recover(source)
        assert numbers(row) == [1, 2]
        stop(source, row)
        other.rollback()
    source.covered()
    row = recover(source)
    assert numbers(row) == [1, 2, 3]
    stop(source, row)


def test_a_part_that_somebody_is_about_to_fetch_stays_while_longer_ones_come(
    make_source: Callable[..., Source], bucket: Store
) -> None:
    source = make_source(kept_in=bucket)
    source.insert(1)
    source.covered()
    listed = parts(bucket, source)
    for number in (2, 3, 4):
        source.insert(number)
        source.covered()
    assert len(parts(bucket, source)) > 2
    assert set(listed) <= set(parts(bucket, source))


def test_parts_leave_the_bucket_when_their_segment_is_there_whole(
    make_source: Callable[..., Source], bucket: Store
) -> None:
    source = make_source(kept_in=bucket)
    source.insert(1)
    source.covered()
    part = source.server.wal_segments.filter(kind="partial").latest("number")
    left = f"{part.key.rpartition('/')[0]}/{part.name[:24]}.00000001.partial.zst.age"
    bucket.open().put(left, b"what a receiver left that was killed after it")
    source.switch()
    until(lambda: not any(key.startswith(f"{part.name[:24]}.0") for key in keys(bucket, source.point.folder)))


def test_a_segment_that_somebody_deleted_is_named(make_source: Callable[..., Source], bucket: Store) -> None:
    source = make_source(kept_in=bucket)
    source.base()
    for number in (1, 2, 3):
        source.insert(number)
        source.switch()
    source.covered()
    source.receivers[0].end()  # it looks after what is stored, and would tell before the recovery does
    gone = source.server.wal_segments.filter(kind="segment").order_by("-number")[1]
    bucket.open().delete(gone.key)
    failed = carry_out(operation("recover_to_moment", source.server, kind="latest"))
    assert failed.status == Run.Status.FAILED
    assert failed.message == (
        f"Step 2 of 5 failed: The WAL segment {gone.name} cannot be used: {gone.key} is not in the store"
        f" {bucket.open()}."
    )
    assert [hole.missing for hole in recoverable(source.server).holes] == [gone.name]


def test_what_expired_leaves_the_bucket(make_source: Callable[..., Source], bucket: Store) -> None:
    source = make_source(kept_in=bucket)
    first = source.base()
    source.switch()
    source.switch()
    second = source.base()
    source.insert(1)
    source.covered()
    for base, days in ((first, 18), (second, 9)):
        BaseBackup.objects.filter(pk=base.pk).update(consistent_at=F("consistent_at") - timedelta(days=days))
    before = keys(bucket, source.point.folder)
    source.do("prune_point_in_time")
    assert keys(bucket, first.prefix) == []
    assert "base.json" in keys(bucket, second.prefix)
    kept = list(source.server.wal_segments.values_list("key", flat=True))
    left = [key for key in keys(bucket, source.point.folder) if ".partial." not in key]
    assert left == sorted(key.rpartition("/")[2] for key in kept if ".partial." not in key)
    assert len(kept) < len(before)
    BaseBackup.objects.filter(pk=second.pk).update(consistent_at=F("consistent_at") + timedelta(days=9))
    row = recover(source)
    assert numbers(row) == [1]
    stop(source, row)


def test_nothing_is_lost_while_the_bucket_does_not_answer(
    make_source: Callable[..., Source], wired: tuple[Store, Wire]
) -> None:
    bucket, between = wired
    source = make_source(kept_in=bucket)
    source.base()
    source.insert(1)
    source.covered()
    between.refuse = "PUT"
    source.insert(2)
    source.execute("select pg_switch_wal()")
    source.insert(3)
    until(lambda: source.point.problem.startswith(f"The store {bucket.endpoint}/{bucket.bucket} "), 60)
    assert whole(source.spool)
    between.refuse = ""
    source.covered()
    until(lambda: source.point.problem == "")
    assert recoverable(source.server).holes == []
    row = recover(source)
    assert numbers(row) == [1, 2, 3]
    stop(source, row)


def test_a_receiver_uses_what_is_entered_anew_for_its_bucket(
    make_source: Callable[..., Source], wired: tuple[Store, Wire], s3: dict[str, str]
) -> None:
    bucket, between = wired
    source = make_source(kept_in=bucket)
    source.insert(1)
    source.covered()
    between.refuse, between.status, between.says = ".", "400 Bad Request", EXPIRED
    source.insert(2)
    until(lambda: source.point.problem.endswith("Enter new ones in the store's settings."), 60)
    bucket.endpoint = s3["endpoint"]  # past the wire, as new credentials would let it in
    bucket.save()
    source.covered()
    until(lambda: source.point.problem == "")


def whole(spool: Path) -> list[Path]:
    """Segments that wait."""
    return [path for path in spool.iterdir() if len(path.name) == 24]
