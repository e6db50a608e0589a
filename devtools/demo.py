"""./dev demo: everything that the product needs and looks after, started from nothing, stopped by Ctrl-C."""

import contextlib
import os

from devtools import servers, venv
from devtools.failure import Failure
from devtools.lock import Lock
from devtools.memory import ROLES, Memory
from devtools.places import Places, remove
from devtools.ports import HOST
from devtools.say import Say
from devtools.stack import Stack
from devtools.supervisor import Stopped, supervising
from devtools.target import DATABASE


def demo(places: Places, say: Say) -> int:
    """Start it, say where it is, look after it until Ctrl-C."""
    lock = Lock(places.local / "demo.lock")
    if not lock.take("it is about to be ready"):
        raise Failure(f"A demo of this checkout is running already: {lock.note()}")
    try:
        venv.ready(places, "demo", say)
        programs = servers.find(places, say)
        with supervising(say) as supervisor:
            stack = Stack(places, say, programs, supervisor)
            stack.stop_recovered()  # of a demo that was killed
            try:
                run(stack, lock)
            finally:
                stack.stop_recovered()
    finally:
        lock.release()
    return 0


def run(stack: Stack, lock: Lock) -> None:
    """The demo's life, once everything that it needs is on the machine."""
    say = stack.say
    stack.start_own_servers()
    stack.start_target()
    say.step(
        "servers",
        f"PostgreSQL {stack.programs.version} on {HOST}:{stack.target.port} with a replica,"
        f" {'PgBouncer, ' if stack.programs.pgbouncer else ''}Redis and S3,"
        f" as user {stack.places.account.name}",
    )
    stack.prepare()
    stack.start_product()
    lock.write(stack.memory.url)
    announce(stack)
    with contextlib.suppress(Stopped):
        stack.supervisor.watch()


def announce(stack: Stack) -> None:
    """What the person needs now."""
    stack.say.line(f"\n  Ready in {stack.say.seconds():.1f} s    {stack.memory.url}\n")
    for role in ROLES:
        stack.say.line(f"    {role:<10} {stack.memory.password(role)}")
    stack.say.line("\n  ./dev psql opens the sample's database. Logs: .local/log/")
    stack.say.line("  Ctrl-C stops everything; the data stays for next time (./dev clean removes it).")


def clean(places: Places, say: Say) -> int:
    """Remove everything that ./dev made."""
    lock = Lock(places.local / "demo.lock")
    if not lock.take("it is being removed"):
        raise Failure(f"A demo of this checkout is running ({lock.note()}). Stop it first with Ctrl-C.")
    if places.state != places.local:
        remove(places.state)
    for path in (places.local, places.venv):
        remove(path)
    say.line("Removed .local and .venv.")
    return 0


def psql(places: Places, words: list[str]) -> int:
    """Replace this process by psql in the sample's database of the running demo."""
    lock = Lock(places.local / "demo.lock")
    if lock.take():
        lock.release()
        raise Failure("No demo is running. Start it in another terminal: ./dev demo")
    memory, programs = Memory(places.local / "demo.json"), servers.find(places, Say())
    environment = {**os.environ, "PGPASSWORD": memory.password("postgres")}
    where = f"host={HOST} port={memory.port('target')} user=postgres dbname={DATABASE}"
    os.execve(programs.pg("psql"), ["psql", where, *words], environment)  # noqa: S606
