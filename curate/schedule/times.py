"""When a schedule is due: five cron fields in a time zone.

A time that the clocks skip in spring is due right after the change. One that comes twice in autumn is due the
first time, unless the schedule is one of every hour or every few minutes.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pipelines.errors import ConfigError

if TYPE_CHECKING:
    from cronsim import CronSim

_FIELDS = 5


def check(cron: str, timezone: str) -> None:
    """Raise `ConfigError` when these are not times at which something can be due."""
    next_after(cron, timezone, datetime.now(UTC))


def next_after(cron: str, timezone: str, when: datetime) -> datetime:
    """Return the first time after another at which a schedule is due, in its time zone."""
    return _found(cron, timezone, when, reverse=False)


def last_before(cron: str, timezone: str, when: datetime) -> datetime:
    """Return the last time before another at which a schedule was due, in its time zone."""
    return _found(cron, timezone, when, reverse=True)


def zone(name: str) -> ZoneInfo:
    """Return a time zone by its name, such as Europe/Berlin."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ConfigError(f"there is no time zone {name!r}; they are called UTC, Europe/Berlin …") from None


def fields(cron: str) -> CronSim:
    """Return the parsed fields of a cron expression; `ConfigError` when it is none."""
    return _parsed(cron, datetime.now(UTC), reverse=False)


def _found(cron: str, timezone: str, when: datetime, *, reverse: bool) -> datetime:
    times = _parsed(cron, when.astimezone(zone(timezone)), reverse=reverse)
    try:
        return next(times)
    except StopIteration:
        raise ConfigError(f"the times {cron!r} never come: no such date exists") from None


def _parsed(cron: str, when: datetime, *, reverse: bool) -> CronSim:
    try:
        from cronsim import CronSim, CronSimError
    except ImportError:
        raise ConfigError("schedules need cronsim: pip install 'curate-pools[schedule]'") from None
    if len(cron.split()) != _FIELDS:
        raise ConfigError(
            f"{cron!r} should have five fields, minute hour day month weekday: '0 3 * * *' is 3 o'clock"
        )
    try:
        return CronSim(cron, when, reverse)
    except CronSimError as error:
        raise ConfigError(f"{cron!r} is not a time of cron: {error}") from None
