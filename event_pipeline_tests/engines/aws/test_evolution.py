"""A lake of the version before is read as it is: what came later is null there, and new builds have it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from event_pipeline.engines.aws import AwsEngine
from event_pipeline.engines.engine import PortEngine
from event_pipeline.engines.local import LocalEngine
from event_pipeline.engines.pipeline import Pipeline
from event_pipeline.engines.state import HourState
from event_pipeline.errors import StorageError
from event_pipeline.rules.contract import SILVER_EVENTS
from event_pipeline.rules.hour import Hour
from event_pipeline.rules.query import GOLD_FOLDER, load_gold_tables
from event_pipeline.settings import Settings, load_settings
from event_pipeline_tests.emulator import EmulatedAws
from event_pipeline_tests.engines.aws.conftest import BY_HOST
from event_pipeline_tests.engines.aws.pipeline import World
from event_pipeline_tests.older_lake import LATER_COLUMNS, OLDER_RULES, make_older
from event_pipeline_tests.pipeline import HOUR, event, purchase, rows, write_object

GONE, LEFT = HOUR, HOUR.plus(1)
"""Two hours of one event day; the raw objects of the first are gone."""
DAY = date(2025, 12, 7)
HOURS_SHOWN = "SELECT hour, event_hour, rescued FROM silver.events ORDER BY event_ts"
FUNNEL = "SELECT views, purchases, items_sold, revenue FROM gold.conversion_funnel"
BY_HOUR = """-- description: Events of each hour.
-- grain: event_hour
-- columns:
--   event_hour   int      Hour of the day in UTC; null for hours built before there was a column
--   events       bigint   All events

-- section: partial
SELECT event_date, event_hour, CAST(COUNT(*) AS BIGINT) AS events
FROM silver_events
GROUP BY event_date, event_hour;

-- section: fold
SELECT event_hour, CAST(SUM(events) AS BIGINT) AS events
FROM partials
GROUP BY event_hour
ORDER BY event_hour;

-- section: reconcile
SELECT 'events' AS measure, (SELECT COALESCE(SUM(events), 0) FROM gold_day) AS gold, events AS silver
FROM silver_totals;
"""


@pytest.fixture
def gold(tmp_path: Path) -> Path:
    """A folder with a Gold table; a second one, which names a column that older Silver does not have, comes later."""
    folder = tmp_path / "gold"
    folder.mkdir()
    shutil.copy(GOLD_FOLDER / "conversion_funnel.sql", folder)
    return folder


@pytest.fixture(params=["local", "aws", "aws by its host"])
def older(request: pytest.FixtureRequest, root: Path, gold: Path) -> World:
    """An engine over a lake of two hours as version 0.1.0 left it, on AWS with its catalog."""
    if request.param == "local":
        return older_world(load_settings(root=root, workers=1), None, root, gold)
    settings: Settings = request.getfixturevalue("settings")
    settings = settings.model_copy(update=BY_HOST if request.param == "aws by its host" else {})
    return older_world(settings, request.getfixturevalue("aws"), root, gold)


def older_world(settings: Settings, aws: EmulatedAws | None, root: Path, gold: Path) -> World:
    """Build two hours, and make files, commit records and catalog older."""
    bucket = (aws, settings.raw_bucket) if aws else None
    for hour in (GONE, LEFT):
        write_object(root, hour, 0, [event(hour, second=1, referrer="mail"), purchase(hour, second=2, quantity=3)])

    def engine() -> PortEngine[Any]:
        return LocalEngine(settings, gold) if bucket is None else AwsEngine(settings, gold)

    first = World(engine(), root, bucket, load_gold_tables(gold))
    first.build([GONE, LEFT])
    make_older(first.engine._lake)  # type: ignore[attr-defined]
    if bucket is None:
        (root / "catalog.sqlite").unlink()
    else:
        make_catalog_older(bucket[0])
    (gold / "events_by_hour.sql").write_text(BY_HOUR, encoding="utf-8")
    return World(engine(), root, bucket, load_gold_tables(gold))


def make_catalog_older(aws: EmulatedAws) -> None:
    """Take the later columns out of the Glue tables and their partitions, and give partitions the older parameters."""
    glue = aws.client("glue")
    for name, later in LATER_COLUMNS.items():
        database, table = name.replace("partials.", "gold_partials.").split(".")
        place = {"DatabaseName": database, "TableName": table}
        found = glue.get_table(DatabaseName=database, Name=table)["Table"]
        kept = {key: found[key] for key in ("Name", "PartitionKeys", "TableType", "Parameters")}
        glue.update_table(
            DatabaseName=database, TableInput={**kept, "StorageDescriptor": without(found["StorageDescriptor"], later)}
        )
        for each in glue.get_partitions(**place)["Partitions"]:
            parameters = each["Parameters"]
            if name == "silver.events":
                totals = {day: ["2", "1", "0", "0", "1", "0", "3", "29.97"] for day in json.loads(parameters["days"])}
                parameters = {**parameters, "version": OLDER_RULES, "days": json.dumps(totals)}
            else:
                parameters = {**parameters, "version": "0123456789abcdef"}
            glue.update_partition(
                **place,
                PartitionValueList=each["Values"],
                PartitionInput={
                    "Values": each["Values"],
                    "Parameters": parameters,
                    "StorageDescriptor": without(each["StorageDescriptor"], later),
                },
            )


def without(descriptor: Mapping[str, Any], columns: tuple[str, ...]) -> dict[str, Any]:
    """Return a storage descriptor without some columns."""
    kept = [each for each in descriptor["Columns"] if each["Name"] not in columns]
    return {**descriptor, "Columns": kept}


def remove_raw(world: World, hour: Hour) -> None:
    """Remove the raw objects of an hour."""
    shutil.rmtree(world.root / "raw" / hour.raw_prefix)
    world.land()


def test_older_hours_show_null_until_they_are_built_again(older: World) -> None:
    older._landed = {path.relative_to(older.root / "raw").as_posix(): path.read_bytes() for path in raw_files(older)}
    remove_raw(older, GONE)
    if older.bucket is None:
        assert {row["event_hour"] for row in rows(older.engine, HOURS_SHOWN)} == {None}
    built = older.build([LEFT])
    assert [each.commit.hour for each in built] == [LEFT]
    for table in older.tables:
        older.engine.refresh_gold(table, [GONE], progress=lambda _: None)
    assert rows(older.engine, HOURS_SHOWN) == [
        {"hour": "22", "event_hour": None, "rescued": None},
        {"hour": "22", "event_hour": None, "rescued": None},
        {"hour": "23", "event_hour": 23, "rescued": '{"referrer":"mail"}'},
        {"hour": "23", "event_hour": 23, "rescued": None},
    ]
    (funnel,) = rows(older.engine, FUNNEL)
    assert [str(value) for value in funnel.values()] == ["2", "2", "6", "59.94"]
    by_hour = rows(older.engine, "SELECT event_hour, events FROM gold.events_by_hour ORDER BY event_hour NULLS LAST")
    assert by_hour == [{"event_hour": 23, "events": 2}, {"event_hour": None, "events": 2}]
    for table in older.tables:
        assert all(measure.gold == measure.silver for measure in older.engine.reconcile(table, [DAY]))


def raw_files(world: World) -> list[Path]:
    """Return the raw objects of a world."""
    return [path for path in (world.root / "raw").rglob("*") if path.is_file()]


def test_hours_of_older_rules_are_outdated(older: World) -> None:
    older.land()
    states = Pipeline(older.engine, tuple(older.tables), load_settings(root=older.root)).states(LEFT.end)
    assert states == dict.fromkeys((GONE, LEFT), HourState.OUTDATED)


def test_a_catalog_table_gains_columns_and_never_loses_or_retypes_one(aws: EmulatedAws, settings: Settings) -> None:
    engine = AwsEngine(settings)
    glue = aws.client("glue")
    full = glue.get_table(DatabaseName="silver", Name="events")["Table"]
    kept = {key: full[key] for key in ("Name", "PartitionKeys", "TableType", "Parameters")}

    def change(columns: list[dict[str, str]]) -> None:
        descriptor = {**full["StorageDescriptor"], "Columns": columns}
        glue.update_table(DatabaseName="silver", TableInput={**kept, "StorageDescriptor": descriptor})

    def columns() -> list[tuple[str, str]]:
        found = glue.get_table(DatabaseName="silver", Name="events")["Table"]["StorageDescriptor"]["Columns"]
        return [(each["Name"], each["Type"]) for each in found]

    wanted = [(column.name, column.type) for column in SILVER_EVENTS.columns]
    described = full["StorageDescriptor"]["Columns"]
    change([each for each in described if each["Name"] not in ("event_hour", "rescued")])
    engine.repair()
    assert columns() == wanted
    for faulty, message in (
        ([*described, {"Name": "device", "Type": "string"}], "column device is unknown"),
        ([{**each, "Type": "bigint"} if each["Name"] == "quantity" else each for each in described], "quantity is big"),
    ):
        without_one = [each for each in faulty if each["Name"] != "rescued"]
        change(without_one)
        with pytest.raises(StorageError, match=message):
            AwsEngine(settings).repair()
        assert columns() == [(each["Name"], each["Type"]) for each in without_one]
