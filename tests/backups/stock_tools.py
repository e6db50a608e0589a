"""What a printed kit is followed with: stock programs alone, and for a bucket its keys."""

import shutil
from pathlib import Path

import pytest

from backups.models import Store
from devtools import stock
from tests.running import scratch


def programs() -> list[str]:
    """Where age, zstd and openssl lie, and behind them what every system has."""
    return [*map(str, stock.directories(scratch().places, scratch().say)), "/usr/bin", "/bin"]


def reaching(store: Store, folder: Path) -> dict[str, str]:
    """Variables with which aws may read a bucket; it finds no settings of whoever runs the tests."""
    if store.kind == Store.Kind.LOCAL:
        return {}
    found = shutil.which("aws")
    if found is None:
        pytest.skip("needs aws, the command line of Amazon's services (PyPI: awscli)")
    beside = folder / "aws"
    if not beside.exists():
        beside.mkdir()
        (beside / "aws").write_text(f'#!/bin/sh\nPATH={Path(found).parent}:/usr/bin:/bin exec {found} "$@"\n')
        (beside / "aws").chmod(0o755)
    return {
        "PATH": str(beside),
        "HOME": str(beside),
        "AWS_ACCESS_KEY_ID": store.unsealed("access_key"),
        "AWS_SECRET_ACCESS_KEY": store.unsealed("secret_key"),
    }
