"""./dev test: lint, format, types, templates, migrations, and every test on private real servers."""

import base64
import json
import os
import re
import signal
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from devtools import commands, venv
from devtools.failure import Failure
from devtools.places import Places
from devtools.say import Say
from devtools.supervisor import Stopped

#: pytest's closing line, such as "= 3 failed, 5 passed in 2.10s =".
OUTCOME = re.compile(r"\d+ \w+.* in \d+\.\d+s|no tests ran")
#: pytest's status when tests ran and some failed.
TESTS_FAILED = 1
#: So many failures may come from a machine that was busy; more are not tried a second time.
AGAIN = 3
APPS = ("dbadmin", "monitoring", "backups", "audit", "maintenance")


def checks(places: Places) -> dict[str, list[str]]:
    """What is checked before the tests, and by which command."""
    python = str(places.python)
    ruff = [python, "-m", "ruff"]
    return {
        "lint": [*ruff, "check", "."],
        "format": [*ruff, "format", "--check", "."],
        "types": [python, "-m", "mypy", *APPS, "devtools"],
        "templates": [python, "-m", "djlint", "--lint", "--quiet", "templates"],
        "migrations": [python, "-W", "ignore", "manage.py", "makemigrations", "--check", "--dry-run"],
    }


def environment(places: Places) -> dict[str, str]:
    """What the checks and the tests find around them; nothing of a product that runs beside them."""
    return {
        **venv.variables(places),
        "SECRET_KEY": "only-for-checks",
        "DBADMIN_KEYS": "checks=" + base64.b64encode(bytes(32)).decode(),
        # Hundreds of processes of the product begin in the tests: the first compiles it, not into the checkout.
        "PYTHONDONTWRITEBYTECODE": "",
        "PYTHONPYCACHEPREFIX": str(places.local / "bytecode"),
        "RUFF_NO_CACHE": "true",
    }


def test(places: Places, say: Say, words: list[str]) -> int:
    """Everything; with arguments only pytest, with these."""
    venv.ready(places, "dev", say)
    if words:
        return run_pytest(places, words)[0]
    failed = [name for name, argv in checks(places).items() if not passes(places, say, name, argv)]
    say.step("tests", "on private servers of their own")
    outcome = run_on_both_cores(places, say, [])
    say.line()
    for name in checks(places):
        say.line(f"{name:<12}{'FAILED' if name in failed else 'ok'}")
    outcome.tell(say, "tests")
    return 1 if failed or outcome.status else 0


@dataclass(frozen=True)
class Outcome:
    """How the tests ended: pytest's status and last line, and what passed only at the second try."""

    status: int
    last: str
    unsteady: Sequence[str] = ()

    def tell(self, say: Say, name: str) -> None:
        """One line, and one for each test that is to be mended although it passed in the end."""
        say.line(f"{name:<12}{self.last.strip('= ')}")
        for test_name in self.unsteady:
            say.line(f"{'unsteady':<12}{test_name} passed only at the second try: mend it")


def run_on_both_cores(places: Places, say: Say, words: Iterable[str], **more: str) -> Outcome:
    """Run the tests three at a time; a few that failed run once more, alone, and are named when they pass then.

    Two cores hold three: half of the time a test waits for a server, a worker process or a browser.
    """
    status, last = run_pytest(places, ["-n", "3", "--dist", "loadfile", "--cache-clear", *words], **more)
    if status != TESTS_FAILED or not 0 < len(first := failures(places)) <= AGAIN:
        return Outcome(status, last)
    say.step("tests", f"{len(first)} failed on a busy machine; those once more, alone")
    status, _ = run_pytest(places, [*words, "--last-failed", "--last-failed-no-failures", "none"], **more)
    return Outcome(status, last, first if status == 0 else [])


def failures(places: Places) -> list[str]:
    """The tests that failed in the last run, by pytest's own memory."""
    try:
        found = json.loads((places.checkout / ".pytest_cache/v/cache/lastfailed").read_text())
    except (OSError, ValueError):
        return []
    return sorted(found)


def passes(places: Places, say: Say, name: str, argv: list[str]) -> bool:
    """Run one check and show what it found."""
    log = places.logs / f"check-{name}.log"
    log.unlink(missing_ok=True)
    try:
        commands.run(argv, log=log, says=name, say=say, env=environment(places), cwd=places.checkout)
    except Failure:
        say.step(name, "FAILED")
        say.line(log.read_text().rstrip())
        return False
    say.step(name, "ok")
    return True


def run_pytest(places: Places, words: Iterable[str], **more: str) -> tuple[int, str]:
    """Run pytest, show its output as it comes, and return its status and its last line."""
    argv = [str(places.python), "-m", "pytest", *words]
    child = subprocess.Popen(
        [*argv, "--color=yes"] if os.isatty(1) else argv,
        stdout=subprocess.PIPE,
        text=True,
        errors="replace",
        cwd=places.checkout,
        env={**os.environ, **environment(places), **more},
    )
    assert child.stdout
    last = ""
    try:
        for line in child.stdout:
            print(line, end="", flush=True)
            if OUTCOME.search(line):  # servers may say something after it
                last = line.strip()
    except Stopped:
        child.send_signal(signal.SIGINT)  # its servers end with it
        child.wait(30)
        raise
    return child.wait(), last
