"""Seals are time-stamped by a real authority that openssl plays, and no seal ever waits for one."""

import subprocess
import sys
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from audit.models import Seal
from audit.seal_copies import witness_of
from audit.seal_views import SCRIPT
from backups.models import Store
from dbadmin.models import Event
from tests.carrying_out import carry_out, log_of, operation

pytestmark = pytest.mark.servers

CONFIG = """
[req]
distinguished_name = name
[name]
[ca]
basicConstraints = critical, CA:true
[stamper]
extendedKeyUsage = critical, timeStamping
[tsa]
default_tsa = here
[here]
serial = {folder}/serial
crypto_device = builtin
signer_cert = {folder}/stamper.pem
signer_key = {folder}/stamper.key
certs = {folder}/ca.pem
signer_digest = sha256
default_policy = 1.2.3.4
digests = sha256
accuracy = secs:1
ordering = no
tsa_name = no
ess_cert_id_chain = no
ess_cert_id_alg = sha256
"""


class Authority:
    """A time stamp authority with certificates of its own, behind HTTP."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.is_broken = folder, False
        (folder / "ts.cnf").write_text(CONFIG.format(folder=folder))
        (folder / "serial").write_text("01\n")
        for name, more in (("ca", []), ("stamper", ["-CA", "ca.pem", "-CAkey", "ca.key"])):
            self.openssl(
                "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30",
                "-config", "ts.cnf", "-extensions", name, "-subj", f"/CN={name}", "-keyout", f"{name}.key",
                "-out", f"{name}.pem", *more,
            )  # fmt: skip
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                query = self.rfile.read(int(self.headers["Content-Length"]))
                is_known = self.headers["Authorization"] == "Basic dXNlcjpzZWNyZXQ="
                self.send_response(503 if outer.is_broken else 200 if is_known else 401)
                self.end_headers()
                self.wfile.write(outer.reply(query))

            def log_message(self, *_: object) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://user:secret@127.0.0.1:{self.server.server_port}/tsr"

    def openssl(self, *arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=self.folder, check=True, capture_output=True)

    def reply(self, query: bytes) -> bytes:
        (self.folder / "query").write_bytes(query)
        self.openssl("ts", "-reply", "-config", "ts.cnf", "-queryfile", "query", "-out", "reply")
        return (self.folder / "reply").read_bytes()


@pytest.fixture(scope="module")
def authority():
    with tempfile.TemporaryDirectory() as folder:
        made = Authority(Path(folder))
        yield made
        made.server.shutdown()
        made.server.server_close()


@pytest.fixture
def stamped(items, execute, authority, settings, tmp_path):
    """A log whose seals are stamped."""
    settings.DBADMIN_TSA_URL, settings.DBADMIN_TSA_CA = authority.url, str(authority.folder / "ca.pem")
    authority.is_broken = False
    store = Store.objects.create(name="vault", kind="local", directory=str(tmp_path / "vault"))
    store.path.mkdir(parents=True)
    execute("insert into items values (1, 'a')")
    return items


def sealed(server):
    run = carry_out(operation("seal_log", server, store="vault"))
    assert run.status == "succeeded", run.message
    return log_of(run)


def verified(server):
    run = carry_out(operation("verify_seals", server))
    return run.status, log_of(run)


def by_the_script(tmp_path, dsn, *more):
    file = tmp_path / "witness.jsonl"
    file.write_text("".join(witness_of(seal) for seal in Seal.objects.order_by("number")))
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(file), dsn, *more], capture_output=True, text=True
    )
    return done.returncode, done.stdout.splitlines(), done.stderr


def test_the_newest_seal_is_stamped_kept_in_the_store_and_proven(
    stamped, server, target, tmp_path, postgres, authority, client_as
):
    lines = sealed(server)
    seal = Seal.objects.get()
    assert abs(seal.stamped_at - seal.sealed_at).total_seconds() < 3600
    moment = f"{seal.stamped_at:%Y-%m-%d %H:%M:%S}"
    assert f"Seal 1 and all before it existed at {moment} UTC: stamped." in lines
    kept = Store.objects.get().open().get(f"audit-seals/{server.key}/{target.database}/00000001.tsr")
    assert kept == bytes(seal.stamp)
    assert verified(server) == (
        "succeeded",
        ["1 of 1 time stamps fit their seals.", "1 statement with 1 row image are as they were sealed."],
    )
    dsn, ca = postgres.dsn_for(target.database), str(authority.folder / "ca.pem")
    status, said, _ = by_the_script(tmp_path, dsn, "--ca", ca)
    at = f"{seal.stamped_at:%b} {seal.stamped_at.day:2} {seal.stamped_at:%H:%M:%S %Y} GMT"
    assert (status, said) == (
        0,
        [
            f"Seal 1 and all before it existed at {at}.",
            "1 seals, 1 statements: no differences.",
        ],
    )
    status, said, told = by_the_script(tmp_path, dsn)
    assert (status, told.splitlines()[0]) == (
        0, "The time stamps were not checked: give --ca the certificates of their authority.",
    )  # fmt: skip
    assert "stamped " in client_as("auditor").get("/servers/shop/audit/seals/").content.decode()
    assert "stamped" not in " ".join(sealed(server))


def test_a_stamp_of_another_seal_or_from_elsewhere_is_found(
    stamped, server, target, execute, tmp_path, postgres, authority, settings
):
    sealed(server)
    execute("update items set name = 'b'")
    sealed(server)
    first, second = Seal.objects.order_by("number")
    Seal.objects.filter(pk=second.pk).update(stamp=first.stamp)
    assert verified(server)[1][:3] == [
        "1 of 2 time stamps fit their seals.",
        "The time stamp of seal 2 is not the one that was copied to vault.",
        "The time stamp of seal 2 does not fit it.",
    ]
    status, said, _ = by_the_script(
        tmp_path, postgres.dsn_for(target.database), "--ca", str(authority.folder / "ca.pem")
    )
    assert (status, said[1:]) == (
        1, ["The time stamp of seal 2 does not fit it.", "2 seals, 2 statements: 1 differences."],
    )  # fmt: skip
    Seal.objects.filter(pk=second.pk).update(stamp=None)
    assert "The time stamp of seal 2 is not the one that was copied to vault." in verified(server)[1]
    with tempfile.TemporaryDirectory() as folder:
        other = Authority(Path(folder))
        Seal.objects.filter(pk=second.pk).update(stamp_store="")
        settings.DBADMIN_TSA_CA = str(other.folder / "ca.pem")
        assert "The time stamp of seal 1 does not fit it." in verified(server)[1]
        assert (
            "Seal not time-stamped, the next run asks again: The answer of 127.0.0.1 does not fit seal 2."
            in sealed(server)
        )
        other.server.shutdown()
        other.server.server_close()


def test_an_authority_that_is_away_holds_no_seal_up_and_is_asked_again(stamped, server, authority, settings):
    settings.DBADMIN_TSA_URL = "http://127.0.0.1:9/"
    lines = sealed(server)
    assert "Sealed 1 statement with 1 row image in 1 seal." in lines
    told = "127.0.0.1 did not answer: [Errno 111] Connection refused."
    assert f"Seal not time-stamped, the next run asks again: {told}" in lines
    event = Event.objects.get(kind="audit.unstamped")
    assert event.text == f"The newest seal of shop has no time stamp: {told}"
    authority.is_broken, settings.DBADMIN_TSA_URL = True, authority.url
    told = "127.0.0.1 answered 503 Service Unavailable."
    assert f"Seal not time-stamped, the next run asks again: {told}" in sealed(server)
    authority.is_broken = False
    assert [line for line in sealed(server) if line.endswith("UTC: stamped.")]
    assert Seal.objects.get().stamp_store == "vault"


def test_without_an_authority_nothing_is_said_of_stamps(stamped, server, settings):
    settings.DBADMIN_TSA_URL = ""
    assert sealed(server) == ["Sealed 1 statement with 1 row image in 1 seal.", "Copied 1 seal to vault."]
    assert verified(server) == ("succeeded", ["1 statement with 1 row image are as they were sealed."])


def test_stamps_that_cannot_be_checked_are_told(stamped, server, settings):
    sealed(server)
    settings.DBADMIN_TSA_CA = ""
    assert verified(server)[1][0] == "1 time stamps were not checked: DBADMIN_TSA_CA names no certificates."
