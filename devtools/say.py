"""One line for each step with the seconds so far, and a live line below it in a terminal."""

import sys
import time


class Say:
    """Tells the person at the terminal what happens now."""

    def __init__(self) -> None:
        """Start the clock."""
        self.started = time.monotonic()
        self.is_terminal = sys.stdout.isatty()
        self.is_live = False
        self.last = ""

    def seconds(self) -> float:
        """Seconds since the command began."""
        return time.monotonic() - self.started

    def step(self, part: str, text: str) -> None:
        """A line that stays."""
        self.quiet()
        print(f"{self.seconds():6.1f} s  {part:<10}  {text}", flush=True)

    def line(self, text: str = "") -> None:
        """A line without a time."""
        self.quiet()
        print(text, flush=True)

    def live(self, text: str) -> None:
        """A dim line that the next one replaces; nothing when the output is a file."""
        if self.is_terminal and text and text != self.last:
            self.last = text
            print(f"\r\033[K            \033[2m{text[:90]}\033[0m", end="", flush=True)
            self.is_live = True

    def quiet(self) -> None:
        """Remove the live line."""
        if self.is_live:
            print("\r\033[K", end="", flush=True)
            self.is_live, self.last = False, ""

    def interrupted(self) -> None:
        """Take away the ^C that a terminal shows."""
        self.is_live = self.is_terminal
        self.quiet()
