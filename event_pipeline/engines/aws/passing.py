"""Temporary objects in the lake bucket: what steps keep while hours are open, and its leftovers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime

from event_pipeline.engines import layout
from event_pipeline.engines.base import Leftover, LeftoverKind
from event_pipeline.engines.leftovers import PASSING_GRACE
from event_pipeline.engines.store import Store, StoredObject


class DecodedPrefixes:
    """Implements `engines.housekeeping.PassingFiles` over what the Glue job decoded of open hours."""

    def __init__(self, lake: Store) -> None:
        self._lake = lake

    def leftovers(self, until: datetime) -> Iterator[Leftover]:
        """Yield decoded objects that were not removed when their complete hour was built."""
        by_hour = defaultdict[str, list[StoredObject]](list)
        for each in self._lake.list(layout.DECODED):
            # decoded/<year>/<month>/<day>/<hour>/...
            by_hour["/".join(each.key.split("/")[:5])].append(each)
        for place, found in by_hour.items():
            if all(each.modified <= until for each in found):
                paths, size = tuple(each.key for each in found), sum(each.size for each in found)
                why = f"older than {PASSING_GRACE.total_seconds() / 3600:.0f} hours"
                yield Leftover(LeftoverKind.SCRATCH, place, paths, size, why)

    def remove(self, leftover: Leftover) -> None:
        """Remove a leftover."""
        self._lake.delete(leftover.paths)
