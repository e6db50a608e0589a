"""An archive that passed by as a stream is as good to pg_restore as one that pg_dump wrote to a file."""

import io
from dataclasses import replace
from pathlib import Path

import pytest

from backups import logical
from backups.archive import Scanner
from backups.logical import Source
from backups.manifest import Contents
from backups.producer import Producer, plain_popen
from dbadmin.connections import Session
from tests.fixtures.servers import Postgres

pytestmark = pytest.mark.servers

#: What comes before the moment of the dump in the header, and the moment.
_BEGINNING = 51
TABLES = r"""
    create table rows (id int primary key, text text);
    insert into rows select n, repeat('x', n % 700) from generate_series(1, 20000) n;
    create table "no ""rows" (at date);
    create view ids as select id from rows;
    create materialized view kept as select count(*) from rows;
    create sequence numbers start 7;
    select lo_from_bytea(n, decode(repeat(md5(n::text), 1000), 'hex')) from generate_series(70001, 70004) n"""


@pytest.fixture
def source(target: Session, database: str, postgres: Postgres) -> Source:
    target.connection.execute(TABLES)
    return Source(logical.choose(postgres.major), postgres.dsn_for(database), database)


def test_the_places_of_all_data_are_those_that_pg_dump_writes_into_a_file(
    source: Source, tmp_path: Path
) -> None:
    streamed, scanner = io.BytesIO(), Scanner()
    for block in Producer(logical.dump_command(source), source.environment()):
        streamed.write(block)
        scanner.feed(block)
    scanner.finish()
    file = tmp_path / "archive"
    process = plain_popen([*logical.dump_command(source), f"--file={file}"], source.environment())
    assert process.wait() == 0
    assert streamed.getvalue()[_BEGINNING:] != file.read_bytes()[_BEGINNING:]
    scanner.write_places(streamed)
    assert streamed.getvalue()[_BEGINNING:] == file.read_bytes()[_BEGINNING:]


def test_without_digests_the_same_rows_and_bytes_are_counted_and_what_both_know_is_compared(
    source: Source,
) -> None:
    whole, counted = Scanner(), Scanner(digests=False)
    for block in Producer(logical.dump_command(source), source.environment()):
        whole.feed(block)
        counted.feed(block)
    listed, found = Contents.of(whole), Contents.of(counted)
    assert {each.kind for each in found.tables} == {"TABLE DATA", "BLOBS"}
    assert all(each.sha256 for each in listed.tables)
    assert not any(each.sha256 for each in found.tables)
    assert found.is_as(listed)
    assert listed.is_as(listed)
    for number, table in enumerate(listed.tables):
        for other in (
            replace(table, rows=table.rows + 1),
            replace(table, size_bytes=table.size_bytes + 1),
            replace(table, name="another"),
        ):
            changed = [*listed.tables]
            changed[number] = other
            assert not found.is_as(Contents(changed, listed.definitions))
            assert not Contents(changed, listed.definitions).is_as(listed)
        changed[number] = replace(table, sha256="0" * 64)
        assert not listed.is_as(Contents(changed, listed.definitions))
    assert not found.is_as(Contents(listed.tables[:-1], listed.definitions))
