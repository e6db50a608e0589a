"""Which base backups are still needed: a window reaches back as far as the newest base before its start.

What a needed one is built on is needed as well, and the WAL from the oldest that stays on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from backups.physical.layers import whole
from backups.physical.models import BaseBackup


@dataclass(frozen=True)
class Verdict:
    """What goes, and the oldest that stays: WAL before it serves nobody."""

    going: Sequence[BaseBackup]
    anchor: BaseBackup | None
    says: str


def judge(bases: Sequence[BaseBackup], now: datetime, keep_days: int) -> Verdict:
    """Everything since the newest proven base backup that is as old as the window; marked and leased ones too."""
    start = now - timedelta(days=keep_days)
    ordered = sorted(bases, key=lambda base: base.consistent_at)
    proven = whole(base for base in ordered if not base.problem and (base.read_at or base.recovered_at))
    before = sorted(
        (base for base in proven if base.consistent_at <= start), key=lambda base: base.consistent_at
    )
    if not before:
        return Verdict(
            [], ordered[0] if ordered else None, f"no proven base backup is older than {keep_days} days."
        )
    anchor = before[-1]
    needed: set[int | None] = set()
    going = []
    for base in reversed(ordered):  # what is built on another is younger than that
        if base.consistent_at >= anchor.consistent_at or base.keep or base.is_leased or base.pk in needed:
            needed |= {base.pk, base.prior_id}
        else:
            going.append(base)
    kept = [base for base in ordered if base not in going]
    return Verdict(going, kept[0], f"the oldest that is needed is the {kept[0]}.")
