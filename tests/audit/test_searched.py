"""Whoever hides a person from searches, though the log itself is whole, is found by a verification."""

import pytest

from audit import searched
from dbadmin.units import several
from tests.audit.test_archive import old, vault  # noqa: F401 - fixtures
from tests.audit.test_mapping import many, walked  # noqa: F401 - a fixture
from tests.carrying_out import carry_out, log_of, operation

pytestmark = [pytest.mark.servers, pytest.mark.django_db(transaction=True)]

RARE = "('x' || left(md5('rare'), 16))::bit(64)::bigint"
MAP = "The map lacks changes {}: a search for them finds less."
HIDDEN = {
    f"delete from dbadmin_audit.stretch where kind = 'p' and value = {RARE}": [MAP.format("by rare")],
    f"update dbadmin_audit.stretch set blocks = 0::bit(1024) where value = {RARE}": [MAP.format("by rare")],
    "delete from dbadmin_audit.stretch where kind = 't' and value = 2": [MAP.format("of public.others")],
    "delete from dbadmin_audit.stretch where kind = 'o' and value = ascii('U')": [MAP.format("of the kind update")],
    "with a as (delete from dbadmin_audit.activity where person = 'rare')"
    " delete from dbadmin_audit.person_days where person = 'rare'":
        ["The sums of {day} have other than what rare did."],
    "update dbadmin_audit.activity set statements = 1 where person = 'user1' and operation = 'I'":
        ["The sums of {day} have other than what user1 did."],
    "update dbadmin_audit.person_days set rows = rows - 1 where person = 'user2'":
        ["The sums of {day} have other than what user2 did."],
    "update dbadmin_audit.person_days set person = 'innocent' where person = 'rare'":
        ["The sums of {day} have other than what innocent did.", "The sums of {day} have other than what rare did."],
    "delete from dbadmin_audit.touched":
        ["The map lacks changes of rows that were kept whole: a search for them finds less.",
         "The map lacks changes of name of public.people: a search for them finds less."],
    "update dbadmin_audit.touched set attnum = 1 where shape_id = 1 and attnum = 2 and block = 1":
        ["The map lacks changes of name of public.people: a search for them finds less."],
}  # fmt: skip


@pytest.fixture
def indexed(many, server, execute):  # noqa: F811
    execute("alter table people add more int; update people set name = 'whole' where id = 7")
    assert carry_out(operation("index_log", server, texts=False)).status == "succeeded"
    assert carry_out(operation("seal_log", server)).status == "succeeded"
    return many


@pytest.mark.parametrize("statement", HIDDEN, ids=range(len(HIDDEN)))
def test_what_is_hidden_from_searches_is_named_and_comes_back(indexed, server, execute, statement):
    assert carry_out(operation("verify_seals", server)).status == "succeeded"
    execute(statement)
    run = carry_out(operation("verify_seals", server))
    day = execute("select (now() at time zone 'UTC')::date").fetchone()[0]
    said = [sentence.format(day=day) + searched.ANEW for sentence in HIDDEN[statement]]
    assert log_of(run) == said
    assert run.status == "refused", run.message
    assert run.message.startswith(
        "Searches of the audit log do not find all that is in it in"
        f" {several(len(said), 'place')}. The first: {said[0]}"
    )
    assert carry_out(operation("index_log", server, texts=False, anew=True)).status == "succeeded"
    assert carry_out(operation("verify_seals", server)).status == "succeeded"
    assert len(walked(indexed, {"person": "rare"})) == 2


@pytest.mark.parametrize(
    ("statement", "span"),
    [
        ("delete from dbadmin_audit.open_text where shape_id = 1", (0, 2063)),
        ("update dbadmin_audit.open_text set text = '' where shape_id = 1 and block = 3", (48, 63)),
        ("update dbadmin_audit.open_text set text = replace(text, 'rare one', 'some one')", (2048, 2063)),
        ("delete from dbadmin_audit.open_text where shape_id = 0", (2048, 2063)),
    ],
)
def test_texts_that_are_hidden_from_searches_are_named_and_come_back(many, server, execute, statement, span):  # noqa: F811
    execute("create extension pg_trgm; select setval('dbadmin_audit.statement_id', 2050)")
    execute("insert into people values (5000, 'Rare one\nof two lines'); alter table others add note text")
    execute("insert into others values (5000, 'whole')")
    for name in ("index_log", "seal_log", "verify_seals"):
        run = carry_out(operation(name, server))
        assert run.status == "succeeded", run.message
    execute(statement)
    text = "The copied texts lack some of statements {} to {}: a search for a text finds less.".format(*span)
    run = carry_out(operation("verify_seals", server))
    assert log_of(run) == [text + searched.ANEW]
    assert carry_out(operation("index_log", server, anew=True)).status == "succeeded"
    assert carry_out(operation("verify_seals", server)).status == "succeeded"


def test_what_came_since_the_last_run_of_the_index_is_not_missed(indexed, server, execute):
    execute("set app.current_user_id = 'newcomer'")
    execute("insert into others values (1000)")
    assert carry_out(operation("seal_log", server)).status == "succeeded"
    assert carry_out(operation("verify_seals", server)).status == "succeeded"


def test_a_month_that_expired_and_was_loaded_again_is_no_alarm(old, server, execute, vault):  # noqa: F811
    assert carry_out(operation("index_log", server, texts=False)).status == "succeeded"
    assert carry_out(operation("expire_log", server, keep_months=3, store="vault")).status == "succeeded"
    assert carry_out(operation("verify_seals", server)).status == "succeeded"
    assert carry_out(operation("load_month", server, store="vault", month="2020-01")).status == "succeeded"
    run = carry_out(operation("verify_seals", server))
    assert run.status == "succeeded", run.message
    assert carry_out(operation("index_log", server, texts=False, anew=True)).status == "succeeded"
    assert carry_out(operation("verify_seals", server)).status == "succeeded"


def test_a_server_that_was_made_anew_is_no_alarm(indexed, server, execute):
    """It counts transactions anew, from lower numbers on."""
    execute("update dbadmin_audit.summary set system_identifier = 'another', high = high + 1000000")
    execute("update dbadmin_audit.mapped set system_identifier = 'another'")
    execute("insert into others values (2000), (2001)")
    for _ in range(2):
        assert carry_out(operation("index_log", server, texts=False)).status == "succeeded"
        assert carry_out(operation("seal_log", server)).status == "succeeded"
        run = carry_out(operation("verify_seals", server))
        assert run.status == "succeeded", run.message
        execute("insert into others select max(id) + 1 from others")
