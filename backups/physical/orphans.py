"""Recovered clusters whose keeper is gone, as after a restart of the host: ended in its place, and removed."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import time
from pathlib import Path

from django.utils import timezone

from backups.physical.models import RecoveredCluster
from backups.physical.scratch_cluster import recovered_folder, remove_sockets
from dbadmin.models import Run

#: The file in which a keeper writes which process it is.
PID = "keeper.pid"
GONE = "Its keeper was gone, as after a restart of the host."


def sweep() -> list[str]:
    """Remove what recoveries left on this host whose keeper and run are gone; returns the directories."""
    removed = []
    for row in RecoveredCluster.objects.filter(host=socket.gethostname(), ended_at=None).select_related(
        "run"
    ):
        if is_orphaned(row):
            bury(row)
            removed.append(row.directory)
    root = recovered_folder()
    for folder in sorted(root.iterdir()) if root.is_dir() else []:
        if RecoveredCluster.objects.filter(directory=str(folder), host=socket.gethostname()).exists():
            continue
        run = Run.objects.filter(pk=int(folder.name)).first() if folder.name.isdigit() else None
        if run is None or not (run.is_open or run.clean_up_due_at):
            remove_folder(folder)
            removed.append(str(folder))
    return removed


def is_orphaned(row: RecoveredCluster) -> bool:
    """Whether it stands on this host, and neither its keeper nor the run that starts one is at work."""
    is_begun = row.run is not None and (row.run.is_open or row.run.clean_up_due_at)
    return row.host == socket.gethostname() and not is_begun and not keeper_lives(Path(row.directory))


def bury(row: RecoveredCluster) -> None:
    """End a cluster in the place of its keeper; what is handed over stays as it lies."""
    if row.handed_over:
        end_postmaster(Path(row.directory))
    else:
        remove_folder(Path(row.directory))
    RecoveredCluster.objects.filter(pk=row.pk, ended_at=None).update(ended_at=timezone.now(), ended_why=GONE)
    row.refresh_from_db()


def keeper_lives(folder: Path) -> bool:
    try:
        pid = int((folder / PID).read_text())
        return "recovered_cluster" in Path(f"/proc/{pid}/cmdline").read_text()
    except (OSError, ValueError):
        return False


def remove_folder(folder: Path) -> None:
    """End what runs in it, then remove it."""
    end_postmaster(folder)
    shutil.rmtree(folder, ignore_errors=True)


def end_postmaster(folder: Path) -> None:
    """End what its keeper or its run did not, with the directory of its sockets, which nobody else knows any more."""
    signal_postmaster(folder / "data")
    remove_sockets(folder)


def signal_postmaster(data: Path) -> None:
    """A postmaster whose parent died is dead as well; its children need a moment to notice."""
    try:
        pid = int((data / "postmaster.pid").read_text().splitlines()[0])
        if str(data) in Path(f"/proc/{pid}/cmdline").read_text():
            os.kill(pid, signal.SIGQUIT)
            for _ in range(50):
                os.kill(pid, 0)
                time.sleep(0.1)
    except (OSError, ValueError, IndexError):
        return
