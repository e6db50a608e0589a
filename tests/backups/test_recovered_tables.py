"""Tables of a recovered cluster come beside the live ones by themselves; what differs is told row by row."""

import os
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client

from backups.models import RecoveredCluster, RowComparison, SideSchema
from dbadmin.models import Run
from dbadmin.operations import REGISTRY, Refused
from tests.backups.recovering import Source
from tests.backups.test_point_in_time import recover, stop
from tests.carrying_out import carry_out, operation
from tests.fixtures.servers import Postgres

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.servers]

BEFORE = """
    create table months (at date not null, n int, primary key (at, n)) partition by range (at);
    create table months_1 partition of months for values from ('2026-01-01') to ('2026-03-01');
    insert into months select date '2026-01-15' + g, g from generate_series(1, 30) g;
    create table "odd, name" ("the key" text primary key, doc jsonb);
    insert into "odd, name" values ('a', '{}'), ('b', '[1]')"""
AFTER = """
    delete from months where n in (3, 4);
    update "odd, name" set doc = '[2]' where "the key" = 'b'"""


@pytest.fixture
def row(source: Source) -> Iterator[RecoveredCluster]:
    """A cluster as it was before something was deleted."""
    for statement in filter(None, BEFORE.split(";")):
        source.execute(statement)
    source.base()
    moment = source.insert(1)
    for statement in AFTER.split(";"):
        source.execute(statement)
    source.covered()
    made = recover(source, moment)
    yield made
    stop(source, made)


def bring(source: Source, row: RecoveredCluster, **params: Any) -> Run:
    return carry_out(
        operation("bring_back_recovered", source.server, cluster=row.pk, database="postgres", **params)
    )


def schemas(postgres: Postgres) -> list[str]:
    with postgres.connect() as connection:
        found = connection.execute("select nspname from pg_namespace where nspname like 'restored%'")
        return [name for (name,) in found.fetchall()]


def test_rows_that_were_deleted_come_back_from_a_moment_without_a_backup_between(
    source: Source, row: RecoveredCluster, client_as: Any
) -> None:
    done = bring(source, row, tables="months\npublic.odd, name")
    assert done.status == Run.Status.SUCCEEDED, done.message
    assert done.message == "3 rows differ in 2 tables."
    side = SideSchema.objects.get()
    assert schemas(source.postgres) == [side.name]
    assert side.label == f"source-0 as of {row.target}"
    counts = {
        str(one): (one.missing, one.changed, one.extra, one.same) for one in RowComparison.objects.all()
    }
    assert counts == {"public.months": (2, 0, 0, 28), "public.odd, name": (0, 1, 0, 1)}
    admin: Client = client_as("admin")
    assert side.name in admin.get(side.get_absolute_url()).content.decode()
    assert "Bring tables back…" in admin.get(f"/servers/{source.server}/recovery/").content.decode()
    months = RowComparison.objects.get(name="months")
    copied = carry_out(operation("copy_rows", source.server, comparison=months.pk, kind="missing"))
    assert copied.status == Run.Status.SUCCEEDED, copied.message
    assert source.execute("select count(*) from months") == (30,)
    dropped = carry_out(operation("drop_side_schema", source.server, side=side.pk))
    assert dropped.status == Run.Status.SUCCEEDED, dropped.message
    assert schemas(source.postgres) == []


def test_a_table_that_was_not_there_then_is_named_and_nothing_is_made(
    source: Source, row: RecoveredCluster
) -> None:
    failed = bring(source, row, tables="months, later")
    assert failed.status == Run.Status.FAILED
    assert (
        failed.message
        == f"Step 1 of 2 failed: {row} holds no table later in postgres. Write it as schema.table."
    )
    assert schemas(source.postgres) == []
    with pytest.raises(Refused, match=r"has no database shop; it has postgres\.$"):
        REGISTRY["bring_back_recovered"](
            source.server, {"cluster": row.pk, "database": "shop", "tables": "months"}
        ).plan()


def test_a_worker_of_another_host_says_where_the_cluster_stands(
    source: Source, row: RecoveredCluster
) -> None:
    RecoveredCluster.objects.filter(pk=row.pk).update(host="elsewhere")
    failed = bring(source, row, tables="months")
    RecoveredCluster.objects.filter(pk=row.pk).update(host=socket.gethostname())
    assert failed.message == (
        f"Step 1 of 2 failed: The recovered cluster stands on elsewhere and listens there alone; this worker is on "
        f"{os.uname().nodename}. Start it again when a worker of elsewhere is free, or take it with pg_dump there."
    )
    assert schemas(source.postgres) == []
