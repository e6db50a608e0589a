"""Did something change, or does it only vary? A rank test between two windows, corrected for how many were asked."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

#: Fewer samples than this on either side prove nothing.
LEAST = 8
#: Of all changes that are called clear, so many are chance at most.
FALSE = 0.01


def chance(before: Sequence[float], after: Sequence[float]) -> float | None:
    """The probability that samples of one and the same thing differ so much; None with too few of them.

    Mann and Whitney's test: it asks only which sample is larger, so one slow minute proves nothing, and no
    shape of distribution is taken for granted.
    """
    n, m = len(before), len(after)
    if min(n, m) < LEAST:
        return None
    places = ranks([*before, *after])
    total = n + m
    ties = sum(count**3 - count for count in Counter([*before, *after]).values())
    variance = n * m / 12 * (total + 1 - ties / (total * (total - 1)))
    if variance <= 0:
        return 1.0
    shift = abs(sum(places[:n]) - n * (n + 1) / 2 - n * m / 2)
    return math.erfc(max(0.0, shift - 0.5) / math.sqrt(variance) / math.sqrt(2))


def ranks(values: Sequence[float]) -> list[float]:
    """The place of each value among all; equal ones share the middle of their places."""
    order = sorted(range(len(values)), key=values.__getitem__)
    found = [0.0] * len(values)
    start = 0
    while start < len(order):
        end = start
        while end < len(order) and values[order[end]] == values[order[start]]:
            end += 1
        for place in order[start:end]:
            found[place] = (start + end + 1) / 2
        start = end
    return found


def clear(chances: Sequence[float | None], false: float = FALSE) -> list[bool]:
    """Which of many tests to believe: among all that are believed, a share `false` is chance (Benjamini, Hochberg)."""
    known = sorted(one for one in chances if one is not None)
    limit = max(
        (one for place, one in enumerate(known, start=1) if one <= false * place / len(known)), default=-1.0
    )
    return [one is not None and one <= limit for one in chances]
