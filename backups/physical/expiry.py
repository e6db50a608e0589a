"""Which base backups are still needed: a window reaches back as far as the newest base before its start."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

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
    proven = [base for base in ordered if not base.problem and (base.read_at or base.recovered_at)]
    before = [base for base in proven if base.consistent_at <= start]
    if not before:
        return Verdict(
            [], ordered[0] if ordered else None, f"no proven base backup is older than {keep_days} days."
        )
    anchor = before[-1]
    going = [
        base
        for base in ordered
        if base.consistent_at < anchor.consistent_at and not base.keep and not base.is_leased
    ]
    kept = [base for base in ordered if base not in going]
    return Verdict(going, kept[0], f"the oldest that is needed is the {kept[0]}.")
