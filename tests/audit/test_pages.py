"""The pages of the log show what was recorded, to auditors, and remember who looked."""

import html
import json
import re
from datetime import date, timedelta
from hashlib import sha256
from urllib.parse import quote, urlencode

import pytest
from psycopg.sql import SQL, Identifier

from audit.overview import capture_overview
from audit.sealing import is_signed
from backups.models import PointInTime, Store
from dbadmin.models import Event, Run, RunLine

pytestmark = pytest.mark.servers


@pytest.fixture
def history(audit, execute):
    execute("create table users (id int primary key, name text, profile jsonb)")
    audit.watch("users")
    execute("set app.current_user_id = 'maria'")
    execute("insert into users values (1, 'Ada <b>', '{\"city\": \"Bern\"}')")
    execute("update users set name = 'Ada L.', profile = '{\"city\": \"Basel\"}' where id = 1")
    execute("insert into users select g, 'n' || g from generate_series(2, 200) g")
    execute("reset app.current_user_id")
    execute("delete from users where id = 1")
    return audit


def page(client_as, address, role="auditor", status=200):
    answer = client_as(role).get(f"/servers/shop/audit/{address}")
    assert answer.status_code == status
    return answer.content.decode()


def test_shows_the_log_newest_first(history, client_as):
    text = page(client_as, "")
    assert text.index("deleted public.users") < text.index("199 rows") < text.index("updated public.users")
    assert "<del>Ada &lt;b&gt;</del> <ins>Ada L.</ins>" in text
    assert "Ada <b>" not in text


@pytest.mark.parametrize(
    "query, expected",
    [
        ("table=public.users", 4),
        ("person=maria", 3),
        ("person=postgres", 1),
        ("operation=delete", 1),
        ("key=1&table=users", 3),
        ("key=77&table=users", 1),
        ("since=2000-01-01", 4),
        ("until=2000-01-01T00:00", 0),
        ("xid=3", 0),
        ("column=name", 1),
        ("column=id", 0),
        ("text=ada", 3),
        ("text=basel", 2),
        ("text=n77", 1),
        ("table=users&text=Bern&operation=insert", 1),
        ("key=1&table=users&text=basel", 2),
        ("value=Ada L.", 2),
        ("value=ada l.&how=equals", 0),
        ("value=Ada L.&how=equals", 2),
        ("of=name&value=n7", 1),
        ("of=id&value=1&how=equals", 3),
        ("of=profile&path=city&value=Basel&how=equals", 2),
        ("of=profile&path=city&value=bas", 2),
        ("of=profile&path=zip&value=bas", 0),
        ("column=profile&of=name&value=ada", 1),
    ],
)
def test_filters(history, client_as, query, expected):
    text = page(client_as, f"?source=data&{query}")
    assert text.count('class="when"') == expected


def test_a_statement_of_very_many_rows_is_looked_through_for_a_column_that_it_left_alone(
    items, execute, client_as
):
    execute("insert into items select g, 'n' || g from generate_series(1, 60000) g")
    execute("alter table items add points int default 0")
    items.watch("items")
    execute("update items set points = points + 1")
    assert "Nothing matches." in page(client_as, "?source=data&column=name")
    assert re.search("60.000 rows</a>", page(client_as, "?source=data&column=points"))


@pytest.mark.parametrize(
    "query, message",
    [
        ("table=nothing", "nothing was never watched."),
        ("key=1", "Choose the table whose row is looked for."),
        ("table=users&key=1,2", "The key of public.users is (id)."),
        ("table=users&key=abc", "Invalid input syntax for type integer: &quot;abc&quot;."),
        ("operation=x", "x is none of: insert, update, delete, truncate, definition."),
        ("xid=x", "x is no transaction number."),
        ("column=nix", "No version of the watched tables has a column nix."),
        ("of=name", "Say which value is looked for."),
        ("path=a&value=1", "Choose the column that the path leads into."),
        ("of=name&path=a&value=1", "name holds no JSON: it has no paths."),
        ("value=1&how=like", "like is none of: contains, equals."),
        ("source=x", "x is none of: data, dbadmin, views."),
        ("since=yesterday", "yesterday is no moment. Write 2026-03-01T13:00."),
        ("until=2026-13-45", "2026-13-45 is no moment. Write 2026-03-01T13:00."),
    ],
)
def test_says_what_is_wrong_with_a_filter(history, client_as, query, message):
    assert message in page(client_as, f"?{query}", status=400)


def test_opens_a_statement_a_change_a_row_a_transaction_and_a_person(history, client_as):
    _, update, many, delete = history.statements()
    text = page(client_as, f"statement/{many.id}/")
    assert "maria inserted public.users, 199 rows" in text
    assert "?row=51" in text
    text = page(client_as, f"statement/{update.id}/1/")
    assert '<th scope="row">profile.city</th>' in text
    assert "<del>Bern</del> <ins>Basel</ins>" in text
    text = page(client_as, "row/public.users/?key=1")
    assert text.index("Deleted</a>") < text.index("Updated</a>") < text.index("Inserted</a>")
    assert "It had been deleted, or had got another key." in page(
        client_as, "row/public.users/?key=1&at=2999-01-01T00:00"
    )
    assert "The log knows nothing of it" in page(client_as, "row/public.users/?key=1&at=2000-01-01T00:00")
    assert f"Transaction {delete.xid}" in page(client_as, f"transaction/{delete.xid}/")
    assert '<td class="number">201</td>' in page(client_as, "people/?person=maria").replace("\u2009", "")
    assert "maria" in page(client_as, "people/")


@pytest.mark.parametrize("address", ["row/public.users/?key=1&at=noon", "table/public.users/?at=noon"])
def test_says_which_moment_of_a_row_or_table_cannot_be_read(history, client_as, address):
    assert "noon is no moment. Write 2026-03-01T13:00." in page(client_as, address, status=400)


def test_exports_nothing_when_the_moment_cannot_be_read(history, client_as):
    answer = client_as("admin").get("/servers/shop/audit/export.csv?since=noon&table=users")
    assert (answer.status_code, answer["Location"]) == (
        302,
        "/servers/shop/audit/?since=noon&table=users",
    )


@pytest.mark.parametrize("name", ["a/b", "a.b", "new\nline", 'what\'s "this"? #1 100%2F'])
def test_opens_a_table_of_any_name(audit, execute, client_as, name):
    quoted = Identifier(name)
    execute(SQL("create table {} (id int primary key, at int)").format(quoted))
    audit.watch_named("public", name)
    execute(SQL("insert into {} values (1, 1)").format(quoted))
    execute(SQL("update {} set at = 2").format(quoted))
    text = page(client_as, f"?{urlencode({'table': f'public.{name}', 'source': 'data'})}")
    assert text.count('class="when"') == 2
    life = re.search(r'href="(/servers/shop/audit/row/[^"]+)"', text)
    opened = client_as("auditor").get(html.unescape(life[1])).content.decode()
    assert opened.index("Updated</a>") < opened.index("Inserted</a>")
    assert "at a moment" in page(client_as, f"table/{quote(f'public.{name}')}/")


def test_leads_to_the_moment_before_a_change_when_it_can_be_recovered(history, client_as, server, tmp_path):
    *_, delete = history.statements()
    address = f"statement/{delete.id}/"
    assert "Recover to the moment before" not in page(client_as, address, role="admin")
    store = Store.objects.create(name="local", kind=Store.Kind.LOCAL, directory=str(tmp_path))
    PointInTime.objects.create(server=server, store=store, slot="s", system_id="1")
    before = quote((delete.at - timedelta(milliseconds=1)).isoformat())
    link = f'href="/servers/shop/recovery/?moment={before}#pick">Recover to the moment before</a>'
    assert link in page(client_as, address, role="admin")
    assert link in page(client_as, f"{address}1/", role="admin")


def test_shows_what_is_watched(history, client_as, execute):
    execute("create table other (id int)")
    text = page(client_as, "capture/", role="admin")
    assert "/servers/shop/do/watch_table/?database=&amp;schema=public&amp;table=other" in text
    assert "/servers/shop/do/unwatch_table/?database=&amp;schema=public&amp;table=users" in text
    execute("alter table users disable trigger all")
    assert "4 of 4 triggers are disabled: changes are not recorded" in page(client_as, "capture/")


def test_takes_what_was_never_counted_for_unknown(audit, execute, server):
    """Neither the rows of a table that nobody analyzed nor a log that nobody analyzed are nothing."""
    execute("create table items (id int primary key)")
    execute("create table parts (id int) partition by range (id)")
    execute("create table parts_1 partition of parts for values from (0) to (100)")
    audit.watch("items")
    execute("insert into items values (1), (2)")
    execute("insert into parts values (1), (2), (3)")

    def told():
        found = capture_overview(audit.session.rows, audit.state)
        return {one.name: (one.estimated_rows, one.writes, one.size_bytes) for one in found}

    for _ in range(50):
        if told() == {"items": (None, 2, None), "parts": (None, 3, None)}:
            break
        execute("select pg_sleep(0.1)")
    assert told() == {"items": (None, 2, None), "parts": (None, 3, None)}
    execute("vacuum analyze items, parts, dbadmin_audit.rows_1")
    assert told() == {"items": (2, 2, 8192), "parts": (3, 3, None)}


def test_records_who_looked_at_what(history, client_as):
    page(client_as, "?person=maria")
    event = Event.objects.get(kind="audit.view")
    assert (event.user_name, event.text) == ("auditor", "Looked at the audit log: person maria.")


@pytest.mark.parametrize("role", ["viewer", "operator"])
def test_is_for_auditors(history, client_as, role):
    page(client_as, "", role=role, status=403)


def test_asks_to_watch_a_table_when_none_is(server, client_as):
    assert "is watched yet" in page(client_as, "")


def test_exports_a_search_with_a_signed_digest(history, client_as):
    answer = client_as("auditor").get("/servers/shop/audit/export.jsonl?person=maria&table=users")
    text = b"".join(answer.streaming_content).decode()
    *lines, last = text.splitlines(keepends=True)
    records, proof = [json.loads(line) for line in lines], json.loads(last)
    assert len(records) == 201
    assert records[-1]["after"] == {"id": "1", "name": "Ada <b>", "profile": '{"city": "Bern"}'}
    digest = sha256("".join(lines).encode()).hexdigest()
    assert proof["sha256"] == digest
    assert is_signed(proof["public"], digest, proof["signature"])
    csv = b"".join(
        client_as("auditor").get("/servers/shop/audit/export.csv?key=1&table=users").streaming_content
    )
    assert csv.count(b"\r\n") == 4
    assert client_as("operator").get("/servers/shop/audit/export.csv").status_code == 403


def test_keeps_a_search_under_a_name(history, client_as):
    client = client_as("auditor")
    client.post("/servers/shop/audit/searches/", {"name": "By Maria", "query": "person=maria"})
    assert (
        '<a class="button quiet small" href="?person=maria" title="By Maria">By Maria</a>'
        in client.get("/servers/shop/audit/").content.decode()
    )


def test_forgets_a_search_that_was_kept(history, client_as):
    client = client_as("auditor")
    for name in ("By Maria", "By Ada"):
        client.post("/servers/shop/audit/searches/", {"name": name, "query": "person=maria"})
    text = client.get("/servers/shop/audit/").content.decode()
    (forget,) = re.findall(r'<button type="submit" name="forget" value="(By Maria)"', text)
    text = client.post(
        "/servers/shop/audit/searches/", {"forget": forget, "query": ""}, follow=True
    ).content.decode()
    assert "Forgot the search By Maria." in text
    assert "By Ada</a>" in text
    assert "By Maria</a>" not in text


def test_the_day_of_a_person_ends_with_the_next(history, client_as):
    text = page(client_as, "people/?person=maria")
    (address,) = re.findall(r'href="/servers/shop/audit/(\?person=maria&amp;since=[^"]*)"', text)
    day, after = re.findall(r"(?:since|until)=(\S{10})T00:00", address)
    assert date.fromisoformat(after) - date.fromisoformat(day) == timedelta(days=1)
    assert page(client_as, html.unescape(address)).count('class="when"') == 3


def test_the_life_of_a_row_leads_to_the_key_that_it_had_and_to_the_one_that_it_got(
    history, execute, client_as
):
    execute("update users set id = 1000 where id = 77")
    (was,) = re.findall(
        r'The row was <a href="([^"]+)">77</a>', page(client_as, "row/public.users/?key=1000")
    )
    assert was == "/servers/shop/audit/row/public.users/?key=77"
    assert 'key=1000">1000</a>: its life goes on there.' in page(client_as, "row/public.users/?key=77")


def test_a_table_that_is_watched_already_is_asked_about_with_what_was_chosen_for_it(history, client_as):
    history.watch("users", query_text=True, on_failure="continue", user_setting="app.me", masked="profile")
    text = page(client_as, "capture/", role="admin")
    told = "masked: profile; statements&#x27; text kept; writes pass unrecorded; named by app.me"
    assert told in text
    (cost,) = re.findall(r'href="([^"]+)">Cost…', text)
    form = client_as("admin").get(html.unescape(cost)).content.decode()
    assert "public.users is watched already, with these choices." in form
    form = (
        client_as("admin")
        .get("/servers/shop/do/watch_table/?preview=1&schema=public&table=users")
        .content.decode()
    )
    told_before = (
        "Before: statements&#x27; text kept; writes pass unrecorded; named by app.me."
        " From now on: updates that change nothing kept."
    )
    assert told_before in form
    history.watch("users")
    assert told not in page(client_as, "capture/", role="admin")


@pytest.mark.parametrize(("role", "sees"), [("viewer", False), ("operator", False), ("auditor", True)])
def test_the_rows_in_the_plan_of_an_undo_are_for_those_who_may_read_the_log(server, client_as, role, sees):
    run = Run.objects.create(
        server=server, server_name="shop", operation="undo_changes", title="Undo changes", target="statement 2",
        status="succeeded", risk="destroys", plan=["UPDATE users SET name = 'Ada L.'"],
    )  # fmt: skip
    RunLine.objects.create(run=run, text="Left out: Ada L.")
    text = client_as(role).get(run.get_absolute_url()).content.decode()
    assert text.count("Ada L.") == (2 if sees else 0)
    assert ("Steps and log of this run hold rows that your role does not show." in text) is not sees


def test_shows_what_people_did_in_dbadmin_beside_the_data(history, client_as):
    text = page(client_as, "?source=dbadmin")
    assert "Signed in." in text
    assert "deleted public.users" not in text
    assert "deleted public.users" in page(client_as, "")
    page(client_as, "?person=maria")
    text = page(client_as, "?source=views")
    assert "Looked at the audit log: person maria." in text
    assert "Signed in." not in text
    assert "Looked at the audit log" not in page(client_as, "")


def test_walks_both_ways_over_data_and_deeds(history, client_as, server, execute):
    from dbadmin.events import record

    for number in range(130):
        execute("update users set name = %s where id = 2", [f"v{number}"])
        record(None, "note", f"Deed number {number}.", server)
    seen, address = [], "?"
    while address:
        text = page(client_as, address)
        seen.append(re.findall(r"Deed number \d+|<ins>v\d+", text))
        found = re.search(r'href="(\?[^"]*)" rel="next"', text)
        address = html.unescape(found[1]) if found else ""
    forward = [each for some in seen for each in some]
    assert forward == [each for n in range(129, -1, -1) for each in (f"Deed number {n}", f"<ins>v{n}")]
    back, address = [], html.unescape(re.search(r'href="(\?[^"]*)" rel="prev"', text)[1])
    while address:
        text = page(client_as, address)
        back.append(re.findall(r"Deed number \d+|<ins>v\d+", text))
        found = re.search(r'href="(\?[^"]*)" rel="prev"', text)
        address = html.unescape(found[1]) if found else ""
    assert [each for some in back[::-1] for each in some] + seen[-1] == forward


def test_who_may_read_every_table_searches_the_log_by_time(history, execute):
    execute("create role reader in role pg_read_all_data, pg_monitor; set role reader")
    try:
        assert execute("select dbadmin_audit.first_id('-infinity') as id").fetchone() == (1,)
    finally:
        execute("reset role; drop role reader")


def test_the_page_of_capture_says_that_the_log_hides_no_rows(items, execute, client_as, server):
    words = "Row security hides rows of it from some roles. Who may read the log reads all of them."
    page = f"/servers/{server.name}/audit/capture/"
    assert words not in client_as("auditor").get(page).content.decode()
    execute("alter table items enable row level security")
    assert words in client_as("auditor").get(page).content.decode()
