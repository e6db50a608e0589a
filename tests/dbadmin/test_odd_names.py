"""Names with blanks, quotes, slashes and markup are names like others; what is no name at all is refused in words."""

import re

import pytest
from django import forms

from dbadmin.consent import digest, missing
from dbadmin.models import ServerState
from dbadmin.operations import NAMES, REGISTRY
from tests.carrying_out import carry_out, operation

ODD = ['"le ad', " lead ing", "sl/ash.dot?a=b&c#d", "'quo\"ted", "<b>naïve — 表</b>", "%s{}\\"]


@pytest.mark.parametrize("name", sorted(REGISTRY))
def test_no_operation_cuts_the_blanks_of_a_name(name):
    cut = [
        field_name
        for field_name, field in REGISTRY[name].Form.base_fields.items()
        if field_name in NAMES and isinstance(field, forms.CharField) and field.strip
    ]
    assert cut == []


@pytest.mark.servers
@pytest.mark.django_db(transaction=True)
def test_a_table_of_any_name_is_vacuumed_from_its_page(target, server, client_as):
    client = client_as("admin")
    for name in ODD:
        quoted = name.replace('"', '""')
        target.rows(f'create schema "{quoted}"')
        target.rows(f'create table "{quoted}"."{quoted}" (id int)')
        params = {"schema": name, "table": name, "preview": "1"}
        page = client.get(f"/servers/{server.name}/do/vacuum_table/", params).content.decode()
        assert "What will run" in page, name
        assert "<b>naïve" not in page
        run = carry_out(operation("vacuum_table", server, schema=name, table=name))
        assert run.status == "succeeded", (name, run.message)


@pytest.mark.servers
@pytest.mark.django_db
def test_a_name_that_turns_the_line_of_a_plan_is_told(target, server, client_as):
    target.rows('create table "\u202eredro" (id int); create table plain (id int)')
    says = "It reads otherwise than it looks, for it holds characters that are not seen: U+202E RIGHT-TO-LEFT OVERRIDE."
    for name, told in (("\u202eredro", True), ("plain", False)):
        params = {"schema": "public", "table": name, "preview": "1"}
        page = client_as("admin").get(f"/servers/{server.name}/do/vacuum_table/", params).content.decode()
        assert "What will run" in page
        assert (says in page) is told


@pytest.mark.servers
@pytest.mark.django_db
def test_an_index_whose_name_ends_in_a_blank_can_be_confirmed(target, server):
    target.rows('create table orders (id int); create index "odd " on orders (id)')
    drop = operation("drop_index", server, index="odd ")
    plan = [str(step) for step in drop.plan()]
    assert plan == ['DROP INDEX CONCURRENTLY "public"."odd ";']
    answer = {"plan": digest(plan), "typed": "public.odd"}
    assert missing(drop, plan, answer) == ""
    assert missing(drop, plan, {**answer, "typed": "public.od"}) == "Type public.odd  to confirm."


@pytest.mark.django_db
def test_a_database_that_is_not_there_opens_no_connection_and_is_called_so(server, client_as):
    ServerState.objects.create(server=server, databases=["shop", "d'b / x\" y"])
    page = client_as("viewer").get(f"/servers/{server.name}/tables/?db=nosuch").content.decode()
    assert "shop has no database nosuch that people connect to." in page
    answer = client_as("auditor").get(f"/servers/{server.name}/audit/?db=nosuch")
    assert answer.status_code == 404
    assert "shop has no database nosuch that people connect to." in answer.content.decode()


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["queries/", "tables/", "audit/", "backups/", ""])
def test_a_nul_in_an_address_is_refused_in_words(path, server, client_as):
    answer = client_as("admin").get(f"/servers/{server.name}/{path}?q=%00&db=a%00b&person=%00")
    assert answer.status_code == 400
    assert "The address holds a NUL" in answer.content.decode()


@pytest.mark.django_db
def test_markup_in_a_stored_dsn_stays_text(server, client_as):
    server.seal_dsn("monitor_dsn", "host=h user=u dbname='<b>x</b>'")
    server.save()
    page = client_as("admin").get(f"/settings/servers/{server.name}/").content.decode()
    assert "&lt;b&gt;x" in page
    assert "<b>x" not in page


@pytest.mark.servers
@pytest.mark.django_db
def test_no_id_stands_twice_on_a_preview(target, server, client_as):

    target.rows("create table orders (id int)")
    page = client_as("admin").get(f"/servers/{server.name}/do/vacuum_table/?table=orders&preview=1")
    ids = re.findall(r'\sid="([^"]+)"', page.content.decode())
    assert sorted(set(ids)) == sorted(ids)


@pytest.mark.django_db
def test_a_choice_without_choices_says_so(server, client_as):
    page = client_as("admin").get(f"/servers/{server.name}/do/restore_backup/").content.decode()
    assert "There is nothing to choose from yet." in page


@pytest.mark.servers
@pytest.mark.django_db
def test_a_view_that_is_not_there_is_said_at_its_field(server, target, client_as):
    address = f"/servers/{server.name}/do/refresh_view/?schema=public&view=nosuch&preview=1"
    page = client_as("admin").get(address).content.decode()
    assert "There is no view public.nosuch on shop." in page


def test_an_undo_of_a_run_that_is_not_there_is_told_at_its_field(client_as, server):
    answer = client_as("admin").post(f"/servers/{server.name}/do/reverse_run/", {"run": "77"})
    assert (answer.status_code, "There is no run 77 on shop." in answer.content.decode()) == (422, True)
