"""What point-in-time recovery needs of a server and of this host, each lack with its remedy."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Never

import psycopg
from psycopg import sql

from backups import catalogue, logical
from backups.logical import NoTools, Tools
from backups.models import Store
from backups.physical.models import PointInTime, WalSegment
from backups.physical.replication import ReplicationRefused, System, identify, replication_dsn
from backups.preflight import tools_for
from backups.stores import StoreError
from dbadmin.connections import open_dsn, why
from dbadmin.models import Server
from dbadmin.operations import Refused
from dbadmin.units import size

_NEEDS = """
    select current_user as role,
           (select rolreplication or rolsuper from pg_catalog.pg_roles where rolname = current_user) as replicates,
           pg_catalog.pg_is_in_recovery() as in_recovery,
           current_setting('wal_level') as wal_level,
           current_setting('max_replication_slots')::int as slots,
           (select count(*) from pg_catalog.pg_replication_slots)::int as slots_used,
           current_setting('max_wal_senders')::int as senders,
           (select count(*) from pg_catalog.pg_stat_activity where backend_type = 'walsender')::int as senders_used,
           (select setting::bigint from pg_catalog.pg_settings where name = 'max_slot_wal_keep_size') as keep_mib,
           pg_catalog.pg_size_bytes(current_setting('wal_segment_size')) as segment_bytes,
           (select count(*) from pg_catalog.pg_replication_slots where slot_name = %s)::int as slot_there"""
ADVISED_KEEP = "ALTER SYSTEM SET max_slot_wal_keep_size = '10GB'; SELECT pg_reload_conf();"


@dataclass(frozen=True)
class Source:
    """What is known about a server that WAL can be received from."""

    system: System
    segment_bytes: int
    advice: str


def slot_name(server: Server) -> str:
    """The slot of this server's receiver; slots know small letters, digits and underscores."""
    return f"dbadmin_{server.name.replace('-', '_')}"[:63]


def point_of(server: Server) -> PointInTime:
    """The switch of a server, which must be on."""
    found = PointInTime.objects.select_related("store", "server").filter(server=server, enabled=True).first()
    if found is None:
        raise Refused(f"Point-in-time recovery of {server} is off. Switch it on first.")
    return found


def check_store(name: str) -> Store:
    """The store of this name; refuses one that is not there, switched off, or does not answer."""
    store = Store.objects.filter(name=name).first()
    if store is None:
        raise Refused(f"There is no store {name}.", field="store")
    if not store.enabled:
        raise Refused(f"The store {store} is switched off.", field="store")
    must_answer(store)
    return store


def must_answer(store: Store) -> None:
    """Refuse a store that does not, and the empty place of a disk that is not mounted."""
    try:
        catalogue.must_not_be_bare(store)
    except StoreError as reason:
        raise Refused(str(reason), field="store") from reason


def must_be_ours(store: Store, folder: str) -> None:
    """Refuse to write where another dbadmin does: both give their WAL the same names, and each would lose its own."""
    if WalSegment.objects.filter(store=store, key__startswith=f"{folder}/").exists():
        return
    try:
        theirs = next(store.open().items(f"{folder}/"), None)
    except StoreError as reason:
        raise Refused(str(reason), field="store") from reason
    if theirs:
        raise Refused(
            f"{folder} in the store {store} holds WAL that is not in this catalogue: of another dbadmin that writes "
            "there, or of a server that was removed from this one. Choose a store with a prefix or directory of its "
            "own, or remove that folder when nobody needs it.",
            field="store",
        )


def check_source(server: Server, slot: str) -> Source:
    """Refuse what would keep WAL from being received, before anything is changed."""
    found: Any = server.row(_NEEDS, [slot])
    role = sql.Identifier(found.role).as_string(None)
    if found.in_recovery:
        raise Refused(f"{server} is a standby. Switch point-in-time recovery on for its primary.")
    if not found.replicates:
        raise Refused(f"{found.role} may not replicate. What mends it: ALTER ROLE {role} REPLICATION;")
    if found.wal_level not in ("replica", "logical"):
        raise Refused(
            f"wal_level of {server} is {found.wal_level}, too little to recover from. What mends it: "
            "ALTER SYSTEM SET wal_level = 'replica'; then restart the server."
        )
    if not found.slot_there and found.slots_used >= found.slots:
        raise Refused(
            f"All {found.slots} replication slots of {server} are taken. What mends it: "
            f"ALTER SYSTEM SET max_replication_slots = {found.slots + 4}; then restart the server."
        )
    if found.senders - found.senders_used < 2:
        raise Refused(
            f"{server} has {found.senders - found.senders_used} of {found.senders} WAL senders free; the receiver "
            f"and a base backup need two. What mends it: ALTER SYSTEM SET max_wal_senders = {found.senders + 4}; "
            "then restart the server."
        )
    return Source(check_replication(server), found.segment_bytes, advice(found.keep_mib))


def advice(keep_mib: int) -> str:
    """How much WAL a slot may hold back before the server gives it up."""
    if keep_mib < 0:
        return (
            "max_slot_wal_keep_size is -1: while no receiver is at work, the slot keeps all WAL, up to a full"
            f" disk. Advised: {ADVISED_KEEP}"
        )
    return f"The slot keeps at most {size(keep_mib << 20)} of WAL back (max_slot_wal_keep_size)."


def check_replication(server: Server) -> System:
    """Really connect as a walsender: pg_hba.conf has lines of its own for that."""
    dsn = server.dsn("operate")
    try:
        with open_dsn(replication_dsn(dsn)) as connection:
            return identify(connection)
    except psycopg.Error as error:
        raise Refused(
            f"{server} takes no replication connection: {why(error, dsn)} What mends it: a line for the database"
            " “replication” in pg_hba.conf, then SELECT pg_reload_conf();"
        ) from error
    except ReplicationRefused as reason:
        raise Refused(f"{server} takes no replication connection: {reason}") from reason


def program(tools: Tools, name: str) -> str:
    """The path of one of PostgreSQL's programs, which must be on this host."""
    path = tools.path(name)
    if not os.access(path, os.X_OK):
        package = "postgresql-client" if name == "pg_receivewal" else "postgresql"
        raise NoTools(
            f"{name} of PostgreSQL {tools.major} is not on this host (looked for {path}). "
            f"Install the package {package}-{tools.major}, or name its directory in DBADMIN_PG_BIN."
        )
    return path


def receiving_tools(server: Server) -> Tools:
    """The programs that receive WAL from this server; refuses when none fit."""
    tools = tools_for(server)
    try:
        program(tools, "pg_receivewal")
    except NoTools as reason:
        raise Refused(str(reason)) from reason
    return tools


def server_tools(major: int) -> Tools:
    """Server programs of exactly this major version: a data directory belongs to one."""
    return _tools_of(major, ("postgres", "pg_ctl")) or _lack(
        f"The server programs of PostgreSQL {major} are not on this worker. Install the package "
        f"postgresql-{major} there (it need not run), or name the directory of its programs in DBADMIN_PG_BIN."
    )


def combining_tools(major: int) -> Tools:
    """The programs that put an incremental base backup together; they take only their own major version."""
    return _tools_of(major, ("pg_combinebackup", "pg_verifybackup")) or _lack(
        f"pg_combinebackup of PostgreSQL {major} is not on this worker; an incremental base backup needs it. Install "
        f"the package postgresql-client-{major} there, or name the directory of its programs in DBADMIN_PG_BIN."
    )


def _tools_of(major: int, programs: Sequence[str]) -> Tools | None:
    for folder in logical.folders():
        if all(os.access(folder / name, os.X_OK) for name in programs):
            tools = Tools(folder, logical.version_of(folder / programs[0]) or "0")
            if tools.major == major:
                return tools
    return None


def _lack(sentence: str) -> Never:
    raise Refused(sentence)
