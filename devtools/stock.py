"""Find the stock tools that tests need beside us: installed, or unpacked privately."""

from pathlib import Path

from devtools import packages
from devtools.failure import Failure
from devtools.lock import waiting
from devtools.places import Places
from devtools.say import Say
from devtools.servers import on_path

NAMES = ("age", "zstd", "openssl")
#: The package that has promtool; it is one program that needs no other.
PROMETHEUS = "prometheus"


def directories(places: Places, say: Say) -> list[Path]:
    """The directories that hold them; a Failure that says what to install when they are nowhere."""
    found = {name: on_path(name) for name in NAMES}
    missing = [name for name, path in found.items() if path is None]
    here = {path.parent for path in found.values() if path}
    if not missing:
        return sorted(here)
    if not packages.is_available():
        raise Failure(f"The tests of recovery by stock tools need {', '.join(missing)}. Install them.")
    with waiting(places.local / "install.lock", say):
        root = packages.unpack(places, "stock", missing, say, places.logs / "install.log")
        return [packages.wrap(root, [root / "usr/bin" / name for name in missing]), *sorted(here)]


def promtool(places: Places, say: Say) -> Path | None:
    """Prometheus' judge of what is scraped: installed, or unpacked privately; None where neither can be had."""
    if found := on_path("promtool"):
        return found
    if not packages.is_available():
        return None
    with waiting(places.local / "install.lock", say):
        log = places.logs / "install.log"
        root = packages.unpack(places, "promtool", [PROMETHEUS], say, log, with_needed=False)
        return root / "usr/bin/promtool"
