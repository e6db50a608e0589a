"""A search as a file: whole or not at all, beside the work of others."""

import json
import time

import pytest

from dbadmin.models import Event

pytestmark = pytest.mark.servers


@pytest.fixture
def history(audit, execute):
    execute("create table users (id int primary key, name text)")
    audit.watch("users")
    for number in range(1, 301):
        execute(f"insert into users values ({number}, repeat('long ', 2000))")
    return audit


def export(client, query="", kind="jsonl"):
    return client.get(f"/servers/shop/audit/export.{kind}?{query}")


def test_who_reads_slowly_gets_the_whole_file(history, client_as):
    stream = iter(export(client_as("auditor")).streaming_content)
    chunks = [next(stream)]
    time.sleep(6.5)  # longer than a page may use a session
    *lines, proof = b"".join([*chunks, *stream]).decode().splitlines()
    assert [json.loads(line)["after"]["id"] for line in lines] == [str(n) for n in range(300, 0, -1)]
    assert set(json.loads(proof)) == {"sha256", "signature", "key", "public"}


def test_rows_of_many_statements_are_read_together(history, client_as, monkeypatch):
    from dbadmin.connections import Session

    asked, rows = [], Session.rows
    monkeypatch.setattr(Session, "rows", lambda self, *query: asked.append(1) or rows(self, *query))
    assert len(b"".join(export(client_as("auditor")).streaming_content).splitlines()) == 301
    assert len(asked) < 20


def test_a_third_file_at_once_waits_for_its_turn(history, client_as):
    client = client_as("auditor")
    streams = [iter(export(client).streaming_content) for _ in range(2)]
    for stream in streams:
        next(stream)
    refused = export(client)
    assert refused.status_code == 503
    assert "Too many readers wait for this server; try again in a moment." in refused.content.decode()
    for stream in streams:
        assert len(b"".join(stream).splitlines()) == 300
    assert export(client).status_code == 200


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("table=orders", "orders was never watched."),
        ("xid=abc", "abc is no transaction number."),
        ("xid=99999999999999999999", "99999999999999999999 is no transaction number."),
    ],
)
def test_a_search_that_cannot_be_made_leads_to_the_page_that_says_why(history, client_as, query, expected):
    client = client_as("auditor")
    for kind in ("csv", "jsonl"):
        answer = export(client, query, kind)
        assert (answer.status_code, answer["Location"]) == (302, f"/servers/shop/audit/?{query}")
    assert expected in client.get(answer["Location"]).content.decode()
    assert not Event.objects.filter(kind="audit.export").exists()


def test_a_log_that_is_away_is_told_before_the_file_begins(history, client_as, server):
    server.seal_dsn("operate_dsn", "postgresql://nobody:x@127.0.0.1:1/none")
    server.save()
    answer = export(client_as("auditor"))
    assert answer.status_code == 503
    assert "Nothing listens at this host and port: connection refused." in answer.content.decode()


def test_a_search_is_kept_without_the_nul_that_no_text_can_hold(history, client_as):
    client = client_as("auditor")
    answer = client.post("/servers/shop/audit/searches/", {"name": "By\0 Maria", "query": "person=\0maria"})
    assert answer["Location"] == "/servers/shop/audit/?person=maria"
    assert ">By Maria</a>" in client.get("/servers/shop/audit/").content.decode()
