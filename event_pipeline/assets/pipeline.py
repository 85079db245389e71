"""All assets of the pipeline, from raw objects to Gold, and the job that takes landing hours through them."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg

from event_pipeline.assets.gold import gold_assets
from event_pipeline.assets.raw import raw_events_asset
from event_pipeline.assets.silver import silver_events_asset, silver_partitions_asset
from event_pipeline.engines.place import AssetKinds, place_of
from event_pipeline.rules.query import GOLD_FOLDER
from event_pipeline.settings import Settings

if TYPE_CHECKING:
    from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

HOURLY_PIPELINE = "hourly_pipeline"


def pipeline_assets(
    settings: Settings, gold_folder: Path = GOLD_FOLDER, kinds: AssetKinds | None = None
) -> list[dg.AssetsDefinition]:
    """Return every asset, upstream first, each with a link to its source; kinds follow from the settings' engine.

    Raises:
        GoldFileError: a Gold table's file does not have the layout.
    """
    kinds = kinds or place_of(settings).kinds
    with warnings.catch_warnings():
        # Backfill policies, code references and partitioned checks are recent Dagster features; the version is pinned.
        warnings.simplefilter("ignore", dg.BetaWarning)
        warnings.simplefilter("ignore", dg.PreviewWarning)
        assets = [
            raw_events_asset(settings, kinds),
            silver_events_asset(settings, kinds),
            silver_partitions_asset(settings, kinds),
            *gold_assets(settings, gold_folder, kinds),
        ]
        return [asset for asset in dg.with_source_code_references(assets) if isinstance(asset, dg.AssetsDefinition)]


def hourly_pipeline_job(assets: Sequence[dg.AssetsDefinition]) -> UnresolvedAssetJobDefinition:
    """Return the job that takes landing hours from raw objects to Gold."""
    return dg.define_asset_job(
        HOURLY_PIPELINE,
        selection=dg.AssetSelection.assets(*assets),
        description=(
            "Takes a landing hour, or a range of them in one run, from raw objects through Silver to all Gold tables."
        ),
    )
