"""What people are told: one notice for the alerts of one server that opened or ended together."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


class NotSent(Exception):
    """A notice did not arrive. is_final: trying again is of no use; wait: seconds that they asked for."""

    def __init__(self, reason: str, is_final: bool = False, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.is_final, self.wait = is_final, wait


@dataclass(frozen=True)
class Field:
    """One setting of a kind of channel. secret: never shown again; empty keeps what is stored."""

    name: str
    label: str
    help: str = ""
    secret: bool = False
    required: bool = True
    choices: tuple[tuple[str, str], ...] = ()
    default: str = ""


@dataclass(frozen=True)
class Item:
    """One alert in a notice; moments are ISO text."""

    id: int
    name: str
    row: str
    database: str
    severity: str
    text: str
    value: float | None
    since: str
    resolved_at: str
    because: str
    advice: str
    url: str
    dedup_key: str

    @property
    def title(self) -> str:
        """Its name, and what it is about."""
        about = " ".join(part for part in (self.row, f"in {self.database}" if self.database else "") if part)
        return f"{self.name}: {about}" if about else self.name


@dataclass(frozen=True)
class Notice:
    """kind: opened, resolved, reminder or test."""

    id: str
    kind: str
    title: str
    server: str
    environment: str
    severity: str
    at: str
    url: str
    alerts: tuple[Item, ...] = field(default_factory=tuple)

    @classmethod
    def of(cls, stored: dict[str, Any]) -> Notice:
        """As it was stored."""
        return cls(**{**stored, "alerts": tuple(Item(**item) for item in stored["alerts"])})

    def stored(self) -> dict[str, Any]:
        """For the control database and for programs."""
        return {**asdict(self), "alerts": [asdict(item) for item in self.alerts]}

    @property
    def lines(self) -> list[str]:
        """Each alert in plain text."""
        found = []
        for item in self.alerts:
            found.append(f"[{'over' if self.kind == 'resolved' else item.severity}] {item.title}")
            told = item.because if self.kind == "resolved" else item.text
            found.extend([f"  {told}"] if told else [])
            found.append(f"  since {item.since[:16].replace('T', ' ')} UTC")
            if item.advice and self.kind != "resolved":
                found.append(f"  {item.advice}")
            if item.url:
                found.append(f"  {item.url}")
        return found
