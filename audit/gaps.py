"""Where changes may be missing from the log, or will be: each finding with the statement or operation that
mends it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import psycopg

from audit.capture import VERSION
from audit.foundations import faults, unversioned
from audit.log_tables import SCHEMA
from audit.registry import RESTORED, installed_version
from audit.tables import FOREIGN, Rows
from audit.triggers import AS_MADE
from dbadmin.connections import named_rows

# The watched tables and all of their partitions.
MEMBERS = """
with watched as (
    select w.id, w.relid, w.schema_name, w.table_name from dbadmin_audit.watched w where w.until is null
), members as (
    select w.id, w.relid as member from watched w
    union
    select w.id, t.relid from watched w
    join pg_catalog.pg_class c on c.oid = w.relid and c.relkind = 'p'
    cross join lateral pg_catalog.pg_partition_tree(w.relid) t
)
select w.schema_name, w.table_name, m.member::regclass::text as member, m.member = w.relid as is_root, {columns}
from members m
join watched w using (id)
join pg_catalog.pg_class c on c.oid = m.member and c.relkind <> 'f'
left join lateral (
    select t.oid, t.tgname, t.tgenabled, {as_made} as is_as_made from pg_catalog.pg_trigger t
    where t.tgrelid = m.member and t.tgname like 'dbadmin\\_audit\\_%' and {which}
) t on true
where {where}
group by w.schema_name, w.table_name, m.member, w.relid, c.relkind
having count(t.oid) filter (where t.tgenabled in {enabled} and t.is_as_made) < {least}
order by 1, 2, 3
"""
# One row for each that lacks one of its four triggers, or has one switched off.
TRIGGERS = MEMBERS.format(
    columns="count(t.oid) as triggers, count(t.oid) filter (where t.tgenabled = 'D') as disabled,"
    " count(t.oid) filter (where t.tgenabled = 'R') as replica_only,"
    " count(t.oid) filter (where not t.is_as_made) as others",
    as_made=AS_MADE, which="t.tgname !~ '_replica'", where="true", enabled="('O', 'A')", least="4",
)  # fmt: skip
# What fires no usual trigger: logical replication, and sessions that are set like it. One row for each without the
# triggers for that; an older version of capture has none, and is a finding of its own.
FOR_REPLICAS = MEMBERS.format(
    columns="count(t.oid) filter (where t.tgenabled not in ('R', 'A')) as switched,"
    " count(t.oid) filter (where not t.is_as_made) as others,"
    " string_agg(format('ALTER TABLE %s ENABLE REPLICA TRIGGER %I;', m.member::regclass, t.tgname), ' '"
    " order by t.tgname) filter (where t.tgenabled not in ('R', 'A')) as remedy,"
    " exists (select from pg_catalog.pg_subscription_rel r where r.srrelid = m.member) as is_subscribed",
    as_made=AS_MADE, which="t.tgname ~ '_replica'",
    where="exists (select from pg_catalog.pg_proc p where p.proname = 'capture_row_' || w.id"
    " and p.pronamespace = 'dbadmin_audit'::regnamespace)",
    enabled="('R', 'A')", least="case c.relkind when 'p' then 1 else 2 end",
)  # fmt: skip
TABLES = """
select w.id, w.schema_name, w.table_name, c.oid is null as is_gone, c.relname as table_now,
       (select nspname from pg_catalog.pg_namespace where oid = c.relnamespace) as schema_now,
       coalesce(substring(p.prosrc from 'audit capture (\\d+)')::int, 1) < %s as is_outdated,
       w.relid::int8 as relid, f.relid as made_for,
       format('UPDATE dbadmin_audit.watched SET relid = %%s WHERE id = %%s;', f.relid, w.id) as put_right,
       (select md5(string_agg(f.prosrc, '' order by f.proname)) from pg_catalog.pg_proc f
        where f.pronamespace = 'dbadmin_audit'::regnamespace
          and f.proname in ('capture_' || w.id, 'capture_row_' || w.id))
           is distinct from w.function_hash as is_forged,
       c.oid is not null and s.signature is distinct from (
           select md5(string_agg(a.attnum || ' ' || a.attname || E'\\n', '' order by a.attnum)
               || string_agg(a.attnum || ' ' || a.atttypid, ',' order by a.attnum)
                   filter (where not a.attisdropped))
           from pg_catalog.pg_attribute a where a.attrelid = c.oid and a.attnum > 0) as is_altered
from dbadmin_audit.watched w
left join pg_catalog.pg_class c on c.oid = w.relid
left join pg_catalog.pg_proc p on p.proname = 'capture_' || w.id and p.pronamespace =
    'dbadmin_audit'::regnamespace
cross join lateral (select substring(p.prosrc from 'audit\\.signature\\(.(\\d+)')::int8 as relid) f
left join lateral (select signature from dbadmin_audit.shape s where s.watched_id = w.id order by id
    desc limit 1) s on true
where w.until is null
order by 1, 2
"""
# Tables that inherit from a watched one: it shows their rows as its own; what is written to them fires their triggers.
HEIRS = """
with recursive heir as (
    select w.schema_name, w.table_name, i.inhrelid as relid from dbadmin_audit.watched w
    join pg_catalog.pg_class c on c.oid = w.relid and c.relkind = 'r'
    join pg_catalog.pg_inherits i on i.inhparent = w.relid where w.until is null
    union
    select h.schema_name, h.table_name, i.inhrelid from heir h join pg_catalog.pg_inherits i on i.inhparent = h.relid
)
select h.schema_name, h.table_name, n.nspname as heir_schema, c.relname as heir_name
from heir h join pg_catalog.pg_class c on c.oid = h.relid join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where c.relkind in ('r', 'p')
  and not exists (select from dbadmin_audit.watched w where w.relid = h.relid and w.until is null)
order by 3, 4, 1, 2
"""
FOR_ROWS = """
select * from (
    select w.schema_name, w.table_name,
           (select i.inhrelid::regclass::text from pg_catalog.pg_inherits i where i.inhparent = w.relid
            order by 1 limit 1) as heir,
           (select x.indexrelid::regclass::text from pg_catalog.pg_index x where x.indrelid = w.relid
            and x.indisunique and not x.indimmediate order by 1 limit 1) as late
    from dbadmin_audit.watched w where w.until is null and w.choices ->> 'level' = 'row'
) w where heir is not null or late is not null order by 1, 2
"""
WATCHED = (
    "select relid::bigint as relid, schema_name, table_name from dbadmin_audit.watched where until is null"
)
# That a trigger depends on its function is written once, with the trigger; the trigger's own row is written anew
# whenever it is switched. So the two rows' transactions tell of a switch for ever, also of one that was taken back.
SWITCHED = """
select w.id as watched_id, w.schema_name, w.table_name, t.xmin::text as transaction, count(*) as triggers,
       min(t.tgrelid::regclass::text) as member,
       case when current_setting('track_commit_timestamp')::boolean
            then pg_catalog.pg_xact_commit_timestamp(t.xmin) at time zone 'UTC' end as at
from dbadmin_audit.watched w
join pg_catalog.pg_proc p on p.proname in ('capture_' || w.id, 'capture_row_' || w.id)
    and p.pronamespace = 'dbadmin_audit'::regnamespace
join pg_catalog.pg_trigger t on t.tgfoid = p.oid
    and (t.tgenabled in ('O', 'A') and t.tgname !~ '^dbadmin_audit_replica'
         or t.tgenabled in ('R', 'A') and t.tgname ~ '^dbadmin_audit_replica')
join pg_catalog.pg_depend d on d.classid = 'pg_trigger'::regclass and d.objid = t.oid
    and d.refclassid = 'pg_proc'::regclass and d.refobjid = t.tgfoid
where w.until is null and d.xmin::text <> t.xmin::text
  and not exists (select from dbadmin_audit.gap g where g.watched_id = w.id and g.kind = 'switched'
                  and starts_with(g.text, 'Transaction ' || t.xmin::text || ' '))
group by w.id, w.schema_name, w.table_name, t.xmin
order by 2, 3, 4
"""
# Sessions that begin with triggers off: of a role, in a database, or of a role in this database.
REPLICAS = """
select coalesce('Sessions of ' || r.rolname, 'All sessions')
           || case when s.setdatabase <> 0 then ' in this database' else '' end as who,
       'ALTER ' || case when s.setrole = 0 then format('DATABASE %%I', current_database())
           else format('ROLE %%I', r.rolname)
               || case when s.setdatabase <> 0 then format(' IN DATABASE %%I', current_database()) else '' end end
           || ' RESET session_replication_role;' as remedy
from pg_catalog.pg_db_role_setting s
left join pg_catalog.pg_roles r on r.oid = s.setrole
where 'session_replication_role=replica' = any(s.setconfig)
  and exists (select from dbadmin_audit.watched w where w.until is null and not exists (
      select from pg_catalog.pg_trigger t where t.tgrelid = w.relid and t.tgname = 'dbadmin_audit_replica_truncate'))
  and s.setdatabase in (0, (select oid from pg_catalog.pg_database where datname = current_database()))
order by 1
"""
RECORDED = """
select w.schema_name, w.table_name, g.kind, count(*) as times, max(g.at) as last_at, max(g.text) as text
from dbadmin_audit.gap g left join dbadmin_audit.watched w on w.id = g.watched_id
where g.at > now() - interval '7 days'
group by 1, 2, 3 order by 5 desc
"""
MONTHS = """
select parent.relname as parent
from pg_catalog.pg_class parent
where parent.relnamespace = 'dbadmin_audit'::regnamespace and parent.relkind = 'p'
  and to_regclass('dbadmin_audit.' || parent.relname || to_char(now() at time zone 'UTC' + interval '1
      month', '_YYYY_MM')) is null
order by 1
"""
OTHER_RELATION = (
    "The log's line of it names relation {}, its capture function {}: dbadmin_audit.watched was altered"
)
#: Kinds of lines that are sentences of their own, and what many of them are.
SENTENCES = {"switched": "switches", "uncounted": "gaps"}


@dataclass(frozen=True)
class Gap:
    """One finding. state: "critical" when changes are missing, "warning" when they will be or are harder to
    read."""

    state: str
    schema: str
    table: str
    problem: str
    remedy: str

    def __str__(self) -> str:
        return self.problem


def find_gaps(rows: Rows) -> list[Gap]:
    """All findings of a database; none where nothing was ever installed."""
    stands_on = [
        Gap(one.state, SCHEMA, one.table, one.problem, one.remedy)
        for one in (*unversioned(rows), *faults(rows))
    ]
    if not installed_version(rows):
        return stands_on
    return [
        *stands_on,
        *of_triggers(rows),
        *of_switches(rows),
        *for_replicas(rows),
        *of_replicas(rows),
        *of_tables(rows),
        *of_heirs(rows),
        *of_rows(rows),
        *of_foreign(rows),
        *(gap for gap in of_records(rows) if gap.problem not in {one.problem for one in stands_on}),
        *of_months(rows),
    ]


def of_triggers(rows: Rows) -> list[Gap]:
    """Triggers that are missing or switched off: everything written meanwhile is not in the log."""
    found = []
    for row in rows(TRIGGERS):
        where = "" if row.is_root else f" of its partition {row.member}"
        if row.triggers == 0:
            what = f"No trigger{where}: changes are not recorded"
        elif row.triggers < 4:
            what = f"{4 - row.triggers} of 4 triggers{where} are missing: some changes are not recorded"
        elif row.others:
            what = f"{row.others} of 4 triggers{where} are not as they were made: changes are not recorded"
        elif row.disabled:
            what = f"{row.disabled} of 4 triggers{where} are disabled: changes are not recorded"
        else:
            what = f"{row.replica_only} of 4 triggers{where} fire on a replica only: changes are not recorded"
        is_off = row.triggers == 4 and not row.others
        enable = f"ALTER TABLE {row.member} ENABLE TRIGGER ALL;" if is_off else "watch_table"
        found.append(Gap("critical", row.schema_name, row.table_name, what, enable))
    return found


def switched(row: Any) -> str:
    """What is known of a switch. Its first words name the transaction: by them a recorded one is known again."""
    at = f" ({row.at:%Y-%m-%d %H:%M} UTC)" if row.at else ""
    what = "a trigger" if row.triggers == 1 else f"{row.triggers} triggers"
    return (
        f"Transaction {row.transaction}{at} switched {what} of {row.member}:"
        " what was written before it may not be recorded"
    )


def of_switches(rows: Rows) -> list[Gap]:
    """Triggers that fire now and were switched since they were made, until a line of the log says so."""
    return [
        Gap("critical", row.schema_name, row.table_name, switched(row), "seal_log") for row in rows(SWITCHED)
    ]


def record_switches(connection: psycopg.Connection[Any]) -> list[str]:
    """Write switches of triggers into the log, where the next seal covers them; what was written."""
    with connection.transaction():
        found = [(row.watched_id, switched(row)) for row in named_rows(connection.execute(SWITCHED))]
        for watched_id, text in found:
            connection.execute(
                "insert into dbadmin_audit.gap (watched_id, kind, text) values (%s, 'switched', %s)",
                [watched_id, text],
            )
    return [text for _, text in found]


def for_replicas(rows: Rows) -> list[Gap]:
    """The triggers for what logical replication, or a session that is set like it, writes."""
    found = []
    for row in rows(FOR_REPLICAS):
        where = "" if row.is_root else f" of its partition {row.member}"
        what = "are not as they were made" if row.others else "are off" if row.switched else "are missing"
        text = (
            f"Triggers{where} for replicated changes {what}: what logical replication or"
            " session_replication_role = replica writes is not recorded"
        )
        state = "critical" if row.is_subscribed else "warning"
        remedy = "watch_table" if row.others or not row.remedy else row.remedy
        found.append(Gap(state, row.schema_name, row.table_name, text, remedy))
    return found


def of_replicas(rows: Rows) -> list[Gap]:
    """Settings that have sessions begin with their triggers off, where an older capture has none for that."""
    text = "{} begin with session_replication_role = replica: their changes are not recorded"
    return [Gap("critical", "", "", text.format(row.who), row.remedy) for row in rows(REPLICAS, [])]


WITH_A_RESTORE = (
    "{} watched {} came with a restore: rows are kept whole, as JSON, until their capture is upgraded"
)


def of_tables(rows: Rows) -> list[Gap]:
    """Tables that changed under the log."""
    tables = rows(TABLES, [VERSION])
    others = [row for row in tables if row.made_for not in {None, row.relid}]
    found = [
        Gap("critical", row.schema_name, row.table_name, OTHER_RELATION.format(row.relid, row.made_for), row.put_right)
        for row in others
    ]  # fmt: skip
    tables = [row for row in tables if row not in others]
    if any(row.is_outdated and not row.is_gone and not row.is_forged for row in tables):
        # One cause, one finding: an upgrade of dbadmin is no reason for an alert per table.
        text = "The capture functions are of an older version of dbadmin"
        found.append(Gap("warning", SCHEMA, "capture", text, "upgrade_capture"))
    if came := {row.id for row in rows(RESTORED)}:
        text = WITH_A_RESTORE.format(len(came), "table" if len(came) == 1 else "tables")
        found.append(Gap("warning", SCHEMA, "capture", text, "upgrade_capture"))
    for row in tables:
        name = (row.schema_name, row.table_name)
        if row.is_gone and row.id not in came:
            found.append(Gap("warning", *name, "The table was dropped; its log stays", "unwatch_table"))
        if row.is_gone:
            continue
        if row.is_forged:
            text = "The capture function is not the one that was installed"
            found.append(Gap("critical", *name, text, "watch_table"))
        if (now := (row.schema_now, row.table_now)) != name:
            text = (
                f"The log still calls it {'.'.join(name)}: watch it again, so that it has its name of today"
            )
            found.append(Gap("warning", *now, text, "watch_table"))
        if row.is_altered:
            text = "Columns changed since: rows are kept whole until capture is renewed"
            found.append(Gap("warning", *name, text, "watch_table"))
    return found


def of_rows(rows: Rows) -> list[Gap]:
    """What came to a table that is recorded for each row, and does not go with it."""
    heir = "{} inherits from it since: its rows that are changed through this table are not recorded"
    late = "{} is deferrable since: rows that exchange keys may be told apart wrongly"
    return [
        Gap("critical" if row.heir else "warning", row.schema_name, row.table_name,
            heir.format(row.heir) if row.heir else late.format(row.late), "watch_table")
        for row in rows(FOR_ROWS)
    ]  # fmt: skip


def of_heirs(rows: Rows) -> list[Gap]:
    """Tables below a watched one by INHERITS, which are not watched themselves."""
    text = (
        "It inherits from {}.{}, which is watched, and is not: what is written to it directly is not recorded,"
        " though that table shows its rows"
    )
    return [
        Gap(
            "warning",
            row.heir_schema,
            row.heir_name,
            text.format(row.schema_name, row.table_name),
            "watch_table",
        )
        for row in rows(HEIRS)
    ]


def of_foreign(rows: Rows) -> list[Gap]:
    """Foreign tables that came below a watched one."""
    watched = {row.relid: row for row in rows(WATCHED)}
    text = (
        "The foreign table {} lies below it: PostgreSQL does not tell triggers what is written there, and refuses"
        " such writes through this table"
    )
    return [
        Gap("critical", table.schema_name, table.table_name, text.format(row.name), "unwatch_table")
        for row in rows(FOREIGN, [list(watched)])
        if (table := watched[row.top])
    ]


def of_records(rows: Rows) -> list[Gap]:
    """What capture itself could not record in the last week."""
    return [
        Gap(
            "critical",
            row.schema_name or "",
            row.table_name or "",
            recorded(row),
            "",
        )
        for row in rows(RECORDED)
    ]


def recorded(row: Any) -> str:
    """The lines of one kind in one sentence."""
    if row.kind in SENTENCES:
        return (
            str(row.text)
            if row.times == 1
            else f"{row.text}; {row.times} such {SENTENCES[row.kind]} in a week"
        )
    return f"{row.times} changes were not recorded, the last at {row.last_at:%Y-%m-%d %H:%M}: {row.text}"


def of_months(rows: Rows) -> list[Gap]:
    """The next month's partitions; without them rows go to the catch-all, which is slower to search and to
    drop."""
    missing = [row.parent for row in rows(MONTHS)]
    if not missing:
        return []
    text = f"{len(missing)} of the log's tables have no partition for the next month"
    return [Gap("warning", "dbadmin_audit", missing[0], text, "ensure_partitions")]
