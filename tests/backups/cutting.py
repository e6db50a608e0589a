"""A wire between a client and an S3 server that can be cut, silenced, or made to lie."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

ANSWER = "HTTP/1.1 {}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{}"


@dataclass
class Wire:
    """Passes bytes on, until it is told to do something else."""

    target: tuple[str, int]
    #: Cut both directions after so many bytes have gone up in one request; 0: never.
    cut_after: int = 0
    #: Answer requests whose first line matches with this status instead of passing them on.
    refuse: str = ""
    status: str = "500 Internal Server Error"
    #: Change one byte at this position of the bytes that come down; 0: none.
    flip_at: int = 0
    #: End the answer after so many bytes; 0: never.
    truncate_after: int = 0
    #: Pass nothing up after so many bytes of a request until `hold` is set; 0: never.
    hold_after: int = 0
    hold: threading.Event = field(default_factory=threading.Event)
    #: From the first request that matches this, refuse every one.
    refuse_from: str = ""
    #: Pass nothing up at all until `hold` is set: the service takes connections and never answers.
    is_silent: bool = False
    #: So many bytes a second go up, and so many come down; 0: as they come.
    bytes_per_second: int = 0
    #: The body of the answer to what is refused.
    says: str = ""
    seen: list[str] = field(default_factory=list)

    def open(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=[client], daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        server = socket.create_connection(self.target)
        threading.Thread(target=self._down, args=[server, client], daemon=True).start()
        self._up(client, server)

    def _up(self, client: socket.socket, server: socket.socket) -> None:
        sent = 0
        try:
            while data := client.recv(65536):
                line = data.split(b"\r\n", 1)[0].decode("latin-1")
                if re.match(r"(GET|PUT|POST|HEAD|DELETE) ", line):
                    self.seen.append(line)
                    if self.refuse_from and re.search(self.refuse_from, line):
                        self.refuse = "."
                    if self.refuse and re.search(self.refuse, line):
                        client.sendall(ANSWER.format(self.status, len(self.says), self.says).encode())
                        client.shutdown(socket.SHUT_RDWR)
                        break
                sent += len(data)
                if self.cut_after and sent > self.cut_after:
                    break
                if self.is_silent or (self.hold_after and sent > self.hold_after):
                    self.hold.wait(120)
                self._linger(len(data))
                server.sendall(data)
        except OSError:
            pass
        _end(client, server)

    def _linger(self, count: int) -> None:
        if self.bytes_per_second:
            time.sleep(count / self.bytes_per_second)

    def _down(self, server: socket.socket, client: socket.socket) -> None:
        got = 0
        try:
            while data := server.recv(65536):
                if self.flip_at and got <= self.flip_at < got + len(data):
                    place = self.flip_at - got
                    data = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
                if self.truncate_after and got + len(data) > self.truncate_after:
                    client.sendall(data[: self.truncate_after - got])
                    break
                got += len(data)
                self._linger(len(data))
                client.sendall(data)
        except OSError:
            pass
        _end(client, server)


def _end(*ends: socket.socket) -> None:
    for end in ends:
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        end.close()


@contextmanager
def wire(host: str, port: int) -> Iterator[Wire]:
    """A wire to this server for the length of a test."""
    made = Wire((host, port))
    made.open()
    try:
        yield made
    finally:
        made.close()
