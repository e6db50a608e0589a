"""The triggers of a watched table: which there are, and how to make them and take them away."""

from __future__ import annotations

from collections.abc import Iterable

from psycopg.sql import SQL, Composable, Identifier

from audit.log_tables import SCHEMA

TRIGGERS = {
    operation: f"dbadmin_audit_{operation.lower()}"
    for operation in ("INSERT", "UPDATE", "DELETE", "TRUNCATE")
}
TRANSITION = {
    "INSERT": "REFERENCING NEW TABLE AS new_rows ",
    "UPDATE": "REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows ",
    "DELETE": "REFERENCING OLD TABLE AS old_rows ",
    "TRUNCATE": "",
}
#: They fire where the others do not: in sessions with session_replication_role = replica, and in what logical
#: replication applies, which fires no statement trigger at all.
REPLICA, REPLICA_TRUNCATE = "dbadmin_audit_replica", "dbadmin_audit_replica_truncate"
#: Is trigger t of relation c as it was made? One that calls another function, or only under a condition, or at another
#: event, bears its name and records less; and of a relation that is said to have none, none fires.
AS_MADE = """(t.tgqual is null and c.relhastriggers and exists (
    select from pg_catalog.pg_proc p
    where p.oid = t.tgfoid and p.pronamespace = 'dbadmin_audit'::regnamespace
      and ((t.tgname, t.tgtype, regexp_replace(p.proname, '_\\d+$', '')) in (
          ('dbadmin_audit_insert', 4, 'capture'), ('dbadmin_audit_delete', 8, 'capture'),
          ('dbadmin_audit_update', 16, 'capture'), ('dbadmin_audit_truncate', 32, 'capture'),
          ('dbadmin_audit_replica_truncate', 32, 'capture'), ('dbadmin_audit_replica', 29, 'capture_row'))
          or (t.tgname, t.tgtype, regexp_replace(p.proname, '_\\d+$', '')) in (
          ('dbadmin_audit_insert', 5, 'capture_row'), ('dbadmin_audit_delete', 9, 'capture_row'),
          ('dbadmin_audit_update', 17, 'capture_row')) and p.prosrc ~ 'TG_NAME')))"""


def function_name(watched_id: int, row: bool = False) -> Identifier:
    """The capture function of a watched table; row: the one for its rows."""
    return Identifier(SCHEMA, f"capture_{'row_' if row else ''}{watched_id}")


def create_triggers(
    watched_id: int, relations: list[tuple[str, str]], level: str = "statement"
) -> list[Composable]:
    """Four triggers on the table and on each partition: a write to a partition fires only its own."""
    made: list[Composable] = []
    for relation in relations:
        for operation, name in TRIGGERS.items():
            row = level == "row" and operation != "TRUNCATE"
            made.append(
                SQL("CREATE TRIGGER {} AFTER {} ON {} {}FOR EACH {} EXECUTE FUNCTION {}()").format(
                    Identifier(name),
                    SQL(operation),
                    Identifier(*relation),
                    SQL("" if row else TRANSITION[operation]),
                    SQL("ROW" if row else "STATEMENT"),
                    function_name(watched_id, row),
                )
            )
    return made


def create_replica_triggers(
    watched_id: int, relations: list[tuple[str, str]], holders: list[tuple[str, str]]
) -> list[Composable]:
    """Two more for what fires no usual trigger; holders: those of the relations that hold rows themselves."""
    made: list[Composable] = []
    for relation in relations:
        table, kinds = Identifier(*relation), [(REPLICA_TRUNCATE, "TRUNCATE", "STATEMENT")]
        if relation in holders:
            kinds.append((REPLICA, "INSERT OR UPDATE OR DELETE", "ROW"))
        made += [
            SQL("CREATE TRIGGER {} AFTER {} ON {} FOR EACH {} EXECUTE FUNCTION {}()").format(
                Identifier(name), SQL(operation), table, SQL(level), function_name(watched_id, level == "ROW")
            )
            for name, operation, level in kinds
        ]
        switches = [SQL("ENABLE REPLICA TRIGGER {}").format(Identifier(name)) for name, _, _ in kinds]
        made.append(SQL("ALTER TABLE {} {}").format(table, SQL(", ").join(switches)))
    return made


def drop_triggers(
    relations: list[tuple[str, str]], names: Iterable[str] = (*TRIGGERS.values(), REPLICA, REPLICA_TRUNCATE)
) -> list[Composable]:
    """Take them away again."""
    return [
        SQL("DROP TRIGGER IF EXISTS {} ON {}").format(Identifier(name), Identifier(*relation))
        for relation in relations
        for name in names
    ]
