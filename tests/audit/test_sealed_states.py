"""How tables are watched is sealed: what changes it behind dbadmin's back is named, what dbadmin did is not."""

import json
import subprocess
import sys

import pytest

from audit.gaps import find_gaps
from audit.models import Seal
from audit.seal_copies import line_of
from audit.seal_views import SCRIPT
from audit.sealing import seal_next
from audit.verifying import verify
from tests.carrying_out import carry_out, log_of, operation

pytestmark = pytest.mark.servers
UNWATCH = "update dbadmin_audit.watched set until = '2026-01-01 00:00Z' where id = 1"
UNWATCHED = "public.items was sealed as watched; it is not watched since 2026-01-01 00:00:00+00."


@pytest.fixture
def quiet(audit, execute, target):
    """A watched table, everything of it sealed."""
    execute("create table items (id int primary key, name text)")
    audit.watch("items")
    assert seal_next(target.connection, audit.server).statements == 0
    execute("insert into items values (1, 'a')")
    assert seal_next(target.connection, audit.server).statements == 1
    assert seal_next(target.connection, audit.server) is None
    return audit


def findings(target):
    return [finding.what for finding in verify(target.connection, list(Seal.objects.order_by("number")))]


def script(tmp_path, postgres, target):
    file = tmp_path / "witness.jsonl"
    file.write_text("".join(line_of(seal) for seal in Seal.objects.order_by("number")))
    command = [sys.executable, str(SCRIPT), str(file), postgres.dsn_for(target.database)]
    return subprocess.run(command, capture_output=True, text=True).stdout.splitlines()


def test_states_that_did_not_change_are_told_by_their_hash(quiet):
    first, second = (json.loads(seal.header) for seal in Seal.objects.order_by("number"))
    assert list(first["watched"]) == ["1"]
    assert "watched" not in second
    assert first["watched_sha256"] == second["watched_sha256"]


def test_the_second_party_names_it_as_dbadmin_does(quiet, execute, target, tmp_path, postgres):
    assert script(tmp_path, postgres, target) == ["2 seals, 1 statements: no differences."]
    execute("drop function dbadmin_audit.capture_1 cascade")
    execute("update dbadmin_audit.watched set choices = '{}'")
    expected = [
        "The choices for public.items are not those that were sealed.",
        "The capture function of public.items is gone; it was sealed in version 9.",
    ]
    assert findings(target) == expected
    assert script(tmp_path, postgres, target) == [*expected, "2 seals, 1 statements: 2 differences."]
    execute(UNWATCH)
    assert findings(target) == [UNWATCHED]
    assert script(tmp_path, postgres, target)[0] == UNWATCHED


def test_what_dbadmin_was_told_to_do_is_no_finding(quiet, target, server):
    where = {"schema": "public", "table": "items"}
    assert carry_out(operation("watch_table", server, **where, on_failure="continue")).status == "succeeded"
    assert findings(target) == []
    assert carry_out(operation("unwatch_table", server, **where)).status == "succeeded"
    assert findings(target) == []
    assert seal_next(target.connection, quiet.server).number == 3
    assert findings(target) == []


def test_a_table_that_was_renamed_and_watched_anew_is_no_finding(quiet, execute, target, server):
    execute("alter table items rename to goods")
    assert findings(target) == []  # the log still knows it by the name that was sealed
    done = carry_out(operation("watch_table", server, schema="public", table="goods", on_failure="fail"))
    assert done.status == "succeeded", done.message
    assert findings(target) == []
    execute("update dbadmin_audit.watched set table_name = 'innocent' where id = 1")
    assert findings(target) == [
        "Table 1 is called public.innocent since; it was sealed as public.items.",
        # What was done to the goods no longer excuses it.
        "The capture function of public.items, or its triggers, were replaced since, and put back.",
    ]


def test_what_it_did_to_another_table_excuses_nothing(quiet, execute, target, server):
    execute("create table others (id int)")
    for name in ("watch_table", "unwatch_table"):
        assert carry_out(operation(name, server, schema="public", table="others")).status == "succeeded"
    execute(UNWATCH)
    assert findings(target) == [UNWATCHED]


def test_an_end_of_the_watch_that_was_sealed_stays_to_be_seen_in_the_seals(quiet, execute, target):
    execute(UNWATCH)
    seal = seal_next(target.connection, quiet.server)
    assert json.loads(seal.header)["watched"]["1"][0] == "2026-01-01 00:00:00+00"
    assert findings(target) == []


def test_states_that_were_cut_out_of_the_seals_are_missed(quiet, target, tmp_path, postgres):
    Seal.objects.filter(number=1).delete()
    assert findings(target) == ["How tables were watched when seal 2 was made is told by no seal any more."]
    assert script(tmp_path, postgres, target)[0] == (
        "How tables were watched when the last seal was made is told by no seal of this file."
    )


#: What is altered -> what is said; the second party says so, too.
ALTERED = {
    "update dbadmin_audit.watched set relid = 1259 where id = 1":
        "public.items was sealed as relation {relid}; the log's line of it names relation 1259.",
    "update dbadmin_audit.shape set columns = '[]'": "The versions of columns were altered.",
    "update dbadmin_audit.shape set key_columns = '{name}'": "The versions of columns were altered.",
}  # fmt: skip


@pytest.mark.parametrize("tampering", ALTERED, ids=range(len(ALTERED)))
def test_what_makes_rows_readable_is_held_against_its_seal(
    quiet, execute, target, tmp_path, postgres, tampering
):
    expected = ALTERED[tampering].format(relid=quiet.state.active()[0].relid)
    execute(tampering)
    assert expected in findings(target)
    assert expected in script(tmp_path, postgres, target)


def test_another_key_of_hashed_columns_is_named(quiet, execute, target):
    execute("update dbadmin_audit.secret set salt = salt || 'x'")
    said = (
        "The key of hashed and masked columns, dbadmin_audit.secret, is another than the one that was sealed: equal"
        " values have other digests since."
    )
    assert findings(target) == [said]


SEEN = " Seen after seal 2 ({:%Y-%m-%d %H:%M} UTC): what was written meanwhile may not be recorded"


@pytest.mark.parametrize(
    ("tampering", "said"),
    [
        (UNWATCH, UNWATCHED),
        (
            "update dbadmin_audit.watched set choices = '{}'",
            "The choices for public.items are not those that were sealed.",
        ),
        (
            "update dbadmin_audit.watched set table_name = 'innocent'",
            "Table 1 is called public.innocent since; it was sealed as public.items.",
        ),
    ],
)
def test_what_the_next_seal_would_cover_in_silence_is_a_line_of_the_log(
    quiet, execute, target, server, tampering, said
):
    last = Seal.objects.first()
    execute(tampering)
    text = said + SEEN.format(last.sealed_at)
    assert log_of(carry_out(operation("seal_log", server)))[0] == f"Recorded a gap. {text}."
    assert findings(target) == []  # sealed as it is now; the gap stays
    assert [row.text for row in target.rows("select text from dbadmin_audit.gap")] == [text]
    assert "Recorded" not in log_of(carry_out(operation("seal_log", server)))[0]


def test_a_table_that_was_dropped_is_told_by_the_log_and_no_finding(quiet, execute, target, server):
    execute("drop table items")
    assert findings(target) == []
    assert "Recorded" not in log_of(carry_out(operation("seal_log", server)))[0]
    assert (
        target.value("select note from dbadmin_audit.statement where operation = 'A'")
        == "DROP TABLE public.items"
    )


def test_a_table_that_was_dropped_and_made_anew_is_told_as_not_recorded(quiet, execute, target, server):
    last = Seal.objects.first()
    execute("drop table items; create table items (id int primary key, name text)")
    text = (
        "public.items was dropped, and another table bears its name since: its changes are not recorded until it is"
        " watched."
    )
    assert findings(target) == [text]
    said = f"Recorded a gap. {text}{SEEN.format(last.sealed_at)}."
    assert log_of(carry_out(operation("seal_log", server)))[0] == said
    assert findings(target) == []
    assert text in find_gaps(target.rows)[0].problem
