"""The reference of probes says what the probes say."""

from pathlib import Path

from dbadmin.probes import PROBES
from dbadmin.reference import probes_page

PAGE = Path(__file__).parents[2] / "docs" / "probes.md"


def test_page_is_what_the_headers_say():
    assert PAGE.read_text() == probes_page(), "Run: manage.py probe --docs --skip-checks > docs/probes.md"


def test_page_describes_every_probe():
    text = probes_page()
    assert [name for name in PROBES if f"\n### {name}\n" not in text] == []
