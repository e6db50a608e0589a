"""Changes that triggers for rows wrote down in the fewest steps, and that are not listed yet: they are moved to where
the log keeps all others, behind the writers. What reads the log has this done first."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import psycopg
from psycopg.sql import SQL, Composed, Identifier

from audit import plans
from audit.lines import NO_ROLE
from audit.log_tables import FRESH, before_name, is_there, pairs_table, rows_table
from audit.registry import Installed, Shape, installed
from audit.tables import Rows
from dbadmin import connections
from dbadmin.connections import named_rows
from dbadmin.models import Server

#: Changes, and bytes of their images, that are moved in one transaction.
MOST, BYTES = 20_000, 64 << 20
#: Batches that a page has moved before it shows the log; the rest is left to what runs on schedules.
OF_A_PAGE = 1
#: What a value is to blame for, and not the server.
OF_A_VALUE = (psycopg.errors.DataError, psycopg.errors.IntegrityError, psycopg.errors.ProgramLimitExceeded)
ISOLATION = "set transaction isolation level read committed"
LIMITS = (
    "select set_config('client_encoding', getdatabaseencoding(), true), set_config('lock_timeout', '2s', true),"
    " set_config('statement_timeout', '30s', true)"
)
# Two that move at once leave each other's alone.
MOVED = f"""
with moved as (
    delete from dbadmin_audit.fresh where ctid = any(array(
        select place from (
            select place, sum(size) over (rows between unbounded preceding and 1 preceding) as so_far from (
                select ctid as place, coalesce(octet_length(before), 0) + coalesce(octet_length(after), 0) as size
                from dbadmin_audit.fresh where shape_id = any(%s) and id <> all(%s) limit %s
                for update skip locked) f) f
        where coalesce(so_far, 0) < {BYTES}))
    returning *
), listed as (
    insert into dbadmin_audit.statement (id, at, xid, images, watched_id, shape_id, operation, session_role, set_role,
        app_user, client, application, query)
    select id, at, xid, case operation when 'U' then 2 else 1 end, watched_id, shape_id, operation, session_role,
        nullif(set_role, '{NO_ROLE}'), nullif(app_user, ''), client, nullif(application, ''), query from moved
)
select shape_id, ascii(operation::text) as operation, timestamptz_send(at) as at, int8send(id) as id, before, after
from moved
"""  # noqa: S608 - constants of ours
WAITING = "select count(*) as count from (select from dbadmin_audit.fresh limit 100001) f"
MAY_READ = "select pg_catalog.has_table_privilege('dbadmin_audit.fresh', 'SELECT') as may_read"
OLDEST = "select min(xid::text::bigint) as xid from dbadmin_audit.fresh"
IMAGES = """
select watched_id, sum(case operation when 'U' then 2 else 1 end)::bigint as images from dbadmin_audit.fresh group by 1
"""
#: So that who compares counters of PostgreSQL finds what was moved counted.
COUNTED = "select pg_stat_force_next_flush()"
COPY = SQL("copy {} ({}) from stdin (format binary)")
HEAD, END = b"PGCOPY\n\xff\r\n\0" + bytes(8), struct.pack(">h", -1)
BEFORE, AFTER, DELETED, REKEYED = (struct.pack(">ic", 1, side) for side in (b"-", b"+", b"x", b"o"))
#: The only row of its statement.
FIRST = struct.pack(">ii", 4, 1)
UPDATE, DELETE = ord("U"), ord("D")

#: A version of columns, and whether of it the table of pairs -> lines in the form of COPY.
Lines = dict[tuple[int, bool], list[bytes]]


def oldest(connection: psycopg.Connection[Any]) -> int | None:
    """The lowest transaction of what is not listed yet, in the caller's own snapshot."""
    rows = asking(connection)
    found = rows(OLDEST)[0].xid if is_there(rows, FRESH) else None
    return None if found is None else int(found)


def waiting(rows: Rows) -> int:
    """Changes that are not listed yet, counted up to 100,001."""
    return int(rows(WAITING)[0].count) if is_there(rows, FRESH) and rows(MAY_READ)[0].may_read else 0


def images(connection: psycopg.Connection[Any]) -> dict[int, int]:
    """Watched table -> rows of the log that are not listed yet."""
    rows = asking(connection)
    return {row.watched_id: row.images for row in rows(IMAGES)} if is_there(rows, FRESH) else {}


def list_all(connection: psycopg.Connection[Any], batches: int | None = None) -> int:
    """Move what is there into the log, oldest first or nearly so; how many changes. batches: no more than these.

    What cannot be listed because of a value stays; then, at the end, it raises what the server said of the first.
    """
    rows, done, most = asking(connection), 0, MOST
    left: dict[int, psycopg.Error] = {}
    if not waiting(rows):
        return 0
    own = plans.owned(rows)
    while batches is None or batches > 0:
        try:
            count = move_next(connection, installed(rows), own, list(left), most)
        except Unlisted as failure:
            if most == 1:
                left[failure.number] = failure.why
            most = max(1, most // 10)
            continue
        done += count
        if not count:
            break
        most = min(MOST, most * 10)
        batches = batches - 1 if batches is not None else None
    if done and connection.info.server_version >= 150000:
        connection.execute(COUNTED)
    if left:
        raise next(iter(left.values()))
    return done


def list_for_reader(server: Server, database: str | None, batches: int | None = None) -> None:
    """The same before somebody reads, by a session that may write; raises what the server says."""
    with connections.connect(server, "operate", database) as connection:
        list_all(connection, batches)


class Unlisted(Exception):
    """A batch could not be listed because of a value. number: the first statement in it."""

    def __init__(self, number: int, why: psycopg.Error) -> None:
        super().__init__(str(why))
        self.number, self.why = number, why


def asking(connection: psycopg.Connection[Any]) -> Rows:
    """Questions to a connection."""
    return lambda query, params=None: named_rows(connection.execute(query, params))


def move_next(
    connection: psycopg.Connection[Any], state: Installed, own: bool, left: list[int], most: int
) -> int:
    """One batch, all or nothing: a statement for each change, and its row before and after.

    left: numbers that cannot be listed. A version of columns that was made meanwhile waits for the next batch.
    """
    moved: list[Any] = []
    try:
        with connection.transaction(), connection.cursor(binary=True) as cursor:
            cursor.execute(ISOLATION)
            cursor.execute(LIMITS)
            if own:
                cursor.execute(SQL("set local role {}").format(Identifier("dbadmin_audit")))
            moved = cursor.execute(MOVED, [list(state.shapes), left, most]).fetchall()
            for (number, is_pair), found in lines_by_table(state, moved).items():
                shape = state.shapes[number]
                with cursor.copy(copy_of_pairs(shape) if is_pair else copy_of_rows(shape)) as copy:
                    copy.write(HEAD)
                    for one in found:
                        copy.write(one)
                    copy.write(END)
    except OF_A_VALUE as error:
        if not moved:
            raise
        raise Unlisted(int.from_bytes(moved[0][3], "big"), error) from error
    return len(moved)


def lines_by_table(state: Installed, moved: list[Any]) -> Lines:
    """What is to be copied where."""
    lines: Lines = {}
    for number, operation, at, statement, before, after in moved:
        place = field(at) + field(statement)
        for is_pair, one in lines_of(state.shapes[number], operation, place, before, after):
            lines.setdefault((number, is_pair), []).append(one)
    return lines


def lines_of(
    shape: Shape, operation: int, place: bytes, before: bytes | None, after: bytes | None
) -> Iterator[tuple[bool, bytes]]:
    """The lines of a change, as its table's other triggers write them, and whether each is a pair."""
    old, new = fields(before), fields(after)
    if operation == UPDATE:
        same_key = all(old[n] == new[n] for n in key_places(shape))
        if same_key and shape.has_pairs:
            yield True, line(2 + 2 * len(new), place, *new, *old)
            return
        yield False, line(4 + len(old), place, FIRST, BEFORE if same_key else REKEYED, *old)
    kept, side = (old, DELETED) if operation == DELETE else (new, AFTER)
    yield False, line(4 + len(kept), place, FIRST, side, *kept)


def key_places(shape: Shape) -> list[int]:
    """Where the key stands among the kept columns; nowhere when not all of it is kept."""
    keys = shape.key_columns
    return [shape.kept.index(column) for column in keys] if len(keys) == len(shape.key) else []


def copy_of_pairs(shape: Shape) -> Composed:
    """Into the table of updates of one row."""
    names = [column.kept_name for column in shape.kept]
    columns = ["at", "statement_id", *names, *(before_name(name) for name in names)]
    return COPY.format(pairs_table(shape.id), SQL(", ").join(map(Identifier, columns)))


def copy_of_rows(shape: Shape) -> Composed:
    """Into the table of single rows."""
    columns = ["at", "statement_id", "n", "side", *(column.kept_name for column in shape.kept)]
    return COPY.format(rows_table(shape.id), SQL(", ").join(map(Identifier, columns)))


def field(value: bytes) -> bytes:
    """A value with its length before it."""
    return struct.pack(">i", len(value)) + value


def fields(image: bytes | None) -> list[bytes]:
    """The values of an image, each with its length before it: how both the image and COPY write them."""
    if image is None:
        return []
    found, at = [], 4
    for _ in range(int.from_bytes(image[:4], "big")):
        size = int.from_bytes(image[at + 4 : at + 8], "big", signed=True)
        end = at + 8 + max(size, 0)
        found.append(image[at + 4 : end])
        at = end
    return found


def line(count: int, *values: bytes) -> bytes:
    """A line of COPY with so many values."""
    return struct.pack(">h", count) + b"".join(values)
