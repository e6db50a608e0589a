"""The page on correctness names tests that exist."""

import re
from pathlib import Path

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "correctness.md"


def test_every_proof_that_the_page_names_exists():
    named = re.findall(r"`(test_\w+\.py)::(test_\w+)`", PAGE.read_text())
    assert len(named) > 30
    missing = [f"{file}::{test}" for file, test in named if f"\ndef {test}(" not in (HERE / file).read_text()]
    assert missing == []
