"""The rules that are there from the start: written ones, and one for each header with thresholds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from dbadmin.probe_headers import Action, Threshold, parse_actions
from dbadmin.probes import PROBES, Probe
from monitoring.alert_models import AlertRule

Kind, Measure, Comparison, Against = (
    AlertRule.Kind,
    AlertRule.Measure,
    AlertRule.Comparison,
    AlertRule.Against,
)
HOUR, DAY = 3600.0, 86400.0
#: Readings with this distance, seconds, or more do not flicker.
SELDOM = 300.0

#: What to do, for probes whose header has thresholds.
ADVICE = {
    "audit_gaps": "Do what its line names as the remedy: until then changes are, or will be, unrecorded.",
    "backup_tools": "Install the client programs of the server's version on a worker, before the next backup is due.",
    "backup_age": "Take a backup now, then look at the schedule: is it paused, did its last run fail?",
    "blocked_sessions": "See who stands at the front of the queue, and cancel or end that session.",
    "connections_by_database": "Raise the database's connection limit, or pool connections.",
    "connections_by_role": "Raise the role's connection limit, or pool connections.",
    "foreign_repositories": "See why its tool took no backup: its schedule, its log, the disk of its repository.",
    "forecasts": "See what grows and make room before the earliest date.",
    "idle_in_transaction": "End the session, and set idle_in_transaction_session_timeout.",
    "long_transactions": "Old transactions keep dead rows. Cancel the statement or end the session.",
    "materialized_views": "Refresh the view, and give it a schedule.",
    "partitioned_tables": "Create the next partitions now: later rows have no place, or go to the default partition.",
    "recovery_windows": "See whether the WAL receiver is at work and its store takes WAL.",
    "replication_lag": "See what the standby does: a long query, a lock, a slow disk or network.",
    "replication_slots": "Start the reader of the slot again, or drop a slot that nobody reads.",
    "sequences": "Change the column to bigint before the sequence ends: then every insert fails.",
    "server_vitals": "See who holds the connections. Pool them, or raise max_connections.",
    "standbys": "See why the standby falls behind: its disk, the network, a long query on it.",
    "temp_files": "See which statement spills, and raise work_mem for its role or add an index.",
    "vacuum_state": "Vacuum the table, and lower its autovacuum_vacuum_scale_factor.",
    "wal_holes": "Take a base backup now: it makes every later moment recoverable again.",
    "wraparound": "Vacuum the oldest tables of the database; end what holds the horizon back.",
    "xmin_horizon": "End the session, slot or prepared transaction that keeps dead rows.",
}

#: What is wrong, where the reading's title does not say it.
NAMES = {
    ("archiver", "failing_count"): "WAL archiving fails",
    ("audit_gaps", "missing"): "Audit capture is not in order",
    ("backup_age", "written_seconds"): "Backup overdue",
    ("backup_tools", "unfit_count"): "No client program for backups",
    ("connections_by_database", "connections_ratio"): "Connections of a database near the limit",
    ("connections_by_role", "connections_ratio"): "Connections of a role near the limit",
    ("extensions", "behind_count"): "Extension behind",
    ("foreign_repositories", "newest_seconds"): "Backup of another tool overdue",
    ("forecasts", "due_seconds"): "A limit comes near",
    ("host_load", "memory_used_ratio"): "Memory of the machine is full",
    ("invalid_indexes", "leftover_count"): "Invalid index left over",
    ("materialized_views", "stale_seconds"): "Materialized view is stale",
    ("own_cost", "core_ratio"): "Our own reading costs too much",
    ("partitioned_tables", "covered_seconds"): "Partition missing",
    ("pools", "wait_seconds"): "Clients wait for the pooler",
    ("readiness", "missing_count"): "Something is missing for full monitoring",
    ("redis_cache", "used_ratio"): "Redis is full",
    ("recovery_windows", "loss_seconds"): "WAL does not reach the store",
    ("replication_lag", "cut_off_count"): "Standby is cut off",
    ("replication_slots", "retained_bytes"): "Replication slot keeps WAL",
    ("roles", "connections_ratio"): "Role near its connection limit",
    ("row_security", "ineffective_count"): "Row security without effect",
    ("sequences", "used_ratio"): "Sequence runs out",
    ("server_vitals", "connections_ratio"): "Connections near the limit",
    ("settings", "pending_count"): "Settings wait for a restart",
    ("standbys", "replay_lag_bytes"): "Standby falls behind",
    ("statement_store", "used_ratio"): "Room for statements is full",
    ("subscriptions", "silent_seconds"): "Subscription is silent",
    ("table_wraparound", "freeze_ratio"): "Table not frozen for long",
    ("temp_files", "size_bytes"): "Large temporary files",
    ("vacuum_state", "vacuum_due_ratio"): "Vacuum overdue",
    ("wraparound", "used_ratio"): "Transaction numbers run out",
}

WRITTEN: dict[str, dict[str, Any]] = {
    "slow_statement": {
        "name": "Slow statement",
        "probe": "statements",
        "column": "exec_seconds_total",
        "measure": Measure.PER,
        "other": "calls_total",
        "warning": 1.0,
        "critical": 10.0,
        "at_least": 5,
        "for_seconds": 300,
        "advice": "Look at the statement's plan: is an index missing, did its table grow?",
    },
    "slower_statement": {
        "name": "Statement slower than usual",
        "probe": "statements",
        "column": "exec_seconds_total",
        "measure": Measure.PER,
        "other": "calls_total",
        "against": Against.BASELINE,
        "warning": 4.0,
        "clear": 2.0,
        "floor": 0.05,
        "at_least": 20,
        "for_seconds": 600,
        "advice": "See what changed: a plan, a deploy, a setting, the size of a table.",
    },
    "cache_hit": {
        "name": "Cache hit under its baseline",
        "probe": "cache_hits",
        "column": "blocks_hit_total",
        "measure": Measure.SHARE,
        "other": "blocks_read_total",
        "comparison": Comparison.BELOW,
        "against": Against.BASELINE,
        "warning": 0.9,
        "critical": 0.7,
        "clear": 0.95,
        "at_least": 50_000,
        "for_seconds": 900,
        "advice": "See which statements read most: a new sequential scan is the usual cause.",
    },
    "forced_checkpoints": {
        "name": "Checkpoints forced by volume",
        "probe": "checkpoints",
        "column": "requested_total",
        "measure": Measure.SHARE,
        "other": "timed_total",
        "warning": 0.5,
        "at_least": 4,
        "for_seconds": HOUR,
        "tells": False,
        "advice": "Raise max_wal_size, so that checkpoints come by time and not by volume.",
    },
    "redis_hits": {
        "name": "Redis hit rate is low",
        "probe": "redis_cache",
        "column": "hits_total",
        "measure": Measure.SHARE,
        "other": "misses_total",
        "comparison": Comparison.BELOW,
        "warning": 0.7,
        "clear": 0.75,
        "at_least": 500,
        "for_seconds": 900,
        "advice": "See whether keys are evicted for want of memory, or expire too early.",
    },
    "no_backup": {
        "name": "No backup",
        "probe": "backup_age",
        "column": "backups_count",
        "comparison": Comparison.BELOW,
        "critical": 1.0,
        "for_seconds": 1800,
        "advice": "Take a first backup, and give it a schedule.",
    },
    "bad_backup": {
        "name": "Backup with a problem",
        "probe": "backup_age",
        "column": "problem",
        "comparison": Comparison.PRESENT,
        "critical": 1.0,
        "advice": "Take another backup at once; the newest one cannot be trusted.",
    },
    "late_backup": {
        "name": "Backup late",
        "probe": "backup_age",
        "column": "late_ratio",
        "warning": 2.0,
        "critical": 4.0,
        "advice": "Look at the schedule: is it paused, do its runs fail, does a worker serve their queue?",
    },
    "failed_backup": {
        "name": "Backup failed",
        "probe": "backup_age",
        "column": "failed_count",
        "warning": 0.5,
        "critical": 2.5,
        "advice": "Read what the last run says. Nothing old is deleted until a backup succeeds.",
    },
    "shrunken_backup": {
        "name": "Backup shrunken",
        "probe": "backup_age",
        "column": "size_ratio",
        "comparison": Comparison.BELOW,
        "warning": 0.5,
        "critical": 0.1,
        "advice": "See which tables lost their rows before the older backups expire: mark one to be kept.",
    },
    "slower_backup": {
        "name": "Backup slower than usual",
        "probe": "backup_age",
        "column": "slow_ratio",
        "warning": 2.0,
        "advice": "Compare its run with an older one: the network, the store, other load, more data.",
    },
    "missing_copies": {
        "name": "Copies of backups missing",
        "probe": "backup_age",
        "column": "copies_missing_count",
        "warning": 0.5,
        "for_seconds": 6 * HOUR,
        "advice": "Run Copy backups, and give it a schedule. Does the further store answer?",
    },
    "bad_store": {
        "name": "Store against its policy",
        "probe": "backup_age",
        "column": "store_problem",
        "comparison": Comparison.PRESENT,
        "warning": 1.0,
        "advice": "Open the store's page and test it: a lifecycle rule may delete what the policy keeps.",
    },
    "unproven_backup": {
        "name": "Backup unproven",
        "probe": "backup_age",
        "column": "unproven_seconds",
        "warning": 8 * DAY,
        "advice": "Read the newest backup back, or restore it into a scratch database.",
    },
    "base_backup_not_taken": {
        "name": "Base backup not taken",
        "probe": "recovery_windows",
        "column": "base_problem",
        "comparison": Comparison.PRESENT,
        "warning": 1.0,
        "advice": "Read what the last run says: the newest base backup grows old, and recoveries slow.",
    },
    "foreign_gap": {
        "name": "WAL of another tool has a hole",
        "probe": "foreign_repositories",
        "column": "missing",
        "comparison": Comparison.PRESENT,
        "critical": 1.0,
        "advice": "Take a backup with that tool now: it makes every later moment recoverable again.",
    },
    "foreign_problem": {
        "name": "Repository of another tool has a problem",
        "probe": "foreign_repositories",
        "column": "problem",
        "comparison": Comparison.PRESENT,
        "critical": 1.0,
        "advice": "Look into the repository with its own tool, and take a new backup with it.",
    },
    "foreign_unread": {
        "name": "Repository of another tool is not read",
        "probe": "foreign_repositories",
        "column": "unread_seconds",
        "warning": DAY,
        "advice": "See on the server's page of backups why it cannot be read: nobody knows what it holds now.",
    },
    "outgrown_partition": {
        "name": "Partition grows unusually",
        "probe": "partitioned_tables",
        "column": "outgrown_ratio",
        "warning": 2.0,
        "critical": 5.0,
        "clear": 1.8,
        "advice": "See what writes so much: a retry that never ends, a debug log left on. Is there room until its end?",
    },
    "server_unreachable": {
        "name": "Server does not answer",
        "kind": Kind.UNREACHABLE,
        "critical": 60.0,
        "advice": "See whether the server runs, and whether it can be reached from here.",
    },
    "sampler_silent": {
        "name": "Nobody reads the server",
        "kind": Kind.SILENT,
        "critical": 240.0,
        "advice": "Start the sampler: no history is kept and no other alert can open meanwhile.",
    },
    "scheduler_silent": {
        "name": "The scheduler is away",
        "kind": Kind.SCHEDULER,
        "critical": 120.0,
        "advice": "Start the scheduler: nothing that is due runs meanwhile.",
    },
}
#: What mends it, where that is other than what the rows of its reading offer.
MENDS = {
    ("backup_age", "copies_missing_count"): "copy_backups()",
    ("backup_age", "size_ratio"): "",
    ("backup_age", "slow_ratio"): "",
    ("backup_age", "store_problem"): "",
    ("backup_age", "unproven_seconds"): "verify_backup(database)",
    ("partitioned_tables", "outgrown_ratio"): "",
}
#: Probes of whose warnings people are told though nothing worse follows.
TOLD = {"host_load", "materialized_views", "replication_lag", "subscriptions"}
#: Probes that say again what another one says.
REPEATED = {"databases"}
#: Probes whose warning is about a mean since the beginning; a rule above judges the last minutes instead.
JUDGED_BY_INCREASE = {"redis_cache"}
#: How long a header's threshold must be crossed; others: one and a half intervals. What is read every few minutes or
#: more seldom is told at once: waiting for a second look would take up to an hour.
PATIENCE = {
    "audit_gaps": 0,
    "server_vitals": 120,
    "replication_lag": 120,
    "standbys": 120,
    "replication_slots": 300,
    # Autovacuum looks once a minute: what a burst left behind is its work, not yet anybody's.
    "vacuum_state": 600,
}


def keep_defaults(**_: Any) -> None:
    """After each migration: add what is new, follow headers that changed; leave what people changed."""
    wanted = dict(written())
    wanted.update(of_headers())
    known = {rule.origin: rule for rule in AlertRule.objects.exclude(origin=None)}
    AlertRule.objects.bulk_create(
        AlertRule(origin=origin, **columns) for origin, columns in wanted.items() if origin not in known
    )
    for origin, columns in wanted.items():
        rule = known.pop(origin, None)
        if (
            rule
            and not rule.is_changed
            and any(getattr(rule, name) != value for name, value in columns.items())
        ):
            AlertRule.objects.filter(pk=rule.pk).update(**columns)
    AlertRule.objects.filter(pk__in=[rule.pk for rule in known.values() if not rule.is_changed]).delete()


def written() -> Iterator[tuple[str, dict[str, Any]]]:
    """The rules of the list above, by origin."""
    for name, columns in WRITTEN.items():
        yield f"default:{name}", columns


def of_headers() -> Iterator[tuple[str, dict[str, Any]]]:
    """A rule for each probe with thresholds, by origin."""
    for probe in PROBES.values():
        first = probe.critical or probe.warning
        if first is not None and probe.every is not None and probe.name not in REPEATED:
            yield f"header:{probe.name}", of_header(probe, first)
            second = probe.warning
            if second and second.column != first.column and probe.name not in JUDGED_BY_INCREASE:
                yield f"header:{probe.name}:{second.column}", of_header(probe, second)


def of_header(probe: Probe, first: Threshold) -> dict[str, Any]:
    """What a header's two thresholds say. One with a warning alone is a chore: shown, but nobody is told."""
    above = first.comparison in {">", ">=", "="}
    limits = {
        word: rounded(threshold)
        for word, threshold in (("warning", probe.warning), ("critical", probe.critical))
        if threshold is not None and threshold.column == first.column
    }
    return {
        "name": NAMES.get((probe.name, first.column), probe.title),
        "probe": probe.name,
        "column": first.column,
        "comparison": Comparison.ABOVE if above else Comparison.BELOW,
        "against": Against.COLUMN if first.of else Against.LIMIT,
        "other": first.of,
        "warning": limits.get("warning"),
        "critical": limits.get("critical"),
        "clear": cleared(limits.get("warning", first.limit), above, first),
        "for_seconds": PATIENCE.get(probe.name, patience(probe)),
        "advice": ADVICE.get(probe.name, ""),
        "tells": "critical" in limits or probe.name in TOLD,
    }


def patience(probe: Probe) -> int:
    """Seconds that a limit of its header must be crossed."""
    every = probe.every or 60
    return 0 if every >= SELDOM else round(every * 1.5)


def rounded(threshold: Threshold) -> float:
    """The limit itself; of >= and = what lies just below it, since rules only know above and below."""
    if threshold.comparison in {">=", "="}:
        return threshold.limit - 1e-9
    return threshold.limit + 1e-9 if threshold.comparison == "<=" else threshold.limit


def cleared(limit: float, above: bool, threshold: Threshold) -> float:
    """A tenth on the good side of the limit, so that an alert does not open and end all the time.

    Small counts and limits that the row itself gives are exact.
    """
    if threshold.of or (threshold.column.endswith("_count") and limit <= 10):
        return limit
    return limit - abs(limit) * 0.1 if above else limit + abs(limit) * 0.1


def mending(rule: AlertRule) -> tuple[Action, ...]:
    """The operations that end what the rule found."""
    if rule.probe not in PROBES:
        return ()
    own = MENDS.get((rule.probe, rule.column))
    return PROBES[rule.probe].actions if own is None else parse_actions(own)
