"""Where a restored database, its tables and indexes lie."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from psycopg import sql

from backups.manifest import Manifest
from backups.preflight import quoted, some
from dbadmin.readiness import Check, Fix

OF_LIVE = """
    select t.spcname from pg_catalog.pg_database d join pg_catalog.pg_tablespace t on t.oid = d.dattablespace
    where d.datname = %s"""
_DEFAULT = "pg_default"


@dataclass(frozen=True)
class Places:
    """Tablespaces of a backup, held against those that a server has.

    used: that the database, its tables and indexes lay in, each with its directory; there: that the server has; live:
    of the database whose place is taken, "" where none is; gathers: is everything to lie together, in the default?
    stays: not only until it is compared, or tables are taken from it.
    """

    used: Mapping[str, str]
    first: str
    there: Mapping[str, str]
    live: str
    gathers: bool
    stays: bool

    @classmethod
    def of(
        cls, manifest: Manifest, there: Mapping[str, str], live: str, gathers: bool, stays: bool
    ) -> Places:
        used = {each["name"]: each["location"] for each in manifest.findings.get("tablespaces", [])}
        first = str(manifest.properties.get("tablespace", _DEFAULT))
        used |= {first: used.get(first, "…")} if first != _DEFAULT else {}
        return cls(used, first, there, live, gathers, stays)

    @property
    def missing(self) -> list[str]:
        """What the server lacks."""
        return sorted(self.used.keys() - self.there.keys())

    @property
    def together(self) -> bool:
        """Does everything come to where the database itself lies? What is dropped again needs no better place."""
        return self.gathers or bool(self.missing and not self.stays)

    @property
    def database(self) -> str:
        """Where the new one lies: the one whose place it takes may have moved since. "": in the server's default."""
        found = self.live or ("" if self.together else self.first)
        return "" if found == _DEFAULT else found

    @property
    def folders(self) -> list[str]:
        """Directories that fill up, beside the server's own."""
        names = {self.database, *([] if self.together else self.used)} - {""}
        return sorted(self.there[name] for name in names if self.there.get(name))

    def checks(self, server: str, database: str, again: Fix | None) -> Iterator[Check]:
        """What is to be known of it before. again: the same restore, with everything in the default."""
        if self.missing and not self.together:
            yield Check(
                "critical",
                "Tablespaces",
                f"{server} has no tablespace {some(self.missing)}, where a part of {database} lay. Make it, or put "
                "everything where the new database lies.",
                "\n".join(
                    f"CREATE TABLESPACE {quoted(name)} LOCATION {sql.Literal(self.used[name]).as_string(None)};"
                    for name in self.missing
                ),
                again,
            )
        elif self.used and self.together:
            where = self.database or "the default"
            state = "warning" if self.stays else "ok"
            says = f"What lay in {some(sorted(self.used))} comes to {where}. The rows are the same."
            yield Check(state, "Tablespaces", says)
        elif self.used:
            yield Check("ok", "Tablespaces", some(sorted(self.used)))
        if self.live and self.live != self.first:
            yield Check(
                "ok",
                "Place of the database",
                f"In {self.live}, as it is now; in the backup it lay in {self.first}.",
            )
