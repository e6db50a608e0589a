"""How each table is watched, as a seal signs it: until when, by which choices, by which capture function."""

from __future__ import annotations

import json
from collections.abc import Iterator
from hashlib import sha256
from typing import Any

import psycopg

from audit import canonical
from audit.models import Seal
from dbadmin.models import Run, Server

STATES = """
select w.id, w.until::text, md5(w.choices::text),
       (select min(coalesce(substring(p.prosrc from 'audit capture (\\d+)')::int, 1)) from pg_catalog.pg_proc p
        where p.pronamespace = 'dbadmin_audit'::regnamespace and p.proname = 'capture_' || w.id),
       (select md5(string_agg(p.prosrc, '' order by p.proname)) from pg_catalog.pg_proc p
        where p.pronamespace = 'dbadmin_audit'::regnamespace
          and p.proname in ('capture_' || w.id, 'capture_row_' || w.id)),
       (select s.system_identifier || ' ' || c.oid from pg_catalog.pg_class c, pg_catalog.pg_control_system() s
        where c.oid = w.relid),
       (select string_agg(p.oid || ' ' || p.xmin || ' ' || coalesce(
                   (select string_agg(t.oid::text, ',' order by t.oid) from pg_catalog.pg_trigger t
                    where t.tgfoid = p.oid and t.tgrelid = w.relid), ''), ' ' order by p.proname)
        from pg_catalog.pg_proc p
        where p.pronamespace = 'dbadmin_audit'::regnamespace
          and p.proname in ('capture_' || w.id, 'capture_row_' || w.id)),
       w.relid::text
from dbadmin_audit.watched w order by w.id
"""
#: The key of hashed and masked columns leaves the server as a digest only, and only to who may read it.
MAY_READ_SALT = "select has_table_privilege('dbadmin_audit.secret', 'SELECT')"
SALT = """
select encode(sha256(convert_to(coalesce(string_agg(salt, E'\n' order by salt), ''), 'UTF8')), 'hex')
from dbadmin_audit.secret
"""
#: Operation -> the changes that it makes.
OURS = {
    "watch_table": {"watched", "renewed", "renamed"},
    "watch_schema": {"watched", "renewed", "renamed"},
    "unwatch_table": {"unwatched"},
    "upgrade_capture": {"renewed"},
}

#: Number of a table -> until when, print of its choices, version and print of its capture function, cluster and number
#: of the table, which rows of the catalog its function and triggers are: put back, they are others; and the relation
#: that the log's line of it names. null: none.
States = dict[str, list[Any]]


#: The line of the log of a difference that the next seal would cover in silence.
SEEN = "{} Seen after seal {} ({:%Y-%m-%d %H:%M} UTC): what was written meanwhile may not be recorded"
RENAMED = "Table {} is called {} since; it was sealed as {}."
#: The server itself told of the end of a table: a line of the log since it is not watched any more.
DROPPED = """
select exists (select from dbadmin_audit.statement s where s.watched_id = w.id and s.operation = 'A'
    and s.id >= dbadmin_audit.first_id(w.until - interval '30 seconds') and s.note like 'DROP %%') as is_told,
    to_regclass(format('%%I.%%I', schema_name, table_name)) is not null as is_there_again
from dbadmin_audit.watched w where w.id = %s
"""
OTHER_SALT = (
    "The key of hashed and masked columns, dbadmin_audit.secret, is another than the one that was sealed: equal values"
    " have other digests since."
)
AGAIN = "{} was dropped, and another table bears its name since: its changes are not recorded until it is watched."


def states(connection: psycopg.Connection[Any]) -> States:
    """As they are now. The caller made canonical.settle."""
    return {str(row[0]): list(row[1:]) for row in connection.execute(STATES)}


def hashed(found: States) -> str:
    """What a seal keeps of states that are as in the seal before."""
    return sha256(json.dumps(found, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def facts(connection: psycopg.Connection[Any], last: Seal | None) -> dict[str, Any]:
    """What a header tells of them: always their hash, and all of them where they are not those of the last seal."""
    found = states(connection)
    own = hashed(found)
    same = last is not None and json.loads(last.header).get("watched_sha256") == own
    told: dict[str, Any] = {"watched_sha256": own, "salt_sha256": salt(connection)}
    return told if same else {**told, "watched": found}


def salt(connection: psycopg.Connection[Any]) -> str | None:
    """The digest of the key of hashed and masked columns; None: whoever asks may not read it."""
    may_read = (connection.execute(MAY_READ_SALT).fetchone() or (False,))[0]
    return str((connection.execute(SALT).fetchone() or ("",))[0]) if may_read else None


def sealed(seal: Seal) -> States | None:
    """The states that this seal stands for: told in itself, or in an earlier one with this hash. None: lost."""
    own = json.loads(seal.header)["watched_sha256"]
    before = Seal.objects.filter(server=seal.server, database=seal.database, number__lte=seal.number)
    for one in before.filter(header__contains=own).defer("leaves").iterator(20):
        told = json.loads(one.header).get("watched")
        if told is not None and hashed(told) == own:
            return dict(told)
    return None


def differences(
    connection: psycopg.Connection[Any], seal: Seal, now: States, called: dict[str, str]
) -> Iterator[tuple[str, str, str]]:
    """(number, kind, sentence) for each table that is not watched, or not called, as it was sealed, unless an operation
    did that since, or the log tells that it was dropped.

    called: the tables' names of today, by number.
    """
    told = json.loads(seal.header)
    names = told.get("tables", {})
    for number, name in names.items():
        is_called = called.get(number, "nothing")
        if is_called != name and not is_ours(seal, "renamed", is_called):
            yield number, "renamed", RENAMED.format(number, is_called, name)
    if (sealed_salt := told.get("salt_sha256")) and salt(connection) not in {sealed_salt, None}:
        yield "", "altered", OTHER_SALT
    if "watched_sha256" not in told:
        return  # made before a seal told that
    was = sealed(seal)
    if was is None:
        text = f"How tables were watched when seal {seal.number} was made is told by no seal any more."
        yield "", "chain", text
        return
    for number in sorted(was.keys() & now.keys(), key=int):
        for kind, text in of_table(names[number], was[number], now[number]):
            if not is_ours(seal, kind, names[number], called.get(number, "")):
                yield from as_dropped(connection, number, names[number], kind, text)


def as_dropped(
    connection: psycopg.Connection[Any], number: str, name: str, kind: str, text: str
) -> Iterator[tuple[str, str, str]]:
    """A difference as it stands; of a table whose end the log tells only that another one has its name."""
    is_told, is_there_again = False, False
    if kind == "unwatched":
        is_told, is_there_again = connection.execute(DROPPED, [int(number)]).fetchone() or (False, False)
    if not is_told or is_there_again:
        yield number, kind, AGAIN.format(name) if is_told else text


def of_table(name: str, was: list[Any], now: list[Any]) -> Iterator[tuple[str, str]]:
    """What differs for one table. The standalone script says the same."""
    if now[0] != was[0]:
        sealed_as = "watched" if was[0] is None else f"watched until {was[0]}"
        is_now = "it is watched again" if now[0] is None else f"it is not watched since {now[0]}"
        yield "watched" if now[0] is None else "unwatched", f"{name} was sealed as {sealed_as}; {is_now}."
        return
    if len(was) > 6 and now[6] != was[6]:
        yield (
            "renewed",
            f"{name} was sealed as relation {was[6]}; the log's line of it names relation {now[6]}.",
        )
    if now[1] != was[1]:
        yield "renewed", f"The choices for {name} are not those that were sealed."
    if now[3] != was[3]:
        gone = f"The capture function of {name} is gone; it was sealed in version {was[2]}."
        other = f"The capture function of {name} is not the one that was sealed in version {was[2]}."
        yield "renewed", gone if now[2] is None else other
    elif is_replaced(was, now):
        yield (
            "renewed",
            f"The capture function of {name}, or its triggers, were replaced since, and put back.",
        )


def is_replaced(was: list[Any], now: list[Any]) -> bool:
    """Were function or triggers made anew, on the same table? In a restored copy, or after an upgrade of the server,
    the cluster or the table is another one, too."""
    return len(was) > 4 and was[4] is not None and was[4] == now[4] and was[5] != now[5]


def record_differences(connection: psycopg.Connection[Any], server: Server) -> list[str]:
    """A line of the log for each table that is not watched as the last seal knew it, by whoever did that behind
    dbadmin's back: the next seal knows it as it is now. Returns them."""
    last = Seal.objects.filter(server=server, database=connection.info.dbname).first()
    if last is None:
        return []
    found = []
    with connection.transaction():
        canonical.settle(connection)
        now, called = states(connection), canonical.table_names(connection)
        for number, _, what in list(differences(connection, last, now, called)):
            text = SEEN.format(what, last.number, last.sealed_at)
            connection.execute(
                "insert into dbadmin_audit.gap (watched_id, kind, text) values (%s, 'switched', %s)",
                [number or None, text],
            )
            found.append(text)
    return found


def is_ours(seal: Seal, kind: str, *names: str) -> bool:
    """Did an operation that somebody started since this seal do that to the table, under one of its names?"""
    operations = [name for name, kinds in OURS.items() if kind in kinds]
    since = Run.objects.filter(
        server=seal.server,
        operation__in=operations,
        status=Run.Status.SUCCEEDED,
        finished_at__gte=seal.sealed_at,
    )
    return any(
        run.params.get("database") in {None, "", seal.database}
        and (run.target in names or run.operation in {"watch_schema", "upgrade_capture"})
        for run in since
    )
