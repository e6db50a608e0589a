"""A search as a Parquet file: every value with its type, signed, in bounded memory."""

import io
import json
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from audit import parquet
from audit.exporting import records
from audit.search import Filter
from dbadmin.models import Event

pytestmark = pytest.mark.servers

SCRIPT = Path(parquet.__file__).with_name("standalone") / "verify_audit_log.py"


@pytest.fixture
def orders(audit, execute):
    execute("create table orders (id int primary key, note text, at timestamptz, sum numeric, details jsonb)")
    audit.watch("orders")
    execute("set app.current_user_id = 'maria'")
    execute("insert into orders values (1, 'Ünïcode, \"quoted\"', 'infinity', 12.50, '{\"a\": [1, null]}')")
    execute("insert into orders values (2, null, null, 'NaN', null)")
    execute("update orders set note = 'other', sum = 0 where id = 1")
    execute("delete from orders where id = 2")
    execute("truncate orders")
    return audit


def taken(client_as, query=""):
    answer = client_as("auditor").get(f"/servers/shop/audit/export.parquet?{query}")
    assert (answer.status_code, answer["Content-Type"]) == (200, "application/vnd.apache.parquet")
    return b"".join(answer.streaming_content)


def test_every_value_is_there_with_its_type(orders, client_as):
    table = pyarrow.parquet.read_table(io.BytesIO(taken(client_as)))
    assert table.schema.remove_metadata() == parquet.schema(pyarrow)
    found = table.to_pylist()
    expected = list(records(orders.session.rows, orders.state, Filter()))
    assert [row["operation"] for row in found] == ["truncate", "delete", "update", "insert", "insert"]
    for row, record in zip(found, expected, strict=True):
        assert row["at"] == datetime.fromisoformat(record["at"])
        assert str(row["transaction"]) == record["transaction"]
        assert [json.loads(row[side]) if row[side] else None for side in ("before", "after")] == [
            record.get("before"),
            record.get("after"),
        ]
        for name in ("statement", "row", "table", "key", "person", "changed", "application_user"):
            assert row[name] == record.get(name)
    assert json.loads(found[-1]["after"])["at"] == "infinity"
    assert json.loads(found[2]["before"])["note"] == 'Ünïcode, "quoted"'
    assert found[2]["changed"] == ["note", "sum"]


def test_many_records_are_row_groups_and_never_all_in_memory(orders, execute, client_as, monkeypatch):
    monkeypatch.setattr(parquet, "GROUP", 100)
    execute("insert into orders (id) select generate_series(1, 1050)")
    answer = client_as("auditor").get("/servers/shop/audit/export.parquet")
    pieces = list(answer.streaming_content)
    assert len(pieces) == 12  # eleven groups and the footer
    assert max(map(len, pieces[:-1])) < len(b"".join(pieces[:-1])) / 8
    file = pyarrow.parquet.ParquetFile(io.BytesIO(b"".join(pieces)))
    assert (file.num_row_groups, file.metadata.num_rows) == (11, 1055)


def test_an_empty_search_is_an_empty_table(orders, client_as):
    table = pyarrow.parquet.read_table(io.BytesIO(taken(client_as, "person=nobody")))
    assert (table.num_rows, table.schema.remove_metadata()) == (0, parquet.schema(pyarrow))


def check(path):
    done = subprocess.run([sys.executable, SCRIPT, "--export", path], capture_output=True, text=True)
    return done.returncode, done.stdout.splitlines()


def test_the_second_partys_script_proves_it_and_finds_an_altered_value(orders, client_as, tmp_path):
    path = tmp_path / "search.parquet"
    path.write_bytes(taken(client_as))
    status, said = check(path)
    assert (status, said[0]) == (0, "Proven: the file is as it was signed.")
    footer = pyarrow.parquet.ParquetFile(path).metadata.metadata[parquet.FOOTER]
    table = pyarrow.parquet.read_table(path).replace_schema_metadata({parquet.FOOTER: footer})
    persons = ["eve", *table["person"].to_pylist()[1:]]
    forged = table.set_column(table.schema.get_field_index("person"), "person", [pyarrow.array(persons)])
    pyarrow.parquet.write_table(forged, path)
    assert check(path) == (1, ["Not proven: the file is not the one that was signed."])
    pyarrow.parquet.write_table(table.slice(1), path)
    assert check(path) == (1, ["Not proven: the file is not the one that was signed."])
    pyarrow.parquet.write_table(table.replace_schema_metadata({}), path)
    assert check(path) == (1, ["Not proven: the file does not end with a signed digest."])


def test_who_took_it_is_recorded_and_a_bad_search_leads_to_its_page(orders, client_as):
    taken(client_as, "person=maria")
    (event,) = Event.objects.filter(kind="audit.export")
    assert event.text == "Exported the audit log as parquet: person maria."
    answer = client_as("auditor").get("/servers/shop/audit/export.parquet?xid=abc")
    assert (answer.status_code, answer["Location"]) == (302, "/servers/shop/audit/?xid=abc")


def test_without_the_library_there_is_no_button_and_the_address_says_what_to_install(
    orders, client_as, monkeypatch
):
    page = client_as("auditor").get("/servers/shop/audit/?person=maria").content.decode()
    assert ">Parquet</a>" in page
    monkeypatch.setattr(parquet, "find_spec", lambda name: None)
    page = client_as("auditor").get("/servers/shop/audit/?person=maria").content.decode()
    assert ">Parquet</a>" not in page
    client = client_as("auditor")
    answer = client.get("/servers/shop/audit/export.parquet?person=maria")
    assert (answer.status_code, answer["Location"]) == (302, "/servers/shop/audit/?person=maria")
    told = "Parquet needs the library pyarrow, which is not installed here: pip install pyarrow."
    assert told in client.get(answer["Location"]).content.decode()
