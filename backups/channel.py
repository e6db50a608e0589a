"""A short queue of blocks between two threads, over which a failure on either side reaches the other."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

CAPACITY = 4 << 20
TICK = 0.5


class ChannelClosed(Exception):
    """The other side has gone; its own error says why."""


class Channel:
    """Holds a few megabytes at most. One thread writes, one reads, both are woken when the other gives up."""

    def __init__(self, tick: Callable[[], None] | None = None) -> None:
        self._blocks: deque[bytes] = deque()
        self._size = 0
        self._ended = False
        self._broken = False
        self._changed = threading.Condition()
        self._tick = tick

    def write(self, data: bytes) -> int:
        with self._changed:
            self._wait_while(lambda: self._size >= CAPACITY)
            if self._broken:
                raise ChannelClosed
            # The reader may be foreign code that reuses its buffer, so the block is our own copy.
            self._blocks.append(bytes(data))
            self._size += len(data)
            self._changed.notify_all()
        return len(data)

    def flush(self) -> None:
        """Nothing to do; the libraries that write here expect it."""

    def end(self) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def break_off(self) -> None:
        with self._changed:
            self._broken = True
            self._changed.notify_all()

    def next(self) -> bytes | None:
        """The next block, None at the end."""
        with self._changed:
            self._wait_while(lambda: not self._blocks and not self._ended)
            if self._broken:
                raise ChannelClosed
            if not self._blocks:
                return None
            block = self._blocks.popleft()
            self._size -= len(block)
            self._changed.notify_all()
            return block

    def _wait_while(self, condition: Callable[[], bool]) -> None:
        mine = self._tick if threading.current_thread() is threading.main_thread() else None
        while condition() and not self._broken:
            self._changed.wait(TICK)
            if mine:
                mine()
