"""Local time, for reports: where a day and an hour begin, and what a clock on the wall meant."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Literal

from agentctl.core.errors import UsageError
from agentctl.core.text import did_you_mean, safe_text

ClockChange = Literal["", "missing", "doubled"]


@dataclass(frozen=True, slots=True)
class TimeZone:
    """A time zone; ``rules`` None is the machine's own."""

    name: str = "local"
    rules: tzinfo | None = None

    def local(self, at: datetime) -> datetime:
        """Return what a clock on the wall shows at ``at``: naive, ``fold`` 1 in the second of a doubled hour."""
        if self.rules is None:
            return datetime.fromtimestamp(at.timestamp())
        return at.astimezone(self.rules).replace(tzinfo=None)

    def moment(self, local: datetime) -> datetime:
        """Return when (UTC) a clock on the wall shows ``local`` (naive).

        Of a doubled time the one that ``fold`` names; a missing one is moved on by what the clocks skip.
        """
        if self.rules is None:  # astimezone() would give a missing time the offset behind the gap
            return datetime.fromtimestamp(local.timestamp(), UTC)
        return local.replace(tzinfo=self.rules).astimezone(UTC)

    def doubt(self, local: datetime) -> ClockChange:
        """Say whether a clock on the wall never shows ``local`` (naive), or shows it twice."""
        first, second = (self.moment(local.replace(fold=fold)) for fold in (0, 1))
        if first == second:
            return ""
        return "doubled" if first < second else "missing"

    def offset(self, at: datetime) -> str:
        """Return how far from UTC the clocks are at ``at``: ``+02:00``."""
        minutes = round((self.local(at) - at.astimezone(UTC).replace(tzinfo=None)).total_seconds() / 60)
        return f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02d}:{abs(minutes) % 60:02d}"

    def day_of(self, at: datetime) -> datetime:
        """Return when (UTC) the day of ``at`` began."""
        day = self.local(at)
        return self.moment(datetime(day.year, day.month, day.day))

    def month_of(self, at: datetime) -> datetime:
        """Return when (UTC) the month of ``at`` began."""
        day = self.local(at)
        return self.moment(datetime(day.year, day.month, 1))

    def hour_of(self, at: datetime) -> datetime:
        """Return when (UTC) the hour of ``at`` began; of a doubled hour each is one of its own."""
        return self.moment(self.local(at).replace(minute=0, second=0, microsecond=0))

    def day_after(self, at: datetime) -> datetime:
        """Return when (UTC) the day behind that of ``at`` begins, 23 to 25 hours after it."""
        day = self.local(at)
        return self.moment(datetime(day.year, day.month, day.day) + timedelta(days=1))


MACHINE_ZONE = TimeZone()


def zone(name: str | None) -> TimeZone:
    """Return the time zone of that name; without one the machine's.

    Raises:
        UsageError: no such zone, or no table of zones on this machine.
    """
    if name is None:
        return MACHINE_ZONE
    if name.strip().upper() in ("UTC", "Z"):
        return TimeZone("UTC", UTC)
    import zoneinfo  # noqa: PLC0415 - only who names a zone needs the table

    try:
        return TimeZone(name.strip(), zoneinfo.ZoneInfo(name.strip()))
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        pass
    known = zoneinfo.available_timezones()
    if not known:
        raise UsageError(
            f"--timezone {safe_text(name)}: this machine has no table of time zones",
            hint="install the package tzdata, or use --timezone UTC",
        )
    word = name.strip().lower().replace(" ", "_")
    city = next((zone for zone in sorted(known) if word and word in (zone.lower(), zone.lower().split("/")[-1])), "")
    near = f'did you mean "{city}"?' if city else did_you_mean(name, known)
    raise UsageError(
        f"--timezone: there is no time zone {safe_text(name)!r}", hint=near or "for example: --timezone Europe/Berlin"
    )
