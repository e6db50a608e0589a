"""Whatever is altered in a sealed log is named."""

import contextlib
import json
import subprocess
import sys
import time
from hashlib import sha256

import pytest

from audit import canonical, capture
from audit.models import Expiry, Seal
from audit.operations.expire_log import ExpireLog
from audit.seal_copies import line_of
from audit.seal_views import SCRIPT
from audit.sealing import seal_next, sign
from audit.verifying import verify
from dbadmin.operations import Refused
from tests.carrying_out import carry_out, log_of, operation

pytestmark = pytest.mark.servers


@pytest.fixture
def sealed(audit, execute, target):
    execute("create table items (id int primary key, name text, price numeric)")
    audit.watch("items")
    execute("insert into items select g, 'n' || g, g from generate_series(1, 5) g")
    execute("set app.current_user_id = 'maria'")
    execute("update items set price = price + 1 where id = 2")
    execute("delete from items where id = 3")
    assert seal_next(target.connection, audit.server).statements == 3
    execute("update items set name = 'later'")
    assert seal_next(target.connection, audit.server).statements == 1
    assert seal_next(target.connection, audit.server) is None
    return audit


def findings(audit, target):
    return [finding.what for finding in verify(target.connection, list(Seal.objects.order_by("number")))]


def test_an_untouched_log_is_as_it_was_sealed(sealed, target, execute):
    execute("vacuum full dbadmin_audit.statement_default")
    execute("set datestyle = 'German'; set timezone = 'Asia/Tokyo'; set extra_float_digits = 0")
    assert findings(sealed, target) == []


ROWS = "dbadmin_audit.rows_1"
PAIRS = "dbadmin_audit.pairs_1"
STATEMENT = "dbadmin_audit.statement"
COLUMNS = "at, xid, images, watched_id, shape_id, operation, session_role"


@pytest.mark.parametrize(
    "tampering, found",
    [
        (f"update {PAIRS} set c3 = 9 where statement_id = 2", ["Row 1 (after) of statement 2 was altered."]),
        (f"update {PAIRS} set b3 = 9 where statement_id = 2", ["Row 1 (before) of statement 2 was altered."]),
        (
            f"delete from {PAIRS} where statement_id = 2",
            ["Row 1 (after) of statement 2 was removed.", "Row 1 (before) of statement 2 was removed."],
        ),
        (
            f"insert into {PAIRS} select at, 3, 77, c2, c3, 77, b2, b3 from {PAIRS} where statement_id = 2",
            ["Row 1 (after) of statement 3 was inserted later.", "Row 1 (before) of statement 3 was inserted later."],
        ),
        (f"update {ROWS} set c2 = null where statement_id=1 and n = 4", ["Row 4 (after) of statement 1 was altered."]),
        (f"delete from {ROWS} where statement_id = 1 and n = 4", ["Row 4 (after) of statement 1 was removed."]),
        (f"delete from {STATEMENT} where id = 2", ["Statement 2 was removed."]),
        (
            f"insert into {ROWS} select at, 3, 2, side, 77, c2, c3 from {ROWS} where statement_id = 3",
            ["Row 2 (deleted) of statement 3 was inserted later."],
        ),
        (
            f"insert into {STATEMENT} select 99, {COLUMNS} from {STATEMENT} where id = 3",
            ["Statement 99 was inserted later."],
        ),
        (
            f"update {ROWS} set n = 6 - n where statement_id = 1 and n in (1, 5)",
            ["Row 1 (after) of statement 1 was altered.", "Row 5 (after) of statement 1 was altered."],
        ),
        (f"truncate {ROWS}, {PAIRS} cascade", None),
        *[
            (
                f"update {STATEMENT} set {change} where id = 3",
                ["Statement 3 was altered: who, when, what or how many."],
            )
            for change in (
                "app_user = 'joe'", "app_user = null", "session_role = 'x'", "set_role = 'x'", "client = '10.0.0.1'",
                "application = 'x'", "operation = 'I'", "images = 7", "note = 'x'", "query = 'x'",
            )
        ],
    ],
)  # fmt: skip
def test_names_what_was_altered(sealed, target, execute, tampering, found):
    execute(tampering)
    if found is None:
        assert len(findings(sealed, target)) == 5 + 2 + 1 + 8
    else:
        assert findings(sealed, target) == found


WHOLE = "Statement 2 was altered: who, when, what or how many."
COLUMNS_ALTERED = "The versions of columns were altered."
TABLES_ALTERED = "The numbers of watched tables, or since when they are watched, were altered."
GAPS_ALTERED = "The recorded gaps were altered."
FIRST, SECOND = "where statement_id = 1 and n = 1", "where statement_id = 2"
LINES = {
    f"update {STATEMENT} set at = at + interval '1 us' where id = 2": WHOLE,
    f"update {STATEMENT} set xid = '3'::xid8 where id = 2": WHOLE,
    f"update {STATEMENT} set watched_id = 9 where id = 2": WHOLE,
    f"update {STATEMENT} set shape_id = 0 where id = 2": WHOLE,
    f"update {STATEMENT} set id = 200 where id = 2": "Statement 2 was removed.",
    f"truncate {STATEMENT} cascade": "Statement 1 was removed.",
    f"update {ROWS} set at = at + interval '1 us' {FIRST}": "Row 1 (after) of statement 1 was altered.",
    f"update {ROWS} set statement_id = 3 {FIRST}": "Row 1 (after) of statement 1 was removed.",
    f"update {ROWS} set n = 6 {FIRST}": "Row 1 (after) of statement 1 was removed.",
    f"update {ROWS} set side = '-' {FIRST}": "Row 1 (after) of statement 1 was removed.",
    f"insert into {ROWS} select * from {ROWS} {FIRST}": "The rows of statement 1 were altered.",
    f"update {PAIRS} set at = at + interval '1 us' {SECOND}": "Row 1 (after) of statement 2 was altered.",
    f"update {PAIRS} set statement_id = 3 {SECOND}": "Row 1 (after) of statement 2 was removed.",
    f"update {PAIRS} set c1 = 7 {SECOND}": "Row 1 (after) of statement 2 was altered.",
    f"update {PAIRS} set b2 = null {SECOND}": "Row 1 (before) of statement 2 was altered.",
    f"update {PAIRS} set c3 = b3, b3 = c3 {SECOND}": "Row 1 (after) of statement 2 was altered.",
    f"insert into {PAIRS} select * from {PAIRS} {SECOND}": "The rows of statement 2 were altered.",
    f"drop table {PAIRS}": "Row 1 (after) of statement 2 was removed.",
    "update dbadmin_audit.shape set columns = jsonb_set(columns, '{1,name}', '\"price\"')": COLUMNS_ALTERED,
    "delete from dbadmin_audit.gap": GAPS_ALTERED,
    "update dbadmin_audit.watched set since = now()": TABLES_ALTERED,
    "update dbadmin_audit.watched set until = '2026-01-01 00:00Z'":
        "public.items was sealed as watched; it is not watched since 2026-01-01 00:00:00+00.",
    "update dbadmin_audit.watched set choices = choices || '{\"on_failure\": \"continue\"}'":
        "The choices for public.items are not those that were sealed.",
    "create or replace function dbadmin_audit.capture_1() returns trigger language plpgsql as 'begin return null; end'":
        "The capture function of public.items is not the one that was sealed in version 9.",
    "drop function dbadmin_audit.capture_1 cascade":
        "The capture function of public.items is gone; it was sealed in version 9.",
    "update dbadmin_audit.watched set table_name = 'innocent'":
        "Table 1 is called public.innocent since; it was sealed as public.items.",
}  # fmt: skip


@pytest.mark.parametrize("tampering", LINES)
def test_names_first_what_was_altered_in_any_column(audit, target, execute, tampering):
    execute("create table items (id int primary key, name text, price numeric)")
    audit.watch("items")
    execute("insert into items select g, 'n' || g, g from generate_series(1, 5) g")
    execute("update items set price = price + 1 where id = 2")
    execute("delete from items where id = 3")
    execute("insert into dbadmin_audit.gap (watched_id, kind, text) values (1, 'paused', 'for a test')")
    seal_next(target.connection, audit.server)
    assert findings(audit, target) == []
    execute(tampering)
    assert findings(audit, target)[0] == LINES[tampering]


@pytest.fixture
def locked(tmp_path, db):
    from backups.models import Store

    return Store.objects.create(name="vault", kind="local", directory=str(tmp_path / "vault"))


def test_copies_in_a_store_tell_which_seal_was_edited_or_removed(sealed, target, execute, server, locked):
    from backups.models import Store

    locked.path.mkdir(parents=True)
    run = carry_out(operation("seal_log", server, store="vault"))
    assert run.status == "succeeded", run.message
    assert log_of(run)[-1] == "Copied 2 seals to vault."
    assert carry_out(operation("verify_seals", server)).status == "succeeded"
    assert log_of(carry_out(operation("seal_log", server, store="vault")))[-1] == "Copied 0 seals to vault."
    execute("delete from items where id = 1")
    carry_out(operation("seal_log", server, store="vault"))
    # Whoever owns dbadmin's database signs another history with its own key: the copy tells.
    first = Seal.objects.get(number=1)
    header = first.header.replace('"images":8', '"images":9')
    hashed = sha256(header.encode()).hexdigest()
    Seal.objects.filter(number=1).update(header=header, header_hash=hashed, signature=sign(first.key, header))
    Seal.objects.filter(number=3).delete()
    run = carry_out(operation("verify_seals", server))
    assert log_of(run)[:2] == [
        "Seal 1 is not the one that was copied to vault.",
        "Seal 3 is in vault, and was removed from dbadmin.",
    ]
    assert run.status in ("failed", "refused")
    Store.objects.update(enabled=False)
    with pytest.raises(Refused) as refusal:
        operation("verify_seals", server).compare_copies(list(Seal.objects.select_related("key")))
    assert str(refusal.value) == "There is no store vault. There are: none yet."


def test_another_moment_or_table_shows(sealed, target, execute):
    execute(f"update {STATEMENT} set at = at + interval '1 microsecond' where id = 2")
    assert findings(sealed, target)[0] == "Statement 2 was altered: who, when, what or how many."


def test_edited_seals_show(sealed, target):
    second = Seal.objects.get(number=2)
    Seal.objects.filter(number=1).update(header=Seal.objects.get(number=1).header.replace("maria", "x") + " ")
    assert findings(sealed, target) == ["Seal 1 was altered: its signature does not fit."]
    Seal.objects.filter(number=1).delete()
    states = "How tables were watched when seal 2 was made is told by no seal any more."
    assert findings(sealed, target) == [states]
    Seal.objects.filter(number=2).update(leaves=second.leaves[:-3] + b"abc")
    assert findings(sealed, target) == [states, "The leaves of seal 2 were altered."]


def test_a_removed_seal_shows(sealed, target, execute, audit):
    execute("delete from items where id = 1")
    seal_next(target.connection, audit.server)
    Seal.objects.filter(number=2).delete()
    assert findings(sealed, target) == ["A seal before seal 3 was removed."]


def test_transactions_that_are_still_open_wait_for_the_next_seal(sealed, target, execute, postgres):
    with postgres.connect(target.database) as other, other.transaction():
        other.execute("insert into items values (10, 'open', 1)")
        execute("insert into items values (11, 'closed', 1)")
        assert seal_next(target.connection, sealed.server) is None
    assert seal_next(target.connection, sealed.server).statements == 2
    assert findings(sealed, target) == []


def test_a_gap_on_a_quiet_database_is_sealed_at_once(sealed, target, execute):
    execute("insert into dbadmin_audit.gap (watched_id, kind, text) values (1, 'paused', 'for a test')")
    seal = seal_next(target.connection, sealed.server)
    assert (seal.number, seal.statements, seal.images, seal.last_id) == (3, 0, 0, 4)
    assert seal_next(target.connection, sealed.server) is None
    assert findings(sealed, target) == []
    execute("delete from dbadmin_audit.gap")
    assert findings(sealed, target) == [GAPS_ALTERED]
    # A further seal covers up nothing: each is held against what it knew.
    execute("update items set price = 0 where id = 1")
    assert seal_next(target.connection, sealed.server).statements == 1
    assert findings(sealed, target) == [GAPS_ALTERED]


def test_a_seal_of_an_older_dbadmin_is_held_against_its_one_hash(audit, execute, target):
    execute("create table items (id int primary key)")
    audit.watch("items")
    execute("insert into items values (1)")
    seal = seal_next(target.connection, audit.server)
    facts = json.loads(seal.header)
    through = {name: facts["registry_through"][name] for name in ("watched", "shape", "gap")}
    with target.connection.transaction():
        target.connection.execute(canonical.SETTINGS)
        whole = canonical.whole_registry_digest(target.connection, through)
    facts |= {"registry": whole, "registry_through": through}
    del facts["watched_sha256"]
    header = json.dumps(facts, sort_keys=True, separators=(",", ":"))
    hashed = sha256(header.encode()).hexdigest()
    Seal.objects.update(header=header, header_hash=hashed, signature=sign(seal.key, header))
    assert findings(audit, target) == []
    execute("update dbadmin_audit.watched set since = now()")
    older = "The versions of columns, the numbers of tables or the recorded gaps were altered."
    assert findings(audit, target) == [older]


def test_a_table_that_is_watched_is_sealed_before_anything_changes(audit, execute, target, client_as):
    execute("create table items (id int primary key)")
    audit.watch("items")
    seal = seal_next(target.connection, audit.server)
    assert (seal.statements, seal.first_at) == (0, None)
    page = client_as("auditor").get("/servers/shop/audit/seals/").content.decode()
    assert page.count('<td class="when">–</td>') == 2
    execute("create table orders (id int primary key)")
    audit.watch("orders")
    assert seal_next(target.connection, audit.server).statements == 0
    execute("insert into orders values (1)")
    assert seal_next(target.connection, audit.server).statements == 1
    assert findings(audit, target) == []
    execute("insert into orders values (2)")
    execute("update dbadmin_audit.statement set xid = '3'::xid8 where id = 2")
    assert findings(audit, target) == ["Statement 2 was inserted later."]


def test_a_gap_whose_transaction_ended_later_is_no_alteration(sealed, target, execute, postgres):
    gap = "insert into dbadmin_audit.gap (watched_id, kind, text) values (1, 'paused', %s)"
    with postgres.connect(target.database) as other, other.transaction():
        other.execute(gap, ["the first"])
        execute(gap, ["the second"])
        assert seal_next(target.connection, sealed.server).statements == 0
    assert findings(sealed, target) == []
    assert seal_next(target.connection, sealed.server).statements == 0
    assert findings(sealed, target) == []
    execute("delete from dbadmin_audit.gap where text = 'the first'")
    assert findings(sealed, target) == [GAPS_ALTERED]


def test_seals_and_verifies_fifty_thousand_changes_a_second(sealed, target, execute):
    execute("insert into items select g, 'n' || g, g from generate_series(100, 60000) g")
    started = time.process_time()
    seal = seal_next(target.connection, sealed.server)
    assert seal.images / (time.process_time() - started) > 50_000
    assert findings(sealed, target) == []


def test_a_second_party_checks_the_witness_file_without_dbadmin(
    sealed, target, execute, client_as, tmp_path, postgres
):
    address = f"/servers/shop/audit/seals/witness/?database={target.database}"
    answer = client_as("auditor").get(address)
    file = tmp_path / "witness.jsonl"
    file.write_bytes(b"".join(answer.streaming_content))
    command = [sys.executable, str(SCRIPT), str(file), postgres.dsn_for(target.database)]
    bare = subprocess.run(command, capture_output=True, text=True, env={"PATH": "/nowhere"})
    assert (bare.stderr, bare.returncode) == (
        "Not on the path: psql, openssl. Install them; nothing was checked.\n",
        2,
    )
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.stdout, done.returncode) == ("2 seals, 4 statements: no differences.\n", 0)
    assert done.stderr == (
        "Not looked at: triggers, rights, shared functions, the key of hashed columns; dbadmin's verification does.\n"
    )
    execute(f"update {PAIRS} set c3 = 99 where statement_id = 2")
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout == "Row 1 (after) of statement 2 was altered.\n2 seals, 4 statements: 1 differences.\n"
    assert done.returncode == 1


def by_the_script(tmp_path, dsn, text=""):
    file = tmp_path / "witness.jsonl"
    file.write_text(text or "".join(line_of(seal) for seal in Seal.objects.order_by("number")))
    done = subprocess.run([sys.executable, str(SCRIPT), str(file), dsn], capture_output=True, text=True)
    return done.stdout.splitlines()[:-1]


@pytest.mark.parametrize(
    "tampering",
    [
        f"update {PAIRS} set c3 = 99 where statement_id = 2",
        f"update {ROWS} set n = 6 {FIRST}",
        f"insert into {PAIRS} select * from {PAIRS} {SECOND}",
        f"update {STATEMENT} set app_user = 'joe' where id = 2",
        f"insert into {STATEMENT} select 99, {COLUMNS} from {STATEMENT} where id = 3",
        f"delete from {STATEMENT} where id = 2",
        f"delete from {STATEMENT} where id >= 3",
        f"delete from {STATEMENT} where id >= 3; select setval('dbadmin_audit.statement_id', 2)",
        f"delete from {STATEMENT} where id in (1, 4); select setval('dbadmin_audit.statement_id', 2)",
        f"truncate {STATEMENT} cascade; select setval('dbadmin_audit.statement_id', 1)",
    ],
)
def test_the_second_partys_script_says_the_same(sealed, target, execute, tampering, tmp_path, postgres):
    execute(tampering)
    said = by_the_script(tmp_path, postgres.dsn_for(target.database))
    assert sorted(said) == sorted(findings(sealed, target))
    assert said


def test_an_end_whose_numbers_were_never_given_out_is_told_as_a_copy_that_was_put_back(
    sealed, target, execute
):
    execute(f"delete from {STATEMENT} where id >= 3")
    removed = ["Statement 3 was removed.", "Statement 4 was removed."]
    assert findings(sealed, target) == removed
    execute("select setval('dbadmin_audit.statement_id', 2)")
    put_back = (
        "All that was sealed from statement 3 on is missing (2 statements), and the sequence"
        " dbadmin_audit.statement_id stands at 2: most likely the server was put back to a copy of an earlier moment"
        " (its files, or a snapshot). Then these changes are not in the watched tables either. If they are, somebody"
        " removed the end of the log."
    )
    assert findings(sealed, target) == [put_back, *removed]
    execute(f"update {STATEMENT} set app_user = 'joe' where id = 1")
    assert findings(sealed, target) == ["Statement 1 was altered: who, when, what or how many.", *removed]


def test_a_second_party_sees_what_was_altered_beside_the_log(
    sealed, target, execute, client_as, tmp_path, postgres
):
    execute("insert into dbadmin_audit.gap (watched_id, kind, text) values (1, 'paused', 'for\ta \\ test')")
    seal_next(target.connection, sealed.server)
    file = tmp_path / "witness.jsonl"
    answer = client_as("auditor").get(f"/servers/shop/audit/seals/witness/?database={target.database}")
    file.write_bytes(b"".join(answer.streaming_content))
    command = [sys.executable, str(SCRIPT), str(file), postgres.dsn_for(target.database)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.stdout, done.returncode) == ("3 seals, 4 statements: no differences.\n", 0)
    execute("delete from dbadmin_audit.gap")
    execute("update dbadmin_audit.watched set since = now(), table_name = 'innocent'")
    execute("update dbadmin_audit.shape set columns = jsonb_set(columns, '{1,name}', '\"price\"')")
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        COLUMNS_ALTERED,
        TABLES_ALTERED,
        GAPS_ALTERED,
        "Table 1 is called public.innocent since; it was sealed as public.items.",
        "3 seals, 4 statements: 4 differences.",
    ]


def test_shows_seals_and_findings(sealed, target, execute, client_as):
    assert (
        "Nothing is sealed yet" not in client_as("auditor").get("/servers/shop/audit/seals/").content.decode()
    )
    assert client_as("viewer").get("/servers/shop/audit/seals/").status_code == 403


def test_what_expired_by_policy_is_not_missed(sealed, target, execute):
    class Work:
        def connect(self, database=None):
            return contextlib.nullcontext(target.connection)

        def committing(self, connection):
            pass

        def log(self, text):
            pass

    old = "dbadmin_audit.statement_2020_01"
    execute(f"create table {old} partition of {STATEMENT} for values from ('2020-01-01') to ('2020-02-01')")
    execute(
        f"insert into {STATEMENT} (id, {COLUMNS}) select 0, '2020-01-05', {COLUMNS[4:]} from {STATEMENT} where id = 1"
    )
    operation = ExpireLog(sealed.server, {"keep_months": 3, "database": target.database})
    record, drops = operation.plan()
    assert record.says == "Record, signed, that 2020-01 expire by policy"
    record.run(Work())
    sealed.run([drops])
    assert findings(sealed, target) == []
    assert execute("select to_regclass(%s)", [old]).fetchone()[0] is None
    # A record of this key, but of another server's log.
    execute("delete from dbadmin_audit.statement where id = 1")
    execute("delete from dbadmin_audit.rows_1 where statement_id = 1")
    one = Expiry.objects.get()
    one.text = json.dumps(json.loads(one.text) | {"through": 1, "server": "another"})
    one.signature = sign(one.key, one.text)
    one.save()
    assert findings(sealed, target) == ["Statement 1 was removed."]
    with pytest.raises(Refused, match="Nothing is older than"):
        operation.plan()


@pytest.fixture
def expired(sealed, target, execute):
    """The first seal's statements, gone through 2, with a record that says so."""
    month = "for values from ('2020-01-01 00:00+00') to ('2020-02-01 00:00+00')"
    for parent in ("statement", "rows_1", "pairs_1"):
        execute(f"create table dbadmin_audit.{parent}_2020_01 partition of dbadmin_audit.{parent} {month}")
    execute(f"update {STATEMENT} set at = '2020-01-05' where id < 3")
    for table in (ROWS, PAIRS):
        execute(f"update {table} set at = '2020-01-05' where statement_id < 3")
    Seal.objects.all().delete()
    assert seal_next(target.connection, sealed.server).statements == 4
    run = carry_out(operation("expire_log", sealed.server, keep_months=3, database=target.database))
    assert run.status == "succeeded", run.message
    return json.loads(Expiry.objects.get().text)["recorded_at"]


def test_the_second_party_reads_the_signed_record_of_what_expired(
    sealed, expired, target, execute, client_as, tmp_path, postgres
):
    def said():
        answer = client_as("auditor").get(f"/servers/shop/audit/seals/witness/?database={target.database}")
        return by_the_script(
            tmp_path, postgres.dsn_for(target.database), b"".join(answer.streaming_content).decode()
        )

    record = f"Expired by policy, as recorded and signed: 2020-01, through statement 2, {expired}."
    assert said() == [record]
    execute(f"delete from {STATEMENT} where id = 3")
    assert said() == [record, "Statement 3 was removed."] == [record, *findings(sealed, target)]
    one = Expiry.objects.get()
    one.text = one.text.replace('"through": 2', '"through": 3')
    one.save()
    assert said() == [
        f"No signed record of this log tells what expired: 2020-01, through statement 3, {expired}.",
        *(f"Statement {number} was removed." for number in (1, 2, 3)),
    ]
    one.text = json.dumps(json.loads(one.text) | {"server": "another"})
    one.signature = sign(one.key, one.text)
    one.save()
    assert (
        said()[0]
        == f"No signed record of this log tells what expired: 2020-01, through statement 3, {expired}."
    )


def test_the_script_says_which_version_it_is_too_old_for(sealed, execute, tmp_path, postgres, target):
    file = tmp_path / "witness.jsonl"
    command = [sys.executable, str(SCRIPT), str(file), postgres.dsn_for(target.database)]
    lines = "".join(line_of(seal) for seal in Seal.objects.order_by("number"))
    file.write_text(lines.replace(canonical.FORM, "dbadmin-audit-2"))
    done = subprocess.run(command, capture_output=True, text=True)
    end = "get it anew on the page Seals. Nothing was checked.\n"
    assert done.stderr == (
        f"The witness file is of version dbadmin-audit-2, this script reads up to dbadmin-audit-1: {end}"
    )
    assert (done.stdout, done.returncode) == ("", 2)
    file.write_text(lines)
    newer = capture.VERSION + 1
    execute(f"comment on schema dbadmin_audit is 'dbadmin audit, version {newer}'")
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stderr == f"The log is of version {newer}, this script reads up to {capture.VERSION}: {end}"
    assert (done.stdout, done.returncode) == ("", 2)
