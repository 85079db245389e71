"""Measures who computes on AWS, side by side on the emulated account: `python -m event_pipeline_tests.assemblies`.

One hour of 12 objects is built to Gold by every combination of EVENT_PIPELINE_BUILDER and EVENT_PIPELINE_SQL, each in
an account of its own, from the same objects. Seconds are those of this machine, on which Spark starts and DuckDB stands
for Athena: they compare the work, not the services. What a day would cost is the estimate of
`event-pipeline cost --dry-run` for objects of full size.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path

from rich.console import Console
from rich.table import Table

from event_pipeline.engines.aws import AwsEngine
from event_pipeline.engines.aws.costs import estimate
from event_pipeline.generator import GeneratorOptions, generate
from event_pipeline.rules.accounting import RawListing, RawObject
from event_pipeline.rules.hour import Hour, HourRange
from event_pipeline.rules.query import load_gold_tables
from event_pipeline.settings import Settings, SilverBuilderKind, SqlKind
from event_pipeline_tests.emulator import EmulatedAws

HOUR = Hour.parse("2025-12-07T22")
OBJECTS = 12
FULL_OBJECT_BYTES = 12_400_000
"""Stored bytes of 625,000 events."""


def main() -> None:
    """Measure and print one row for each combination."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events-per-file", type=int, default=50_000, help="events of each of the 12 objects")
    options = parser.parse_args()
    table = Table("Silver by", "Gold by", title=f"{OBJECTS} objects of {options.events_per_file:,} events")
    for name in ("Silver s", "Gold s", "S3", "Glue", "Athena", "USD a day"):
        table.add_column(name, justify="right")
    with tempfile.TemporaryDirectory(prefix="assemblies-") as folder:
        raw = Path(folder) / "raw"
        generate(raw, HourRange.of([HOUR]), GeneratorOptions(events_per_file=options.events_per_file, seed=7))
        for builder, sql in product(SilverBuilderKind, SqlKind):
            row = measured(raw, Path(folder) / f"{builder}-{sql}", builder, sql)
            table.add_row(builder.value, sql.value, *row)
    Console().print(table)


def measured(raw: Path, root: Path, builder: SilverBuilderKind, sql: SqlKind) -> list[str]:
    """Build the hour in an account of its own and return the cells of its row."""
    with EmulatedAws() as aws, variables(aws.environment()):
        settings = aws.settings(root=root, builder=builder, sql=sql)
        aws.create_resources(settings)
        for path in sorted(raw.rglob("*.gz")):
            aws.client("s3").upload_file(str(path), settings.raw_bucket, path.relative_to(raw).as_posix())
        engine = AwsEngine(settings)
        aws.requests.clear()
        started = time.monotonic()
        list(engine.build_silver([HOUR], progress=lambda _: None))
        engine.register_hours([HOUR])
        silver_seconds = time.monotonic() - started
        started = time.monotonic()
        for table in load_gold_tables():
            engine.refresh_gold(table, [HOUR], progress=lambda _: None)
            engine.reconcile(table, engine.touched_days(table, HOUR))
        gold_seconds = time.monotonic() - started
        services = [each.name.partition(".")[0] for each in aws.requests.all()]
        counts = [f"{services.count(name):,}" for name in ("s3", "glue", "athena")]
        return [f"{silver_seconds:.1f}", f"{gold_seconds:.1f}", *counts, f"{usd_of_a_day(settings):.3f}"]


def usd_of_a_day(settings: Settings) -> float:
    """Return what 24 hours of full-size objects would cost, each hour built by itself."""
    one = settings.model_copy(update={"hours_per_run": 1})
    objects = [RawObject(f"{number:02}", "etag", FULL_OBJECT_BYTES, HOUR.start) for number in range(OBJECTS)]
    day = {HOUR.plus(number): RawListing(HOUR.plus(number), tuple(objects)) for number in range(24)}
    return float(estimate(day, len(load_gold_tables()), one).cost.usd)


@contextmanager
def variables(wanted: dict[str, str]) -> Iterator[None]:
    """Set environment variables for a block."""
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


if __name__ == "__main__":
    main()
