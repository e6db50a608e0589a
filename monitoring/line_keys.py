"""The keys of lines. A line keeps its key as long as it lives, so this process asks for each once."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Any

from monitoring.blocks import fetch
from monitoring.models import Source

#: Lines that one process remembers, some 20 MB; when there are more it begins anew.
MOST = 100_000
KEYS = "select id, key from monitoring_line where source_id = %s and id = any(%s)"

Key = list[Any]
_lock = threading.Lock()
_known: dict[tuple[int, int], Key] = {}


def keys_of(source: Source, lines: Iterable[int]) -> dict[int, Key]:
    """Line -> the values of its key columns, of the lines that this source has. The keys are shared: change none."""
    wanted = list(lines)
    with _lock:
        found = {line: _known.get((source.pk, line)) for line in wanted}
    missing = [line for line, key in found.items() if key is None]
    if missing:
        read: dict[int, Key] = dict(fetch(KEYS, [source.pk, missing]))
        found.update(read)
        with _lock:
            if len(_known) + len(read) > MOST:
                _known.clear()
            _known.update({(source.pk, line): key for line, key in read.items()})
    return {line: key for line, key in found.items() if key is not None}
