"""What a stream took of memory goes back to the system when it ends: the C library would keep it for the next."""

from __future__ import annotations

import ctypes
import functools
from contextlib import suppress

#: Names of mallopt(3). Blocks as large as a part of an upload are returned one by one; of the rest little is kept.
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
PARTS, KEPT = 4 << 20, 2 << 20


@functools.cache
def give_back() -> None:
    """Once in a process: otherwise the first block that is freed raises the library's limit to its own size."""
    with suppress(AttributeError, OSError):  # a library that knows no such settings has none of these habits
        library = ctypes.CDLL(None)
        library.mallopt(MMAP_THRESHOLD, PARTS)
        library.mallopt(TRIM_THRESHOLD, KEPT)
