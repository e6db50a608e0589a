"""The table of faults in the documentation names every fault that must be shown, and tests that are there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROWS = [
    [cell.strip() for cell in line.strip("| \n").split("|")]
    for line in (ROOT / "docs" / "backups.md")
    .read_text()
    .partition("## When something goes wrong")[2]
    .splitlines()
    if line.startswith("|")
][2:]
#: What has to be shown, each word of it in one row.
MUST = [
    "kill -9 of the worker", "kill -9 of pg_dump", "its backend ended", "full disk", "S3 refused", "S3 reset",
    "S3 hung", "S3 500", "S3 slow", "truncated GET", "flipped byte", "deleted object", "object appended to",
    "expired credentials", "Redis away in mid-run", "control database away in mid-run", "clock jump",
    "source upgraded", "role missing", "extension missing", "tablespace missing", "WAL segment removed",
    "base file altered", "key lost", "restore cancelled in each step",
    "worker dies when a restore is done, but for the word of it", "the last step of a restore cannot be done",
    "two restores at once", "retention during a restore", "pg_dump waits for a lock", "kill -9 of pg_receivewal",
    "full disk of the receiver", "kill -9 of the worker in a base backup", "kill -9 of the worker in a recovery",
    "full disk in a recovery", "a store fails while it is read", "a store hangs in a restore",
    "a store fails in retention", "kill -9 of the worker in retention", "control database away in a swap",
]  # fmt: skip


def test_every_fault_has_its_row_and_no_row_is_there_twice() -> None:
    assert [row[0] for row in ROWS] == MUST


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_each_names_what_is_said_and_a_test_that_exists(row: list[str]) -> None:
    fault, says, tests = row
    assert says, fault
    named = re.findall(r"`([^`]+)::(test_\w+)`", tests)
    assert named, f"{fault} names no test"
    for path, name in named:
        assert f"\ndef {name}(" in (ROOT / path).read_text(), f"{path} has no {name}"
