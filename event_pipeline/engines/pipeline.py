"""Bundles the input of states, plans and reports: the engine, its Gold tables, the settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from event_pipeline.engines.base import Engine
from event_pipeline.engines.state import HourSituation, HourState, hour_situations
from event_pipeline.rules.accounting import RawListing
from event_pipeline.rules.hour import Hour, HourRange, InvalidHourError
from event_pipeline.rules.query import GoldTable
from event_pipeline.settings import Settings

MOST_HOURS = 20 * 366 * 24
"""Maximum length of a range: a mistyped year must not keep a command busy for hours."""


@dataclass(frozen=True, slots=True)
class Pipeline:
    """An engine with its Gold tables and settings. All states of hours are computed here."""

    engine: Engine
    gold_tables: tuple[GoldTable, ...]
    settings: Settings

    @property
    def rules_version(self) -> str:
        """The rules version that a build would have now."""
        return self.settings.event_time_limits.rules_version

    def situations(
        self,
        now: datetime,
        hours: HourRange | None = None,
        *,
        listings: Mapping[Hour, RawListing] | None = None,
        thorough: bool = False,
    ) -> dict[Hour, HourSituation]:
        """Return the situation of every hour of a range, or of every hour that has raw objects or a commit record.

        Open hours are due for every caller if the build mode is `every_object`. `listings` avoids listing again.
        `thorough` also checks for missing committed files, and compares everything that the catalog shows of an hour.

        Raises:
            PipelineError: listings, commit records or catalog cannot be read.
            InvalidHourError: the range is longer than MOST_HOURS.
        """
        if hours is not None and len(hours) > MOST_HOURS:
            raise InvalidHourError(f"{hours} is more than {MOST_HOURS:,} hours, twenty years: choose a shorter range")
        return hour_situations(
            self.engine,
            self.gold_tables,
            self.rules_version,
            now,
            hours,
            listings=listings,
            open_hours=self.settings.builds_open_hours,
            thorough=thorough,
        )

    def states(
        self,
        now: datetime,
        hours: HourRange | None = None,
        *,
        listings: Mapping[Hour, RawListing] | None = None,
        thorough: bool = False,
    ) -> dict[Hour, HourState]:
        """Return only the states, like `situations`."""
        found = self.situations(now, hours, listings=listings, thorough=thorough)
        return {hour: each.state for hour, each in found.items()}
