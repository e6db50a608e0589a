"""Amounts as people write them: 90%, 4h, 1GiB."""

from __future__ import annotations

import re
from decimal import Decimal

AMOUNT = re.compile(r"^(-?\d+(?:[.,]\d+)?)\s*([A-Za-z%]*)$")
FACTORS = {
    "": 1, "%": 0.01, "ms": 0.001, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400, "k": 1000,
    "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12,
    "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40,
}  # fmt: skip


def amount(text: str) -> float:
    """90%, 4h, 1GiB or a bare number, in base units: 0.9, 14400, 1073741824. Raises ValueError."""
    found = AMOUNT.match(text.strip())
    factor = FACTORS.get(found[2].lower()) if found else None
    if found is None or factor is None:
        raise ValueError("Write a number, such as 0.9, 90%, 4h or 1GiB.")
    # By decimals, so that 95 % is 0.95 and not 0.9500000000000001.
    return float(Decimal(found[1].replace(",", ".")) * Decimal(str(factor)))
