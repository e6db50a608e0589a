"""The sampler: leases servers, reads each in a thread of its own, stores what it found."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time

import psycopg
from django.db import Error, connection

from dbadmin import reading_store
from dbadmin.models import Server, ServerState
from monitoring import texts
from monitoring.closer import Closer
from monitoring.ddl import heard
from monitoring.deliveries import Sender
from monitoring.evaluator import Evaluator
from monitoring.leases import Leases
from monitoring.rounds import Past, Round, ServerThread
from monitoring.writer import Writer

logger = logging.getLogger(__name__)

#: How often the list of servers is looked at, seconds: a new server is read that soon.
LOOK = 2.0
#: First rounds at once: each asks everything there is.
FIRST_ROUNDS = 25
#: How long a server's thread may take to end when its lease is given back, seconds.
PATIENCE = 5.0


class Sampler:
    """One process; any number may run, they share the servers."""

    def __init__(self) -> None:
        self.name = f"{socket.gethostname()}:{os.getpid()}"
        self.leases, self.writer = Leases(), Writer()
        self.evaluator, self.sender = Evaluator(), Sender()
        self.writer.listeners.append(self.evaluator.put)
        self.closer = Closer(lambda: list(self.threads))
        self.turn = threading.BoundedSemaphore(FIRST_ROUNDS)
        self.threads: dict[int, ServerThread] = {}
        self.known: dict[int, Server] = {}
        self.stopping = threading.Event()

    def run(self) -> None:
        """Work until stop() is called."""
        self.evaluator.start()
        self.sender.start()
        self.writer.start()
        self.closer.start()
        while not self.stopping.is_set():
            try:
                self.look()
            except (Error, psycopg.Error) as error:
                logger.warning("The control database is away: %s", str(error).strip().partition("\n")[0])
                connection.close()
            self.stopping.wait(LOOK)
        self.finish()

    def stop(self) -> None:
        """End soon."""
        self.stopping.set()

    def look(self) -> None:
        """Take up new servers, drop those that went, restart threads of servers that changed."""
        servers = {server.pk: server for server in Server.objects.filter(enabled=True)}
        held = self.leases.renew(servers, self.give_back)
        for server_id in held:
            if self.stopping.is_set():
                return
            server, before = servers[server_id], self.known.get(server_id)
            if before is not None and before.changed_at != server.changed_at:
                self.give_back(server_id)
            if server_id not in self.threads or not self.threads[server_id].is_alive():
                self.take_up(server)

    def take_up(self, server: Server) -> None:
        """Begin to read a server."""
        logger.info("%s is read by %s", server, self.name)
        self.known[server.pk] = server
        state, _ = ServerState.objects.update_or_create(server=server, defaults={"sampler": self.name})
        past = Past(
            reading_store.latest(server, "settings"),
            texts.known_texts(server),
            heard(server),
            state.reached_at,
        )
        self.threads[server.pk] = ServerThread(Round(server, self.writer.put, past, self.turn))
        self.threads[server.pk].start()

    def give_back(self, server_id: int) -> None:
        """Stop reading a server."""
        self.known.pop(server_id, None)
        thread = self.threads.pop(server_id, None)
        if thread is not None:
            thread.finish(PATIENCE)

    def finish(self) -> None:
        """Stop all threads together, store what they found, give the leases back."""
        for thread in self.threads.values():
            thread.stop()
        until = time.monotonic() + PATIENCE
        for thread in self.threads.values():
            thread.finish(until - time.monotonic())
        self.writer.finish(PATIENCE)
        self.evaluator.finish(PATIENCE)
        self.sender.finish(PATIENCE)
        self.closer.finish(PATIENCE)
        self.leases.drop(lambda _: None)
        connection.close()
