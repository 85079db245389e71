"""All assets of the pipeline, from raw objects to Gold."""

from __future__ import annotations

import warnings
from pathlib import Path

import dagster as dg

from event_pipeline.assets.gold import gold_assets
from event_pipeline.assets.raw import raw_events_asset
from event_pipeline.assets.silver import silver_events_asset, silver_partitions_asset
from event_pipeline.engines.place import AssetKinds, place_of
from event_pipeline.rules.query import GOLD_FOLDER
from event_pipeline.settings import Settings


def pipeline_assets(
    settings: Settings, gold_folder: Path = GOLD_FOLDER, kinds: AssetKinds | None = None
) -> list[dg.AssetsDefinition]:
    """Return every asset, upstream first, each with a link to its source; kinds are those of the settings' engine.

    Raises:
        GoldFileError: a Gold table's file does not have the layout.
    """
    kinds = kinds or place_of(settings).kinds
    with warnings.catch_warnings():
        # Backfill policies, code references and partitioned checks are Dagster's newer parts; the release is pinned.
        warnings.simplefilter("ignore", dg.BetaWarning)
        warnings.simplefilter("ignore", dg.PreviewWarning)
        assets = [
            raw_events_asset(settings, kinds),
            silver_events_asset(settings, kinds),
            silver_partitions_asset(settings, kinds),
            *gold_assets(settings, gold_folder, kinds),
        ]
        return [asset for asset in dg.with_source_code_references(assets) if isinstance(asset, dg.AssetsDefinition)]
