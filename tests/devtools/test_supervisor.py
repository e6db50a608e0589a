"""Processes are started when their turn comes, restarted with a pause, and stopped in reverse order."""

import contextlib
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from devtools.failure import Failure
from devtools.places import CHECKOUT
from devtools.say import Say
from devtools.stack import stop_keepers
from devtools.supervisor import Running, Service, Stopped, Supervisor, rotate, stop_signals, supervising

NOTES_ITS_END = "trap 'echo {name} >> {file}; exit 0' TERM; touch {name}.ready; while :; do sleep 0.05; done"


def shell(tmp_path, name, script, tier=1, **more):
    return Service(
        name=name, argv=["sh", "-c", script], log=tmp_path / f"{name}.log", tier=tier, cwd=tmp_path, **more
    )


def noting(tmp_path, name, tier):
    script = NOTES_ITS_END.format(name=name, file=tmp_path / "ended")
    return shell(tmp_path, name, script, tier, is_ready=(tmp_path / f"{name}.ready").exists)


def test_the_highest_tier_stops_first(tmp_path):
    supervisor = Supervisor(Say())
    supervisor.start(noting(tmp_path, "database", 1))
    supervisor.start(noting(tmp_path, "web", 2))
    supervisor.stop()
    assert (tmp_path / "ended").read_text().split() == ["web", "database"]


def test_a_process_that_ends_before_it_answers_is_a_readable_failure(tmp_path):
    supervisor = Supervisor(Say())
    with pytest.raises(Failure) as told:
        supervisor.start(shell(tmp_path, "web", "echo no such setting; exit 3", is_ready=lambda: False))
    assert told.value.text() == (
        f"web ended at once with status 3.\n    no such setting\n  The whole log: {tmp_path / 'web.log'}"
    )


def test_a_process_that_stays_silent_is_given_up(tmp_path):
    supervisor = Supervisor(Say())
    with pytest.raises(Failure, match=r"web did not answer within 0 s\."):
        supervisor.start(shell(tmp_path, "web", "sleep 60", is_ready=lambda: False, ready_seconds=0.2))
    supervisor.stop()


def test_a_missing_program_is_named(tmp_path):
    with pytest.raises(Failure, match=r"web could not be started: No such file or directory \(/nowhere\)\."):
        Running(Service(name="web", argv=["/nowhere"], log=tmp_path / "web.log", tier=1))


def test_a_process_that_ends_is_started_again_after_a_pause(tmp_path):
    one = Running(shell(tmp_path, "worker", "exit 1", may_restart=True))
    one.process.wait()
    one.look()
    assert one.restarts == 1
    assert one.due > time.monotonic()
    one.due = time.monotonic()
    first = one.process.pid
    one.look()
    assert one.process.pid != first
    one.process.wait()


def test_a_process_that_ends_again_and_again_ends_the_demo(tmp_path):
    one = Running(shell(tmp_path, "worker", "exit 1", may_restart=True))
    one.process.wait()
    one.restarts = 5
    with pytest.raises(Failure, match=r"worker ended with status 1, 6 times now\."):
        one.look()


def test_a_database_that_ends_ends_the_demo_at_once(tmp_path):
    one = Running(shell(tmp_path, "target", "exit 1"))
    one.process.wait()
    with pytest.raises(Failure, match="target ended with status 1"):
        one.look()


def test_what_does_not_stop_is_killed_with_its_children(tmp_path):
    one = Running(shell(tmp_path, "stubborn", "trap '' TERM; sleep 60 & wait; sleep 60", stop_seconds=0.3))
    time.sleep(0.3)
    one.ask_to_stop()
    assert one.end() is False
    assert one.process.returncode == -signal.SIGKILL


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's help is Linux's")
def test_children_die_with_a_killed_supervisor(tmp_path):
    code = f"""
import sys, time
from pathlib import Path
from devtools.supervisor import Running, Service
one = Running(Service("child", ["sleep", "60"], Path({str(tmp_path)!r}) / "log", 1))
print(one.process.pid, flush=True)
time.sleep(60)
"""
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=CHECKOUT)
    child = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    until = time.monotonic() + 5
    while is_running(child) and time.monotonic() < until:
        time.sleep(0.05)
    assert not is_running(child)


def test_an_end_that_is_asked_for_during_a_start_forgets_no_process(tmp_path):
    script = "import os, signal; os.kill(os.getppid(), signal.SIGTERM); import time; time.sleep(60)"
    ready = (tmp_path / "never").exists
    with pytest.raises(Stopped), stop_signals(), supervising(Say()) as supervisor:
        supervisor.start(
            Service("web", [sys.executable, "-c", script], tmp_path / "web.log", 1, is_ready=ready)
        )
    assert supervisor.running == []
    assert not any("time.sleep(60)" in words for words in command_lines())


def command_lines():
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            yield path.read_text()


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_large_log_is_kept_once(tmp_path):
    log = tmp_path / "web.log"
    log.write_bytes(b"x" * 5_000_001)
    rotate(log)
    assert not log.exists()
    assert (tmp_path / "web.old.log").stat().st_size == 5_000_001
    assert [path.name for path in tmp_path.iterdir()] == ["web.old.log"]


def test_recovered_clusters_end_with_the_demo_and_others_are_left_alone(tmp_path):
    sleeper = [sys.executable, "-c", "import time; time.sleep(120)"]
    keeper, other = subprocess.Popen([*sleeper, "recovered_cluster"]), subprocess.Popen(sleeper)
    try:
        for name, process in (("1", keeper), ("2", other)):
            (tmp_path / name).mkdir()
            (tmp_path / name / "keeper.pid").write_text(str(process.pid))
        (tmp_path / "3").mkdir()
        (tmp_path / "3" / "keeper.pid").write_text("torn")
        stop_keepers(tmp_path)
        assert keeper.wait(10) == -signal.SIGTERM
        assert other.poll() is None
    finally:
        for process in (keeper, other):
            process.kill()
            process.wait()
