"""One change is proven by a small file, without a server and without the rest of the log."""

import json
import subprocess
import sys

import pytest

from audit.models import Seal
from audit.seal_views import SCRIPT
from audit.sealing import seal_next
from dbadmin.models import Event
from tests.fixtures.servers import server_row

pytestmark = pytest.mark.servers


@pytest.fixture
def sealed(audit, execute, target):
    execute("create table items (id int primary key, name text, price numeric)")
    audit.watch("items")
    for number in range(7):
        execute(f"insert into items values ({number}, 'n{number}', {number})")
    execute("set app.current_user_id = 'maria'")
    execute("update items set name = E'tab\\t, \\\\ and \\n — ü', price = null where id = 2")
    execute("update items set price = 7 where id > 2")
    assert seal_next(target.connection, audit.server).statements == 9
    execute("reset app.current_user_id")
    return audit


def taken(client, tmp_path, statement, row, status=200):
    """The file, and what the script says of it."""
    answer = client.get(f"/servers/shop/audit/statement/{statement}/{row}/proof.json")
    assert answer.status_code == status
    file = tmp_path / "proof.json"
    file.write_bytes(answer.content)
    return file


def checked(file, *more):
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--proof", str(file), *more], capture_output=True, text=True
    )
    return done.stdout.splitlines(), done.returncode


def test_a_change_is_proven_and_told(sealed, client_as, tmp_path):
    client, seal = client_as("auditor"), Seal.objects.get()
    file = taken(client, tmp_path, 8, 1)
    said, status = checked(file)
    facts = json.loads(seal.header)
    assert status == 0
    assert said[0] == (
        f"Proven: this change is in seal 1 of shop/{seal.database}, signed {facts['sealed_at']}."
    )
    assert said[1] == f"The key came with the file; compare it with one that you trust: {seal.key.public}"
    for line in ("statement: 8", "operation: U", "application user: maria", "table: public.items"):
        assert line in said
    assert said[-3:] == [
        "row 1, after: " + str({"id": "2", "name": "tab\t, \\ and \n — ü", "price": "NULL"}),
        "row 1, before: " + str({"id": "2", "name": "n2", "price": "2"}),
        "The names of columns are those that dbadmin gave; all values are proven.",
    ]
    assert checked(file, "--key", seal.key.public)[1] == 0
    assert checked(file, "--key", "ab" * 32) == (["Not proven: the signature does not fit the key."], 1)
    assert Event.objects.get(kind="audit.export").text == "Took the proof of statement 8, row 1."


def test_the_proof_shows_one_row_and_hashes_of_the_others(sealed, client_as, tmp_path):
    file = taken(client_as("auditor"), tmp_path, 9, 3)
    rows = json.loads(file.read_text())["rows"]
    assert [set(row) for row in rows] == [{"digest"}] * 4 + [{"line"}] * 2 + [{"digest"}] * 2
    assert "n5" in file.read_text()
    assert "n6" not in file.read_text()
    assert checked(file)[1] == 0


@pytest.mark.parametrize(
    ("part", "said"),
    [
        (("statement", "maria", "joe"), "Not proven: this change does not belong to the signed root."),
        (("line", "n2", "n3"), "Not proven: this change does not belong to the signed root."),
        (("header", "items", "thing"), "Not proven: the signature does not fit the key."),
    ],
)
def test_an_edited_proof_proves_nothing(sealed, client_as, tmp_path, part, said):
    file = taken(client_as("auditor"), tmp_path, 8, 1)
    name, before, after = part
    proof = json.loads(file.read_text())
    owner = proof if name in proof else next(row for row in proof["rows"] if before in row["line"])
    owner[name] = owner[name].replace(before, after)
    file.write_text(json.dumps(proof))
    assert checked(file) == ([said], 1)


def test_there_is_no_proof_of_what_is_not_sealed_or_was_altered(sealed, execute, client_as, tmp_path):
    client = client_as("auditor")
    execute("delete from items where id = 1")
    said = "Statement 10 is not sealed yet. seal_log seals it when its transaction has ended."
    assert said in taken(client, tmp_path, 10, 1, 409).read_text()
    assert "Statement 8 has no row 2." in taken(client, tmp_path, 8, 2, 409).read_text()
    execute("update dbadmin_audit.pairs_1 set c3 = 1 where statement_id = 8")
    said = "Statement 8 is not as it was sealed in seal 1. Verify the audit log."
    assert said in taken(client, tmp_path, 8, 1, 409).read_text()


def test_the_page_of_a_change_offers_it_to_those_who_may_export(sealed, client_as):
    address = "/servers/shop/audit/statement/8/1/"
    link = f'<a class="button" href="{address}proof.json">Proof</a>'
    assert link in client_as("auditor").get(address).content.decode()
    assert client_as("operator").get(f"{address}proof.json").status_code == 403


def test_where_nothing_is_sealed_there_is_no_witness_and_the_script_checks_nothing(
    items, client_as, tmp_path, postgres, target
):
    address = "/servers/shop/audit/seals/witness/"
    assert client_as("auditor").get(address).status_code == 404
    seal_next(target.connection, items.server)
    (line,) = b"".join(client_as("auditor").get(address).streaming_content).splitlines()
    assert json.loads(line)["header"] == Seal.objects.get().header
    file = tmp_path / "witness.jsonl"
    file.write_text("")
    command = [sys.executable, str(SCRIPT), str(file), postgres.dsn_for(target.database)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stderr.endswith("error: the witness file holds no seal: nothing was checked\n")
    assert (done.stdout, done.returncode) == ("", 2)


def test_the_page_of_seals_shows_the_key_to_trust_and_that_of_a_replica_leads_to_its_primary(
    sealed, client_as, server, postgres, target
):
    text = client_as("auditor").get("/servers/shop/audit/seals/").content.decode()
    assert f"<code>{Seal.objects.get().key.public}</code>" in text
    server_row("twin", postgres, target.database, primary=server)
    text = client_as("auditor").get("/servers/twin/audit/seals/").content.decode()
    assert 'sealed on its primary: <a href="/servers/shop/audit/seals/">seals of shop</a>' in text
    assert "Not sealed yet</dt><dd>–" in text
