"""A proven recovery is handed to a keeper: a process of its own that serves it until its time is over."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from django.conf import settings
from django.db import Error as DatabaseError
from django.db import connections as django_connections
from django.utils import timezone

from backups.physical.models import RecoveredCluster
from backups.physical.orphans import PID, remove_folder
from backups.physical.preflight import server_tools
from backups.physical.recovering import Recovering, amcheck
from backups.physical.scratch_cluster import LOCAL, RecoveryFailed, ScratchCluster, wait_for
from dbadmin import processes

if TYPE_CHECKING:
    from dbadmin.runner import Work

#: Seconds between two looks of the keeper, and for its start.
LOOK, START = 1.0, 120.0


def check_pages(job: Recovering, work: Work) -> None:
    """A damaged page is told loudly; whoever needs the data needs it all the same."""
    problem = amcheck(work, job.cluster)
    if problem:
        job.problems.append(problem)
        work.result(problem=problem)
        work.log(problem)


def keep(job: Recovering, work: Work, hours: int) -> None:
    """Write the row, let the keeper start the cluster, and wait until it takes connections."""
    with job.cluster.connect() as connection:
        rows = connection.execute(
            "select datname from pg_catalog.pg_database where datallowconn and not datistemplate order by 1"
        ).fetchall()
    password = job.cluster.make_role()
    job.cluster.stop()
    job.cluster.remove_sockets()
    dsn = job.cluster.open(job.manifest.settings, password)
    job.cluster.remove_sockets()
    row = RecoveredCluster(
        server=job.server,
        base=job.base,
        run=work.run,
        host=socket.gethostname(),
        directory=str(job.cluster.folder),
        port=job.cluster.port,
        target=str(job.target),
        target_at=job.target.moment,
        reached_at=job.reached_at,
        reached_lsn=job.reached_lsn,
        databases=[name for (name,) in rows],
        expires_at=timezone.now() + timedelta(hours=hours),
    )
    row.seal(dsn)
    row.save()
    work.result(recovered=row.pk)
    shutil.rmtree(job.cluster.wal)
    start_keeper(row)
    work.remember(kept=row.pk)
    job.base.release(work)
    if not wait_for(lambda: _is_served(row), START, work.stop_if_cancelled):
        raise RecoveryFailed(f"The recovered cluster did not come up again: {job.cluster.complaint()}")
    problem = f" But: {job.problems[0]}" if job.problems else ""
    work.say(
        f"{job.server} as of {job.target} stands on {row.host}, port {row.port}, until"
        f" {row.expires_at:%Y-%m-%d %H:%M} UTC.{problem}"
    )


def _is_served(row: RecoveredCluster) -> bool:
    row.refresh_from_db()
    if row.ended_at:
        raise RecoveryFailed(f"The recovered cluster ended at once: {row.ended_why}")
    return row.seen_at is not None


def start_keeper(row: RecoveredCluster) -> None:
    """Outlives the run and its worker; a session of its own keeps their signals away."""
    with (Path(row.directory) / "keeper.log").open("ab") as log:
        subprocess.Popen(
            [sys.executable, str(settings.BASE_DIR / "manage.py"), "recovered_cluster", str(row.pk)],
            cwd=settings.BASE_DIR,
            env={
                **os.environ,
                "DBADMIN_STATE": str(settings.DBADMIN_STATE),
                "DJANGO_SETTINGS_MODULE": "dbadmin.settings",
                "DATABASE_URL": database_url(),
            },
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def database_url() -> str:
    """The control database that this process uses."""
    from urllib.parse import quote

    found = django_connections["default"].settings_dict
    user, password = quote(str(found["USER"]), safe=""), quote(str(found["PASSWORD"]), safe="")
    if not found["HOST"]:
        return os.environ.get("DATABASE_URL", "")
    port = f":{found['PORT']}" if found["PORT"] else ""
    return f"postgresql://{user}:{password}@{found['HOST']}{port}/{quote(str(found['NAME']), safe='')}"


class Keeper:
    """Runs one recovered cluster as its child, says each few seconds that it does, and removes it at the end."""

    def __init__(self, pk: int) -> None:
        self.row = RecoveredCluster.objects.select_related("base", "run").get(pk=pk)
        folder = Path(self.row.directory)
        major = int((folder / "data" / "PG_VERSION").read_text().strip())
        self.cluster = ScratchCluster(folder, server_tools(major), "", port=self.row.port)
        self.stopping = threading.Event()

    def run(self) -> None:
        (self.cluster.folder / PID).write_text(str(os.getpid()))
        self.set_socket_folder()
        self.cluster.start(processes.start)
        try:
            why = self.serve()
        finally:
            self.cluster.stop()
            self.cluster.remove_sockets()
        self.end(why)

    def set_socket_folder(self) -> None:
        """The one that the settings name is made anew for each start."""
        conf = self.cluster.folder / "server.conf"
        lines = [
            line for line in conf.read_text().splitlines() if not line.startswith("unix_socket_directories")
        ]
        lines.append(f"unix_socket_directories = '{self.cluster.socket_folder()}'")
        conf.write_text("\n".join(lines) + "\n")

    def serve(self) -> str:
        """Until somebody stops it, its time is over, or it ends by itself; why."""
        # Counted, not looked up: a clock that jumps ahead would end what is in use.
        over = time.monotonic() + (self.row.expires_at - self.row.made_at).total_seconds()
        while not self.stopping.wait(LOOK):
            if not self.cluster.is_running():
                return f"The server ended by itself: {self.cluster.complaint()}"
            if time.monotonic() > over:
                return "Its time was over."
            try:
                if self.answers():
                    RecoveredCluster.objects.filter(pk=self.row.pk).update(seen_at=timezone.now())
                self.row.refresh_from_db()
            except RecoveredCluster.DoesNotExist:
                return "Its server was removed from dbadmin."
            except DatabaseError:
                django_connections.close_all()  # what it serves may be needed just then
                time.sleep(LOOK)
                continue
            if self.row.stop_requested_at:
                return "It was handed over." if self.row.handed_over else "Somebody stopped it."
        return "Its keeper was told to stop."

    def answers(self) -> bool:
        try:
            with socket.create_connection((LOCAL, self.row.port), timeout=1):
                return True
        except OSError:
            return False

    def stop(self, *_: object) -> None:
        self.stopping.set()

    def end(self, why: str) -> None:
        """The directory goes, unless it was handed over; the row remembers."""
        if self.row.handed_over:
            os.sync()
        else:
            remove_folder(self.cluster.folder)
        try:
            RecoveredCluster.objects.filter(pk=self.row.pk).update(ended_at=timezone.now(), ended_why=why)
        except DatabaseError:
            django_connections.close_all()
        (self.cluster.folder / PID).unlink(missing_ok=True)
