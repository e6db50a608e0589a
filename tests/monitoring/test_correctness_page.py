"""The page on correctness names tests that exist."""

import re
from pathlib import Path

HERE = Path(__file__).parent
PROOF = re.compile(r"`((?:\w+/)?test_\w+\.py)::(test_\w+)`")
PAGE = HERE.parents[1] / "docs" / "correctness.md"


def test_every_proof_that_the_page_names_exists():
    named = PROOF.findall(PAGE.read_text())
    assert len(named) > 60
    missing = [f"{file}::{test}" for file, test in named if f"\ndef {test}(" not in source(file)]
    assert missing == []


def test_every_row_of_the_page_has_a_proof_or_says_that_there_is_none():
    rows = [line for line in PAGE.read_text().splitlines() if re.match(r"\| (?!what |---)", line)]
    assert [row for row in rows if not PROOF.search(row) and "not offered" not in row] == []


def source(file):
    """A file of tests: of monitoring unless its folder is named."""
    path = HERE / file if "/" not in file else HERE.parent / file
    return path.read_text() if path.exists() else ""
