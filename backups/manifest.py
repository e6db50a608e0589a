"""The manifest of a backup: written last, so that a backup exists exactly if it can be described."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from datetime import datetime
from typing import Any, TypeVar

import psycopg
from psycopg.rows import dict_row

from backups.archive import Content, Entry, Scanner
from backups.pipeline import Stored, Volume
from dbadmin.failures import Told

T = TypeVar("T")
FORMAT = 1
NAME = "manifest.json"
#: Entries that name the database itself, which has another name after a restore.
_OF_DATABASE = {"DATABASE", "DATABASE PROPERTIES", "ENCODING", "STDSTRINGS", "SEARCHPATH"}


class NoManifest(Told):
    """The text is no manifest that is known here."""


@dataclass(frozen=True, slots=True)
class Table:
    """The data of one table, or of all large objects, as the dump's own snapshot saw it."""

    kind: str
    schema: str
    name: str
    rows: int
    size_bytes: int
    sha256: str
    sum256: str = ""  # of large objects, in any order; older backups have none

    @property
    def label(self) -> str:
        return f"{self.schema}.{self.name}" if self.kind == "TABLE DATA" else "large objects"


@dataclass(frozen=True, slots=True)
class Definition:
    """One object of the database: what it is, whose it is, and a digest of its definition."""

    kind: str
    schema: str
    name: str
    owner: str
    digest: str

    @property
    def label(self) -> str:
        return f"{self.kind.lower()} {self.schema + '.' if self.schema else ''}{self.name}"


@dataclass
class Contents:
    """Everything that a restore must give back."""

    tables: list[Table] = field(default_factory=list)
    definitions: list[Definition] = field(default_factory=list)

    @property
    def rows(self) -> int:
        return sum(table.rows for table in self.tables if table.kind == "TABLE DATA")

    def names_of(self, kind: str) -> list[str]:
        """What it defines of a kind, such as SUBSCRIPTION."""
        return [each.name for each in self.definitions if each.kind == kind]

    def is_as(self, listed: Contents) -> bool:
        """Exactly what a manifest lists, by what both of them know: digests of rows may not have been taken, and
        older manifests have no sums of large objects."""
        return (self.definitions, len(self.tables)) == (listed.definitions, len(listed.tables)) and all(
            _by_what_both_know(table, there) == _by_what_both_know(there, table)
            for table, there in zip(self.tables, listed.tables, strict=True)
        )

    @classmethod
    def of(cls, scanner: Scanner) -> Contents:
        """What passed by; refuses an incomplete archive."""
        header = scanner.finish()
        return cls(
            [_table(content) for content in scanner.contents],
            [_definition(entry) for entry in header.entries if not _names_database(entry)],
        )


def _by_what_both_know(table: Table, other: Table) -> Table:
    return replace(
        table,
        sha256=table.sha256 if other.sha256 else "",
        sum256=table.sum256 if other.sum256 else "",
    )


def _names_database(entry: Entry) -> bool:
    return entry.kind in _OF_DATABASE or (not entry.schema and entry.name.startswith("DATABASE "))


def _table(content: Content) -> Table:
    return Table(**asdict(content))


def _definition(entry: Entry) -> Definition:
    return Definition(entry.kind, entry.schema, entry.name, entry.owner, entry.digest)


@dataclass
class Piece:
    """One stream of the backup: its objects and its size in each layer."""

    volumes: list[Volume]
    plain_bytes: int
    compressed_bytes: int

    @classmethod
    def of(cls, stored: Stored) -> Piece:
        return cls(stored.volumes, stored.plain_bytes, stored.compressed_bytes)

    @property
    def stored_bytes(self) -> int:
        return sum(volume.size_bytes for volume in self.volumes)


@dataclass
class Manifest:
    """What is known about a backup, without opening it."""

    server: str
    server_key: str
    database: str
    prefix: str
    started_at: datetime
    finished_at: datetime
    by: str
    run: int | None
    server_version: str
    tool: str
    archive_version: str
    compression: str
    recipients: Sequence[str]
    selection: Mapping[str, Any]
    pieces: dict[str, Piece]
    contents: Contents
    snapshot: Mapping[str, Any]
    properties: Mapping[str, Any]
    extensions: Sequence[Mapping[str, Any]]
    roles: Sequence[str]
    collations: Sequence[Mapping[str, Any]]
    findings: Mapping[str, Any]
    kind: str = "logical"
    format: int = FORMAT

    @property
    def tool_major(self) -> int:
        """Of the programs that wrote the archive: older ones cannot read it."""
        return int(self.tool.split()[1].partition(".")[0])

    @property
    def server_major(self) -> int:
        """15 for 15.18."""
        return int(self.server_version.partition(".")[0])

    @property
    def seconds(self) -> float:
        return (self.finished_at - self.started_at).total_seconds()

    @property
    def stored_bytes(self) -> int:
        return sum(piece.stored_bytes for piece in self.pieces.values())

    @property
    def plain_bytes(self) -> int:
        return self.pieces["database"].plain_bytes

    def dump(self) -> bytes:
        """A line for each field: with an indent, the library would hold each word of it at once."""
        lines = [
            f'"{field.name}": {json.dumps(getattr(self, field.name), default=_plain, ensure_ascii=False)}'
            for field in fields(self)
        ]
        return "{{\n{}\n}}".format(",\n".join(lines)).encode("utf-8", "surrogateescape")

    @classmethod
    def load(cls, text: bytes) -> Manifest:
        """The manifest of a store's object; refuses what is damaged or from the future."""
        try:
            found = json.loads(text.decode("utf-8", "surrogateescape"))
            must_be_readable(found, FORMAT)
            found["pieces"] = {name: piece_of(piece) for name, piece in found["pieces"].items()}
            found["contents"] = Contents(
                [made_of(Table, table) for table in found["contents"]["tables"]],
                [made_of(Definition, definition) for definition in found["contents"]["definitions"]],
            )
            for name in ("started_at", "finished_at"):
                found[name] = datetime.fromisoformat(found[name])
            return made_of(cls, found)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise NoManifest(f"The manifest is damaged: {error}.") from error


def must_be_readable(found: Any, known: int) -> None:
    """Refuse a format that is not known here; one of a later version of ours is no damage."""
    number = found.get("format")
    if isinstance(number, int) and number > known:
        raise NoManifest(
            f"A later version of dbadmin wrote this backup: its manifest has format {number}, this one reads up to "
            f"{known}. Update dbadmin here, or take it back by its recovery kit."
        )
    if number != known:
        raise NoManifest(f"The manifest has format {number!r}; this version reads {known}.")


def made_of(kind: type[T], found: Mapping[str, Any]) -> T:
    """What later versions add without another format is passed over."""
    names = {each.name for each in fields(kind)}  # type: ignore[arg-type]
    return kind(**{name: value for name, value in found.items() if name in names})


def piece_of(found: Mapping[str, Any]) -> Piece:
    """One stream, as a manifest describes it."""
    volumes = [made_of(Volume, volume) for volume in found["volumes"]]
    return Piece(volumes, found["plain_bytes"], found["compressed_bytes"])


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return {field.name: getattr(value, field.name) for field in fields(value)}
    return value.isoformat() if isinstance(value, datetime) else str(value)


_FACTS = {
    "snapshot": """
        select pg_catalog.now() as at, pg_catalog.pg_is_in_recovery() as in_recovery,
               case when pg_catalog.pg_is_in_recovery() then pg_catalog.pg_last_wal_replay_lsn()
                    else pg_catalog.pg_current_wal_insert_lsn() end::text as lsn,
               pg_catalog.pg_current_snapshot()::text as snapshot""",
    "properties": """
        select to_jsonb(d) - array['oid', 'datdba', 'dattablespace', 'datacl', 'datlastsysoid']
               || jsonb_build_object(
                    'owner', pg_catalog.pg_get_userbyid(d.datdba),
                    'encoding', pg_catalog.pg_encoding_to_char(d.encoding),
                    'dumped_in', pg_catalog.pg_encoding_to_char(d.encoding), -- not in what its clients speak
                    'tablespace',
                    (select spcname from pg_catalog.pg_tablespace t where t.oid = d.dattablespace),
                    'acl', d.datacl::text[],
                    'comment', pg_catalog.shobj_description(d.oid, 'pg_database'),
                    'size_bytes', pg_catalog.pg_database_size(d.oid)) as properties
        from pg_catalog.pg_database d where d.datname = pg_catalog.current_database()""",
    "settings": """
        select coalesce(pg_catalog.pg_get_userbyid(nullif(setrole, 0)), '') as role, setconfig as settings
        from pg_catalog.pg_db_role_setting
        where setdatabase =
            (select oid from pg_catalog.pg_database where datname = pg_catalog.current_database())
        order by 1""",
    "extensions": """
        select e.extname as name, e.extversion as version, n.nspname as schema
        from pg_catalog.pg_extension e join pg_catalog.pg_namespace n on n.oid = e.extnamespace order by 1""",
    "roles": """
        select distinct pg_catalog.pg_get_userbyid(refobjid) as role
        from pg_catalog.pg_shdepend
        where refclassid = 'pg_catalog.pg_authid'::regclass
          and (dbid = (select oid from pg_catalog.pg_database where datname = pg_catalog.current_database())
               or (dbid = 0 and classid = 'pg_catalog.pg_database'::regclass and objid =
                    (select oid from pg_catalog.pg_database where datname = pg_catalog.current_database())))
        order by 1""",
    "collations": """
        select n.nspname as schema, c.collname as name, c.collversion as version
        from pg_catalog.pg_collation c join pg_catalog.pg_namespace n on n.oid = c.collnamespace
        where n.nspname <> 'pg_catalog' order by 1, 2""",
    "findings": """
        select (select count(*) from pg_catalog.pg_index where not indisvalid) as invalid_indexes,
               (select count(*) from pg_catalog.pg_constraint where not convalidated)
                 as unvalidated_constraints,
               (select count(*) from pg_catalog.pg_largeobject_metadata) as large_objects,
               (select count(*) from pg_catalog.pg_class
                where relkind = 'm' and not relispopulated) as unpopulated_views,
               (select count(*) from pg_catalog.pg_class where relkind = 'r' and relpersistence = 'p'
                 and oid >= 16384) as tables,
               (select coalesce(jsonb_agg(jsonb_build_object('name', t.spcname, 'location',
                         pg_catalog.pg_tablespace_location(t.oid)) order by t.spcname), '[]')
                from pg_catalog.pg_tablespace t
                where t.spcname not in ('pg_default', 'pg_global')
                  and (exists (select from pg_catalog.pg_class c where c.reltablespace = t.oid)
                       or exists (select from pg_catalog.pg_database d where d.dattablespace = t.oid
                                  and d.datname = pg_catalog.current_database()))) as tablespaces,
               -- An estimate for the progress: the exact sizes would wait for whoever has locked a table.
               (select coalesce(sum(greatest(relpages, 0)::bigint), 0)
                         * pg_catalog.current_setting('block_size')::bigint
                from pg_catalog.pg_class where relkind in ('r', 'm', 't') and oid >= 16384) as table_bytes""",
}


def read_facts(connection: psycopg.Connection[Any]) -> dict[str, Any]:
    """What only the source knows, read in the dump's own snapshot."""
    found: dict[str, Any] = {}
    with connection.cursor(row_factory=dict_row) as cursor:
        for name, query in _FACTS.items():
            rows = cursor.execute(query).fetchall()
            found[name] = rows[0] if name in ("snapshot", "findings") else rows
    found["properties"] = {**found["properties"][0]["properties"], "settings": found.pop("settings")}
    found["roles"] = [row["role"] for row in found["roles"]]
    return found
