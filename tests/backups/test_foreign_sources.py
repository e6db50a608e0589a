"""Where the JSON of other tools comes from: what is refused, what is bounded, and what is kept while it is unknown."""

import os
import ssl
import stat
import subprocess
import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from backups import duties
from backups.foreign.models import ForeignRepository
from backups.operations.add_foreign_repository import AddForeignRepositoryForm
from dbadmin.connections import Session
from dbadmin.models import Run, Server
from dbadmin.probes import PROBES
from monitoring.alert_models import Alert
from monitoring.evaluator import Judge
from monitoring.rounds import Batch
from monitoring.rules import WRITTEN
from tests.backups.test_foreign import CLUSTER, PRINTED, printed
from tests.carrying_out import carry_out, operation

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.servers]


@pytest.mark.parametrize(
    ("wrong", "field", "says"),
    [
        ({"name": "-config"}, "name",
         "Use letters, digits, dots, - and _; begin with a letter, a digit or _."),
        ({"name": "shop; id"}, "name", "Use letters, digits, dots, - and _; begin with a letter, a digit or _."),
        ({"tool": "barman", "name": "shop/2"}, "name",
         "Only pgBackRest has several repositories: leave out what follows the /."),
        ({"location": "x.json"}, "location", "The tool on the worker needs none: leave it empty."),
        ({"source": "file"}, "location", "Where does the tool's output lie?"),
        ({"source": "file", "location": "../secret"}, "location",
         "Name it as seen from DBADMIN_REPOSITORIES: shop/info.json"),
        ({"source": "file", "location": "/etc/passwd"}, "location",
         "Name it as seen from DBADMIN_REPOSITORIES: shop/info.json"),
        ({"source": "url", "location": "http://backup/info.json"}, "location",
         "This is no https address: https://backup.example.org/shop/info.json"),
        ({"source": "url", "location": "https://a:b@backup/info.json"}, "location",
         "An address with a password or with what follows a ? would be shown to all. Let a file hold the output."),
        ({"source": "url", "location": "https://backup/info.json?token=1"}, "location",
         "An address with a password or with what follows a ? would be shown to all. Let a file hold the output."),
    ],
)  # fmt: skip
def test_a_source_that_cannot_be_is_told_at_its_field(wrong: dict[str, str], field: str, says: str) -> None:
    form = AddForeignRepositoryForm({"tool": "pgbackrest", "name": "shop", "source": "program", **wrong})
    assert form.errors == {field: [says]}


@pytest.fixture
def shelf(tmp_path: Path, settings: Any) -> Path:
    """The directory into which tools write, as the settings name it."""
    folder = tmp_path / "repositories"
    folder.mkdir()
    settings.DBADMIN_REPOSITORIES = str(folder)
    return folder


def shown(server: Server, **how: str) -> tuple[Run, ForeignRepository]:
    run = carry_out(
        operation("add_foreign_repository", server, **{"tool": "pgbackrest", "name": "shop", **how})
    )
    return run, ForeignRepository.objects.get(server=server)


def row_of(server: Server, target: Any) -> Any:
    (row,) = PROBES["foreign_repositories"].read(Session(target.connection, server)).rows
    return row


def current(system_id: str, moment: datetime, *names: str) -> str:
    """pgBackRest's output, as if it were of this cluster and a moment ago."""
    text = printed("pgbackrest_info", *names).replace(CLUSTER, system_id)
    return text.replace("17958106", str(int(moment.timestamp()) // 100))


def test_a_file_is_shown_with_its_age_and_stays_known_when_it_cannot_be_read(
    server: Server, target: Any, shelf: Path, client_as: Callable[..., Client]
) -> None:
    path, now = shelf / "info.json", timezone.now()
    path.write_text(current(target.value("select system_identifier::text from pg_control_system()"), now))
    old = now - timedelta(hours=30)
    os.utime(path, (old.timestamp(), old.timestamp()))
    run, repository = shown(server, source="file", location="info.json")
    assert (run.status, run.message) == ("succeeded", "pgBackRest shop holds 3 backups.")
    assert abs((repository.as_of - old).total_seconds()) < 1
    row = row_of(server, target)
    assert (row.backups_count, row.gaps_count, row.problem, row.trouble) == (3, None, None, None)
    assert row.unread_seconds > WRITTEN["foreign_unread"]["warning"]
    page = client_as("viewer").get(reverse("backups", args=[server.name])).content.decode()
    assert "20261127-201652F_20261127-201657D" in page
    assert "only the ends are told" in page
    path.write_text("[")
    failed = carry_out(operation("read_foreign_repository", server, repository=repository.pk))
    says = (
        "This is not JSON: Expecting value at line 1, column 2. A file that is read while it is written ends early: "
        "write it beside, then rename it."
    )
    assert (failed.status, failed.message) == ("failed", says)
    row = row_of(server, target)
    assert (row.backups_count, row.trouble) == (3, says)
    gone = carry_out(operation("remove_foreign_repository", server, repository=repository.pk))
    assert gone.message == "pgBackRest shop is shown no longer; nothing in it was changed."
    assert path.exists()
    assert not ForeignRepository.objects.exists()


def test_people_are_told_when_it_grows_old_has_a_hole_or_is_read_no_longer(
    server: Server, target: Any, shelf: Path
) -> None:
    """The rules as they come, judged on what the probe reads; each ends when what it tells is over."""
    path, system_id = (
        shelf / "info.json",
        target.value("select system_identifier::text from pg_control_system()"),
    )
    old, judge = timezone.now() - timedelta(hours=60.5), Judge()
    path.write_text(current(system_id, old, "pgbackrest_listing_with_hole"))
    os.utime(path, (old.timestamp(), old.timestamp()))
    _, repository = shown(server, source="file", location="info.json")

    def opened() -> dict[str, str]:
        for later in (0, 600):
            reading = PROBES["foreign_repositories"].read(Session(target.connection, server))
            reading.taken_at += timedelta(seconds=later)
            judge.look(Batch(server, readings=[reading]))
        found = Alert.objects.filter(resolved_at=None, rule__probe="foreign_repositories")
        return {alert.name: f"{alert.severity}: {alert.row_name}: {alert.text}" for alert in found}

    assert opened() == {
        "Backup of another tool overdue": "critical: pgBackRest shop: 2 d 12 h, above 2 d 2 h",
        "WAL of another tool has a hole": "critical: pgBackRest shop: 00000001000000000000000C",
        "Repository of another tool is not read": "warning: pgBackRest shop: 2 d 12 h, above 1 d",
    }
    path.write_text(current(system_id, timezone.now(), "pgbackrest_listing"))
    carry_out(operation("read_foreign_repository", server, repository=repository.pk))
    assert opened() == {}
    ForeignRepository.objects.update(
        seen={**repository.seen, "problems": ["It holds no backup that is whole."]}
    )
    assert opened()["Repository of another tool has a problem"] == (
        "critical: pgBackRest shop: It holds no backup that is whole."
    )


def test_what_was_never_read_is_unknown_and_never_none(
    server: Server, target: Any, shelf: Path, client_as: Callable[..., Client]
) -> None:
    run, _ = shown(server, source="file", location="nothing.json")
    assert run.status == "succeeded"
    assert run.message.startswith("pgBackRest shop is shown, but could not be read yet: ")
    assert run.message.endswith(" cannot be read: No such file or directory.")
    row = row_of(server, target)
    assert (row.newest_seconds, row.backups_count, row.gaps_count, row.latest_at) == (None, None, None, None)
    page = client_as("viewer").get(reverse("backups", args=[server.name])).content.decode()
    assert "What it holds is unknown." in page
    assert "It holds none." not in page


def test_no_link_and_no_pipe_leads_out_of_the_directory(server: Server, shelf: Path, settings: Any) -> None:
    (shelf / "link.json").symlink_to("/etc/passwd")
    _, repository = shown(server, source="file", location="link.json")
    assert repository.trouble == f"link.json leads out of {shelf}."
    os.mkfifo(shelf / "pipe")
    ForeignRepository.objects.update(location="pipe")
    failed = carry_out(operation("read_foreign_repository", server, repository=repository.pk))
    assert failed.message == f"{shelf}/pipe is no file."
    settings.DBADMIN_REPOSITORIES = None
    failed = carry_out(operation("read_foreign_repository", server, repository=repository.pk))
    assert failed.message.endswith("Name there the directory into which the tool's output is written.")


def install(folder: Path, program: str, script: str) -> None:
    """A program of this name, as a package would put it on PATH."""
    path = folder / program
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory of programs that the worker finds first."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder


def test_the_tool_on_the_worker_is_asked_with_fixed_arguments_and_none_of_our_secrets(
    server: Server, target: Any, installed: Path
) -> None:
    install(
        installed,
        "pgbackrest",
        f'echo "$@" >> {installed}/asked; env >> {installed}/told; case "$*" in\n'
        f"*repo-ls*) cat {PRINTED}/pgbackrest_listing_with_hole.json;;\n"
        f"*) cat {PRINTED}/pgbackrest_info.json;;\nesac",
    )
    run, repository = shown(server, source="program")
    quiet = "--log-level-console=off --log-level-stderr=error --log-level-file=off"
    assert (installed / "asked").read_text().splitlines() == [
        f"{quiet} --stanza=shop --repo=1 info --output=json",
        f"{quiet} --repo=1 repo-ls --recurse --output=json archive/shop",
    ]
    told = (installed / "told").read_text()
    assert not any(f"{name}=" in told for name in ("SECRET_KEY", "DBADMIN_KEYS", "DATABASE_URL"))
    assert run.message.startswith(
        "pgBackRest shop holds 3 backups, 1 open hole in its WAL. It is of another cluster: "
    )
    row = row_of(server, target)
    assert (row.gaps_count, row.missing) == (1, "00000001000000000000000C")
    assert row.problem.startswith("It is of another cluster: ")
    assert repository.trouble == ""


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("echo cannot open repository >&2; exit 55",
         "pgbackrest ended with status 55: cannot open repository"),
        ("exit 9", "pgbackrest ended with status 9: it says nothing"),
        ("printf '\\377'", "pgbackrest gives no text: byte 0 is not UTF-8."),
        ("exec sleep 60",
         "pgbackrest did not end within 1 s, and was ended. Dbadmin tries again within the hour."),
        ("exec cat /dev/zero", "pgbackrest gives more than 64 MiB: that is no list of backups."),
    ],
)  # fmt: skip
def test_a_tool_that_does_not_answer_is_named(
    server: Server, installed: Path, monkeypatch: pytest.MonkeyPatch, script: str, says: str
) -> None:
    monkeypatch.setattr("backups.foreign.sources.PATIENCE", 1.0 if "sleep" in script else 60.0)
    install(installed, "pgbackrest", script)
    _, repository = shown(server, source="program")
    assert repository.trouble == says
    assert repository.as_of is None


def test_barman_is_asked_for_each_backup_and_its_refusal_is_told(server: Server, installed: Path) -> None:
    install(
        installed,
        "barman",
        f'case "$*" in\n*"list-backups shop") cat {PRINTED}/barman_list.json;;\n'
        f'*"show-backup shop 20261127T201753") cat {PRINTED}/barman_show_newest.json;;\n'
        f'*"show-backup shop 20261127T201747") cat {PRINTED}/barman_show_oldest.json;;\n'
        f'*"wal shop 20261127T201753") cat {PRINTED}/barman_files_newest.json;;\n'
        f'*"wal shop 20261127T201747") cat {PRINTED}/barman_files_oldest.json;;\n'
        f"*) cat {PRINTED}/barman_no_server.json; exit 1;;\nesac",
    )
    _, repository = shown(server, tool="barman", source="program")
    assert (len(repository.windows), repository.gaps_count) == (1, 0)
    repository.delete()
    _, repository = shown(server, tool="barman", name="nowhere", source="program")
    assert repository.trouble == "Barman says: Unknown server 'nowhere'."


def test_a_tool_that_is_not_installed_is_named_with_the_way_round(server: Server) -> None:
    _, repository = shown(server, tool="walg", source="program")
    assert repository.trouble.startswith("wal-g is not installed on the worker ")
    assert repository.trouble.endswith(
        ". Install it there, or register a file or an address with its output."
    )


class Page(BaseHTTPRequestHandler):
    """A web server that serves the file of a backup host."""

    def do_GET(self) -> None:
        found = {"/info.json": 200, "/moved": 302}.get(self.path, 404)
        self.send_response(found)
        if found == 302:
            self.send_header("Location", "https://127.0.0.1/elsewhere")
        self.send_header("Last-Modified", "Fri, 27 Nov 2026 12:00:00 GMT")
        self.end_headers()
        if found == 200:
            self.wfile.write(printed("pgbackrest_info", "pgbackrest_listing").encode())

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Its address; we trust its certificate."""
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "9", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(certificate)],
        check=True, capture_output=True,
    )  # fmt: skip
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    server = ThreadingHTTPServer(("127.0.0.1", 0), Page)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"https://localhost:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_an_address_is_read_over_tls_without_following_redirects(
    server: Server, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, repository = shown(server, source="url", location=f"{host}/info.json")
    assert repository.trouble == ""
    assert (len(repository.backups), repository.gaps_count) == (3, 0)
    for path, says in (
        ("moved", "localhost answers 302 Found."),
        ("gone", "localhost answers 404 Not Found."),
    ):
        ForeignRepository.objects.update(location=f"{host}/{path}")
        assert (
            carry_out(operation("read_foreign_repository", server, repository=repository.pk)).message == says
        )
    monkeypatch.delenv("SSL_CERT_FILE")
    failed = carry_out(operation("read_foreign_repository", server, repository=repository.pk))
    assert failed.message.startswith("localhost does not answer: [SSL: CERTIFICATE_VERIFY_FAILED]")
    repository.refresh_from_db()
    assert len(repository.backups) == 3


def test_it_is_read_each_hour_for_the_person_who_registered_it(
    server: Server, user_as: Callable[..., Any]
) -> None:
    admin = user_as("admin")
    repository = ForeignRepository.objects.create(
        server=server, tool="barman", name="shop", source="file", location="x.json", made_by=admin
    )
    (run,) = duties.read_due()
    assert (run.operation, run.params, run.user) == (
        "read_foreign_repository",
        {"repository": repository.pk},
        admin,
    )
    assert duties.read_due() == []
    ForeignRepository.objects.update(tried_at=timezone.now() - timedelta(minutes=59))
    Run.objects.update(status="failed")
    assert duties.read_due() == []
    ForeignRepository.objects.update(tried_at=timezone.now() - timedelta(minutes=61))
    assert len(duties.read_due()) == 1


def test_who_lost_the_right_to_read_it_is_told_where_it_is_shown(
    server: Server, user_as: Callable[..., Any]
) -> None:
    repository = ForeignRepository.objects.create(
        server=server, tool="barman", name="shop", source="program", made_by=user_as("viewer")
    )
    assert duties.read_due() == []
    repository.refresh_from_db()
    assert repository.trouble == (
        "This needs the role admin or operator on shop. Show it no longer, and again in the name of somebody who may."
    )


def test_only_admins_register_and_forget(server: Server, client_as: Callable[..., Client]) -> None:
    for name in ("add_foreign_repository", "remove_foreign_repository"):
        address = reverse("operate", args=[server.name, name])
        assert client_as("operator").get(address).status_code == 403
        assert client_as("admin").get(address).status_code == 200
