"""Gold: one asset per `.sql` file in `rules/gold/`. A new file is a new asset; there is no other list of them."""

from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import Field

from event_pipeline.assets.checks import GOLD_CHECKS, check_specs, gold_verdicts, joined
from event_pipeline.assets.cost_metadata import cost_metadata
from event_pipeline.assets.faults import faults_explained
from event_pipeline.assets.partitions import backfill_policy, failures_among, hours_left, landing_hours
from event_pipeline.assets.pictures import MOST_BARS, bar_chart
from event_pipeline.assets.presentation import (
    OWNERS,
    column_lineage,
    file_references,
    markdown_table,
    quoted,
    seconds_text,
    sql_block,
    table_metadata,
)
from event_pipeline.assets.progress import HourProgress
from event_pipeline.assets.results import HourEvent, HourResult, hour_events
from event_pipeline.assets.silver import PARTITIONS, SILVER
from event_pipeline.engines.base import Engine, GoldRefresh
from event_pipeline.engines.isolation import isolated
from event_pipeline.engines.place import AssetKinds
from event_pipeline.errors import PipelineError, TransientError
from event_pipeline.rules.hour import Hour
from event_pipeline.rules.printable import plural, printable, size_text
from event_pipeline.rules.query import GoldTable, load_gold_tables
from event_pipeline.settings import Settings
from event_pipeline.shipped import DICTIONARY, QUERIES, shipped_file

PREVIEW_ROWS = MOST_BARS
"""Rows of the newest day shown with each materialization: all hours of a day, the first products."""


def gold_pool(table: str) -> str:
    """Return the Dagster pool of one Gold table: two runs folding the same table would only wait for each other."""
    return f"gold_{table}"


class GoldConfig(dg.Config):
    """Run config of a Gold refresh."""

    force: bool = Field(default=False, description="Rebuild partials and days even if nothing has changed")


def gold_assets(settings: Settings, folder: Path, kinds: AssetKinds) -> list[dg.AssetsDefinition]:
    """Return one asset per `.sql` file in a folder.

    Raises:
        GoldFileError: a file does not have the layout.
    """
    return [_gold_asset(table, folder / f"{table.name}.sql", settings, kinds) for table in load_gold_tables(folder)]


def _gold_asset(table: GoldTable, path: Path, settings: Settings, kinds: AssetKinds) -> dg.AssetsDefinition:
    partitions = landing_hours(settings)
    grain = ", ".join(("event_date", *table.grain))

    @dg.asset(
        name=table.name,
        deps=[PARTITIONS],
        description=(
            f"{table.description}\n\nOne row per {grain}, published by event day and exact at any time: materializing "
            "a landing hour aggregates that hour alone and folds every event day it touches."
        ),
        group_name="gold",
        kinds=set(kinds.gold),
        owners=OWNERS,
        pool=gold_pool(table.name),
        partitions_def=partitions,
        backfill_policy=backfill_policy(settings),
        code_version=table.version,
        check_specs=check_specs(table.name, GOLD_CHECKS, partitions),
        metadata={
            **table_metadata(table.table),
            **(column_lineage(SILVER, dict(table.lineage)) if table.lineage else {}),
            "grain": grain,
            "SQL of a landing hour": sql_block(table.partial),
            "SQL of an event day": sql_block(table.fold),
            **file_references(path, shipped_file(DICTIONARY), shipped_file(QUERIES)),
        },
    )
    def gold(
        context: dg.AssetExecutionContext,
        config: GoldConfig,
        engine: dg.ResourceParam[Engine],
        progress: dg.ResourceParam[HourProgress],
    ) -> Iterator[HourEvent]:
        with faults_explained(context):
            hours, earlier = hours_left(context)
            try:
                refresh = engine.refresh_gold(
                    table, hours, force=config.force, progress=lambda line: context.log.info(printable(line))
                )
            except PipelineError as error:
                yield from hour_events(context, {}, failures_among(hours, earlier, error), earlier)
                return
            folded = len(refresh.day_rows)
            progress(f"{table.name}: {folded} {plural(folded, 'event day')} folded in {refresh.seconds:.1f} s", None)
            failures, days = dict(refresh.failures), dict[Hour, list[date]]()
            for hour in hours:
                with isolated([*hours, *earlier], hour, failures):
                    if hour not in failures:
                        days[hour] = engine.touched_days(table, hour)
            passing = dict[date, TransientError]()
            asked = sorted({day for touched in days.values() for day in touched})
            verdicts = gold_verdicts(engine, table, asked, passing)
            for hour, touched in list(days.items()):
                if not_judged := [passing[day] for day in touched if day in passing]:
                    del days[hour]
                    with isolated([*hours, *earlier], hour, failures):
                        raise not_judged[0]
            results = {
                hour: HourResult(
                    _metadata(refresh, hour, touched, len(hours)),
                    {name: joined([verdicts[day][name] for day in touched]) for name in GOLD_CHECKS},
                )
                for hour, touched in days.items()
            }
            last = max(days, default=None)
            if last and days[last]:
                preview = _preview(engine, table, days[last][-1])
                summary = {"summary": results[last].metadata["summary"]}
                results[last] = HourResult({**summary, **preview, **results[last].metadata}, results[last].verdicts)
            yield from hour_events(context, results, failures, earlier)

    return gold


def _metadata(refresh: GoldRefresh, hour: Hour, days: Sequence[date], hours_together: int) -> dict[str, Any]:
    """Return the metadata of one hour; bytes and seconds are the refresh's, divided by its number of hours."""
    outcome = "unchanged" if hour in refresh.unchanged_hours else "built"
    folded = [(day, refresh.day_rows.get(day), "folded" if day in refresh.day_rows else "unchanged") for day in days]
    days_text = "1 event day" if len(days) == 1 else f"{len(days)} event days"
    return {
        "summary": (
            f"{outcome.capitalize()}: the hour touches {days_text}, of which "
            f"{sum(day in refresh.day_rows for day in days)} folded again; "
            f"{size_text(refresh.bytes_in // hours_together)} read and "
            f"{size_text(refresh.bytes_out // hours_together)} written "
            f"in {seconds_text(refresh.seconds / hours_together)}"
        ),
        "dagster/partition_row_count": refresh.partial_rows.get(hour, 0),
        "days": markdown_table(("event day", "rows published", "fold"), folded),
        "days_folded": sum(day in refresh.day_rows for day in days),
        "rows_published": sum(refresh.day_rows.get(day, 0) for day in days),
        "outcome": outcome,
        "hours_in_refresh": hours_together,
        "bytes_in": refresh.bytes_in // hours_together,
        "bytes_out": refresh.bytes_out // hours_together,
        "seconds": round(refresh.seconds / hours_together, 3),
        **cost_metadata(refresh.cost, hours_together),
    }


def _preview(engine: Engine, table: GoldTable, day: date) -> dict[str, Any]:
    """Return metadata with the first published rows of one event day, ordered by the columns, and a chart of them."""
    columns = ", ".join(column.name for column in table.columns)
    try:
        rows = engine.query(
            f"SELECT {columns} FROM {table.table.full_name} WHERE event_date = DATE '{day}' "
            f"ORDER BY {columns} LIMIT {PREVIEW_ROWS}"
        )
    except (PipelineError, OSError) as fault:  # the checks fail for the same reason; the preview only repeats it
        return {f"preview_{day}": dg.MetadataValue.md(quoted(str(fault)))}
    found = rows.to_pylist()
    chart = dict[str, Any]()
    if table.measures and found:
        labels = [str(row[table.grain[0]]) for row in found]
        series = [(name, [row[name] for row in found]) for name in table.measures]
        title = f"{', '.join(table.measures)} by {table.grain[0]} on {day}"
        chart = {f"chart_{day}": bar_chart(title, labels, series)}
    return {**chart, f"preview_{day}": markdown_table(rows.column_names, [tuple(row.values()) for row in found])}
