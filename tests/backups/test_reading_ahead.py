"""Large tables are proven while their indexes are built: nothing is read twice, nothing is left out."""

from collections.abc import Callable
from subprocess import PIPE

import pytest

from backups import logical, reading_ahead
from backups.archive import Entry, Scanner
from backups.logical import Selection, Source
from backups.manifest import Contents
from backups.models import Backup
from backups.producer import Producer, given, lines, plain_popen
from backups.reading_ahead import Ahead
from dbadmin.connections import Session
from dbadmin.models import Run
from tests.fixtures.servers import Postgres

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.servers]

ODD = 'odd "x'
TABLES = """
    create table keyed (id int primary key, text text);
    insert into keyed select n, md5(n::text) from generate_series(1, 5000) n;
    create table "odd ""x" (n serial, at date);
    insert into "odd ""x" (at) select '2024-01-01'::date + n from generate_series(1, 300) n;
    create table small (one int); insert into small values (1);
    create index on keyed (text)"""


@pytest.fixture
def source(target: Session, database: str, postgres: Postgres) -> Source:
    """A database with a few tables, of which two count as large."""
    target.connection.execute(TABLES)
    return Source(logical.choose(postgres.major), postgres.dsn_for(database), database)


@pytest.fixture(autouse=True)
def low(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading_ahead, "LARGE", 1000)


def dumped(source: Source) -> tuple[Contents, list[Entry]]:
    """A whole dump, looked at."""
    scanner = Scanner()
    for block in Producer(logical.dump_command(source), source.environment()):
        scanner.feed(block)
    return Contents.of(scanner), scanner.finish().entries


def finished(entries: list[Entry], kind: str, name: str) -> str:
    """What pg_restore says then."""
    (found,) = [entry.dump_id for entry in entries if entry.kind == kind and entry.name == name]
    return f"pg_restore: finished item {found} {kind} {name}"


def rows_of(contents: Contents) -> tuple[list[str], list[str]]:
    return sorted(map(str, contents.tables)), sorted(map(str, contents.definitions))


def test_a_table_is_read_once_its_rows_and_keys_are_there_and_the_rest_without_it(source: Source) -> None:
    whole, entries = dumped(source)
    ahead = Ahead(source, entries, whole.tables, plain_popen)
    ahead.hear(finished(entries, "TABLE DATA", "keyed"))
    ahead.wait(lambda: None)
    assert ahead.tables == []
    ahead.hear(finished(entries, "CONSTRAINT", "keyed keyed_pkey"))
    ahead.wait(lambda: None)
    ahead.hear(finished(entries, "TABLE DATA", ODD))
    ahead.hear("pg_restore: creating INDEX")
    ahead.wait(lambda: None)
    assert [table.name for table in ahead.tables] == ["keyed", ODD]
    known = [(table.schema, table.name) for table in ahead.tables]
    rest, _ = dumped(Source(source.tools, source.dsn, source.database, Selection(), known))
    assert [table.name for table in rest.tables] == ["small"]
    assert rows_of(ahead.add_to(rest)) == rows_of(whole)


def test_the_next_table_is_read_while_pg_restore_says_nothing(source: Source) -> None:
    whole, entries = dumped(source)
    ahead = Ahead(source, entries, whole.tables, plain_popen)
    for kind, name in (("TABLE DATA", "keyed"), ("CONSTRAINT", "keyed keyed_pkey"), ("TABLE DATA", ODD)):
        ahead.hear(finished(entries, kind, name))
    asked = plain_popen(
        ["sh", "-c", "echo builds >&2; read go; printf 'an\\nindex' >&2"], {}, stdin=PIPE, stderr=PIPE
    )
    go_on, said = given(asked.stdin), []
    for line in lines(given(asked.stderr)):
        ahead.hear(line)
        said.append(line)
        if len(ahead.tables) == 2:
            go_on.close()
    assert [line for line in said if line] == ["builds", "an", "index"]
    assert [table.name for table in ahead.tables] == ["keyed", ODD]


def test_what_cannot_be_read_ahead_is_left_to_the_dump_that_follows(
    source: Source, postgres: Postgres
) -> None:
    whole, entries = dumped(source)
    ahead = Ahead(source, entries, whole.tables, plain_popen)
    with postgres.connect(source.database) as connection:
        connection.execute('drop table "odd ""x"')
    ahead.hear(finished(entries, "TABLE DATA", ODD))
    ahead.wait(lambda: None)
    assert ahead.tables == []
    (trouble,) = ahead.troubles
    assert trouble == (
        'public.odd "x is read later: pg_dump failed: no matching tables were found for pattern '
        '""public"."odd ""x"".'
    )


def test_a_restore_reads_ahead_and_proves_the_same(
    source: Source, taken: Callable[..., Backup], run: Callable[..., Run]
) -> None:
    backup = taken()
    done = run("restore_backup", backup=backup.pk, into="new", database=f"{source.database}_a")
    log = [line.text for line in done.lines.all()]
    assert (done.status, done.result.get("differences")) == (Run.Status.SUCCEEDED, []), (done.message, log)
    assert any(line.startswith("Read for the comparison while indexes were built: public.") for line in log)
