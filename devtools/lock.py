"""One demo, and one installation at a time, for each checkout."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from devtools.say import Say


class Lock:
    """A file that one process holds; it says in a few words what the holder does."""

    def __init__(self, path: Path) -> None:
        """Name the file; nothing is held yet."""
        self.path = path
        self.file: IO[str] | None = None

    def take(self, note: str = "") -> bool:
        """Hold it, unless another process does."""
        file = self.path.open("a+")
        os.set_inheritable(file.fileno(), False)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
            return False
        self.file = file
        self.write(note)
        return True

    def write(self, note: str) -> None:
        """Tell whoever comes second what goes on."""
        assert self.file
        self.file.seek(0)
        self.file.truncate()
        self.file.write(note)
        self.file.flush()

    def note(self) -> str:
        """What the holder says."""
        try:
            return self.path.read_text().strip()
        except OSError:
            return ""

    def release(self) -> None:
        """Let the next one in."""
        if self.file:
            self.write("")
            self.file.close()
            self.file = None


@contextlib.contextmanager
def waiting(path: Path, say: Say) -> Iterator[None]:
    """Hold the lock for a while; wait for whoever holds it now."""
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            say.step("wait", "another ./dev of this checkout is installing; waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
