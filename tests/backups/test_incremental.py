"""An incremental base backup holds what changed, is put together for a recovery, and never outlives what it needs."""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
from django.db.models import F
from django.test import Client
from django.urls import reverse

from backups import logical
from backups.models import BackupKey, BaseBackup
from backups.physical import layers
from backups.physical.chains import recoverable
from backups.physical.preflight import combining_tools, server_tools
from backups.physical.scratch_cluster import give, popen_options
from dbadmin.models import Run
from dbadmin.operations import REGISTRY, Refused
from dbadmin.work import Work
from tests.backups.recovering import Source
from tests.backups.stock_tools import programs, reaching
from tests.backups.test_point_in_time import numbers, recover, stop
from tests.carrying_out import carry_out, log_of, operation
from tests.fixtures.runtime import are_gone, until
from tests.fixtures.servers import Postgres

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.servers]

SINCE = 17


@pytest.fixture
def source(postgres: Postgres, make_source: Callable[..., Source]) -> Source:
    """A server that summarizes its WAL, with a table that hardly changes and is most of what there is."""
    return summarizing(postgres, make_source)


def summarizing(postgres: Postgres, make_source: Callable[..., Source]) -> Source:
    if postgres.major < SINCE:
        pytest.skip(
            f"needs PostgreSQL {SINCE}, which takes incremental base backups; this is {postgres.major}"
        )
    made = make_source(summarize_wal="on")
    made.execute(
        "create table rest as select n, repeat(md5(n::text), 20) as t from generate_series(1, 30000) n"
    )
    return made


def made_tablespace(source: Source) -> Path:
    """One that is called beside."""
    place = source.postgres.data.parent / f"{source.postgres.data.name}-space"
    place.mkdir()
    shutil.chown(place, source.postgres.data.owner(), source.postgres.data.group())
    source.execute(f"create tablespace beside location '{place}'")
    return place


def test_layers_are_put_together_to_exactly_the_rows_of_the_moment(source: Source) -> None:
    source.insert(1)
    full = source.base()
    source.execute("update rest set t = 'second' where n = 1")
    source.insert(2)
    second = source.base()
    source.insert(3)
    third = source.base()
    moment = source.insert(4)
    source.insert(5)
    source.covered()
    assert [base.pk for base in layers.layers(third)] == [full.pk, second.pk, third.pk]
    assert third.plain_bytes < full.plain_bytes / 3
    assert third.read_at
    row = recover(source, moment)
    assert numbers(row) == [1, 2, 3, 4]
    assert row.base == third
    assert (
        "3 layers put together by pg_combinebackup; pg_verifybackup found every file as it must be."
        in log_of(row.run)
    )
    stop(source, row)


def test_tablespaces_are_put_together_too(source: Source) -> None:
    made_tablespace(source)
    source.execute("create table far tablespace beside as select n from generate_series(1, 20000) n")
    source.base()
    source.execute("insert into far values (-7)")
    source.base()
    source.covered()
    row = recover(source)
    with psycopg.connect(row.dsn) as connection:
        assert connection.execute("select count(*), min(n) from far").fetchone() == (20001, -7)
        shown = connection.execute(
            "select pg_tablespace_location(oid) from pg_tablespace where spcname = 'beside'"
        )
        assert str(shown.fetchone()[0]).startswith(f"{row.directory}/tablespaces/")
    assert not (Path(row.directory) / "layers").exists()
    stop(source, row)
    source.execute("drop table far")
    source.execute("drop tablespace beside")


def test_nothing_goes_that_something_kept_is_built_on(source: Source) -> None:
    full, second, other = source.base(), source.base(), source.do("take_base_backup", full=True)
    other = BaseBackup.objects.get(pk=other.result["base"])
    assert (second.prior, other.prior, other.why_full) == (full, None, "A full one was asked for.")
    aged((full, 30), (second, 20), (other, 0))
    with pytest.raises(Refused, match=rf"Everything of source-0 is still needed: .* is the {full}\."):
        operation("prune_point_in_time", source.server).plan()
    aged((full, 10), (second, 10), (other, 9))
    source.do("prune_point_in_time")
    assert list(BaseBackup.objects.present()) == [other]
    assert not list(source.store.open().items(f"{full.prefix}/"))


def test_one_that_is_built_upon_meanwhile_stays(source: Source) -> None:
    """The plan was made before the newer one was."""
    full = source.base()
    late = BaseBackup.objects.get(pk=source.do("take_base_backup", full=True).result["base"])
    aged((full, 30), (late, 20))
    removal, _ = operation("prune_point_in_time", source.server).plan()
    BaseBackup.objects.filter(pk=late.pk).update(prior=full)
    run = Run.objects.create(server=source.server, operation="prune_point_in_time")
    removal.run(Work(run))
    full.refresh_from_db()
    assert (full.deleted_at, log_of(run)) == (None, [f"The {full} stays: somebody needs it now."])


def aged(*bases: tuple[BaseBackup, int]) -> None:
    for base, days in bases:
        BaseBackup.objects.filter(pk=base.pk).update(consistent_at=F("consistent_at") - timedelta(days=days))


@pytest.mark.parametrize("lost", ["deleted", "flipped"])
def test_a_broken_chain_turns_to_a_full_one_by_itself_and_says_why(source: Source, lost: str) -> None:
    source.insert(1)
    full, _ = source.base(), source.base()
    source.covered()
    opened = source.store.open()
    manifest, data = (
        f"{full.prefix}/base.json",
        next(i.key for i in opened.items(f"{full.prefix}/base.tar")),
    )
    if lost == "deleted":
        opened.delete(manifest)
        says = "It is no longer in the store."
    else:
        path = opened.path(data)
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
        failed = carry_out(operation("recover_to_moment", source.server, kind="latest"))
        says = failed.message.removeprefix("Step 1 of 5 failed: ")
        assert says.startswith(f"{data} is damaged: ") or data in says
    third = source.base()
    assert (third.prior, third.why_full) == (None, f"The {full} cannot be built on: {says}")
    full.refresh_from_db()
    assert full.problem == says
    assert [chain.base for chain in recoverable(source.server).chains] == [third]
    source.covered()
    row = recover(source)
    assert numbers(row) == [1]
    stop(source, row)


def test_a_server_that_lost_its_summaries_turns_to_a_full_one(source: Source) -> None:
    first = source.base()
    source.insert(1)
    source.execute("checkpoint")
    newer = f"select count(*) from pg_available_wal_summaries() where end_lsn > '{first.start}'"
    until(lambda: source.execute(newer)[0] > 0)
    for path in (source.postgres.data / "pg_wal" / "summaries").iterdir():
        path.unlink()
    second = source.base()
    assert second.prior is None
    assert second.why_full.startswith(
        "The server broke the base backup off: WAL summaries are required on timeline 1"
    )
    assert second.read_at


def test_without_summaries_the_statement_that_mends_it_is_told(source: Source) -> None:
    source.base()
    source.execute("alter system set summarize_wal = off")
    source.execute("select pg_reload_conf()")
    says = f"summarize_wal of source-0 is off. What mends it: {layers.ADVISED_SUMMARIES}"
    until(lambda: source.execute("show summarize_wal")[0] == "off")
    assert says in operation("take_base_backup", source.server).plan()[0].says
    second = source.base()
    assert (second.prior, second.why_full) == (None, says)
    wanted = operation("change_point_in_time", source.server, full_days=3)
    with pytest.raises(Refused) as refused:
        wanted.plan()
    assert (str(refused.value), refused.value.field) == (says, "full_days")
    source.execute("alter system set summarize_wal = on")
    source.execute("select pg_reload_conf()")
    until(lambda: source.execute("show summarize_wal")[0] == "on")
    source.do("change_point_in_time", full_days=3, base_hours=12)
    assert (source.point.full_days, source.point.base_hours, source.point.keep_days) == (3, 12, 7)


def test_after_so_many_days_a_full_one_is_due(source: Source) -> None:
    full = source.base()
    assert layers.choose(source.point, full.started_at + timedelta(days=6, hours=11)).prior == full
    due = layers.choose(source.point, full.started_at + timedelta(days=6, hours=13))
    assert due == layers.Choice(None, "A full one every 7 days.")


def test_the_page_shows_what_each_is_built_on(source: Source, client_as: Callable[..., Client]) -> None:
    full, second = source.base(), source.base()
    page = client_as("admin").get(reverse("recovery", args=[source.server.name]))
    (newest, oldest) = page.context["bases"]
    assert (newest["number"], newest["full"], newest["needed_bytes"]) == (
        2, full, full.stored_bytes + second.stored_bytes,
    )  # fmt: skip
    assert oldest["needed_bytes"] == full.stored_bytes
    assert ">Incremental 2</span>" in page.content.decode()
    assert (
        "Taken every 24 hours, a full one every 7 days and incremental ones between; keep all for 7 days."
        in page.content.decode()
    )


@pytest.mark.parametrize(("count", "kept_in"), [(1, "store"), (3, "store"), (1, "bucket")])
def test_stock_tools_alone_recover_it_by_the_printed_kit(
    make_source: Callable[..., Source],
    postgres: Postgres,
    client_as: Callable[..., Client],
    count: int,
    kept_in: str,
    request: pytest.FixtureRequest,
    tmp_path: Path,
) -> None:
    """With a tablespace, and the last commit in the part of a segment."""
    store = request.getfixturevalue(kept_in)
    reached = reaching(store, tmp_path)
    source = summarizing(postgres, make_source) if count > 1 else make_source(kept_in=store)
    place = made_tablespace(source)
    source.execute("create table far tablespace beside as select n from generate_series(1, 2000) n")
    bases = []
    for number in range(count):
        source.insert(number)
        source.execute(f"insert into far values (-{number})")
        bases.append(source.base())
        source.switch()
    source.insert(9)
    source.covered()
    kit = (
        client_as("admin").get(reverse("base_kit", args=[source.server.name, bases[-1].pk])).context["lines"]
    )
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        folder = Path(name)
        follow(kit, folder, source, reached)
        try:
            with psycopg.connect(host=name, user=source.postgres.superuser, dbname="postgres") as connection:
                found = connection.execute("select array_agg(number order by number) from moments").fetchone()
                assert found == ([*range(count), 9],)
                assert connection.execute("select count(*) from far").fetchone() == (2000 + count,)
        finally:
            pid = int((folder / "data" / "postmaster.pid").read_text().splitlines()[0])
            os.kill(pid, signal.SIGQUIT)
            until(lambda: are_gone([pid]))
    assert place.exists()
    source.execute("drop table far")
    source.execute("drop tablespace beside")


def test_the_kit_names_a_segment_that_is_missing(source: Source, client_as: Callable[..., Client]) -> None:
    base = source.base()
    for _ in range(3):
        source.switch()
    gone = source.server.wal_segments.filter(kind="segment", end_lsn__gt=base.end_lsn).order_by("number")[1]
    following = source.server.wal_segments.get(kind="segment", number=gone.number + 1)
    source.store.open().delete(gone.key)
    kit = client_as("admin").get(reverse("base_kit", args=[source.server.name, base.pk])).context["lines"]
    with tempfile.TemporaryDirectory(dir="/tmp") as name, pytest.raises(AssertionError) as failed:
        follow(kit, Path(name), source, {})
    assert f"A segment before wal/{following.name} is missing." in str(failed.value)


def follow(kit: list[tuple[str, list[str]]], folder: Path, source: Source, reached: dict[str, str]) -> None:
    """In an empty folder; what starts the server as the user that it may run as."""
    (folder / "key.txt").write_text(BackupKey.objects.get().identity + "\n")
    major = source.postgres.major
    places = [server_tools(major).folder, verifying_folder(major), *programs(), reached.get("PATH", "")]
    environment = {**reached, "PATH": ":".join(map(str, places))}
    for title, lines in kit:
        last = title == "Recover"
        if last:
            give(folder)
        done = subprocess.run(
            ["bash", "-ec", "\n".join(lines)], cwd=folder, env=environment, text=True, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, **(popen_options() if last else {}),
        )  # fmt: skip
        assert done.returncode == 0, (title, done.stdout)


def verifying_folder(major: int) -> Path:
    """Of the programs that compare and put together, and of psql."""
    return combining_tools(major).folder if major >= SINCE else logical.choose(major).folder


def test_before_17_it_is_not_offered_and_refused(
    make_source: Callable[..., Source], postgres: Postgres
) -> None:
    if postgres.major >= SINCE:
        pytest.skip(
            f"needs PostgreSQL before {SINCE}, which takes no incremental base backups; this is {postgres.major}"
        )
    source = make_source()
    for name, field in (("switch_on_point_in_time", "full_days"), ("change_point_in_time", "full_days"),
                        ("take_base_backup", "full")):  # fmt: skip
        assert field not in REGISTRY[name].form(source.server).fields
    with pytest.raises(Refused) as refused:
        REGISTRY["change_point_in_time"](
            source.server, {"base_hours": 24, "full_days": 7, "keep_days": 7}
        ).plan()
    says = f"PostgreSQL takes incremental base backups from 17 on; source-0 is {postgres.major}."
    assert str(refused.value) == says
