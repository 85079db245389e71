"""The steps that are measured inside the engine, each in a process of its own: `... steps NAME ROOT FIRST END`.

A step first prepares, and returns what is timed. That may return facts: counts, by name. The last line of output is
JSON with the seconds and the facts.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path

import duckdb
from isal import igzip

from event_pipeline.engines.commit import DataFile
from event_pipeline.engines.local import LocalEngine
from event_pipeline.reporting.answers import named_query
from event_pipeline.rules.contract import SILVER_EVENTS
from event_pipeline.rules.hour import Hour, HourRange
from event_pipeline.rules.query import load_gold_tables
from event_pipeline.settings import Settings, load_settings
from event_pipeline_tests.benchmark.bare_read import copy_bare
from event_pipeline_tests.benchmark.measuring import cpu_seconds_of
from event_pipeline_tests.benchmark.profile import profile_object
from event_pipeline_tests.pipeline import silent

EARLIEST = Hour.parse("2024-01-01T00")

Facts = Mapping[str, float]
Timed = Callable[[], Facts | None]


def _settings(root: Path) -> Settings:
    return load_settings(root=root, first_partition=EARLIEST)


def inflate(root: Path, hours: HourRange) -> Timed:
    """Inflate every object on one core and throw the bytes away."""

    def timed() -> Facts:
        inflated = 0
        for path in sorted((root / "raw").rglob("*.gz")):
            with igzip.open(path) as stream:  # type: ignore[no-untyped-call]  # this module of isal has no annotations
                while piece := stream.read(1 << 20):
                    inflated += len(piece)
        return {"inflated_bytes": inflated}

    return timed


def bare_read(root: Path, hours: HourRange) -> Timed:
    """Read the objects with DuckDB straight into Parquet."""
    threads = _settings(root).workers
    return lambda: copy_bare(f"{root}/raw/**/*.gz", root / "bare.parquet", threads)


def silver(root: Path, hours: HourRange) -> Timed:
    """Build and register Silver of the hours."""
    engine = LocalEngine(_settings(root))

    def timed() -> Facts:
        accounts = [build.commit.account for build in engine.build_silver(list(hours), progress=silent)]
        engine.register_hours(list(hours))
        names = ("records", "silver_rows", "quarantined", "duplicates")
        return {name: sum(getattr(account, name) for account in accounts) for name in names}

    return timed


def gold(root: Path, hours: HourRange) -> Timed:
    """Refresh every Gold table for the hours, whether they are new or not."""
    engine = LocalEngine(_settings(root))

    def timed() -> None:
        for table in load_gold_tables():
            engine.refresh_gold(table, list(hours), force=True, progress=silent)

    return timed


def hour_to_gold(root: Path, hours: HourRange) -> Timed:
    """Take the hours from raw to Gold with the bare engine, without Dagster."""
    to_silver, to_gold = silver(root, hours), gold(root, hours)

    def timed() -> None:
        to_silver()
        to_gold()

    return timed


def user_activity(root: Path, hours: HourRange) -> Timed:
    """Refresh the table with the ids of all users and sessions, of which a day's fold counts the distinct ones."""
    engine = LocalEngine(_settings(root))
    (table,) = (table for table in load_gold_tables() if table.name == "user_activity")

    def timed() -> Facts:
        engine.refresh_gold(table, list(hours), force=True, progress=silent)
        day = engine.query(named_query(table.name, [table], hours.first.start.date())).to_pylist()[0]
        return {"users": day["unique_users"], "sessions": day["unique_sessions"]}

    return timed


def partials_apart(root: Path, hours: HourRange) -> Timed:
    """Run the SQL of the five partials of an hour, each over the Parquet files."""
    return _partials(root, hours, "VIEW")


def partials_together(root: Path, hours: HourRange) -> Timed:
    """Read Silver into memory once, and run the SQL of the five partials over that."""
    return _partials(root, hours, "TEMP TABLE")


def _partials(root: Path, hours: HourRange, kind: str) -> Timed:
    settings = _settings(root)
    commit = LocalEngine(settings).hour_commit(hours.first)
    assert commit is not None
    files: tuple[DataFile, ...] = commit.files_of(SILVER_EVENTS.full_name)
    paths = ", ".join(f"'{root / 'lake' / file.path}'" for file in files)
    tables = load_gold_tables()
    words = set(re.findall(r"\w+", " ".join(table.partial for table in tables)))
    columns = [column.name for column in SILVER_EVENTS.columns if column.name in words]

    def timed() -> None:
        with closing(duckdb.connect(config={"threads": settings.workers, "temp_directory": str(root)})) as connection:
            connection.execute(f"SET memory_limit = '{settings.duckdb_memory_mb}MB'")
            # Only what a partial reads: with the other columns, an hour of full size does not fit into memory.
            connection.execute(
                f"CREATE {kind} silver_events AS SELECT {', '.join(columns)} FROM read_parquet([{paths}])"
            )
            for table in tables:
                target = root / f"{table.name}.parquet"
                connection.execute(f"COPY ({table.partial}) TO '{target}' (FORMAT parquet, COMPRESSION zstd)")

    return timed


def sensor_look(root: Path, hours: HourRange) -> Timed:
    """Let the sensor look at what has not changed since its last look, just after the last hour."""
    # Dagster takes as long to import as the other steps take to start.
    import dagster as dg

    from event_pipeline.assets.pipeline import hourly_pipeline_job, pipeline_assets
    from event_pipeline.automation.sensors import new_raw_objects_sensor

    settings = load_settings(root=root, first_partition=hours.first)
    job = hourly_pipeline_job(pipeline_assets(settings))
    sensor = new_raw_objects_sensor(job, load_gold_tables(), settings, lambda: hours.end.start)
    engine, instance = LocalEngine(settings), dg.DagsterInstance.ephemeral()

    def look(cursor: str | None) -> dg.SensorResult:
        resources = {"engine": engine}
        result = sensor(dg.build_sensor_context(instance, cursor, resources=resources, sensor_name="new_raw_objects"))
        assert isinstance(result, dg.SensorResult)
        return result

    first = look(None)

    def timed() -> Facts:
        return {"runs": len(look(first.cursor).run_requests or [])}

    return timed


def query(root: Path, hours: HourRange) -> Timed:
    """Ask for the answers of the last day, as `event-pipeline query --name` does."""
    engine = LocalEngine(_settings(root))
    statement = named_query("conversion_funnel", load_gold_tables(), hours.last.start.date())
    return lambda: {"rows": engine.query(statement).num_rows}


def profile(root: Path, hours: HourRange) -> Timed:
    """Take the time of the stages of one object."""
    path = min((root / "raw").rglob("*.gz"))
    return lambda: profile_object(path, hours.first)


STEPS: dict[str, Callable[[Path, HourRange], Timed]] = {
    step.__name__: step
    for step in (
        inflate,
        bare_read,
        silver,
        gold,
        hour_to_gold,
        user_activity,
        partials_apart,
        partials_together,
        sensor_look,
        query,
        profile,
    )
}


def main() -> None:
    """Run one step and print its seconds."""
    name, root, first, end = sys.argv[1:]
    timed = STEPS[name](Path(root), HourRange(Hour.parse(first), Hour.parse(end)))
    used, started = cpu_seconds_of(os.getpid()), time.monotonic()
    facts = timed()
    wall = time.monotonic() - started
    print(json.dumps({"wall": wall, "cpu": cpu_seconds_of(os.getpid()) - used, "facts": facts or {}}))


if __name__ == "__main__":
    main()
