"""A database in SQL_ASCII takes any bytes for text: the log keeps them, seals them, shows them and gives them back."""

import datetime as dt

import pytest

from audit import archive
from audit.models import Seal
from audit.verifying import verify
from backups.models import Store
from dbadmin import stores
from dbadmin.operations import Refused
from tests.audit.test_seals import by_the_script
from tests.carrying_out import carry_out, operation

pytestmark = pytest.mark.servers

#: In LATIN1 “café”, in UTF-8 nothing.
BYTES = b"caf\xe9 \\ it's"


@pytest.fixture
def without(postgres, server):
    """A database without an encoding; in a watched table of it a text that is no UTF-8, changed once, and another."""
    name = f"{server.name}_ascii"
    postgres.admin.execute(
        f"create database {name} template template0 encoding 'SQL_ASCII' lc_collate 'C' lc_ctype 'C'"
    )
    try:
        with postgres.connect(name, client_encoding="SQL_ASCII") as connection:
            connection.execute("create table items (id int primary key, name text, tags text[], about json)")
            watch = operation("watch_table", server, database=name, schema="public", table="items")
            assert carry_out(watch).status == "succeeded"
            connection.execute(
                "insert into items select 1, n, array[n, 'plain'], j::json"
                " from (select convert_from(%b, 'SQL_ASCII') as n, convert_from(%b, 'SQL_ASCII') as j) t",
                [BYTES, b'{"name": "caf\xe9"}'],
            )
            connection.execute("update items set tags = null where id = 1")
            connection.execute("insert into items select 2, convert_from(%b, 'SQL_ASCII')", ["thé".encode()])
            yield connection
    finally:
        postgres.admin.execute(f"drop database {name} with (force)")


def test_it_is_sealed_and_verified_as_the_bytes_that_it_is(without, server, tmp_path, postgres):
    name = without.info.dbname
    assert carry_out(operation("seal_log", server, database=name)).status == "succeeded"
    assert Seal.objects.get().statements == 3
    assert carry_out(operation("verify_seals", server, database=name)).status == "succeeded"
    assert by_the_script(tmp_path, postgres.dsn_for(name)) == []
    without.execute("update dbadmin_audit.rows_1 set c2 = convert_from('\\xea', 'SQL_ASCII') where c1 = 1")
    told = ["Row 1 (after) of statement 1 was altered."]
    with postgres.connect(name) as connection:
        assert [finding.what for finding in verify(connection, list(Seal.objects.all()))] == told
    assert by_the_script(tmp_path, postgres.dsn_for(name)) == told


@pytest.mark.parametrize(
    "page",
    ["audit/", "audit/row/public.items/?key=1", "audit/statement/1/1/", "audit/transaction/{xid}/",
     "audit/table/public.items/?at=2999-01-01", "audit/?text=thé", "audit/?value=thé&of=name&table=public.items"],
)  # fmt: skip
def test_pages_show_each_byte_and_say_what_it_is(without, server, client_as, page):
    (xid,) = without.execute("select xid::text from dbadmin_audit.statement where id = 1").fetchone()
    page = page.format(xid=bytes(xid).decode() if isinstance(xid, bytes) else xid)
    query = "&" if "?" in page else "?"
    answer = client_as("auditor").get(f"/servers/{server.name}/{page}{query}db={without.info.dbname}")
    text = answer.content.decode()
    assert answer.status_code == 200
    assert ("thé" if "th" in page else "caf\\xe9") in text
    assert (
        "This database has no encoding (SQL_ASCII). Bytes of its text that are no UTF-8 are shown as \\xe9 is."
        in text
    )


@pytest.mark.parametrize("kind", ["jsonl", "csv", "html"])
def test_exports_show_each_byte_and_say_what_it_is(without, server, client_as, kind):
    answer = client_as("auditor").get(f"/servers/{server.name}/audit/export.{kind}?db={without.info.dbname}")
    text = b"".join(answer.streaming_content).decode()
    assert "thé" in text
    assert "caf\\xe9" in text.replace("\\\\", "\\")
    assert "Bytes of its text that are no UTF-8 are shown as \\xe9 is." in text.replace("\\\\", "\\")


def test_an_undo_gives_the_bytes_back(without, server):
    query = "select md5(t::text) from items t order by id"
    before = without.execute(query).fetchall()
    without.execute("delete from items")
    (number,) = without.execute("select max(id) from dbadmin_audit.statement").fetchone()
    run = carry_out(operation("undo_changes", server, database=without.info.dbname, statement=number))
    assert run.status == "succeeded", run.error
    assert without.execute(query).fetchall() == before
    without.execute("update items set name = 'x' where id = 1")
    (number,) = without.execute("select max(id) from dbadmin_audit.statement").fetchone()
    run = carry_out(operation("undo_changes", server, database=without.info.dbname, statement=number))
    assert run.status == "succeeded", run.error
    assert without.execute(query).fetchall() == before


def test_a_hashed_column_takes_it(without, server):
    watch = operation(
        "watch_table", server, database=without.info.dbname, schema="public", table="items", hashed="name"
    )
    assert carry_out(watch).status == "succeeded"
    without.execute("update items set name = convert_from('\\xe8', 'SQL_ASCII')")
    (count,) = without.execute(
        "select count(distinct c2) from dbadmin_audit.rows_2 where side = '+'"
    ).fetchone()
    assert count == 1


def digest(connection, query):
    """What a query gives, though the driver's own way with it changed in between."""
    (found,) = connection.execute(query).fetchone()
    return found.decode() if isinstance(found, bytes) else found


def test_a_month_comes_back_from_a_store_as_the_bytes_that_it_was(without, server, tmp_path):
    store = Store.objects.create(name="vault", kind="local", directory=str(tmp_path / "vault"))
    store.path.mkdir(parents=True)
    shelf, month = stores.open_store("vault"), f"{dt.datetime.now(dt.UTC):%Y-%m}"
    leaf = f"rows_1_{month.replace('-', '_')}"
    query = f"select md5(string_agg(r::text, '' order by statement_id, n, side)) from dbadmin_audit.{leaf} r"
    before = digest(without, query)
    made = archive.write(without, shelf, server, month, [leaf], "jsonl.zst", print)
    with pytest.raises(Refused, match=f"{leaf} holds text that is no UTF-8, which Parquet cannot keep."):
        archive.write(without, shelf, server, month, [leaf], "parquet", print)
    without.execute(f"truncate dbadmin_audit.{leaf}")
    with without.transaction():
        assert archive.load(without, shelf, made, month, print) == 2
    assert digest(without, query) == before
