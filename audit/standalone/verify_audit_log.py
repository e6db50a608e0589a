#!/usr/bin/env python3
"""Check a dbadmin audit log against its witness file, without dbadmin: Python, psql and openssl are all it needs.

    verify_audit_log.py WITNESS.jsonl "host=… dbname=… user=…" [--key PUBLIC_KEY_HEX] [--ca CERTIFICATES.pem]
    verify_audit_log.py --proof PROOF.json [--key PUBLIC_KEY_HEX]
    verify_audit_log.py --export FILE [--key PUBLIC_KEY_HEX]

The first reads each sealed statement and row anew by psql, hashes them, compares with the signed roots, and names what
was altered, removed or inserted; so it does with the tables that are watched, their columns and the recorded gaps. The
second asks no server: it shows one change, and that it belongs to what was signed. The third tells whether an exported
search is as it was signed. Exit status: 0 as sealed or signed, 1 differs, 2 could not be checked.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

OPTIONS = (
    "-c TimeZone=UTC -c DateStyle=ISO,YMD -c IntervalStyle=postgres -c extra_float_digits=1 -c bytea_output=hex"
    " -c statement_timeout=0 -c search_path=pg_catalog,pg_temp"
)
DER = bytes.fromhex("302a300506032b6570032100")  # how an Ed25519 public key begins for openssl
STATEMENT = (
    "copy (select s.id, (extract(epoch from s.at) * 1000000)::bigint, s.xid, s.images, s.watched_id, s.shape_id,"
    " s.operation, s.session_role, s.set_role, s.app_user, s.client, s.application, s.query, s.note"
    " from dbadmin_audit.statement s where {where} order by s.id) to stdout"
)
IMAGES = (
    "(select at, statement_id, n, side{after} from {table}"
    " union all select at, statement_id, 1, '-'::\"char\"{before} from {pairs}"
    " union all select at, statement_id, 1, '+'::\"char\"{after} from {pairs})"
)
ROWS = (
    "copy (select r.statement_id, r.n, r.side, (extract(epoch from r.at) * 1000000)::bigint, {columns} from {table} r"
    " where r.statement_id in (select s.id from dbadmin_audit.statement s where {where})) to stdout"
)
#: A database without an encoding sends its bytes as they are to none but a session without one.
BYTES = "do $$begin if getdatabaseencoding()='SQL_ASCII' then set client_encoding=SQL_ASCII; end if; end$$"
PLACE = (
    "copy (select pg_snapshot_xmin(pg_current_snapshot()), (select system_identifier from pg_control_system()),"
    " (select timeline_id from pg_control_checkpoint())) to stdout"
)
#: Versions of the log, and of what is signed, that this script reads.
VERSION, FORM, SHOWN = 9, "dbadmin-audit-1", "backslashreplace"
VERSION_NOW = (
    "select substring(obj_description('dbadmin_audit'::regnamespace, 'pg_namespace') from 'version (\\d+)')"
)
TOO_NEW = "The {} is of version {}, this script reads up to {}: get it anew on the page Seals. Nothing was checked.\n"
NOT_FITTING = "the signature does not fit the key"
END_GONE = (
    "All that was sealed from statement {} on is missing ({} statements), and the sequence dbadmin_audit.statement_id"
    " stands at {}: most likely the server was put back to a copy of an earlier moment (its files, or a snapshot)."
    " Then these changes are not in the watched tables either. If they are, somebody removed the end of the log."
)
REGISTRY = {
    "watched": ("id, since", "The numbers of watched tables, or since when they are watched, were altered."),
    "shape": ("id, watched_id, signature, columns::text, key_columns::text, since",
              "The versions of columns were altered."),
    "gap": ("id, at, xid, watched_id, kind, text", "The recorded gaps were altered."),
}  # fmt: skip
LINES = "copy (select {columns} from dbadmin_audit.{name} where {where} order by id) to stdout"
NAMES = "copy (select id, schema_name || '.' || table_name from dbadmin_audit.watched order by id) to stdout"
STATES = (
    "copy (select w.id, w.until::text, md5(w.choices::text), min(coalesce(substring(p.prosrc from"
    " 'audit capture (\\d+)')::int, 1)) filter (where p.proname = 'capture_' || w.id),"
    " md5(string_agg(p.prosrc, '' order by p.proname)), w.relid from dbadmin_audit.watched w left join"
    " pg_catalog.pg_proc p on p.pronamespace = 'dbadmin_audit'::regnamespace and p.proname in ('capture_' || w.id,"
    " 'capture_row_' || w.id) group by w.id order by w.id) to stdout"
)
BESIDE = "Not looked at: triggers, rights, shared functions, the key of hashed columns; dbadmin's verification does.\n"
FACTS = (  # what a line of the log holds, in its order
    "statement", "at", "transaction", "images", "table number", "version of columns", "operation", "session role",
    "set role", "application user", "client", "application", "query", "note",
)  # fmt: skip
SIDES = {"-": "before", "o": "before", "+": "after", "x": "deleted"}
# A statement as sealed: its digest, leaf, short digests of its rows; and as it is: its digest, those of its rows.
Sealed = tuple[bytes, bytes, dict[tuple[int, bytes], bytes]]
There = tuple[bytes, list[tuple[int, bytes, bytes]]]
ESCAPED = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


def psql(dsn: str, query: str) -> Iterator[bytes]:
    """The lines that a query gives."""
    environment = {**os.environ, "PGOPTIONS": OPTIONS, "PGCLIENTENCODING": "UTF8"}
    command = ["psql", "-XqAt", dsn, "-c", BYTES, "-c", query]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdout is not None  # noqa: S101 - Popen was told to make it
        for line in process.stdout:
            yield line.rstrip(b"\n")
    if process.returncode:
        sys.exit(2)


def is_signed(header: str, signature: str, public: str) -> bool:
    """Does openssl say that the signature fits?"""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "header").write_bytes(header.encode())
        (folder / "signature").write_bytes(bytes.fromhex(signature))
        (folder / "key").write_bytes(DER + bytes.fromhex(public))
        command = [*"openssl pkeyutl -verify -pubin -keyform DER -inkey".split(), str(folder / "key")]  # noqa: SIM905
        files = ["-rawin", "-in", str(folder / "header"), "-sigfile", str(folder / "signature")]
        return subprocess.run([*command, *files], capture_output=True).returncode == 0


def root(leaves: list[bytes]) -> str:
    """The hash over all leaves."""
    level = leaves or [sha256(b"").digest()]
    while len(level) > 1:
        above = [sha256(b"\x01" + level[i] + level[i + 1]).digest() for i in range(0, len(level) - 1, 2)]
        level = above + ([level[-1]] if len(level) % 2 else [])
    return level[0].hex()


def unpack(data: bytes) -> dict[int, Sealed]:
    """Statement -> its digest, its leaf, its rows' short digests."""
    raw, position, found = zlib.decompress(data), 0, {}
    head, row = struct.Struct(">QI32s32s"), struct.Struct(">Ic8s")
    while position < len(raw):
        number, count, own, leaf = head.unpack_from(raw, position)
        position += head.size
        end = position + count * row.size
        found[number] = own, leaf, {(n, side): short for n, side, short in row.iter_unpack(raw[position:end])}
        position = end
    return found


def read(dsn: str, facts: dict[str, int]) -> dict[int, There]:
    """Statement -> its digest and those of its rows, as the server has them now."""
    where = (
        f"s.xid::text::bigint >= {int(facts['from_transaction'])} and s.id > {int(facts['above_statement'])}"
        f" and s.xid::text::bigint < {int(facts['before_transaction'])}"
    )
    found: dict[int, There] = {}
    shapes = set()
    for line in psql(dsn, STATEMENT.format(where=where)):
        parts = line.split(b"\t", 6)
        number, digest = int(parts[0]), sha256(b"statement\n" + line).digest()
        if number in found:
            found[number][1].append((0, b"=", digest))
        found.setdefault(number, (digest, []))
        shapes.add(int(parts[5]))
    for shape in sorted(shapes):
        for line in psql(dsn, rows_query(dsn, shape, where)):
            statement, n, side, _ = line.split(b"\t", 3)
            digest = sha256(b"rows %d\n" % shape + line).digest()
            if int(statement) in found:
                found[int(statement)][1].append((int(n), side, digest))
    return found


def rows_query(dsn: str, shape: int, where: str) -> str:
    """The rows of one version of columns; version 0 is of rows that were kept whole."""
    query = f"select columns from dbadmin_audit.shape where id = {int(shape)}"  # noqa: S608
    known = next(iter(psql(dsn, query)), None) if shape else None
    if known is None:
        return ROWS.format(columns="r.image::text", table="dbadmin_audit.loose", where=where)
    kept = [column for column in json.loads(known.decode(errors="replace")) if column["rule"] != "excluded"]
    columns = ", ".join(["null", *(f"r.c{int(column['attnum'])}::text" for column in kept)])
    return ROWS.format(columns=columns, table=images(dsn, shape, kept), where=where)


def images(dsn: str, shape: int, kept: list[dict[str, Any]]) -> str:
    """Rows before and after; updates of one row hold both in one line, in a table of their own."""
    table = f"dbadmin_audit.rows_{int(shape)}"
    if next(iter(psql(dsn, f"select to_regclass('dbadmin_audit.pairs_{int(shape)}') is null"))) == b"t":
        return table
    after = "".join(f", c{int(column['attnum'])}" for column in kept)
    before = "".join(f", b{int(column['attnum'])} as c{int(column['attnum'])}" for column in kept)
    return IMAGES.format(after=after, before=before, table=table, pairs=table.replace("rows_", "pairs_"))


def sealed_again(seals: list[dict[str, str]]) -> dict[int, dict[int, bytes]]:
    """Seal -> statements, with their leaves, of later seals over its transactions: after a failover or a restore."""
    found: dict[int, dict[int, bytes]] = {}
    headers, highest = [json.loads(seal["header"]) for seal in seals], 0
    for place, (seal, facts) in enumerate(zip(seals, headers, strict=True)):
        low, high = facts["from_transaction"], facts["before_transaction"]
        known = unpack(base64.b64decode(seal["leaves"])) if low < highest else {}
        highest, leaves = max(highest, high), {number: one[1] for number, one in known.items()}
        for one in headers[:place] if leaves else ():
            if one["from_transaction"] < high and low < one["before_transaction"]:
                found.setdefault(one["number"], {}).update(leaves)
    return found


def expired(seals: list[dict[str, Any]], key: str) -> tuple[int, list[str]]:
    """The last statement that a signed record says was dropped by policy; records that are not of this log."""
    through, wrong = 0, []
    for one in seals[0].get("expiries", []) if seals else []:
        facts, header = json.loads(one["text"]), json.loads(seals[0]["header"])
        is_ours = all(facts[name] == header[name] for name in ("server", "database"))
        what = f"{', '.join(facts['months'])}, through statement {facts['through']}, {facts.get('recorded_at', '')}"
        if is_ours and is_signed(one["text"], one["signature"], key or one["public"]):
            through = max(through, int(facts["through"]))
            sys.stdout.write(f"Expired by policy, as recorded and signed: {what}.\n")
        else:
            wrong.append(f"No signed record of this log tells what expired: {what}.")
    return through, wrong


def check(dsn: str, seal: dict[str, str], previous: str, key: str, again: dict[int, bytes], gone: set[int],
          through: int) -> Iterator[str]:  # fmt: skip
    """What is wrong with one seal and what it covers; again: statements that a later seal covers too; gone: gets those
    that are missing; through: up to this one they expired by policy."""
    header, facts = seal["header"], json.loads(seal["header"])
    name = f"Seal {facts['number']}"
    if not is_signed(header, seal["signature"], key or seal["public"]):
        yield f"{name} was altered: its signature does not fit."
    if facts["previous"] != previous:
        yield f"{name} does not follow the seal before it."
    known, there = unpack(base64.b64decode(seal["leaves"])), read(dsn, facts)
    if root([leaf for _, leaf, _ in known.values()]) != facts["root"]:
        yield f"The leaves of {name} were altered."
    known = {n: one for n, one in known.items() if again.get(n) != one[1] and (n > through or n in there)}
    there = {number: one for number, one in there.items() if number not in again}
    missing = sorted(known.keys() - there.keys())
    is_end = bool(missing) and missing == sorted(known)[-len(missing) :]
    is_lost = is_end and (bool(again) or was_put_back(dsn, facts))
    gone |= set() if is_lost else set(missing)
    for number in missing:
        what = "another one" if number in again else "gone"
        words = f"is {what} since the server was put back to an earlier moment" if is_lost else "was removed"
        yield f"Statement {number} {words}."
    for number in sorted(there.keys() - known.keys()):
        yield f"Statement {number} was inserted later."
    for number in sorted(known.keys() & there.keys()):
        yield from differences(number, known[number], there[number])


def was_put_back(dsn: str, facts: dict[str, Any]) -> bool:
    """Was the server put back to before this seal?"""
    horizon, cluster, timeline = next(iter(psql(dsn, PLACE))).decode().split("\t")
    is_elsewhere = cluster != facts["system_identifier"] or int(timeline) > int(facts["timeline"])
    return is_elsewhere or int(horizon) < int(facts["before_transaction"])


def differences(number: int, known: Sealed, there: There) -> Iterator[str]:
    """Where one statement differs: in itself, or in which of its rows."""
    (own, rows), is_told = there, False
    if (times := 1 + sum(side == b"=" for _, side, _ in rows)) > 1:
        yield f"Statement {number} stands {times} times in the log."
        return
    rows.sort()
    if sha256(b"\x00S" + own + b"".join(digest for _, _, digest in rows)).digest() == known[1]:
        return
    if own != known[0]:
        is_told = True
        yield f"Statement {number} was altered: who, when, what or how many."
    now = {(n, side): digest[:8] for n, side, digest in rows}
    for place in sorted(now.keys() | known[2].keys()):
        if now.get(place) != known[2].get(place):
            is_told = True
            words = "removed" if place not in now else "altered" if place in known[2] else "inserted later"
            yield f"Row {place[0]} ({SIDES.get(place[1].decode(), '?')}) of statement {number} was {words}."
    if not is_told:
        yield f"The rows of statement {number} were altered."


def stamps(seals: list[dict[str, str]], ca: Path | None) -> Iterator[str]:
    """Time stamps of an authority, by openssl: those that do not fit, and when the last one existed."""
    stamped = [seal for seal in seals if "stamp" in seal]
    if stamped and ca is None:
        sys.stderr.write("The time stamps were not checked: give --ca the certificates of their authority.\n")
        return
    fitting = ""
    for seal in stamped:
        number, digest = json.loads(seal["header"])["number"], sha256(seal["header"].encode()).hexdigest()
        with tempfile.TemporaryDirectory() as name:
            file = Path(name) / "stamp"
            file.write_bytes(base64.b64decode(seal["stamp"]))
            verify = ["openssl", "ts", "-verify", "-digest", digest, "-in", str(file), "-CAfile", str(ca)]
            reply = ["openssl", "ts", "-reply", "-in", str(file), "-text"]
            shown = subprocess.run(reply, capture_output=True)
            if subprocess.run(verify, capture_output=True).returncode:
                yield f"The time stamp of seal {number} does not fit it."
            else:
                told = re.search(r"(?m)^Time stamp: (.+)$", shown.stdout.decode(errors="replace"))
                fitting = f"Seal {number} and all before it existed at {told[1] if told else '?'}.\n"
    sys.stdout.write(fitting)


def end_gone(dsn: str, seals: list[dict[str, str]], gone: set[int], through: int) -> Iterator[str]:
    """All that is missing is the end of the log, and its numbers were not even given out: what that most likely is."""
    known = {n for seal in seals for n in unpack(base64.b64decode(seal["leaves"])) if n > through}
    missing = {number for number in known if gone and number >= min(gone)}
    if not gone or missing == known or gone != missing:
        return
    given = int(next(iter(psql(dsn, "select last_value from dbadmin_audit.statement_id"))))
    if given < min(gone):
        yield END_GONE.format(min(gone), len(missing), given)


def registry(dsn: str, seals: list[dict[str, str]]) -> Iterator[str]:
    """What is wrong with that which makes the log readable."""
    now: dict[str, str] = {}
    told = set()
    for seal in seals:
        facts = json.loads(seal["header"])
        if isinstance(facts["registry"], str):
            continue  # an older seal: dbadmin itself checks its one hash
        through = facts["registry_through"]
        for name, sealed in facts["registry"].items():
            columns, text = REGISTRY[name]
            where = f"id <= {int(through[name])}"
            for first, last in through["gap_absent"] if name == "gap" else []:
                where += f" and id not between {int(first)} and {int(last)}"
            if name + where not in now:
                query = LINES.format(columns=columns, name=name, where=where)
                whole = sha256(b"".join(name.encode() + b"\t" + line + b"\n" for line in psql(dsn, query)))
                now[name + where] = whole.hexdigest()
            if now[name + where] != sealed and name not in told:
                told.add(name)
                yield text
    names = dict(line.decode(errors=SHOWN).split("\t", 1) for line in psql(dsn, NAMES))
    for number, name in facts.get("tables", {}).items() if seals else ():
        is_called = unescaped(names[number]) if number in names else "nothing"
        if is_called != name:
            yield f"Table {number} is called {is_called} since; it was sealed as {name}."
    if seals and "watched_sha256" in facts:
        yield from states(dsn, seals, facts)


def states(dsn: str, seals: list[dict[str, str]], facts: dict[str, Any]) -> Iterator[str]:
    """Which tables are not watched as the last seal says; it tells how by itself, or by the hash of an earlier one."""
    told = [json.loads(seal["header"]).get("watched") for seal in seals]
    sealed: dict[str, Any] = next((one for one in reversed(told) if one is not None), {})
    text = json.dumps(sealed, sort_keys=True, separators=(",", ":"))
    if sha256(text.encode()).hexdigest() != facts["watched_sha256"]:
        yield "How tables were watched when the last seal was made is told by no seal of this file."
        return
    for line in psql(dsn, STATES):
        values = line.decode(errors=SHOWN).split("\t")
        number, *now = (None if value == "\\N" else unescaped(value) for value in values)
        if (was := sealed.get(str(number))) is not None:
            yield from state(facts["tables"][str(number)], was, now)


def state(name: str, was: list[str | None], now: list[str | None]) -> Iterator[str]:
    """What differs for one table: until when, choices, capture function."""
    if now[0] != was[0]:
        sealed_as = "watched" if was[0] is None else f"watched until {was[0]}"
        is_now = "it is watched again" if now[0] is None else f"it is not watched since {now[0]}"
        yield f"{name} was sealed as {sealed_as}; {is_now}."
        return
    if len(was) > 6 and now[4] != was[6]:
        yield f"{name} was sealed as relation {was[6]}; the log's line of it names relation {now[4]}."
    if now[1] != was[1]:
        yield f"The choices for {name} are not those that were sealed."
    if now[2] is None and was[2] is not None:
        yield f"The capture function of {name} is gone; it was sealed in version {was[2]}."
    elif now[3] != was[3]:
        yield f"The capture function of {name} is not the one that was sealed in version {was[2]}."


def unescaped(text: str) -> str:
    """A value of PostgreSQL's own text form."""
    if text == "\\N":
        return "NULL"
    return re.sub(r"\\(.)", lambda found: ESCAPED.get(found[1], found[1]), text, flags=re.DOTALL)


def verdict(wrong: str, proven: str, key: str, public: str) -> int:
    """Say whether it is proven; the exit status."""
    sys.stdout.write(f"Not proven: {wrong}.\n" if wrong else f"Proven: {proven}.\n")
    if not wrong and not key:
        sys.stdout.write(f"The key came with the file; compare it with one that you trust: {public}\n")
    return int(bool(wrong))


def check_proof(file: Path, key: str) -> int:
    """One change: is it part of what was signed? If so, tell it."""
    proof = json.loads(file.read_text())
    header, statement = json.loads(proof["header"]), proof["statement"].split("\t")
    wrong = "" if is_signed(proof["header"], proof["signature"], key or proof["public"]) else NOT_FITTING
    prefix, digests = b"rows %d\n" % int(statement[5]), []
    for row in proof["rows"]:
        line = row.get("line")
        digests.append(sha256(prefix + line.encode()).digest() if line else bytes.fromhex(row["digest"]))
    own = sha256(b"statement\n" + proof["statement"].encode()).digest()
    here = sha256(b"\x00S" + own + b"".join(digests)).digest()
    for side, beside in proof["path"]:
        other = bytes.fromhex(beside)
        here = sha256(b"\x01" + (other + here if side == "left" else here + other)).digest()
    if not wrong and here.hex() != header["root"]:
        wrong = "this change does not belong to the signed root"
    place = f"seal {header['number']} of {header['server_name']}/{header['database']}"
    if verdict(wrong, f"this change is in {place}, signed {header['sealed_at']}", key, proof["public"]):
        return 1
    facts = dict(zip(FACTS, map(unescaped, statement), strict=True))
    facts["at"] = str(datetime.fromtimestamp(0, UTC) + timedelta(microseconds=int(statement[1])))
    facts["table"] = header["tables"].get(statement[4], "?")
    sys.stdout.write("".join(f"{name}: {value}\n" for name, value in facts.items() if value != "NULL"))
    for row in proof["rows"]:
        if "line" in row:
            _, n, side, _, *values = row["line"].split("\t")
            values = values[1:] if int(statement[5]) else values
            told = zip(proof["columns"], map(unescaped, values), strict=True)
            sys.stdout.write(f"row {n}, {SIDES[side]}: {dict(told)}\n")
    sys.stdout.write("The names of columns are those that dbadmin gave; all values are proven.\n")
    return 0


def ended(data: bytes) -> tuple[str, bytes]:
    """The digest of all lines but the last, and what the last one says."""
    start = data.rstrip(b"\n").rfind(b"\n") + 1
    found = re.search(rb"\{.*\}", data[start:])
    return sha256(data[:start]).hexdigest(), found[0] if found else b""


def parquet(file: Path) -> tuple[str, bytes]:
    """The digest of all values, record by record, and what the footer says."""
    source: Any = import_module("pyarrow.parquet").ParquetFile(file)
    digest = sha256()
    for group in source.iter_batches():
        for record in group.to_pylist():
            values = [each.isoformat() if isinstance(each, datetime) else each for each in record.values()]
            digest.update((json.dumps(values) + "\n").encode())
    return digest.hexdigest(), (source.metadata.metadata or {}).get(b"dbadmin", b"")


def check_export(file: Path, key: str) -> int:
    """A file of a search: is it, to the last byte, what was signed?"""
    data = file.read_bytes()
    if (is_parquet := data[:4] == data[-4:] == b"PAR1") and find_spec("pyarrow") is None:
        sys.stderr.write("To read Parquet, pip install pyarrow; nothing was checked.\n")
        return 2
    signed, found = parquet(file) if is_parquet else ended(data)
    try:
        proof = json.loads(found)
        digest, signature, public = proof["sha256"], proof["signature"], proof["public"]
    except (ValueError, KeyError, TypeError):
        return verdict("the file does not end with a signed digest", "", key, "")
    wrong = "" if is_signed(digest, signature, key or public) else NOT_FITTING
    wrong = wrong if signed == digest else "the file is not the one that was signed"
    return verdict(wrong, "the file is as it was signed", key, public)


def main() -> int:
    """Check every seal of the witness file in turn, or one proof."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("witness", type=Path, nargs="?")
    parser.add_argument("dsn", nargs="?")
    parser.add_argument("--proof", type=Path, help="the proof of one change, instead of a witness file")
    parser.add_argument("--export", type=Path, help="an exported search, instead of a witness file")
    parser.add_argument("--ca", type=Path, help="certificates of the time stamp authority, as PEM")
    parser.add_argument("--key", default="", help="the public key that you trust, in hexadecimal")
    told = parser.parse_args()
    if not told.proof and not told.export and not told.dsn:
        parser.error("give a witness file and a DSN, or --proof or --export with a file")
    needed = ("openssl",) if told.proof or told.export else ("psql", "openssl")
    if missing := [name for name in needed if shutil.which(name) is None]:
        sys.stderr.write(f"Not on the path: {', '.join(missing)}. Install them; nothing was checked.\n")
        return 2
    if told.proof or told.export:
        return check_proof(told.proof, told.key) if told.proof else check_export(told.export, told.key)
    seals = [json.loads(line) for line in told.witness.read_text().splitlines()]
    if not seals:
        parser.error("the witness file holds no seal: nothing was checked")
    forms = {json.loads(seal["header"])["form"] for seal in seals} - {FORM}
    if forms or int(version := next(iter(psql(told.dsn, VERSION_NOW))) or b"0") > VERSION:
        what = ("witness file", max(forms), FORM) if forms else ("log", version.decode(), VERSION)
        sys.stderr.write(TOO_NEW.format(*what))
        return 2
    previous, statements = json.loads(seals[0]["header"])["previous"], 0
    through, found = expired(seals, told.key)
    found += registry(told.dsn, seals)
    gone, again = set[int](), sealed_again(seals)
    for seal in seals:
        header = json.loads(seal["header"])
        found += check(told.dsn, seal, previous, told.key, again.get(header["number"], {}), gone, through)
        previous, statements = sha256(seal["header"].encode()).hexdigest(), statements + header["statements"]
    found += stamps(seals, told.ca)
    if gone and sum("tatement" in text for text in found) == len(gone):
        found += end_gone(told.dsn, seals, gone, through)
    told_all = f"{len(seals)} seals, {statements} statements: {len(found) or 'no'} differences."
    sys.stdout.write("".join(f"{text}\n" for text in [*found, told_all]))
    sys.stderr.write(BESIDE)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
