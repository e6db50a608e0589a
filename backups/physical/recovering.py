"""Recover a cluster to a moment in a scratch directory of this host, and prove that it came there."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
from django.utils import timezone

from backups import leases
from backups.logical import Tools
from backups.manifest import NoManifest
from backups.models import BackupKey
from backups.physical import chains, combining, heartbeat, layers, preflight, targets
from backups.physical.chains import Chain
from backups.physical.combining import Layer
from backups.physical.fetching import fetch_wal
from backups.physical.manifest import BaseManifest
from backups.physical.models import BaseBackup, PointInTime
from backups.physical.orphans import remove_folder, sweep
from backups.physical.scratch_cluster import (
    RecoveryFailed,
    ScratchCluster,
    popen_options,
    recovered_folder,
    restore_command,
)
from backups.physical.taking import manifest_of
from backups.physical.targets import Route, Target
from backups.physical.wal import show_lsn
from backups.preflight import quoted
from backups.stores import StoreError
from dbadmin.models import Server
from dbadmin.operations import Refused
from dbadmin.steps import Call, Step
from dbadmin.units import duration, size

if TYPE_CHECKING:
    from dbadmin.runner import Work

#: Minutes without any progress of the replay until it is given up.
STALL_SECONDS = 30 * 60
ENDED_EARLY = "recovery ended before configured recovery target was reached"
#: From here on a database knows the version of the rules that sort its text.
DATABASES_KNOW_VERSIONS = 150_000
#: Databases whose text was sorted by rules of another version than this host has.
SORTED_OTHERWISE = """
    select datname, coalesce(datcollversion, 'unknown'),
           coalesce(pg_catalog.pg_database_collation_actual_version(oid), 'unknown')
    from pg_catalog.pg_database
    where datcollversion is distinct from pg_catalog.pg_database_collation_actual_version(oid) and datallowconn
    order by datname"""
#: Clocks of commits and beats are read a moment before they count.
TOLERANCE_SECONDS = 1.0


def plan_recovery(server: Server, target: Target) -> Recovering:
    """Look at everything that can be known before; raises Refused."""
    point = PointInTime.objects.select_related("server", "store").filter(server=server).first()
    if point is None:
        raise Refused(f"Point-in-time recovery of {server} was never on. Switch it on first.")
    chain = targets.choose(chains.recoverable(server), target, server)
    try:
        below = [Layer(base, manifest_of(base)) for base in layers.layers(chain.base)]
    except (StoreError, NoManifest) as reason:
        raise Refused(f"The base backup cannot be read: {reason}") from reason
    for layer in below:
        if lacks := BackupKey.lacking(layer.manifest.recipients):
            raise Refused(f"The base backup cannot be opened. {lacks}")
    major = below[-1].manifest.major
    tools = preflight.server_tools(major)
    combining_tools = preflight.combining_tools(major) if len(below) > 1 else None
    wal = chains.wal_of(server, point.system_id, point.segment_bytes)
    check_room(below, len(targets.route(point, wal, chain, target).segments) * point.segment_bytes)
    return Recovering(server, point, target, chain, below, tools, combining_tools)


def check_room(below: Sequence[Layer], wal_bytes: int) -> None:
    """Refuse a recovery whose files do not fit on this worker's disk."""
    needed = sum(layer.manifest.plain_bytes for layer in below) * (2 if len(below) > 1 else 1) + wal_bytes
    folder = recovered_folder()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if free < needed * 1.1:
        raise Refused(
            f"Not started: the unpacked base backup and its WAL need {size(needed)} on this worker, {folder} has"
            f" {size(free)} free. Free space, or set DBADMIN_STATE to a larger disk."
        )


@dataclass
class Recovering:
    """One recovery under way; each method is a step of the plan."""

    server: Server
    point: PointInTime
    target: Target
    chain: Chain
    below: Sequence[Layer]
    tools: Tools
    combining_tools: Tools | None = None
    started: float = field(default_factory=time.monotonic)
    reached_lsn: int = 0
    reached_at: datetime | None = None
    says: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    cluster: ScratchCluster = field(init=False)
    route: Route = field(init=False)

    @property
    def base(self) -> BaseBackup:
        return self.chain.base

    @property
    def manifest(self) -> BaseManifest:
        return self.below[-1].manifest

    def steps(self) -> list[Step]:
        """Up to a proven cluster that runs as our child."""
        return [
            Call(
                self.fetch,
                f"Read the {self._named()} from {self.base.store}, compare every file with the server's own checksum,"
                f" and unpack it into a directory of this worker that nobody else may enter.{self._combined()}",
            ),
            Call(
                self.fetch_wal,
                f"Read all WAL from {self.base.start} up to {self.target}, and refuse when a segment is missing.",
            ),
            Call(
                self.replay,
                f"Start it with PostgreSQL {self.tools}, listening to nobody, with archiving, replication and"
                f" autovacuum off, and replay up to {self.target}.",
            ),
            Call(
                self.prove,
                "Compare where it ended with where it must, and the heartbeat with what was written.",
            ),
        ]

    def _named(self) -> str:
        return " and the ".join(str(layer.base) for layer in self.below)

    def _combined(self) -> str:
        """How layers become one."""
        if self.combining_tools is None:
            return ""
        return (
            f" Put them together with pg_combinebackup {self.combining_tools}, and let pg_verifybackup compare the"
            " result with its own list."
        )

    # -- fetching ----------------------------------------------------------

    def fetch(self, work: Work) -> None:
        """All layers, put together."""
        self.started = time.monotonic()
        for left in sweep():
            work.log(f"Removed {left}: the keeper of that recovery was gone.")
        self.base.lease(work)
        folder = recovered_folder() / str(work.run.pk)
        work.remember(folder=str(folder), host=socket.gethostname())
        self.cluster = ScratchCluster(folder, self.tools, self.manifest.superuser)
        self.cluster.make()
        combining.unpack(work, self.below, self.cluster.folder, self.combining_tools)

    def fetch_wal(self, work: Work) -> None:
        wal = chains.wal_of(self.server, self.point.system_id, self.point.segment_bytes)
        self.route = targets.route(self.point, wal, self.chain, self.target)
        fetch_wal(work, self.point, self.route.segments, self.cluster.wal)

    # -- replaying ---------------------------------------------------------

    def replay(self, work: Work) -> None:
        """To the target; where no later commit is in the WAL, to the end of all that belongs before it."""
        begun = time.monotonic()
        if not self._replay(work, self.target.settings()):
            work.log(
                f"No later commit is in the WAL up to {self.target}: all of it belongs before, and is replayed."
            )
            if not self._replay(work, {}):
                raise RecoveryFailed(f"The recovered cluster did not start: {self.cluster.complaint()}")
        with self.cluster.connect() as connection:
            row = connection.execute(
                "select pg_catalog.pg_last_wal_replay_lsn() - '0/0'::pg_lsn, pg_catalog.pg_last_xact_replay_timestamp()"
            ).fetchone()
        if row and row[0] is not None:
            self.reached_lsn, self.reached_at = int(row[0]), row[1]
        last = f", last commit {self.reached_at:%H:%M:%S.%f} UTC" if self.reached_at else ""
        work.log(
            f"Replayed up to {show_lsn(self.reached_lsn)} in {duration(time.monotonic() - begun)}{last}."
        )

    def _replay(self, work: Work, aim: dict[str, str]) -> bool:
        """Start, and wait until it takes writes; False when the WAL ended before the target."""
        extra = {
            **aim,
            "restore_command": restore_command(self.cluster.wal),
            "recovery_target_timeline": str(self.route.timeline),
            "recovery_target_action": "promote",
        }
        self.cluster.configure(self.manifest.settings, extra)
        (self.cluster.data / "recovery.signal").touch()
        self.cluster.start(work.popen)
        seen, heard = -1, time.monotonic()
        while self.cluster.is_running():
            work.stop_if_cancelled()
            found = self._ask()
            if found is not None and not found[0]:
                return True
            position = int(found[1] or 0) if found else 0
            if position != seen:
                seen, heard = position, time.monotonic()
                start, end = self.base.start_lsn, max(self.chain.end_lsn, position)
                work.progress(max(0, position - start), end - start, "bytes")
            if time.monotonic() - heard > STALL_SECONDS:
                raise RecoveryFailed(
                    f"The replay has stood at {show_lsn(seen)} for {duration(STALL_SECONDS)}."
                )
            time.sleep(0.1)
        if ENDED_EARLY in self.cluster.complaint() and self.target.kind == "time" and aim:
            return False
        raise RecoveryFailed(f"The recovered cluster did not come up: {self.cluster.complaint()}")

    def _ask(self) -> Any:
        try:
            with self.cluster.connect() as connection:
                return connection.execute(
                    "select pg_catalog.pg_is_in_recovery(), pg_catalog.pg_last_wal_replay_lsn() - '0/0'::pg_lsn"
                ).fetchone()
        except psycopg.Error:
            return None

    # -- proving -----------------------------------------------------------

    def prove(self, work: Work) -> None:
        """The position first: an end that came too early is a hole, whatever the server says."""
        if self.reached_lsn < self.route.must_reach:
            raise RecoveryFailed(
                f"The recovery ended at {show_lsn(self.reached_lsn)}, but the source had written up to"
                f" {show_lsn(self.route.must_reach)} by then. Something between is lost; nothing was changed anywhere."
            )
        self._say(
            work,
            f"It ended at {show_lsn(self.reached_lsn)}; the source was at {show_lsn(self.route.must_reach)} then.",
        )
        moment = self.target.moment
        if moment and self.reached_at and self.reached_at > moment:
            raise RecoveryFailed(f"A commit of {self.reached_at} is in it, later than {self.target}.")
        self._prove_heartbeat(work)
        self._compare_sorting(work)
        took = time.monotonic() - self.started
        BaseBackup.objects.filter(pk=self.base.pk).update(
            recovered_at=timezone.now(), recovered_seconds=took, problem=""
        )
        work.result(
            reached_lsn=show_lsn(self.reached_lsn),
            reached_at=self.reached_at.isoformat() if self.reached_at else None,
            rto_seconds=round(took, 3),
            replayed_bytes=self.reached_lsn - self.base.start_lsn,
            says=self.says,
        )

    def _say(self, work: Work, sentence: str) -> None:
        self.says.append(sentence)
        work.log(sentence)

    def _compare_sorting(self, work: Work) -> None:
        """The files came as they are: an index over text leads past rows where this host sorts otherwise."""
        with self.cluster.connect() as connection:
            if connection.info.server_version < DATABASES_KNOW_VERSIONS:
                return
            for name, was, here in connection.execute(SORTED_OTHERWISE):
                self._say(
                    work,
                    f"Text of {name} was sorted by version {was} of its rules, this host has {here}: an index may "
                    f"lead past rows. Dumped and restored it is right; here this mends it: "
                    f"REINDEX DATABASE {quoted(name)};",
                )

    def _prove_heartbeat(self, work: Work) -> None:
        """The newest beat that was written before the target must be in it; one that came after must not."""
        floor = self.route.floor
        if not self.point.heartbeat or floor is None or floor.beat is None:
            work.log("No heartbeat was written then; the position alone proves it.")
            return
        try:
            with self.cluster.connect(self.point.heartbeat_database) as connection:
                row = connection.execute(heartbeat.READ.encode()).fetchone()
        except psycopg.Error as error:
            raise RecoveryFailed(f"The heartbeat's row cannot be read: {error}") from error
        number, at = row or (0, None)
        if number < floor.beat:
            raise RecoveryFailed(
                f"Beat {floor.beat} of {floor.beat_at} must be in it, but its newest is {number}."
            )
        moment = self.target.moment
        if moment and at is not None and (at - moment).total_seconds() > TOLERANCE_SECONDS:
            raise RecoveryFailed(
                f"Beat {number} of {at} is in it, though it was written after {self.target}."
            )
        ceiling = self.route.ceiling
        later = (
            f"; beat {ceiling.beat} of {ceiling.beat_at:%H:%M:%S} is not"
            if ceiling and ceiling.beat and ceiling.beat_at and number < ceiling.beat
            else ""
        )
        self._say(work, f"Beat {number} of {at:%H:%M:%S} is in it{later}.")


def clean_up(work: Work) -> None:
    """A recovery that did not end well leaves nothing: its directory goes, its lease ends."""
    leases.end(work)
    folder, host = work.facts.get("folder"), work.facts.get("host")
    if not folder or work.facts.get("kept"):
        return
    if host != socket.gethostname():
        raise RecoveryFailed(
            f"What the recovery left lies on the host {host}, in {folder}; a worker there removes it."
        )
    remove_folder(Path(folder))
    work.log(f"Removed {folder}.")


def amcheck(work: Work, cluster: ScratchCluster) -> str:
    """Every page of every table and index looked at, where pg_amcheck is at hand; what it found, or nothing."""
    program = Path(cluster.tools.path("pg_amcheck"))
    if not program.exists():
        work.log("pg_amcheck is not on this worker; the pages were not looked at.")
        return ""
    argv = [str(program), "--all", "--install-missing=pg_catalog", "--no-password"]
    environment = {
        "PGHOST": str(cluster.sockets), "PGPORT": str(cluster.port), "PGUSER": cluster.superuser,
        "PGDATABASE": "postgres",
    }  # fmt: skip
    process = work.popen(
        argv, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        cwd="/", **popen_options(),
    )  # fmt: skip
    out = (process.communicate()[0] or b"").decode(errors="replace").strip().splitlines()
    for line in out[:50]:
        work.log(line)
    if process.returncode == 0:
        work.log("pg_amcheck found nothing wrong in any table or index.")
        return ""
    if any("is not available" in line for line in out):
        work.log("The extension amcheck is not on this worker; the pages were not looked at.")
        return ""
    return f"pg_amcheck: {out[0] if out else process.returncode}"
