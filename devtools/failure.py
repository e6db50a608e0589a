"""What ends a command of ./dev with a readable message instead of a trace."""

from collections.abc import Sequence
from pathlib import Path


class Failure(Exception):
    """A sentence for the person at the terminal, with the evidence below it."""

    def __init__(self, sentence: str, lines: Sequence[str] = (), log: Path | None = None) -> None:
        """Keep the sentence, the last lines of the log and where the whole log is."""
        super().__init__(sentence)
        self.lines = list(lines)
        self.log = log

    def text(self) -> str:
        """The message as the terminal shows it."""
        parts = [str(self), *(f"    {line}" for line in self.lines)]
        if self.log:
            parts.append(f"  The whole log: {self.log}")
        return "\n".join(parts)


def last_lines(log: Path, count: int = 12) -> list[str]:
    """The end of a log, as evidence."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 16_000))
            text = file.read().decode(errors="replace")
    except OSError:
        return []
    return [line.rstrip()[:200] for line in text.splitlines() if line.strip()][-count:]
