"""A backup that is late, failed, shrunken, slower, unproven or cannot be taken at all is seen before it is needed."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from backups import logical, policies
from backups.models import Backup, BackupKey, Policy, Store
from dbadmin import beats
from dbadmin.connections import Session
from dbadmin.models import Run, Schedule, Server, WorkerBeat
from dbadmin.probes import PROBES, Reading
from monitoring.alert_models import Alert
from monitoring.evaluator import Judge
from monitoring.rounds import Batch
from tests.fixtures.servers import Postgres

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.servers]


@pytest.fixture
def past(server: Server, store: Store, database: str) -> Callable[..., Backup]:
    """past(hours, seconds=…, plain_bytes=…): a backup that a schedule took so long ago, as the catalogue keeps it."""
    schedule = Schedule.objects.create(
        server=server, operation="take_backup", name="night", cron="0 2 * * *", time_zone="UTC"
    )

    def make(hours: float, seconds: float = 120, **columns: Any) -> Backup:
        at = timezone.now() - timedelta(hours=hours)
        done = attempt(server, database, hours, Run.Status.SUCCEEDED, schedule=schedule)
        facts = {
            "stored_bytes": 1 << 24, "plain_bytes": 1 << 26, "tables_count": 1, "total_rows": 1, "read_at": at,
            "selection": {"schemas": [], "tables": []},
        }  # fmt: skip
        return Backup.objects.create(
            server=server, server_name="shop", database=database, store=store, prefix=f"{hours}", run=done,
            started_at=at, finished_at=at + timedelta(seconds=seconds), written_at=at, server_version="15",
            tool="pg_dump 15", **{**facts, **columns},
        )  # fmt: skip

    return make


def attempt(server: Server, database: str, hours: float, status: str, **columns: Any) -> Run:
    at = timezone.now() - timedelta(hours=hours)
    return Run.objects.create(
        **{
            "server": server, "server_name": "shop", "operation": "take_backup", "target": database,
            "title": "Take a backup", "risk": "loads", "queue": "backups", "door": Run.Door.SCHEDULE,
            "status": status, "queued_at": at, **columns,
        }
    )  # fmt: skip


@pytest.fixture
def line(server: Server, target: Session, database: str) -> Callable[[], Any]:
    """The probe's row of the database now."""

    def read() -> Any:
        reading = PROBES["backup_age"].read(Session(target.connection, server))
        assert reading.problem is None, reading.problem
        return next(row for row in reading.rows if row.database == database)

    return read


def crossed(row: Any) -> dict[str, str]:
    """Which of the rules that are there from the start have an alert open after this row has lasted for seven hours."""
    probe, server, judge = PROBES["backup_age"], Server.objects.get(), Judge()
    columns = [probe.column(name) for name in row._fields]
    for hours in (0, 7):
        at = timezone.now() + timedelta(hours=hours)
        judge.look(Batch(server, readings=[Reading(probe, server.name, "", at, 1.0, columns, [row])]))
    found = Alert.objects.filter(resolved_at=None).values_list("rule__origin", "severity")
    return {origin.removeprefix("default:"): severity for origin, severity in found}


def says() -> dict[str, str]:
    """What each alert that was ever opened tells, and why it ended."""
    return {
        alert.name: f"{alert.text} / {alert.resolved_because}" for alert in Alert.objects.order_by("name")
    }


def test_nights_as_usual_open_nothing(past: Callable[..., Backup], line: Callable[[], Any]) -> None:
    for night in range(6):
        past(12 + 24 * night)
    assert crossed(line()) == {}


def test_a_backup_that_is_late_for_its_own_rhythm_is_seen(
    past: Callable[..., Backup], line: Callable[[], Any]
) -> None:
    for hour in range(4):
        past(3 + hour)
    assert line().written_seconds < 93600
    assert crossed(line()) == {"late_backup": "warning"}


def test_backups_taken_by_hand_make_no_rhythm(past: Callable[..., Backup], line: Callable[[], Any]) -> None:
    for minute in range(5):
        past(5 + minute / 60)
    Run.objects.update(schedule=None)
    assert line().late_ratio is None


def test_failed_attempts_are_counted_until_one_succeeds(
    server: Server, database: str, past: Callable[..., Backup], line: Callable[[], Any]
) -> None:
    past(40)
    attempt(server, database, 30, Run.Status.FAILED)
    attempt(server, database, 20, Run.Status.CANCELLED)
    everything = {"operation": "take_all_backups", "target": "shop"}
    attempt(server, "", 10, Run.Status.FAILED, **everything, result={"failed": ["other"]})
    assert line().failed_count == 0
    attempt(server, "", 5, Run.Status.FAILED, **everything, result={"failed": [database]})
    attempt(server, "", 4, Run.Status.LOST, **everything)
    attempt(server, database, 3, Run.Status.REFUSED)
    assert line().failed_count == 3
    assert crossed(line())["failed_backup"] == "critical"
    past(1)
    assert line().failed_count == 0
    assert crossed(line()) == {}
    assert says() == {
        "Backup failed": "3, above 2 / It is well again.",
        "Backup overdue": "1 d 16 h, above 1 d 2 h / Back at 1 h.",
    }


@pytest.mark.parametrize(
    "columns, rule", [({"plain_bytes": 1 << 24}, "shrunken_backup"), ({"seconds": 500}, "slower_backup")]
)
def test_a_shrunken_or_slower_one_is_seen(
    past: Callable[..., Backup], line: Callable[[], Any], columns: dict[str, Any], rule: str
) -> None:
    for night in range(1, 5):
        past(12 + 24 * night)
    past(12, **columns)
    assert crossed(line()) == {rule: "warning"}


def test_small_ones_are_neither_slower_nor_shrunken_by_chance(
    past: Callable[..., Backup], line: Callable[[], Any]
) -> None:
    for night in range(1, 5):
        past(12 + 24 * night, seconds=2, plain_bytes=50_000)
    past(12, seconds=40, plain_bytes=9_000)
    assert crossed(line()) == {}


def test_one_that_was_never_proven_is_seen_too(past: Callable[..., Backup], line: Callable[[], Any]) -> None:
    for night in range(12):
        past(12 + 24 * night, read_at=None)
    assert line().proven_seconds is None
    assert crossed(line()) == {"unproven_backup": "warning"}


def test_a_missing_copy_and_a_store_against_its_policy_are_seen(
    server: Server, store: Store, past: Callable[..., Backup], line: Callable[[], Any]
) -> None:
    past(12)
    assert line().copies_missing_count is None
    policy = Policy.objects.create(name="twice", server=server, store=store)
    policy.copies.add(Store.objects.create(name="vault", directory="vault"))
    Store.objects.filter(pk=store.pk).update(test_problem="Lifecycle rules: too short.")
    row = line()
    assert (row.copies_missing_count, row.store_problem) == (1, "Lifecycle rules: too short.")
    assert crossed(row) == {"missing_copies": "warning", "bad_store": "warning"}


def test_that_no_worker_has_fitting_programs_is_known_before_the_night(
    server: Server, target: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    def tools() -> Any:
        (row,) = PROBES["backup_tools"].read(Session(target.connection, server)).rows
        return row

    assert (tools().workers_count, tools().unfit_count) == (0, None)
    beats.beat("worker", "w1", ["operations", "backups"])
    row = tools()
    assert (row.worker, row.unfit_count) == ("w1", 0)
    assert row.client_version in logical.versions()
    WorkerBeat.objects.update(abilities={"pg_clients": ["9.6", "13.2"]})
    row = tools()
    assert (row.unfit_count, row.found_versions) == (1, "9.6, 13.2")
    critical = PROBES["backup_tools"].critical
    assert critical is not None
    assert critical.met_by(row)


def test_one_database_that_cannot_be_backed_up_keeps_no_other_from_its_backup(
    server: Server, store: Store, key: BackupKey, run: Callable[..., Run], database: str, postgres: Postgres
) -> None:
    closed = f"{database}_closed"
    with postgres.connect() as connection:
        connection.execute("drop role if exists narrow")
        connection.execute(f"create role narrow login password '{postgres.password}'")
        connection.execute(f"create database {closed}")
        connection.execute("grant pg_read_all_data to narrow")
    with postgres.connect(closed) as connection:
        connection.execute("create table hidden (a int); alter table hidden enable row level security")
    server.seal_dsn("operate_dsn", postgres.dsn_for(database, "narrow"))
    server.save()
    try:
        others = [name for name in _names(postgres) if name not in (database, closed)]
        done = run("take_all_backups", store="shelf", leave_out=",".join(others))
        assert done.status == Run.Status.FAILED
        assert done.message == (
            f"Step 3 of 3 failed: 1 of 2 databases failed. {closed}: Row security hides rows of public.hidden from "
            "narrow, so a backup would lack them. What mends it: ALTER ROLE \"narrow\" BYPASSRLS; "
            "The others are backed up."
        )  # fmt: skip
        assert [backup.database for backup in Backup.objects.all()] == [database]
        assert (policies.failed_attempts(server, closed), policies.failed_attempts(server, database)) == (
            1,
            0,
        )
    finally:
        with postgres.connect() as connection:
            connection.execute(f"drop database {closed} with (force)")
            connection.execute("drop role narrow")


def _names(postgres: Postgres) -> list[str]:
    with postgres.connect() as connection:
        found = connection.execute("select datname from pg_database where datallowconn and not datistemplate")
        return [row[0] for row in found]


def test_none_at_all_one_that_is_bad_and_none_that_is_proven_are_told(
    past: Callable[..., Backup], line: Callable[[], Any]
) -> None:
    assert crossed(line()) == {"no_backup": "critical"}
    bad = past(9 * 24, read_at=None, problem="The checksum of its second part is wrong.")
    assert crossed(line()) == {
        "bad_backup": "critical", "unproven_backup": "warning", "header:backup_age": "critical",
    }  # fmt: skip
    past(1)
    bad.delete()
    assert crossed(line()) == {}
    assert says() == {
        "Backup overdue": "9 d, above 2 d 2 h / Back at 1 h.",
        "Backup unproven": "9 d, above 8 d / Back at 1 h.",
        "Backup with a problem": "The checksum of its second part is wrong. / It is well again.",
        "No backup": "none / Back at 1.",
    }
