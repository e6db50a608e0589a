"""Where the JSON of another tool comes from: a file, an https address, or the tool itself on the worker."""

from __future__ import annotations

import http.client
import os
import re
import selectors
import shutil
import socket
import ssl
import stat
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import urlsplit

from django.conf import settings
from django.utils import timezone

from backups.foreign import barman, pgbackrest, walg
from backups.foreign.contents import Unreadable, documents
from dbadmin import processes

if TYPE_CHECKING:
    from backups.foreign.models import ForeignRepository
    from dbadmin.work import Work

#: Each way to a repository ends after so many bytes, and each call after so many seconds.
MOST_BYTES, PATIENCE = 64 << 20, 120.0
BLOCK = 1 << 16
#: Looked at behind the worker's PATH.
PLACES = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin"
TOOLS = {"pgbackrest": pgbackrest, "barman": barman, "walg": walg}
#: Never begins with a dash: an argument stays an argument.
NAME = re.compile(r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}(/[1-9][0-9]{0,2})?$")
LATER = "Dbadmin tries again within the hour."


@dataclass(frozen=True)
class Answer:
    """The documents, and the moment of which they speak."""

    documents: list[Any]
    as_of: datetime


def read(repository: ForeignRepository, work: Work) -> Answer:
    """Ask as the repository is registered; raises Unreadable."""
    match repository.source:
        case "file":
            return _file(repository.location)
        case "url":
            return _url(repository.location)
        case _:
            return _program(TOOLS[repository.tool], repository.name, work)


def file_path(location: str) -> Path:
    """Below the directory that the settings name, also behind links; raises Unreadable."""
    root = settings.DBADMIN_REPOSITORIES
    if root is None:
        raise Unreadable(
            f"DBADMIN_REPOSITORIES is not set on {socket.gethostname()}. Name there the directory into which the "
            "tool's output is written."
        )
    whole = Path(root).resolve()
    path = (whole / location).resolve()
    if not path.is_relative_to(whole):
        raise Unreadable(f"{location} leads out of {root}.")
    return path


def _file(location: str) -> Answer:
    path = file_path(location)
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as opened:
            about = os.fstat(opened.fileno())
            if not stat.S_ISREG(about.st_mode):
                raise Unreadable(f"{path} is no file.")
            text = _text(opened.read(MOST_BYTES + 1), str(path))
    except OSError as error:
        raise Unreadable(f"{path} on {socket.gethostname()} cannot be read: {error.strerror}.") from None
    return Answer(documents(text), datetime.fromtimestamp(about.st_mtime, timezone.get_current_timezone()))


def _text(data: bytes, where: str) -> str:
    if len(data) > MOST_BYTES:
        raise Unreadable(f"{where} gives more than {MOST_BYTES >> 20} MiB: that is no list of backups.")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise Unreadable(f"{where} gives no text: byte {error.start} is not UTF-8.") from None


def _url(location: str) -> Answer:
    """One GET; no redirect is followed."""
    parts = urlsplit(location)
    host, deadline = parts.hostname or "", time.monotonic() + PATIENCE
    connection = http.client.HTTPSConnection(
        host, parts.port, timeout=30, context=ssl.create_default_context()
    )
    try:
        connection.request("GET", parts.path or "/", headers={"User-Agent": "dbadmin"})
        answer = connection.getresponse()
        if answer.status != http.HTTPStatus.OK:
            raise Unreadable(f"{host} answers {answer.status} {answer.reason}.")
        data = _within(answer, deadline, host)
        told = answer.getheader("Last-Modified")
    except (OSError, http.client.HTTPException) as error:
        raise Unreadable(f"{host} does not answer: {error}. {LATER}") from None
    finally:
        connection.close()
    return Answer(documents(_text(data, host)), _modified(told))


def _within(answer: http.client.HTTPResponse, deadline: float, host: str) -> bytes:
    data = bytearray()
    while block := answer.read1(BLOCK):
        data += block
        if len(data) > MOST_BYTES:
            break
        if time.monotonic() > deadline:
            raise Unreadable(f"{host} was not done after {PATIENCE:g} s. {LATER}")
    return bytes(data)


def _modified(told: str | None) -> datetime:
    """A web server that serves a file tells its age; a clock that is ahead does not make it newer than now."""
    try:
        found = parsedate_to_datetime(told) if told else timezone.now()
    except ValueError:
        return timezone.now()
    return min(found if timezone.is_aware(found) else timezone.make_aware(found), timezone.now())


def _program(tool: Any, name: str, work: Work) -> Answer:
    """The tool on this worker, with arguments that are ours."""
    found = shutil.which(tool.PROGRAM, path=f"{os.environ.get('PATH', '')}:{PLACES}")
    if found is None:
        raise Unreadable(
            f"{tool.PROGRAM} is not installed on the worker {socket.gethostname()}. Install it there, or register a "
            "file or an address with its output."
        )

    def ask(arguments: list[str], ends: Sequence[int] = (0,)) -> str:
        return _printed([found, *arguments], ends, work)

    at = timezone.now()
    return Answer(tool.ask(ask, name), at)


def _printed(argv: list[str], ends: Sequence[int], work: Work) -> str:
    """What a program prints; ended when it is silent for too long or says too much."""
    program = argv[0].rpartition("/")[2]
    process = work.popen(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd="/"
    )
    try:
        with process:
            out, wrong = _both(process, program)
    finally:
        processes.end([process], 2)
    work.stop_if_cancelled()
    if process.returncode not in ends or not (out or process.returncode == 0):
        said = " ".join(wrong.decode(errors="replace").split()[-60:])
        raise Unreadable(f"{program} ended with status {process.returncode}: {said or 'it says nothing'}")
    return _text(out, program)


def _both(process: subprocess.Popen[bytes], program: str) -> tuple[bytes, bytes]:
    deadline = time.monotonic() + PATIENCE
    kept: dict[IO[bytes], bytearray] = {}
    with selectors.DefaultSelector() as waiting:
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                waiting.register(pipe, selectors.EVENT_READ)
                kept[pipe] = bytearray()
        while waiting.get_map():
            for key, _ in waiting.select(1.0):
                block = os.read(key.fd, BLOCK)
                kept[key.fileobj] += block  # type: ignore[index]
                if not block:
                    waiting.unregister(key.fileobj)
            wrong = ""
            if any(len(data) > MOST_BYTES for data in kept.values()):
                wrong = f"{program} gives more than {MOST_BYTES >> 20} MiB: that is no list of backups."
            elif time.monotonic() > deadline:
                wrong = f"{program} did not end within {PATIENCE:g} s, and was ended. {LATER}"
            if wrong:
                processes.end([process], 2)
                raise Unreadable(wrong)
    out, errors = kept.values()
    return bytes(out), bytes(errors)
