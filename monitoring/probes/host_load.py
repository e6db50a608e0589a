"""title:    Host
about:    Load, memory and swap of the machine, where the server may read them (Linux, and the right to read files).
empty:    The machine does not tell.
scope:    instance
every:    60s
series:   load_count, busy_ratio, memory_used_ratio, swap_used_ratio, processor_busy_seconds_total
warning:  memory_used_ratio > 0.95
column load_count:         processes that ran or waited for the disk, mean of the last minute
column busy_ratio:         load against the number of processors; above 1 work waits
column memory_used_ratio:  what programs could not have; caches that can be given up count as free
column processor_busy_seconds_total: time that all processors together have worked
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import psycopg
from psycopg import sql

from dbadmin.connections import Session
from dbadmin.probes import ProbeProblem, Problem

COLUMNS = (
    "load_count",
    "processors_count",
    "busy_ratio",
    "memory_bytes",
    "memory_available_bytes",
    "memory_used_ratio",
    "swap_bytes",
    "swap_used_ratio",
    "processor_busy_seconds_total",
    "processor_waiting_seconds_total",
)
#: Linux counts processor time in hundredths of a second, whatever the machine.
TICKS = 100
MAY = "select pg_catalog.has_function_privilege('pg_catalog.pg_read_file(text)', 'execute')"
READ = """
/* dbadmin probe host_load */
select pg_catalog.pg_read_file('/proc/loadavg') as load, pg_catalog.pg_read_file('/proc/meminfo') as memory,
    pg_catalog.pg_read_file('/proc/stat') as work
"""


def rows(session: Session) -> Iterable[tuple[Any, ...]]:
    """One row, read by the server from /proc."""
    role = session.connection.info.user or ""
    if not session.value(MAY):
        raise ProbeProblem(missing(role, "EXECUTE ON FUNCTION pg_catalog.pg_read_file(text)"))
    try:
        found = session.row(READ)
    except psycopg.errors.InsufficientPrivilege as error:
        raise ProbeProblem(missing(role, "pg_read_server_files")) from error
    except (psycopg.errors.UndefinedFile, psycopg.errors.IoError):
        return []
    return [row(found.load, memory_of(found.memory), found.work)]


def missing(role: str, right: str) -> Problem:
    """A right that goes far: whoever has it reads every file of the server's user."""
    return Problem(
        "privilege",
        f"{role} may not read the machine's state. The right to do so opens all files of the server's user.",
        f"GRANT {right} TO {sql.Identifier(role).as_string(None)};",
    )


def memory_of(text: str) -> dict[str, int]:
    """/proc/meminfo in bytes."""
    return {name: int(value) * 1024 for name, value in re.findall(r"^(\w+):\s+(\d+) kB$", text, re.MULTILINE)}


def row(load: str, memory: dict[str, int], work: str) -> tuple[Any, ...]:
    """The three files as one row."""
    processors = len(re.findall(r"^cpu\d+ ", work, re.MULTILINE))
    user, nice, system, _, waiting, *others = (int(word) for word in work.splitlines()[0].split()[1:9])
    total, available, swap = memory["MemTotal"], memory["MemAvailable"], memory.get("SwapTotal", 0)
    mean = float(load.split()[0])
    return (
        mean,
        processors,
        mean / processors if processors else None,
        total,
        available,
        1 - available / total,
        swap,
        1 - memory["SwapFree"] / swap if swap else None,
        (user + nice + system + sum(others)) / TICKS,
        waiting / TICKS,
    )
