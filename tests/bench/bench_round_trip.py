"""Ten thousand tables, and one of more than a gigabyte: dumped, restored and compared, in memory that does not grow."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator

import psycopg
from psycopg import sql

from backups.models import BackupKey, Store
from tests.backups.conftest import queue
from tests.bench.frame import Bench, Figure, in_a_process
from tests.fixtures.servers import Postgres

TABLES = int(os.environ.get("BENCH_TABLES", "10000"))
#: Rows of about a kilobyte that do not compress well, so that the heap has this many mebibytes and more.
MEBIBYTES = int(os.environ.get("BENCH_TABLE_MEBIBYTES", "1024"))
MEMORY_MIB = 200
PORTION = 500
COUNTED = "select count(*), coalesce(sum(hashtextextended(t::text, 0)::numeric), 0)::text from {} t"


def figures(bench: Bench) -> Iterator[Figure]:
    """Of both: what differs afterwards, and the peak memory of the process that took it and that restored it."""
    with tempfile.TemporaryDirectory() as folder:
        store = Store.objects.create(name="bench-round-trip", directory=folder)
        key = BackupKey.make("bench-round-trip", keep=True)[0]
        for name, fill in (("tables", many_tables), ("large", large_table)):
            database = f"round_trip_{name}"
            with bench.postgres.connect() as connection:
                connection.execute(f"create database {database}")
            with bench.postgres.connect(database) as connection:
                fill(connection)
            yield from round_trip(bench, store, name, database)
        key.delete()


def many_tables(connection: psycopg.Connection) -> None:
    """Each with a key, an index and some rows; a transaction for each portion, since each locks all that it made."""
    for start in range(0, TABLES, PORTION):
        connection.execute(f"""
            do $$ begin for n in {start}..{min(start + PORTION, TABLES) - 1} loop
                execute format('create table t%s (a int primary key, b text unique)', n);
                execute format('insert into t%s select m, m || ''-%s'' from generate_series(1, %s) m', n, n, n % 7);
            end loop; end $$""")


def large_table(connection: psycopg.Connection) -> None:
    """One table, wider than any portion of the stream."""
    connection.execute("create table large (n int primary key, t text)")
    connection.execute("alter table large alter t set storage external")
    connection.execute(
        f"""insert into large
            select n, string_agg(md5(n || '-' || m), '') from generate_series(1, {MEBIBYTES * 1024}) n,
                   generate_series(1, 31) m group by n"""
    )
    (size,) = connection.execute("select pg_table_size('large')").fetchone() or (0,)
    assert size >= MEBIBYTES << 20, size


def round_trip(bench: Bench, store: Store, name: str, database: str) -> Iterator[Figure]:
    taken, took_mib = in_a_process(
        queue(bench.server, "take_backup", {"database": database, "store": store.name})
    )
    yield Figure(f"{name}_take_memory_mib", took_mib, MEMORY_MIB)
    into = f"{database}_again"
    params = {"backup": taken.result["backup"], "into": "new", "database": into}
    _, took_mib = in_a_process(queue(bench.server, "restore_backup", params))
    yield Figure(f"{name}_restore_memory_mib", took_mib, MEMORY_MIB)
    before, after = contents(bench.postgres, database), contents(bench.postgres, into)
    yield Figure(f"{name}_compared", len(before), 1, better="higher")
    yield Figure(f"{name}_differences", len(set(before.items()) ^ set(after.items())), 0)
    with bench.postgres.connect() as connection:
        connection.execute(f"drop database {into} with (force)")
        connection.execute(f"drop database {database} with (force)")


def contents(postgres: Postgres, database: str) -> dict[str, tuple[int, str]]:
    """Every table by its name: its rows, and the sum of what each hashes to; asked of PostgreSQL, not of us."""
    found: dict[str, tuple[int, str]] = {}
    with postgres.connect(database) as connection:
        rows = connection.execute(
            "select n.nspname, c.relname from pg_class c join pg_namespace n on n.oid = relnamespace"
            " where relkind = 'r' and nspname not in ('pg_catalog', 'information_schema') order by 1, 2"
        ).fetchall()
        for schema, name in rows:
            counted = sql.SQL(
                "select count(*), coalesce(sum(hashtextextended(t::text, 0)::numeric), 0)::text from {} t"
            )
            row = connection.execute(counted.format(sql.Identifier(schema, name))).fetchone()
            found[f"{schema}.{name}"] = row or (0, "")
    return found
