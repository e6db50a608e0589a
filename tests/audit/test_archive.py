"""A month that expires goes to a store first, signed, and can be loaded again as it was."""

import pytest
from backports import zstd

from audit.models import Seal
from audit.sealing import seal_next
from audit.verifying import verify
from backups.models import Store
from dbadmin.operations import Refused
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
        " tags text[], raw bytea)"
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
        "(1, E'a\\tb\\n\\\\ü', '{\"x\": \"é\"}', 'NaN', 'infinity', '{a,NULL,\"b c\"}', '\\x00ff'),"
        " (2, null, null, 1.10, null, '{}', '')"
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


def test_an_expired_month_comes_back_from_the_store_as_it_was(old, server, target, execute, vault):
    before = content(execute)
    run = carry_out(operation("expire_log", server, keep_months=3, store="vault"))
    assert run.status == "succeeded", run.message
    key = f"audit-log/{server.key}/{target.database}/2020-01.jsonl.zst"
    size = vault.open().head(key).size_bytes
    assert log_of(run)[0] == f"Copied 2020-01 to {key}: 7 lines in {size} bytes."
    assert len(content(execute)[0]) == 1
    assert findings(target) == []
    run = carry_out(operation("load_month", server, store="vault", month="2020-01"))
    assert run.status == "succeeded", run.message
    assert log_of(run)[-1] == "Loaded 3 rows of 2020-01. expire_log drops them again."
    assert content(execute) == before
    assert findings(target) == []
    execute("update dbadmin_audit.rows_1 set c2 = 'forged' where c1 = 2")
    assert findings(target) == ["Row 2 (after) of statement 1 was altered."]
    with pytest.raises(Refused) as refusal:
        operation("load_month", server, store="vault", month="2020-01").plan()
    assert str(refusal.value) == "2020-01 is in the log already."
    run = carry_out(operation("expire_log", server, keep_months=3, store="vault"))
    assert log_of(run)[0] == "2020-01 is in vault already: 7 lines."


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
    with pytest.raises(Refused) as refusal:
        operation("load_month", server, store="vault", month="2019-01").plan()
    assert str(refusal.value) == "The store holds no archive of 2019-01. It holds: 2020-01."


def test_nothing_is_dropped_when_the_store_fails(old, server, execute, vault):
    wanted, before = operation("expire_log", server, keep_months=3, store="vault"), content(execute)
    vault.path.rmdir()
    run = carry_out(wanted)
    assert (run.status, run.message) == (
        "failed",
        f"Step 1 of 3 failed: The store's directory {vault.path} is not there. Create it, or mount its disk.",
    )
    assert content(execute) == before
