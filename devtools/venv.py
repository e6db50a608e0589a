"""The virtual environment with exactly the locked packages."""

import hashlib
import importlib.util
import os
import sys
from pathlib import Path

from devtools import commands, packages
from devtools.failure import Failure
from devtools.lock import waiting
from devtools.places import Places, remove
from devtools.say import Say

# The Python itself, by whichever of its names it was called.
PYTHON = os.path.realpath(sys.executable)
# What is installed for which purpose; the later list holds all of the earlier one.
LOCKS = {"demo": "requirements-demo.txt", "dev": "requirements-dev.txt"}


def key(places: Places, purpose: str) -> str:
    """Changes whenever the environment must be made again: other pins, other Python, other path."""
    lock = (places.checkout / LOCKS[purpose]).read_bytes()
    return hashlib.sha256(lock + f"{sys.version}{PYTHON}{places.venv}".encode()).hexdigest()


def stamp(places: Places, purpose: str) -> Path:
    """The file that says a purpose's packages are complete."""
    return places.venv / f"complete-{purpose}"


def is_complete(places: Places, purpose: str) -> bool:
    """Whether nothing must be installed."""
    return any(
        path.exists() and path.read_text() == key(places, name) and places.python.exists()
        for name in (purpose, "dev")
        for path in [stamp(places, name)]
    )


def ready(places: Places, purpose: str, say: Say) -> None:
    """Install what the lock names, with hashes; nothing at all when that is done already."""
    if is_complete(places, purpose):
        return
    with waiting(places.local / "install.lock", say):
        if is_complete(places, purpose):
            return
        say.step("python", "installing packages into .venv (pinned, with hashes)")
        log = places.logs / "install.log"
        make(places, log)
        install(places, purpose, log, say)
        stamp(places, purpose).write_text(key(places, purpose))


def make(places: Places, log: Path) -> None:
    """An environment to install into; one of another Python or path, or half installed, is thrown away."""
    home = f"{sys.version}{PYTHON}{places.venv}"
    made, stamps = places.venv / "made-by", [stamp(places, purpose) for purpose in LOCKS]
    # pip takes a package that it was writing when it was killed for installed.
    was_complete = any(path.exists() for path in stamps)
    if was_complete and made.exists() and made.read_text() == home:
        for path in stamps:
            path.unlink(missing_ok=True)
        return
    remove(places.venv)
    # Without pip: Debian keeps the part that would bring it in a package of its own.
    commands.run(
        [PYTHON, "-m", "venv", "--without-pip", places.venv],
        log=log,
        says="The virtual environment could not be made.",
    )
    made.write_text(home)


def install(places: Places, purpose: str, log: Path, say: Say) -> None:
    """Let pip install the lock; wheels only, so that no compiler is needed."""
    pip = find_pip(places, log, say)
    argv = [
        *pip,
        "install",
        "--require-hashes",
        "--only-binary",
        ":all:",
        "--no-deps",
        "--disable-pip-version-check",
    ]
    commands.run(
        [*argv, "--progress-bar", "off", "-r", places.checkout / LOCKS[purpose]],
        log=log,
        says="The Python packages could not be installed. Is the network there? Run the same command again.",
        say=say,
        env={"PIP_ROOT_USER_ACTION": "ignore"},
        cwd=places.checkout,
    )


def find_pip(places: Places, log: Path, say: Say) -> list[str]:
    """A pip that installs into the environment: the system's, Python's own, or Debian's wheel of it."""
    python = str(places.python)
    system = importlib.util.find_spec("pip")
    # This lets the environment's interpreter see pip, and none of the packages beside it.
    runner = (
        Path(system.origin).with_name("__pip-runner__.py") if system and system.origin else Path("missing")
    )
    if runner.exists():
        return [python, str(runner)]
    wheel = bundled_pip() or debian_pip(places, log, say)
    if wheel:
        return [python, f"{wheel}/pip"]
    raise Failure(
        "Python's pip is missing. Install it (Debian: python3-pip; Fedora: python3-pip) and try again."
    )


def bundled_pip() -> Path | None:
    """The wheel inside Python's ensurepip or in Debian's directory of wheels."""
    found = importlib.util.find_spec("ensurepip")
    places = [Path("/usr/share/python-wheels")]
    if found and found.origin:
        places.insert(0, Path(found.origin).parent / "_bundled")
    wheels = [wheel for place in places for wheel in sorted(place.glob("pip-*.whl"))]
    return wheels[-1] if wheels else None


def debian_pip(places: Places, log: Path, say: Say) -> Path | None:
    """Debian's wheel of pip, unpacked without installing it."""
    if not packages.is_available():
        return None
    root = packages.unpack(places, "pip", ["python3-pip-whl"], say, log)
    wheels = sorted((root / "usr/share/python-wheels").glob("pip-*.whl"))
    return wheels[-1] if wheels else None


def variables(places: Places) -> dict[str, str]:
    """What programs of the environment need around them."""
    path = os.pathsep.join([str(places.venv / "bin"), os.environ.get("PATH", os.defpath)])
    return {"VIRTUAL_ENV": str(places.venv), "PATH": path, "PYTHONUNBUFFERED": "1"}
