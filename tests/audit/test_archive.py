"""A month that expires goes to a store first, signed, and can be loaded again as it was."""

import datetime as dt
import json

import pyarrow.parquet
import pytest
from backports import zstd

from audit import archive, parquet, registry, search, walk
from audit.models import Expiry, Seal
from audit.sealing import seal_next
from audit.verifying import verify
from backups import catalogue, store_rules
from backups.models import Store
from backups.stores import StoreError
from dbadmin.models import Schedule
from dbadmin.operations import Refused
from dbadmin.plans import steps_of
from dbadmin.stores import Holding, held
from tests.carrying_out import carry_out, log_of, operation

pytestmark = pytest.mark.servers


@pytest.fixture
def vault(tmp_path, db):
    store = Store.objects.create(name="vault", kind="local", directory=str(tmp_path / "vault"))
    store.path.mkdir(parents=True)
    return store


@pytest.fixture
def old(audit, execute, target):
    """A sealed log with one statement of an old month, of types that are hard to keep."""
    execute(
        "create table items (id int primary key, name text, data jsonb, price numeric, seen timestamptz,"
        " tags text[], raw bytea, side smallint, big bigint, ok boolean, weight float8)"
    )
    audit.watch("items")
    execute("set role dbadmin_audit")
    for parent in ("statement", "rows_1", "loose"):
        execute(
            f"create table dbadmin_audit.{parent}_2020_01 partition of dbadmin_audit.{parent}"
            " for values from ('2020-01-01 00:00+00') to ('2020-02-01 00:00+00')"
        )
    execute("reset role")
    values = (
        "(1, E'a\\tb\\n\\\\ü', '{\"x\": \"é\"}', 'NaN', 'infinity', '{a,NULL,\"b c\"}', '\\x00ff', -1,"
        " 9223372036854775807, true, 'NaN'), (2, null, null, 1.10, null, '{}', '', null, null, null,"
        " 0.1::float8 + 0.2::float8)"
    )
    execute(f"insert into items values {values}")
    for table in ("statement", "rows_1"):
        execute(f"update dbadmin_audit.{table} set at = '2020-01-05 10:00:00.123456+00'")
    execute("update items set name = 'now' where id = 1")
    assert seal_next(target.connection, audit.server).statements == 2
    return audit


def content(execute):
    return [
        execute(f"select t::text from dbadmin_audit.{name} t order by 1").fetchall()
        for name in ("statement", "rows_1")
    ]


def findings(target):
    return [finding.what for finding in verify(target.connection, list(Seal.objects.all()))]


@pytest.mark.parametrize(("kind", "lines"), [("jsonl.zst", 7), ("parquet", 3)])
def test_an_expired_month_comes_back_from_the_store_as_it_was(
    old, server, target, execute, vault, kind, lines
):
    before = content(execute)
    run = carry_out(operation("expire_log", server, keep_months=3, store="vault", written_as=kind))
    assert run.status == "succeeded", run.message
    key = f"audit-log/{server.key}/{target.database}/2020-01.{kind}"
    size = sum(item.size_bytes for item in vault.open().items(key) if not item.key.endswith(".json"))
    assert log_of(run)[0] == f"Copied 2020-01 to {key}: {lines} lines in {size} bytes."
    said = json.loads(vault.open().get(f"{key}.json"))["text"]
    recorded = json.loads(Expiry.objects.get().text)["archives"]["2020-01"]
    assert recorded == {name: json.loads(said)[name] for name in recorded}
    assert len(content(execute)[0]) == 1
    assert findings(target) == []
    # A map that was made while the month was away, and knows nothing of it.
    assert carry_out(operation("index_log", server)).status == "succeeded"
    execute("delete from dbadmin_audit.stretch where number = 0")
    run = carry_out(operation("load_month", server, store="vault", month="2020-01"))
    assert run.status == "succeeded", run.message
    wanted = search.Filter(person="postgres", until=dt.datetime(2020, 2, 1, tzinfo=dt.UTC))
    state = registry.installed(target.rows)
    assert [row.id for row in walk.find(target.rows, state, wanted).statements] == [1]
    assert log_of(run)[-1] == "Loaded 3 rows of 2020-01. expire_log drops them again."
    assert content(execute) == before
    assert findings(target) == []
    execute("update dbadmin_audit.rows_1 set c2 = 'forged' where c1 = 2")
    assert findings(target) == ["Row 2 (after) of statement 1 was altered."]
    with pytest.raises(Refused) as refusal:
        operation("load_month", server, store="vault", month="2020-01").plan()
    assert str(refusal.value) == "2020-01 is in the log already."
    run = carry_out(operation("expire_log", server, keep_months=3, store="vault"))
    assert log_of(run)[0] == f"2020-01 is in vault already: {lines} lines."


def test_copied_texts_of_a_month_go_with_it(old, server, execute):
    execute("create extension pg_trgm")
    assert carry_out(operation("index_log", server)).status == "succeeded"
    copied = "select string_agg(text, '') ~ 'ü' from dbadmin_audit.open_text"
    # Made when that month was still written to, and never since.
    execute("update dbadmin_audit.open_text_reached set from_id = 1, high = 0")
    execute("insert into dbadmin_audit.open_text values (0, 1, 'ü')")
    assert execute(copied).fetchone()[0]
    run = carry_out(operation("expire_log", server, keep_months=3))
    assert run.status == "succeeded", run.message
    assert not execute(copied).fetchone()[0]
    assert carry_out(operation("index_log", server)).status == "succeeded"
    assert execute("select count(*) from dbadmin_audit.open_text").fetchone()[0]


def test_an_altered_archive_is_not_loaded(old, server, target, execute, vault):
    carry_out(operation("expire_log", server, keep_months=3, store="vault"))
    shelf, key = vault.open(), f"audit-log/{server.key}/{target.database}/2020-01.jsonl.zst"
    text = zstd.decompress(shelf.get(key))
    shelf.put(key, zstd.compress(text.replace(b"1.10", b"9.99")))
    run = carry_out(operation("load_month", server, store="vault", month="2020-01"))
    assert run.message == "The archive of 2020-01 was altered: its digest does not fit. Nothing was loaded."
    assert execute("select count(*) from dbadmin_audit.statement_2020_01").fetchone()[0] == 0
    signed = shelf.get(f"{key}.json")
    shelf.put(f"{key}.json", signed.replace(b"lines", b"Lines"))
    with pytest.raises(Refused) as refusal:
        operation("load_month", server, store="vault", month="2020-01").plan()
    assert (
        str(refusal.value)
        == "The description of 2020-01 in the store was altered: its signature does not fit."
    )
    shelf.put(f"{key}.json", signed)
    shelf.put(f"{key.replace('2020-01', '2020-02')}.json", signed)
    with pytest.raises(Refused) as refusal:
        operation("load_month", server, store="vault", month="2020-02").plan()
    assert str(refusal.value) == f"The description of 2020-02 in the store is that of {key}."
    with pytest.raises(Refused) as refusal:
        operation("load_month", server, store="vault", month="2019-01").plan()
    assert str(refusal.value) == "The store holds no archive of 2019-01. It holds: 2020-01, 2020-02."


def test_nothing_is_dropped_when_the_store_fails(old, server, execute, vault):
    wanted, before = operation("expire_log", server, keep_months=3, store="vault"), content(execute)
    vault.path.rmdir()
    run = carry_out(wanted)
    assert (run.status, run.message) == (
        "failed",
        f"Step 1 of 3 failed: The store's directory {vault.path} is not there. Create it, or mount its disk.",
    )
    assert content(execute) == before


def expired_as_parquet(server, vault):
    run = carry_out(operation("expire_log", server, keep_months=3, store="vault", written_as="parquet"))
    assert run.status == "succeeded", run.message
    return vault.path / f"audit-log/{server.key}"


def test_a_month_as_parquet_has_the_tables_own_names_and_types(old, server, target, vault):
    folder = expired_as_parquet(server, vault) / target.database / "2020-01.parquet"
    assert sorted(path.name for path in folder.iterdir()) == [
        "loose.parquet",
        "rows_1.parquet",
        "statement.parquet",
    ]
    table = pyarrow.parquet.read_table(folder / "rows_1.parquet")
    assert [(field.name, str(field.type)) for field in table.schema] == [
        ("at", "timestamp[us, tz=UTC]"),
        ("statement_id", "int64"),
        ("n", "int32"),
        ("side", "string"),
        ("id", "int32"),
        ("name", "string"),
        ("data", "string"),
        ("price", "string"),
        ("seen", "string"),
        ("tags", "string"),
        ("raw", "string"),
        ("side (c8)", "int16"),
        ("big", "int64"),
        ("ok", "bool"),
        ("weight", "double"),
    ]
    row = table.to_pylist()[1]
    assert {name: row[name] for name in ("id", "price", "n", "side (c8)", "weight")} == {
        "id": 2,
        "price": "1.10",
        "n": 2,
        "side (c8)": None,
        "weight": 0.1 + 0.2,
    }
    registry = json.loads(table.schema.metadata[b"dbadmin.registry"])
    assert (registry["month"], [one["table_name"] for one in registry["tables"]]) == ("2020-01", ["items"])


def test_an_altered_parquet_file_is_not_loaded(old, server, target, execute, vault):
    path = expired_as_parquet(server, vault) / target.database / "2020-01.parquet/rows_1.parquet"
    table = pyarrow.parquet.read_table(path)
    names = pyarrow.array(["forged", "forged"])
    path.chmod(0o644)
    pyarrow.parquet.write_table(table.set_column(table.schema.get_field_index("name"), "name", names), path)
    run = carry_out(operation("load_month", server, store="vault", month="2020-01"))
    key = f"audit-log/{server.key}/{target.database}/2020-01.parquet/rows_1.parquet"
    assert run.message == f"{key} was altered: its digest does not fit. Nothing was loaded."
    assert execute("select count(*) from dbadmin_audit.statement_2020_01").fetchone()[0] == 0


def test_without_the_library_parquet_is_refused_before_anything_runs(old, server, vault, monkeypatch):
    told = "Parquet needs the library pyarrow, which is not installed here: pip install pyarrow."
    with monkeypatch.context() as patch:
        patch.setattr(parquet, "find_spec", lambda name: None)
        with pytest.raises(Refused) as refusal:
            operation("expire_log", server, keep_months=3, store="vault", written_as="parquet").plan()
    assert str(refusal.value) == told
    expired_as_parquet(server, vault)
    monkeypatch.setattr(parquet, "find_spec", lambda name: None)
    with pytest.raises(Refused) as refusal:
        operation("load_month", server, store="vault", month="2020-01").plan()
    assert str(refusal.value) == told


def test_many_rows_are_written_and_loaded_in_groups(old, server, target, execute, vault, monkeypatch):
    monkeypatch.setattr(archive.archive_parquet, "GROUP", 100)
    execute("set role dbadmin_audit")
    execute(
        "insert into dbadmin_audit.rows_1 (at, statement_id, n, side, c1, c2)"
        " select '2020-01-06 00:00+00', 1, n, '+', n, repeat('x', n % 100) from generate_series(3, 1050) n"
    )
    execute("reset role")
    before = content(execute)
    folder = expired_as_parquet(server, vault) / target.database / "2020-01.parquet"
    file = pyarrow.parquet.ParquetFile(folder / "rows_1.parquet")
    assert (file.num_row_groups, file.metadata.num_rows) == (11, 1050)
    run = carry_out(operation("load_month", server, store="vault", month="2020-01"))
    assert (
        log_of(run)[-1]
        == "Loaded 1\N{NARROW NO-BREAK SPACE}051 rows of 2020-01. expire_log drops them again."
    )
    assert content(execute) == before


def test_nothing_is_copied_dropped_or_looked_for_where_the_disk_of_the_store_is_not_mounted(
    old, server, target, execute, vault
):
    run = carry_out(operation("seal_log", server, store="vault"))
    assert log_of(run)[-1] == "Copied 1 seal to vault."
    vault.refresh_from_db()
    elsewhere = vault.path.rename(vault.path.with_name("unmounted"))
    vault.path.mkdir()
    away = (
        f"The disk of the store {vault.path} is not mounted: the file {vault.mark} that lies on it is not there. "
        "Mount it. If it is lost, tick “Take what is there now for its disk” in the store's settings."
    )
    run = carry_out(operation("expire_log", server, keep_months=3, store="vault"))
    assert (run.status, run.message.partition(": ")[2]) == ("failed", away)
    execute("insert into items values (3)")
    run = carry_out(operation("seal_log", server, store="vault"))
    assert (run.status, run.message) == ("failed", f"Step 2 of 2 failed: {away}")
    assert Seal.objects.get(number=2).store == ""
    run = carry_out(operation("verify_seals", server))
    assert (run.status, run.message) == ("failed", away)
    with pytest.raises(Refused) as refusal:
        steps_of(operation("load_month", server, store="vault", month="2020-01"))
    assert str(refusal.value) == away
    assert list(vault.path.iterdir()) == []
    vault.path.rmdir()
    elsewhere.rename(vault.path)
    assert log_of(carry_out(operation("seal_log", server, store="vault")))[-1] == "Copied 1 seal to vault."
    assert carry_out(operation("verify_seals", server)).status == "succeeded"


def test_a_month_that_somebody_reads_does_not_expire_now_and_nobody_who_writes_waits_behind_that(
    old, server, target, execute, postgres
):
    """To drop a partition locks the whole log, for writers as well."""
    before = content(execute)
    with postgres.connect(target.database) as reader:
        # Without a limit the drop would wait for as long as this lasts.
        reader.execute("set idle_in_transaction_session_timeout = '20s'; begin")
        reader.execute("table dbadmin_audit.statement")
        run = carry_out(operation("expire_log", server, keep_months=3))
        assert reader.execute("select 1").fetchone() == (1,)
    said = (
        "Step 2 of 2 failed: Canceling statement due to lock timeout. Somebody holds a lock on it for long: the locks "
        "page says who. This step changed nothing."
    )
    assert (run.status, run.message) == ("failed", said)
    assert (content(execute), findings(target)) == (before, [])
    assert carry_out(operation("expire_log", server, keep_months=3)).status == "succeeded"


def test_the_keeper_of_stores_knows_what_the_audit_log_has_there(old, server, target, vault):
    assert held("vault") == []
    carry_out(operation("seal_log", server, store="vault"))
    Schedule.objects.create(
        server=server, operation="expire_log", params={"store": "vault"}, cron="0 3 * * *"
    )
    number = Seal.objects.get().number
    seals = Holding("copies of seals", [f"audit-seals/{server.key}/{target.database}/{number:08}.json"])
    assert held("vault") == [seals, Holding("months of the audit log", [])]
    assert store_rules.wanted(vault) == store_rules.Wanted(
        None, "copies of seals and months of the audit log lie there for ever"
    )
    assert carry_out(operation("expire_log", server, keep_months=3, store="vault")).status == "succeeded"
    key = f"audit-log/{server.key}/{target.database}/2020-01.jsonl.zst"
    assert held("vault") == [seals, Holding("months of the audit log", [key])]
    assert all(vault.open().head(each) for holding in held("vault") for each in holding.keys)


def test_a_store_of_an_older_version_that_holds_only_the_audit_log_is_not_marked_where_its_disk_is_away(
    old, server, vault
):
    carry_out(operation("seal_log", server, store="vault"))
    for path in vault.path.glob("dbadmin-store-*"):
        path.unlink()  # as an older version left it
    Store.objects.filter(pk=vault.pk).update(is_marked=False)
    vault.refresh_from_db()
    elsewhere = vault.path.rename(vault.path.with_name("unmounted"))
    vault.path.mkdir()
    with pytest.raises(StoreError, match=r"holds none of the copies of seals that the catalogue lists there"):
        catalogue.must_be_mounted(vault)
    assert list(vault.path.iterdir()) == []
    vault.path.rmdir()
    elsewhere.rename(vault.path)
    catalogue.must_be_mounted(vault)
    assert vault.path.joinpath(vault.mark).exists()
