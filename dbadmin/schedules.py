"""Cron lines in a time zone: when they are due, right at clock changes, and what is wrong with a bad one."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import islice
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

ALIASES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
FIELDS = ("minute", "hour", "day of the month", "month", "day of the week")


class BadScheduleError(ValueError):
    """The line or the zone cannot be used; field: where on the form that belongs."""

    def __init__(self, message: str, field: str) -> None:
        super().__init__(message)
        self.field = field


def zone_of(name: str) -> ZoneInfo:
    """The time zone of this name."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise BadScheduleError(
            f"There is no time zone {name!r}. Write it as Europe/Berlin, or UTC.", "time_zone"
        ) from error


def expanded(cron: str) -> str:
    """The five fields; @daily and the like are words for them."""
    line = " ".join(cron.split())
    if line.startswith("@"):
        if line.lower() not in ALIASES:
            raise BadScheduleError(
                f"{line} is not known. Use one of {', '.join(ALIASES)}, or five fields.", "cron"
            )
        return ALIASES[line.lower()]
    if len(line.split()) != len(FIELDS):
        raise BadScheduleError(
            f"A cron line has five fields ({', '.join(FIELDS)}); this one has {len(line.split())}.", "cron"
        )
    return line


def simulated(cron: str, time_zone: str, after: datetime | None = None) -> CronSim:
    """The endless row of due moments after a moment."""
    zone, line = zone_of(time_zone), expanded(cron)
    try:
        return CronSim(line, (after or datetime.now(UTC)).astimezone(zone))
    except CronSimError as error:
        which = str(error).removeprefix("Bad ").replace("-", " ")
        raise BadScheduleError(f"The {which} of {line!r} is not valid.", "cron") from error


def next_runs(cron: str, time_zone: str, count: int = 5, after: datetime | None = None) -> list[datetime]:
    """The next due moments, in their zone; fewer when the line is never due again."""
    start = after or datetime.now(UTC)
    # Asked in the second of two equal hours, the simulation answers with a moment of the first.
    moments = (each for each in simulated(cron, time_zone, start) if each.astimezone(UTC) > start)
    return list(islice(moments, count))


def next_due(cron: str, time_zone: str, after: datetime | None = None) -> datetime | None:
    """The next due moment in UTC."""
    return next((moment.astimezone(UTC) for moment in next_runs(cron, time_zone, 1, after)), None)


def validate(cron: str, time_zone: str) -> None:
    """Raise BadScheduleError for a line or a zone that cannot be used."""
    if not next_runs(cron, time_zone, 1):
        raise BadScheduleError(f"{expanded(cron)!r} is never due.", "cron")


def explain(cron: str) -> str:
    """The line in words."""
    return str(simulated(cron, "UTC").explain())
