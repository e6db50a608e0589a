"""Find Chromium for the browser tests: told, installed, or unpacked privately."""

import os
from pathlib import Path

from devtools import commands, packages
from devtools.failure import Failure
from devtools.lock import waiting
from devtools.places import Places
from devtools.say import Say
from devtools.servers import on_path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FONTS = """<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig><dir>{fonts}</dir><dir>/usr/share/fonts</dir><cachedir>{cache}</cachedir></fontconfig>
"""


def find(places: Places, say: Say) -> str:
    """The program to start; a Failure that says what to do when there is none."""
    told = os.environ.get("CHROMIUM")
    found = Path(told) if told else next(filter(None, map(on_path, NAMES)), None)
    if found and os.access(found, os.X_OK):
        return str(found)
    if not packages.is_available():
        raise Failure(
            "The browser tests need Chromium. Install it, or say where it is: CHROMIUM=/path ./dev test"
        )
    with waiting(places.local / "install.lock", say):
        return str(unpacked(places, say))


def unpacked(places: Places, say: Say) -> Path:
    """The distribution's Chromium, unpacked for this checkout, with a font to draw with."""
    if not (packages.directory(places, "chromium") / "complete").exists():
        say.step(
            "browser",
            f"Chromium not on this machine: taking the distribution's packages into {places.packages}",
        )
    log = places.logs / "install.log"
    root = packages.unpack(places, "chromium", ["chromium", "fonts-dejavu-core"], say, log)
    script = packages.wrap(root, [root / "usr/lib/chromium/chromium"]) / "chromium"
    fonts = root / "fonts.conf"
    fonts.write_text(FONTS.format(fonts=root / "usr/share/fonts", cache=root / "font-cache"))
    lines = script.read_text().splitlines()
    script.write_text(
        "\n".join([*lines[:-1], f"FONTCONFIG_FILE='{fonts}'", "export FONTCONFIG_FILE", lines[-1], ""])
    )
    return script


def driver(places: Places, say: Say, node: Path) -> Path:
    """What drives the browser: Playwright's own node, with the one library that it may lack here."""
    if commands.answer([node, "--version"]) or not packages.is_available():
        return node
    with waiting(places.local / "install.lock", say):
        root = packages.unpack(places, "driver", ["libatomic1"], say, places.logs / "install.log")
        return packages.wrap(root, [node]) / node.name
