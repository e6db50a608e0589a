"""What is sealed is the same whatever the encoding of the database and of the session."""

import json
from hashlib import sha256

import pytest

from audit import canonical, merkle
from audit.models import Seal
from audit.registry import installed
from audit.sealing import registry_facts, seal_next, sign
from audit.verifying import verify
from dbadmin.connections import named_rows
from tests.audit.test_seals import by_the_script
from tests.carrying_out import carry_out, operation

pytestmark = pytest.mark.servers


@pytest.fixture
def latin(postgres, server):
    """A database of another encoding; a watched table in it."""
    name = f"{server.name}_latin"
    postgres.admin.execute(
        f"create database {name} template template0 encoding 'LATIN1' lc_collate 'C' lc_ctype 'C'"
    )
    try:
        with postgres.connect(name) as connection:
            connection.execute("create table items (id int primary key, naïve text)")
            watch = operation("watch_table", server, database=name, schema="public", table="items")
            assert carry_out(watch).status == "succeeded"
            connection.execute("insert into items values (1, 'café')")
            yield connection
    finally:
        postgres.admin.execute(f"drop database {name} with (force)")


def test_what_is_sealed_does_not_depend_on_the_encoding(latin, server, tmp_path, postgres):
    """The second party's script reads UTF-8 from every database, and a session may ask for what it likes."""
    name = latin.info.dbname
    seal_next(latin, server)
    for encoding in ("LATIN1", "UTF8"):
        latin.execute(f"set client_encoding = '{encoding}'")
        assert verify(latin, list(Seal.objects.order_by("number"))) == []
        assert by_the_script(tmp_path, postgres.dsn_for(name)) == []
    # As an older dbadmin sealed it.
    seal = Seal.objects.get()
    facts = {name: fact for name, fact in json.loads(seal.header).items() if name != "encoding"}
    with latin.transaction():
        latin.execute(canonical.SETTINGS)
        state = installed(lambda query, params=None: named_rows(latin.execute(query, params)))
        latin.execute("set local client_encoding = 'LATIN1'")
        there = canonical.entries(latin, state, canonical.Range(seal.low, seal.high)).values()
        facts |= registry_facts(latin)
    leaves = [entry.leaf() for entry in there]
    facts["root"] = merkle.root(leaves).hex()
    seal.header, seal.leaves = json.dumps(facts), canonical.pack(list(there), leaves)
    seal.header_hash, seal.signature = sha256(seal.header.encode()).hexdigest(), sign(seal.key, seal.header)
    seal.save()
    assert verify(latin, [seal]) == []


def test_the_pages_show_it(latin, server, client_as):
    """JSON of the log is read as UTF-8, whatever the database would send by itself."""
    latin.execute("update items set naïve = 'thé'")
    for page in ("audit/", "audit/row/public.items/?key=1", "audit/export.jsonl", "audit/capture/"):
        query = "&" if "?" in page else "?"
        answer = client_as("auditor").get(f"/servers/{server.name}/{page}{query}db={latin.info.dbname}")
        text = b"".join(answer.streaming_content if answer.streaming else [answer.content]).decode()
        assert answer.status_code == 200
        assert "thé" in text or "capture" in page
