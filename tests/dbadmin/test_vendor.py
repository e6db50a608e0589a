"""What we carry of other people's work is what they published, and their licences lie beside it."""

import hashlib
import json
from pathlib import Path

import pytest

VENDOR = Path(__file__).parents[2] / "static" / "vendor"
PARTS = json.loads((VENDOR / "manifest.json").read_text())


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part["name"])
def test_is_what_the_manifest_says(part):
    content = (VENDOR / part["file"]).read_bytes()
    assert hashlib.sha256(content).hexdigest() == part["sha256"]
    assert b"sourceMappingURL" not in content, "manifest storage would look for the map"
    assert (VENDOR / part["licence_file"]).read_text().strip()


def test_the_manifest_lists_every_script():
    assert {part["file"] for part in PARTS} == {
        str(file.relative_to(VENDOR)) for file in VENDOR.rglob("*.js") if file.is_file()
    }


@pytest.mark.parametrize("script", sorted((VENDOR.parent / "js").glob("*.js")), ids=lambda path: path.name)
def test_our_scripts_stay_short(script):
    assert len(script.read_text().splitlines()) <= 90
