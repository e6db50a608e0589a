"""A search as a page to print; whether a file is as it was signed is told without dbadmin."""

import csv
import subprocess
import sys

import pytest

from audit.models import SealKey
from audit.seal_views import SCRIPT
from dbadmin.models import Event

pytestmark = pytest.mark.servers


@pytest.fixture
def history(audit, execute):
    execute("create table users (id int primary key, name text, city text)")
    audit.watch("users")
    execute("set app.current_user_id = 'maria'")
    execute("insert into users values (1, '<script>alert(1)</script>', 'Bern')")
    execute("update users set city = 'Zürich -->' where id = 1")
    return audit


def taken(client, tmp_path, kind, query=""):
    answer = client.get(f"/servers/shop/audit/export.{kind}?{query}")
    assert answer.status_code == 200
    assert answer["Content-Disposition"] == f'attachment; filename="shop-audit.{kind}"'
    file = tmp_path / f"taken.{kind}"
    file.write_bytes(b"".join(answer.streaming_content))
    return file


def checked(file, *more):
    command = [sys.executable, str(SCRIPT), "--export", str(file), *more]
    done = subprocess.run(command, capture_output=True, text=True)
    return done.stdout.splitlines(), done.returncode


def test_the_report_tells_who_asked_for_what_and_each_change(history, client_as, tmp_path, target):
    text = taken(client_as("auditor"), tmp_path, "html", "table=users&person=maria").read_text()
    for name, value in (
        ("Server", f"shop, database {target.database}"),
        ("Search", "table users, person maria"),
        ("By", "auditor"),
    ):
        assert f'<tr><th scope="row">{name}</th><td>{value}</td></tr>' in text
    values = '<td class="values">city: &quot;{}&quot;</td>'
    assert values.format("Bern") + values.format("Zürich --&gt;") in text
    assert "<script>" not in text
    assert "2 lines." in text
    event = Event.objects.get(kind="audit.export")
    assert event.text == "Exported the audit log as html: table users, person maria."


def test_a_csv_file_keeps_letters_quotes_formulas_and_leaves_empty_what_is_empty(
    audit, execute, client_as, tmp_path
):
    execute("create table loose (formula text, town text)")
    audit.watch("loose")
    execute("insert into loose values ('=1+1', 'Zürich')")
    file = taken(client_as("auditor"), tmp_path, "csv", "table=loose&operation=insert")
    row = next(csv.DictReader(file.read_text().splitlines()))
    assert row["key"] == ""
    assert row["after"] == '{"formula": "=1+1", "town": "Zürich"}'


@pytest.mark.parametrize("kind", ["csv", "jsonl", "html"])
def test_the_script_tells_whether_a_file_is_as_it_was_signed(history, client_as, tmp_path, kind):
    file = taken(client_as("auditor"), tmp_path, kind)
    key = SealKey.objects.get()
    assert checked(file, "--key", key.public) == (["Proven: the file is as it was signed."], 0)
    assert checked(file)[0][1].endswith(key.public)
    assert checked(file, "--key", "ab" * 32) == (["Not proven: the signature does not fit the key."], 1)
    data = file.read_bytes()
    file.write_bytes(data.replace(b"Bern", b"Born"))
    assert checked(file) == (["Not proven: the file is not the one that was signed."], 1)
    file.write_bytes(data[: data.rstrip().rfind(b"\n") + 1])
    assert checked(file)[0] == ["Not proven: the file does not end with a signed digest."]


def test_the_log_offers_the_report(history, client_as):
    page = client_as("auditor").get("/servers/shop/audit/?person=maria").content.decode()
    assert 'href="/servers/shop/audit/export.html?person=maria">Report</a>' in page
