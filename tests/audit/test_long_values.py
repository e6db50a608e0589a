"""Of a value that is too long for a page the start and the length are shown, and all of it is one click away."""

from hashlib import md5

import pytest

from audit import long_values
from tests.carrying_out import carry_out, operation

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.servers]

LENGTH = 300_000_000
SAID = "the first 20,000 characters of 300,000,000 bytes"
A = f"repeat('abc ', {LENGTH // 4})"


def test_no_page_reads_a_value_of_300_mb(audit, execute, client_as, server, target):
    execute("create table texts (id int primary key, body text, about jsonb)")
    audit.watch("texts")
    execute(f"insert into texts values (1, {A}, jsonb_build_object('x', repeat('y', 2000000)))")
    execute("update texts set about = null")
    execute(f"update texts set body = {A} || 'x'")
    (first, second, third) = [one.id for one in audit.statements()]
    client = client_as("auditor")
    xid = target.value("select xid::text from dbadmin_audit.statement where id = %s", [third])
    for page in (
        "audit/", f"audit/statement/{first}/", f"audit/statement/{first}/1/", f"audit/statement/{second}/1/",
        f"audit/statement/{third}/1/", "audit/row/public.texts/?key=1", f"audit/transaction/{xid}/",
        "audit/table/public.texts/?at=2999-01-01", "audit/table/public.texts/?at=2020-01-01&and=2999-01-01",
        "audit/row/public.texts/?key=1&at=2999-01-01",
    ):  # fmt: skip
        answer = client.get(f"/servers/{server.name}/{page}")
        assert answer.status_code == 200, page
        assert len(answer.content) < 300_000, page
    inserted = client.get(f"/servers/{server.name}/audit/statement/{first}/1/").content.decode()
    assert SAID in inserted
    assert "the first 20,000 characters of 2,000,009 bytes" in inserted
    (update,) = audit.changes(xid=str(xid))
    assert update.changed == ["body"]
    link = f"/servers/{server.name}/audit/statement/{third}/1/value/?column=body&side=new"
    assert (
        link.replace("&", "&amp;")
        in client.get(f"/servers/{server.name}/audit/statement/{third}/1/").content.decode()
    )
    digest = md5(usedforsecurity=False)
    for block in client.get(link):
        digest.update(block)
    assert digest.hexdigest() == target.value("select md5(body) from texts")
    assert (
        client.get(f"/servers/{server.name}/audit/statement/{third}/1/value/?column=no&side=new").status_code
        == 404
    )
    lines = b"".join(client_as("auditor").get(f"/servers/{server.name}/audit/export.jsonl").streaming_content)
    assert lines.decode().count(SAID) == 4
    assert len(lines) < 1_000_000


def test_whether_a_long_value_changed_the_server_tells(audit, execute, target, monkeypatch):
    monkeypatch.setattr(long_values, "LONG", 1000)
    monkeypatch.setattr(long_values, "START", 100)
    execute("create table texts (id int primary key, body text, other int)")
    audit.watch("texts")
    execute("insert into texts values (1, repeat('a', 5000), 1)")
    execute("update texts set body = overlay(body placing 'b' from 4000)")
    execute("update texts set other = 2")
    told = [one.changed for one in audit.changes(operation="update")]
    assert told == [["body"], ["other"]]
    first, second = audit.changes(operation="update")
    end = "… (the first 100 characters of 5,000 bytes"
    assert first.old["body"] == "a" * 100 + f"{end})"
    assert first.new["body"] == "a" * 100 + f"{end}; the rest is another)"
    assert second.new["body"] == "a" * 100 + f"{end})"
    monkeypatch.setattr(long_values, "MOST", 0)
    assert [one.changed for one in audit.changes(operation="update")] == [["body"], ["body", "other"]]
    (_, second) = audit.changes(operation="update")
    assert second.new["body"].endswith("; whether the rest is the same was not compared)")


def test_undo_takes_the_whole_value(audit, execute, server, target, monkeypatch):
    monkeypatch.setattr(long_values, "LONG", 1000)
    execute("create table texts (id int primary key, body text)")
    audit.watch("texts")
    execute("insert into texts values (1, repeat('a', 50000)), (2, repeat('b', 50000))")
    execute("delete from texts")
    number = target.value("select max(id) from dbadmin_audit.statement")
    run = carry_out(operation("undo_changes", server, statement=number, row=1))
    assert run.status == "succeeded", run.error
    assert target.value("select body = repeat('a', 50000) from texts") is True
