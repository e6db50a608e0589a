"""What a superuser, or who writes to dbadmin's own database, might try: it is named, and what is honest is not."""

import json
from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from audit import sealed_states
from audit.gaps import find_gaps
from audit.models import Expiry, Seal, SealKey
from audit.sealing import seal_next
from audit.verifying import verify
from tests.audit.test_seals import by_the_script
from tests.carrying_out import carry_out, log_of, operation

pytestmark = pytest.mark.servers

STATEMENT, ROWS, PAIRS = (f"dbadmin_audit.{name}" for name in ("statement", "rows_1", "pairs_1"))
SWAP = (
    f"update {STATEMENT} set id = 0 where id = 2; update {STATEMENT} set id = 2 where id = 3;"
    f" update {STATEMENT} set id = 3 where id = 0"
)
#: This month's partition of the rows, away and back.
MONTH = """do $$
declare part text := 'dbadmin_audit.rows_1_' || to_char(now() at time zone 'UTC', 'YYYY_MM');
    bounds text := (select pg_get_expr(relpartbound, oid) from pg_class where oid = part::regclass);
begin
    execute 'alter table dbadmin_audit.rows_1 detach partition ' || part;
    {}
end $$"""


@pytest.fixture
def sealed(audit, execute, target):
    execute("create table items (id int primary key, name text, price numeric)")
    audit.watch("items")
    execute("insert into items values (1, 'a', 1), (2, 'b', 2)")
    execute("update items set price = price + 1 where id = 2")
    execute("delete from items where id = 1")
    assert seal_next(target.connection, audit.server).statements == 3
    return audit


def findings(target):
    return [finding.what for finding in verify(target.connection, list(Seal.objects.order_by("number")))]


@pytest.mark.parametrize(
    ("tampering", "found"),
    [
        (
            f"insert into {STATEMENT} select * from {STATEMENT} where id = 2",
            ["Statement 2 stands 2 times in the log."],
        ),
        (
            SWAP,
            [f"Statement {number} was altered: who, when, what or how many." for number in (2, 3)],
        ),
        (
            f"update {STATEMENT} set id = 7 where id = 2; update {PAIRS} set statement_id = 7",
            ["Statement 2 was removed.", "Statement 7 was inserted later."],
        ),
        (f"update {STATEMENT} set xid = '9999999' where id = 2", ["Statement 2 was removed."]),
        (
            f"update {ROWS} set n = 3 - n where statement_id = 1",
            [f"Row {n} (after) of statement 1 was altered." for n in (1, 2)],
        ),
        (
            f"update {ROWS} set statement_id = 4 - statement_id where n = 1",
            [
                "Row 1 (after) of statement 1 was removed.",
                "Row 1 (deleted) of statement 1 was inserted later.",
                "Row 1 (after) of statement 3 was inserted later.",
                "Row 1 (deleted) of statement 3 was removed.",
            ],
        ),
        (MONTH.format(""), [
            *(f"Row {n} (after) of statement 1 was removed." for n in (1, 2)),
            "Row 1 (deleted) of statement 3 was removed.",
        ]),
        (f"drop table {PAIRS}", [f"Row 1 ({side}) of statement 2 was removed." for side in ("after", "before")]),
        (
            "delete from dbadmin_audit.shape; delete from dbadmin_audit.watched",
            [
                "The versions of columns were altered.",
                "The numbers of watched tables, or since when they are watched, were altered.",
                "Table 1 is called nothing since; it was sealed as public.items.",
                *(f"Row {n} (after) of statement 1 was removed." for n in (1, 2)),
                *(f"Row 1 ({side}) of statement 2 was removed." for side in ("after", "before")),
                "Row 1 (deleted) of statement 3 was removed.",
            ],
        ),
    ],
)  # fmt: skip
def test_it_is_named_by_dbadmin_and_by_the_second_party(
    sealed, target, execute, tampering, found, tmp_path, postgres
):
    execute(tampering)
    assert sorted(findings(target)) == sorted(found)
    assert sorted(by_the_script(tmp_path, postgres.dsn_for(target.database))) == sorted(found)


@pytest.mark.parametrize(
    ("tampering", "why"),
    [
        (
            f"drop table {ROWS}",
            'the log is not as it was made, relation "dbadmin_audit.rows_1" does not exist',
        ),
        (f"alter table {ROWS} drop column c3", 'the log is not as it was made, column "c3" does not exist'),
        (
            f"alter table {ROWS} alter c3 type text using c3::text",
            "the log is not as it was made, UNION types text and numeric cannot be matched",
        ),
        (
            f"drop table {STATEMENT} cascade",
            'the log is not as it was made, relation "dbadmin_audit.statement" does not exist',
        ),
        (
            "comment on schema dbadmin_audit is null",
            "the comment on schema dbadmin_audit no longer tells the log's version",
        ),
    ],
)
def test_a_log_that_cannot_be_read_any_more_is_a_finding_and_no_error(
    sealed, target, execute, server, tampering, why
):
    execute(tampering)
    assert findings(target) == [f"Seal 1 cannot be compared: {why}."]
    run = carry_out(operation("verify_seals", server))
    first = f"Seal 1 cannot be compared: {why}."
    assert run.message == f"The audit log differs from its seals in 1 place. The first: {first}"


@pytest.mark.parametrize(
    "honest",
    [
        MONTH.format(
            "execute 'alter table dbadmin_audit.rows_1 attach partition ' || part || ' ' || bounds;"
        ),
        MONTH.format(
            "execute 'insert into dbadmin_audit.rows_1 select * from ' || part; execute 'drop table ' || part;"
        ),
        f"alter table {STATEMENT} detach partition {STATEMENT}_default",
        "vacuum full",
        "vacuum freeze",
        "reindex schema dbadmin_audit",
        "alter table items add column later text",
        "grant select on all tables in schema dbadmin_audit to pg_read_all_data",
    ],
)
def test_what_is_honest_is_no_finding(sealed, target, execute, server, honest, tmp_path, postgres):
    execute(honest)
    assert findings(target) == []
    assert by_the_script(tmp_path, postgres.dsn_for(target.database)) == []
    assert not [text for text in log_of(carry_out(operation("seal_log", server))) if "replaced" in text]


def forged_key():
    """A key that somebody added to dbadmin's database, and its private half, which they cannot seal."""
    private = Ed25519PrivateKey.generate()
    public = private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw).hex()
    return private, SealKey.objects.create(key_id="forged", public=public, sealed_private="")


def test_seals_that_are_signed_anew_by_a_key_that_is_not_dbadmins_are_named(sealed, target):
    private, key = forged_key()
    seal = Seal.objects.get()
    seal.header = json.dumps(json.loads(seal.header) | {"key": "forged", "sealed_at": "2020-01-01"})
    seal.header_hash = sha256(seal.header.encode()).hexdigest()
    seal.key, seal.signature = key, private.sign(seal.header.encode()).hex()
    seal.save()
    strange = "Seal 1 is signed by key forged, whose private half DBADMIN_KEYS does not open:"
    assert findings(target) == [f"{strange} it is not known to be dbadmin's."]


def test_a_record_that_a_month_expired_counts_only_when_dbadmins_key_signed_it(
    sealed, target, execute, server
):
    private, key = forged_key()
    text = json.dumps({"server": str(server.key), "database": target.database, "through": 3, "months": []})
    Expiry.objects.create(
        server=server, database=target.database, through_id=3, text=text, key=key,
        signature=private.sign(text.encode()).hex(),
    )  # fmt: skip
    execute(f"delete from {STATEMENT} where id = 2")
    assert findings(target) == ["Statement 2 was removed."]


def test_catalog_rows_of_another_cluster_tell_nothing():
    was = [None, "choices", "4", "print", "7000000000000000001 16384", "16390 731 16391"]
    assert sealed_states.is_replaced(was, [*was[:5], "16390 899 16391"])
    assert not sealed_states.is_replaced(was, [*was[:4], "7000000000000000002 16384", "16390 899 16391"])
    assert not sealed_states.is_replaced(was[:4], was), "as an older dbadmin sealed it"


@pytest.mark.parametrize("what", ["function", "triggers"])
def test_capture_that_was_replaced_for_a_while_is_told(sealed, target, execute, server, what):
    """Nothing of it is left but the rows of the catalog, which are others than those that were sealed."""
    carry_out(operation("seal_log", server))
    last = Seal.objects.first()
    triggers = [
        row[0]
        for row in execute(
            "select pg_get_triggerdef(oid) || ';' from pg_trigger where tgrelid = 'items'::regclass"
            " and tgname !~ 'replica'"
        )
    ]
    function = execute("select pg_get_functiondef('dbadmin_audit.capture_1'::regproc)").fetchone()[0]
    if what == "function":
        empty = "language plpgsql as $$ begin return null; end $$"
        execute(f"create or replace function dbadmin_audit.capture_1() returns trigger {empty}")
    else:
        execute(
            "".join(
                f"drop trigger dbadmin_audit_{one} on items;"
                for one in ("insert", "update", "delete", "truncate")
            )
        )
    execute("update items set price = 0")
    execute(function if what == "function" else "".join(triggers))
    replaced = "The capture function of public.items, or its triggers, were replaced since, and put back."
    text = (
        f"{replaced} Seen after seal {last.number} ({last.sealed_at:%Y-%m-%d %H:%M} UTC): what was written meanwhile"
        " may not be recorded"
    )
    assert findings(target) == [replaced]
    assert log_of(carry_out(operation("seal_log", server)))[0] == f"Recorded a gap. {text}."
    assert text in [gap.problem for gap in find_gaps(target.rows)]
    assert findings(target) == []  # it is sealed, as a gap
    assert "Recorded a gap" not in log_of(carry_out(operation("seal_log", server)))[0]
    # What an operation of dbadmin renews is no gap.
    sealed.session.connection.execute("alter table items add column later text")
    assert carry_out(operation("watch_table", server, schema="public", table="items")).status == "succeeded"
    assert "Recorded a gap" not in log_of(carry_out(operation("seal_log", server)))[0]
