"""Free ports: the remembered one when it is free, else the next."""

import contextlib
import os
import socket
import sys
import urllib.request
from collections.abc import Mapping

HOST = "127.0.0.1"
# Above the registered ports that people use, below the range that systems give to clients.
FIRST_SERVER_PORT = 20350
FIRST_WEB_PORT = 8350


def is_free(port: int) -> bool:
    """Whether a server could listen there now."""
    with contextlib.closing(socket.socket()) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


#: What this process claimed, until it ends.
CLAIMS: dict[int, socket.socket] = {}


def claim(port: int) -> bool:
    """Take it before anything listens there, unless another demo did: two that start at once see the same ports."""
    if sys.platform != "linux" or port in CLAIMS:  # elsewhere no name goes with the process that took it
        return True
    name = socket.socket(socket.AF_UNIX)
    try:
        name.bind(f"\0dbadmin port {port}")
    except OSError:
        name.close()
        return False
    CLAIMS[port] = name
    return True


def choose(names: list[str], remembered: Mapping[str, int], first: int) -> dict[str, int]:
    """A port for each name: the one of last time when it is free, else the next free one."""
    taken: dict[str, int] = {}
    for name in names:
        before = remembered.get(name, 0)
        if before and before not in taken.values() and is_free(before) and claim(before):
            taken[name] = before
            continue
        port = first
        while port in taken.values() or port in remembered.values() or not is_free(port) or not claim(port):
            port += 1
        taken[name] = port
    return taken


def first_server_port(environ: Mapping[str, str] = os.environ) -> int:
    """Where the search for the servers' ports begins."""
    return int(environ.get("SERVER_PORT", FIRST_SERVER_PORT))


def first_web_port(environ: Mapping[str, str] = os.environ) -> int:
    """Where the search for the address of the pages begins."""
    return int(environ.get("PORT", FIRST_WEB_PORT))


def any_free(count: int) -> list[int]:
    """Ports that nobody uses, for tests; all are held until all are known."""
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(contextlib.closing(socket.socket())) for _ in range(count)]
        for probe in probes:
            probe.bind((HOST, 0))
        return [probe.getsockname()[1] for probe in probes]


def answers(port: int) -> bool:
    """Whether something listens."""
    try:
        with socket.create_connection((HOST, port), timeout=1):
            return True
    except OSError:
        return False


def answers_http(url: str) -> bool:
    """Whether a page comes."""
    try:
        with urllib.request.urlopen(url, timeout=5) as response:  # noqa: S310 - our own address
            return bool(response.status < 400)
    except OSError:
        return False
