"""Find PostgreSQL, PgBouncer and Redis: told, installed, unpacked privately, or ask for them."""

import os
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from devtools import commands, packages
from devtools.failure import Failure
from devtools.lock import waiting
from devtools.places import Places
from devtools.say import Say

SERVER_PROGRAMS = (
    "initdb",
    "postgres",
    "pg_ctl",
    "psql",
    "pg_isready",
    "pg_basebackup",
    "pg_dump",
    "pg_restore",
)
OLDEST_MAJOR = 14
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

HOW_TO_INSTALL = (
    "Debian, Ubuntu:  sudo apt install postgresql pgbouncer redis-tools",
    "Fedora, RHEL:    sudo dnf install postgresql-server postgresql-contrib pgbouncer redis",
    "macOS:           brew install postgresql@17 pgbouncer redis",
    "or say where they are: PG_BIN=/path/to/postgresql/bin REDIS_SERVER=/path/to/redis-server ./dev demo",
)


@dataclass(frozen=True)
class Programs:
    """The programs that the demo and the tests start."""

    pg_bin: Path | None = None
    redis: Path | None = None
    pgbouncer: Path | None = None
    version: str = ""
    client_bin: Path | None = None  # for clients that pg_bin does not have

    @property
    def major(self) -> int:
        """PostgreSQL's major version."""
        return int(self.version.partition(".")[0])

    def pg(self, name: str) -> str:
        """The path of one of PostgreSQL's programs."""
        assert self.pg_bin
        if self.client_bin and not (self.pg_bin / name).exists():
            return str(self.client_bin / name)
        return str(self.pg_bin / name)

    def with_server(self, pg_bin: Path) -> "Programs":
        """The same programs with another PostgreSQL server; what it lacks stays as it is."""
        return with_version(replace(self, pg_bin=pg_bin, client_bin=self.pg_bin))

    @property
    def missing(self) -> list[str]:
        """What could not be found, in the words of a message."""
        found = {"PostgreSQL server": self.pg_bin, "PgBouncer": self.pgbouncer, "Redis": self.redis}
        return [name for name, path in found.items() if path is None]

    def paths(self) -> list[str]:
        """The directories that belong on the path of the product's processes."""
        return [str(self.pg_bin)] if self.pg_bin else []


def find(places: Places, say: Say, environ: Mapping[str, str] = os.environ) -> Programs:
    """The programs, taken from wherever they are; a Failure that says what to do when they are nowhere."""
    programs = with_version(installed(environ))
    if programs.missing:
        with waiting(places.local / "install.lock", say):
            programs = with_version(fetched(places, programs, say))
    if not (programs.pg_bin and programs.redis):
        raise Failure(f"Not on this machine: {', '.join(programs.missing)}. Install them:", HOW_TO_INSTALL)
    return programs


def with_version(programs: Programs) -> Programs:
    """Ask the server program for its version."""
    if not programs.pg_bin:
        return programs
    words = commands.answer([programs.pg("postgres"), "--version"])
    found = re.search(r"(\d+)\.?\d*", words)
    if not found or int(found[1]) < OLDEST_MAJOR:
        raise Failure(
            f"{programs.pg_bin} holds {words or 'no working PostgreSQL'}; needed is {OLDEST_MAJOR} or later."
        )
    return replace(programs, version=found[0])


def installed(environ: Mapping[str, str]) -> Programs:
    """What this machine has: the places that the environment names, then the newest that is installed."""
    return Programs(
        pg_bin=installed_postgres(environ), redis=installed_redis(environ), pgbouncer=on_path("pgbouncer")
    )


def installed_postgres(environ: Mapping[str, str]) -> Path | None:
    """The directory with all of PostgreSQL's programs."""
    told = environ.get("PG_BIN")
    if told:
        if not has_all(Path(told), ("initdb", "postgres")):
            raise Failure(
                f"PG_BIN={told} has no initdb and postgres. Name the directory of PostgreSQL's programs."
            )
        return Path(told).absolute()
    return next((path for path in candidates() if has_all(path, SERVER_PROGRAMS)), None)


def candidates() -> list[Path]:
    """Where distributions put PostgreSQL, the newest version first."""
    patterns = (
        "/usr/lib/postgresql/*/bin",
        "/usr/pgsql-*/bin",
        "/opt/homebrew/opt/postgresql@*/bin",
        "/usr/local/opt/postgresql@*/bin",
    )
    found = [path for pattern in patterns for path in Path("/").glob(pattern.lstrip("/"))]
    found = [path for path in found if OLDEST_MAJOR <= version_in(path) < 100]
    found.sort(key=version_in, reverse=True)
    server = on_path("postgres")
    return [*found, *([server.resolve().parent] if server else [])]


def version_in(path: Path) -> int:
    """The major version in a directory's name."""
    numbers = re.findall(r"\d+", str(path))
    return int(numbers[-1]) if numbers else 0


def has_all(path: Path, names: Iterable[str]) -> bool:
    """Whether a directory holds all these programs."""
    return all(os.access(path / name, os.X_OK) for name in names)


def installed_redis(environ: Mapping[str, str]) -> Path | None:
    """A Redis or Valkey server; Debian's redis-check-rdb is the server under another name."""
    told = environ.get("REDIS_SERVER")
    if told and not os.access(told, os.X_OK):
        raise Failure(f"REDIS_SERVER={told} is not a program.")
    return (
        Path(told).absolute()
        if told
        else on_path("redis-server") or on_path("valkey-server") or on_path("redis-check-rdb")
    )


def on_path(name: str) -> Path | None:
    """A program on the path, or where only root looks."""
    found = shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), SYSTEM_PATH]))
    return Path(found) if found else None


def fetched(places: Places, programs: Programs, say: Say) -> Programs:
    """Add what is missing from the distribution's packages, or from Homebrew."""
    if packages.is_available():
        return unpacked(places, programs, say)
    if shutil.which("brew"):
        return brewed(places, programs, say)
    return programs


def unpacked(places: Places, programs: Programs, say: Say) -> Programs:
    """Debian's and Ubuntu's packages, unpacked for this checkout."""
    wanted = package_names(programs)
    if not (packages.directory(places, "servers") / "complete").exists():
        say.step(
            "servers",
            f"{' and '.join(programs.missing)} not on this machine: taking the distribution's packages into"
            f" {places.packages} (nothing is installed in the system)",
        )
    root = packages.unpack(places, "servers", wanted, say, places.logs / "install.log")
    return in_root(root, programs)


def package_names(programs: Programs) -> list[str]:
    """Debian's names for what is missing; redis-tools holds the Redis server without its service."""
    names = []
    if not programs.pg_bin:
        names += ["postgresql", "postgresql-client"]
    if not programs.pgbouncer:
        names.append("pgbouncer")
    if not programs.redis:
        names.append("redis-tools")
    return names


def in_root(root: Path, programs: Programs) -> Programs:
    """The unpacked programs, each started with its own libraries."""
    real: list[Path] = []
    for path in sorted((root / "usr/lib/postgresql").glob("*/bin")):
        if not programs.pg_bin:
            real += [program for program in path.iterdir() if program.is_file()]
    check, server = root / "usr/bin/redis-check-rdb", root / "usr/bin/redis-server"
    if check.exists() and not server.exists():
        server.symlink_to(check.name)
    real += [path for path in (server, root / "usr/sbin/pgbouncer") if path.exists()]
    wrappers = packages.wrap(root, real)

    def taken(name: str) -> Path | None:
        return wrappers / name if (wrappers / name).exists() else None

    return replace(
        programs,
        pg_bin=programs.pg_bin or (wrappers if taken("postgres") else None),
        redis=programs.redis or taken("redis-server"),
        pgbouncer=programs.pgbouncer or taken("pgbouncer"),
    )


def brewed(places: Places, programs: Programs, say: Say) -> Programs:
    """Homebrew's formulas; nothing is started as a service."""
    formulas = {"PostgreSQL server": "postgresql@17", "PgBouncer": "pgbouncer", "Redis": "redis"}
    wanted = [formulas[name] for name in programs.missing]
    say.step("servers", f"brew install {' '.join(wanted)}")
    commands.run(
        ["brew", "install", *wanted],
        log=places.logs / "install.log",
        says="Homebrew could not install the servers.",
        say=say,
    )
    return installed(os.environ)


def redis_argv(program: Path, arguments: Sequence[str]) -> tuple[list[str], str]:
    """The words to start Redis with, and the file to start: its name decides what Debian's program does."""
    return ["redis-server", *arguments], str(program)
