"""The raw objects as data files of `bronze.events`, for queries by DuckDB."""

from __future__ import annotations

from collections.abc import Sequence

from event_pipeline.engines.host.lake_files import RegisteredFile
from event_pipeline.engines.host.query import Statement
from event_pipeline.engines.raw import RawListings
from event_pipeline.rules.contract import BRONZE_EVENTS
from event_pipeline.rules.hour import RAW_ROOT


def raw_table_files(statement: Statement, listings: RawListings) -> dict[str, Sequence[RegisteredFile]]:
    """List all raw objects that the pipeline reads, if a statement names the database bronze: table -> files.

    Objects without a byte have no line; their partitions are the folders in their keys.

    Raises:
        StorageError: the raw folder cannot be read.
    """
    if BRONZE_EVENTS.database not in statement.databases:
        return {}
    files = [
        RegisteredFile(each.key.removeprefix(RAW_ROOT).rpartition("/")[0], each.key, raw=True)
        for listing in listings.list_hours(None).values()
        for each in listing.objects
        if each.size
    ]
    return {BRONZE_EVENTS.full_name: files}
