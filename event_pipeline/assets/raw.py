"""Bronze: the raw objects of each landing hour. Lists them; never writes them."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from event_pipeline.assets.checks import RAW_CHECKS, check_specs, raw_verdicts
from event_pipeline.assets.faults import faults_explained
from event_pipeline.assets.partitions import backfill_policy, hours_of_run, landing_hours
from event_pipeline.assets.presentation import OWNERS, file_references, table_metadata
from event_pipeline.assets.progress import HourProgress
from event_pipeline.assets.results import HourEvent, HourResult, hour_events
from event_pipeline.engines.base import Engine
from event_pipeline.engines.isolation import isolated
from event_pipeline.engines.place import AssetKinds
from event_pipeline.engines.state import as_built
from event_pipeline.errors import PipelineError
from event_pipeline.rules.accounting import RawListing
from event_pipeline.rules.contract import BRONZE_EVENTS
from event_pipeline.rules.hour import RAW_ROOT, Hour
from event_pipeline.rules.printable import plural, size_text
from event_pipeline.settings import Settings
from event_pipeline.shipped import CONTRACT, shipped_file

RAW_EVENTS = "raw_events"


def raw_events_asset(settings: Settings, kinds: AssetKinds) -> dg.AssetsDefinition:
    """Return the asset `raw_events`."""
    partitions = landing_hours(settings)

    @dg.asset(
        name=RAW_EVENTS,
        group_name="bronze",
        kinds=set(kinds.raw),
        owners=OWNERS,
        partitions_def=partitions,
        backfill_policy=backfill_policy(settings),
        check_specs=check_specs(RAW_EVENTS, RAW_CHECKS, partitions),
        metadata={
            **table_metadata(BRONZE_EVENTS),
            "layout": f"{RAW_ROOT}year=/month=/day=/hour=/minute=/",
            **file_references(shipped_file(CONTRACT)),
        },
    )
    def raw_events(
        context: dg.AssetExecutionContext, engine: dg.ResourceParam[Engine], progress: dg.ResourceParam[HourProgress]
    ) -> Iterator[HourEvent]:
        """Raw objects of a landing hour: gzipped JSON Lines, which the producers write every five minutes.

        Materializing an hour lists its objects and records their fingerprint (keys, etags, sizes) as the data
        version, so that Silver becomes stale when an object lands late or is replaced. Only objects that were copied
        or touched since their hour was built are read: with the same bytes they are the same version. An hour without
        objects is materialized as empty and its check warns.
        """
        with faults_explained(context):
            now = datetime.now(UTC)
            hours = hours_of_run(context)
            listings, failures = dict[Hour, RawListing](), dict[Hour, PipelineError]()
            for hour in hours:
                with isolated(hours, hour, failures):
                    listings[hour] = as_built(engine, engine.list_raw(hour), engine.hour_commit(hour))
            listed = sum(len(each.objects) for each in listings.values())
            progress(f"{RAW_EVENTS}: {listed} {plural(listed, 'object')} listed", None)
            yield from hour_events(
                context,
                {
                    hour: HourResult(_metadata(listing), raw_verdicts(listing, settings, now), listing.fingerprint)
                    for hour, listing in listings.items()
                },
                failures,
            )

    return raw_events


def _metadata(listing: RawListing) -> dict[str, Any]:
    newest: datetime | None = max((each.modified for each in listing.objects), default=None)
    count, unread = len(listing.objects), len(listing.unmatched)
    last = f"; the newest landed at {newest:%H:%M:%S} UTC" if newest else ""
    return {
        "summary": (
            f"{count:,} {plural(count, 'raw object')}, {size_text(listing.raw_bytes)} compressed{last}"
            + (f"; {unread:,} other keys are not read" if unread else "")
        ),
        "objects": count,
        "bytes": listing.raw_bytes,
        "unmatched_keys": unread,
        **(
            {
                "newest_object": dg.MetadataValue.timestamp(newest),
                "newest_object_after_hour_end_seconds": round((newest - listing.hour.end).total_seconds()),
            }
            if newest
            else {}
        ),
        "fingerprint": listing.fingerprint,
    }
