"""The distribution's own signed packages, unpacked for this checkout alone: no root, no change outside.

apt works for anyone when its lists and its cache lie in a directory of one's own, and it checks the
signatures there as ever. `dpkg -x` then only unpacks.
"""

import hashlib
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

from devtools import commands
from devtools.failure import Failure
from devtools.places import Places, remove
from devtools.say import Say

# Part of what the packages depend on, but of no use to a server that nobody administers.
UNWANTED = re.compile(
    r"(libllvm.*|libz3.*|locales|perl.*|libperl.*|lib.*-perl|.*-common|ssl-cert|lsb-base|logrotate|netbase"
    r"|init-system-helpers|sysvinit-utils|ucf|cron.*|sysstat|libgdbm.*|systemd.*|dbus.*|udev|adduser)"
)
# Chromium's data has this name.
WANTED = {"chromium-common", "libgtk-3-common", "libavahi-common3", "fonts-liberation"}


def is_available() -> bool:
    """Whether this is a machine with apt."""
    return bool(shutil.which("apt-get") and shutil.which("dpkg") and Path("/var/lib/dpkg/status").exists())


def directory(places: Places, name: str) -> Path:
    """Where one group of packages is unpacked."""
    return places.packages / name


def unpack(
    places: Places, name: str, wanted: Sequence[str], say: Say, log: Path, with_needed: bool = True
) -> Path:
    """Fetch packages and what they need beyond this machine's own; nothing when that is done already.

    with_needed: not for a program that runs alone.
    """
    root, mark = directory(places, name), hashlib.sha256(" ".join(wanted).encode()).hexdigest()
    complete = root / "complete"
    if complete.exists() and complete.read_text() == mark:
        return root
    places.packages.mkdir(parents=True, exist_ok=True)
    places.packages.chmod(0o755)
    apt = Apt(places.local / "apt", log, say)
    files = apt.download(apt.needed(wanted) if with_needed else wanted)
    part = root.with_name(f"{name}.part")
    remove(part)
    part.mkdir()
    for file in files:
        commands.run(["dpkg", "-x", file, part], log=log, says=f"{file.name} could not be unpacked.")
    part.chmod(0o755)
    (part / "complete").write_text(mark)
    remove(root)
    part.rename(root)
    remove(apt.directory)
    return root


class Apt:
    """apt-get with lists, cache and settings of its own."""

    def __init__(self, directory: Path, log: Path, say: Say) -> None:
        """Write the settings; the machine's sources and keys are used as they are."""
        self.directory, self.log, self.say = directory, log, say
        for name in ("lists/partial", "cache/archives/partial", "archives"):
            (directory / name).mkdir(parents=True, exist_ok=True)
        self.settings = directory / "apt.conf"
        self.settings.write_text(settings(directory))
        self.is_updated = False

    def run(self, *words: str | Path, cwd: Path | None = None) -> None:
        """Run apt-get and explain a failure."""
        commands.run(
            ["apt-get", "-q", "-c", self.settings, *words],
            log=self.log,
            says="The distribution's packages could not be fetched. Is the network there? Then run it again.",
            say=self.say,
            env={"LC_ALL": "C.UTF-8"},
            cwd=cwd,
        )

    def update(self) -> None:
        """Read the lists, once."""
        if not self.is_updated:
            self.run("update")
            self.is_updated = True

    def needed(self, wanted: Sequence[str]) -> list[str]:
        """What apt would install here for these packages, without what a private copy can do without."""
        self.update()
        argv = ["apt-get", "-c", str(self.settings), "-s", "--no-install-recommends", "install", *wanted]
        done = subprocess.run(argv, capture_output=True, text=True, env={**os.environ, "LC_ALL": "C.UTF-8"})
        if done.returncode != 0:
            lines = [line for line in done.stderr.splitlines() if line][-6:]
            raise Failure(f"This distribution has no packages for {' '.join(wanted)}.", lines, self.log)
        return chosen(done.stdout, wanted)

    def download(self, names: Iterable[str]) -> list[Path]:
        """Fetch the packages' files; apt checks them against the signed lists."""
        self.update()
        archives = self.directory / "archives"
        remove(archives)
        archives.mkdir()
        self.run("download", *names, cwd=archives)
        return sorted(archives.glob("*.deb"))


def settings(directory: Path) -> str:
    """apt's settings file; the hooks of other programs are left out, since they expect root."""
    words = {
        "Dir::State": directory,
        "Dir::State::lists": directory / "lists",
        "Dir::State::status": "/var/lib/dpkg/status",
        "Dir::Cache": directory / "cache",
        "Debug::NoLocking": 1,
        "Acquire::Languages": "none",
        "Acquire::Retries": 3,
        "Acquire::http::Timeout": 30,
        "APT::Sandbox::User": "",
        "APT::Update::Error-Mode": "any",
        "APT::Get::AllowUnauthenticated": "false",
    }
    cleared = ["APT::Update::Pre-Invoke", "APT::Update::Post-Invoke", "APT::Update::Post-Invoke-Success"]
    lines = [f"#clear {name};" for name in cleared]
    return "\n".join([*lines, *(f'{name} "{value}";' for name, value in words.items())]) + "\n"


def chosen(simulation: str, wanted: Sequence[str]) -> list[str]:
    """The packages named by apt's simulation, without the unwanted."""
    names = re.findall(r"^Inst (\S+)", simulation, re.MULTILINE)
    keep = {*wanted, *WANTED}
    return [name for name in names if name in keep or not UNWANTED.fullmatch(name.partition(":")[0])]


def library_directories(root: Path) -> list[Path]:
    """Where an unpacked group keeps its shared libraries; some have a directory of their own."""
    found = {path.parent for base in ("usr/lib", "lib") for path in (root / base).rglob("lib*.so*")}
    return sorted(found, key=lambda path: (len(path.parts), path))


def wrap(root: Path, programs: Iterable[Path]) -> Path:
    """Small scripts that start unpacked programs with their own libraries; returns their directory."""
    wrappers = root / "wrapped"
    wrappers.mkdir(exist_ok=True)
    libraries = ":".join(str(path) for path in library_directories(root))
    for program in programs:
        script = wrappers / program.name
        lines = ["#!/bin/sh", f"LD_LIBRARY_PATH={shlex.quote(libraries)}", "export LD_LIBRARY_PATH"]
        script.write_text("\n".join([*lines, f'exec {shlex.quote(str(program))} "$@"', ""]))
        script.chmod(0o755)
    return wrappers
