"""A server is recovered to exactly what was committed at a moment; what cannot be recovered is refused."""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import psycopg
import pytest

from backups.models import RecoveredCluster
from backups.physical.keeping import stop_all
from backups.physical.scratch_cluster import recovered_folder
from tests.backups.recovering import Source
from tests.fixtures.runtime import until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.servers]


@pytest.fixture(autouse=True)
def nothing_left(transactional_db: None) -> Iterator[None]:
    """Keepers end with the test, before the control database is emptied."""
    yield
    stop_all()
    until(lambda: not recovered_folder().is_dir() or not any(recovered_folder().iterdir()), 30)


def recover(source: Source, moment: datetime | None = None) -> RecoveredCluster:
    """Recover, and give the cluster that stands."""
    kind = {"kind": "time", "moment": moment.isoformat()} if moment else {"kind": "latest"}
    return RecoveredCluster.objects.get(pk=source.do("recover_to_moment", **kind).result["recovered"])


def numbers(row: RecoveredCluster) -> list[int]:
    """The rows that it holds."""
    with psycopg.connect(row.dsn) as connection:
        return [number for (number,) in connection.execute("select number from moments order by 1")]


def stop(source: Source, row: RecoveredCluster) -> None:
    source.do("stop_recovered_cluster", cluster=row.pk)
    assert not Path(row.directory).exists()


def test_rows_are_exactly_those_that_were_committed_at_the_moment(source: Source) -> None:
    source.insert(1)
    base = source.base()
    assert base.read_at is not None
    moments = [source.insert(number) for number in (2, 3, 4)]
    source.switch()
    source.insert(5)
    source.covered()
    row = recover(source, moments[1])
    assert numbers(row) == [1, 2, 3]
    with psycopg.connect(row.dsn) as connection, pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        connection.execute("insert into moments values (9)")
    stop(source, row)
    row = recover(source)
    assert numbers(row) == [1, 2, 3, 4, 5]
    stop(source, row)
