"""What readers of a data folder see, place by place, and what is in it after a rerun and housekeeping."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from event_pipeline.engines.local import LocalEngine
from event_pipeline.engines.open import open_pipeline, remember_first_partition
from event_pipeline.errors import PipelineError
from event_pipeline.operations.building import plan_build
from event_pipeline.settings import load_settings
from event_pipeline_tests.pipeline import ALL_GOLD, build

View = dict[str, tuple[str, ...]]
"""Place (an hour of Silver with quarantine and ledger, or a day of a Gold table) -> its rows in order."""

_BUILD_ID = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{12}")
_RECEIPT = re.compile(r"(?<=/erasures/)[0-9a-f]{64}")
"""Of an erasure, by a name that nobody can make without the data folder's own key."""
_LATER = timedelta(days=400)
_HOUR = "year || '-' || month || '-' || day || 'T' || hour"
_SQL = " UNION ALL ".join(
    (
        f"SELECT 'silver ' || {_HOUR} AS place, CAST(e AS VARCHAR) AS content FROM silver.events AS e",
        f"SELECT 'silver ' || {_HOUR}, CAST(q AS VARCHAR) FROM silver.quarantine AS q",
        f"SELECT 'silver ' || {_HOUR}, CAST((objects, records, silver_rows, quarantined, duplicates) AS VARCHAR)"
        " FROM ops.hour_ledger",
        *(
            f"SELECT 'gold.{table.name} ' || event_date, CAST(g AS VARCHAR) FROM gold.{table.name} AS g"
            for table in ALL_GOLD
        ),
    )
)
"""Everything that is published, in one statement, which sees one moment of the catalog."""


def engine_of(root: Path) -> LocalEngine:
    """Return the engine over a data folder."""
    return LocalEngine(load_settings(root=root, workers=1, lock_timeout_seconds=20))


def seen(root: Path) -> View:
    """Return what a reader sees.

    Raises:
        PipelineError: something cannot be read.
    """
    found = defaultdict[str, list[str]](list)
    for row in engine_of(root).query(_SQL).to_pylist():
        found[row["place"]].append(row["content"])
    return {place: tuple(sorted(rows)) for place, rows in sorted(found.items())}


def anomalies(root: Path, allowed: Sequence[View]) -> list[str]:
    """Return where a reader sees what is none of the allowed views of that place, as texts."""
    try:
        view = seen(root)
    except PipelineError as error:
        return [f"a reader cannot read: {error}"]
    return [
        f"a reader sees {len(view.get(place, ()))} rows of {place}, and none of the whole builds has exactly these"
        for place in sorted({*view, *(place for each in allowed for place in each)})
        if all(view.get(place, ()) != each.get(place, ()) for each in allowed)
    ]


def build_what_is_due(root: Path, lock_timeout_seconds: float = 20) -> None:
    """Do what `event-pipeline run` does, without Dagster: plan, build, register, fold.

    Raises:
        PipelineError: an hour cannot be built.
    """
    settings = load_settings(root=root, workers=1, lock_timeout_seconds=lock_timeout_seconds)
    remember_first_partition(settings)
    pipeline = open_pipeline(settings)
    plan = plan_build(pipeline, datetime.now(UTC), None)
    if plan.hours:
        build(pipeline.engine, plan.hours)


def left_after_housekeeping(root: Path) -> list[str]:
    """Do the housekeeping of a later time; return the files left outside raw and Dagster's folder.

    Builds and receipts are without their names, which are never the same.
    """
    engine, later = engine_of(root), datetime.now(UTC) + _LATER
    for leftover in engine.leftovers(later):
        engine.remove(leftover)
    return sorted(
        _RECEIPT.sub("RECEIPT", _BUILD_ID.sub("BUILD", path.relative_to(root).as_posix()))
        for top in root.iterdir()
        if top.name not in ("raw", "dagster")
        for path in ([top] if top.is_file() else top.rglob("*"))
        if path.is_file() and not path.name.startswith("catalog.sqlite-")
    )
