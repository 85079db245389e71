"""One test body over every engine: whatever lands, both publish what the oracle computes, in the same types."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import random
import re
import shutil
from decimal import Decimal
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from event_pipeline.engines.aws import AwsEngine
from event_pipeline.engines.base import SilverOutcome
from event_pipeline.engines.engine import PortEngine
from event_pipeline.engines.local import LocalEngine
from event_pipeline.generator import generate
from event_pipeline.reporting.answers import named_query
from event_pipeline.rules.contract import HOUR_TABLES
from event_pipeline.rules.framing import wrongly_framed
from event_pipeline.rules.hour import Hour, HourRange
from event_pipeline.rules.query import load_gold_tables
from event_pipeline.rules.resent import SentAgain, neighbours_sent_again
from event_pipeline.settings import Settings, load_settings
from event_pipeline_tests.emulator import EmulatedAws
from event_pipeline_tests.engines.aws.conftest import AWS, AWS_BY_HOST, AWS_WITH_SPARK, AWS_WITH_TWO_TABLES, MEMORY
from event_pipeline_tests.engines.aws.pipeline import AROUND_MIDNIGHT, DIRTY, World
from event_pipeline_tests.hostile import HOSTILE_LINES, LANDING_HOUR
from event_pipeline_tests.pipeline import HOUR, event, in_order, purchase, rows, write_object

JUST_AFTER_MIDNIGHT = AROUND_MIDNIGHT.last
YESTERDAY, TODAY = Hour.parse("2025-12-07T10"), Hour.parse("2025-12-08T10")

without_spark = pytest.mark.parametrize("world", ["local", MEMORY, AWS_WITH_TWO_TABLES], indirect=True)


def write_hostile_lines(root: Path) -> Hour:
    """Write the hostile lines as two objects of their landing hour, and return it."""
    hour, lines = Hour.parse(LANDING_HOUR), [each.line for each in HOSTILE_LINES]
    write_object(root, hour, 0, lines[::2])
    write_object(root, hour, 5, lines[1::2])
    return hour


def test_hostile_lines_agree_with_the_oracle(world: World) -> None:
    world.build([write_hostile_lines(world.root)])
    expected = world.assert_agrees_with_oracle()
    assert len(expected.silver) > 50
    assert len(expected.quarantine) > 100


def test_dirty_hours_agree_with_the_oracle(world: World) -> None:
    generate(world.root / "raw", AROUND_MIDNIGHT, DIRTY)
    built = world.build(list(AROUND_MIDNIGHT))
    assert [each.outcome for each in built] == [SilverOutcome.BUILT] * 2
    expected = world.assert_agrees_with_oracle()
    assert sum(hour.duplicates for hour in expected.hours.values()) > 0
    assert sum(len(hour.unreadable) for hour in expected.hours.values()) == 3


def test_a_partial_that_vanished_is_made_again_before_its_day_is_folded(world: World) -> None:
    hours = [HOUR, HOUR.plus(1)]
    for hour in hours:
        write_object(world.root, hour, 0, [event(hour), purchase(hour, 1)])
    world.build(hours)
    assert isinstance(world.engine, PortEngine)
    lake = world.engine._lake
    for table in world.tables:
        lake.delete([each.key for each in lake.list(f"runs/partials/{table.name}/{HOUR.hive_path}/")])
    write_object(world.root, hours[1], 5, [purchase(hours[1], 301, user_id="u_2")])
    world.build(hours[1:])
    world.assert_agrees_with_oracle()


@pytest.mark.parametrize("world", ["local", MEMORY, AWS_BY_HOST], indirect=True)
def test_processes_of_the_host_publish_each_hour_as_soon_as_it_is_built(world: World) -> None:
    hours = [HOUR, HOUR.plus(1)]
    for hour in hours:
        write_object(world.root, hour, 0, [event(hour)])
    world.land()
    builds = world.engine.build_silver(hours, progress=lambda _: None)
    assert next(iter(builds)).commit.hour == HOUR
    assert [hour for hour in hours if world.engine.hour_commit(hour)] == [HOUR]
    assert [build.commit.hour for build in builds] == [HOUR.plus(1)]


@without_spark
def test_hours_built_one_by_one_in_any_order_agree_with_the_oracle(world: World) -> None:
    generate(world.root / "raw", AROUND_MIDNIGHT, DIRTY)
    hours = list(AROUND_MIDNIGHT)
    random.Random(3).shuffle(hours)
    for hour in hours:
        world.build([hour])
    world.assert_agrees_with_oracle()


@pytest.mark.long
@pytest.mark.parametrize("world", ["local", AWS_WITH_SPARK], indirect=True)
def test_the_real_sample_files_agree_with_the_oracle(world: World, real_samples: list[Path]) -> None:
    hour = Hour.parse("2025-11-19T17")
    for sample in real_samples:
        target = world.root / "raw" / hour.raw_prefix / f"minute={sample.name[18:20]}" / sample.name
        target.parent.mkdir(parents=True)
        shutil.copyfile(sample, target)
    world.build([hour])
    expected = world.assert_agrees_with_oracle()
    assert len(expected.silver) == 200


@without_spark
def test_a_late_object_moves_the_older_day_too(world: World) -> None:
    write_object(world.root, YESTERDAY, 0, [event(YESTERDAY, 1), purchase(YESTERDAY, 2)])
    write_object(world.root, TODAY, 0, [event(TODAY, 1)])
    world.build([YESTERDAY, TODAY])
    world.assert_agrees_with_oracle()
    write_object(world.root, TODAY, 5, [purchase(YESTERDAY, 3, user_id="u_2"), purchase(TODAY, 4)])
    (late,) = world.build([TODAY])
    assert late.reason == "input changed"
    world.assert_agrees_with_oracle()


@without_spark
def test_a_replaced_object_takes_back_what_it_said_before(world: World) -> None:
    write_object(world.root, YESTERDAY, 0, [event(YESTERDAY, 1)])
    write_object(world.root, TODAY, 0, [purchase(YESTERDAY, 3), event(TODAY, 1)])
    world.build([YESTERDAY, TODAY])
    write_object(world.root, TODAY, 0, [event(TODAY, 1, product_id="p_other")])
    world.build([TODAY])
    expected = world.assert_agrees_with_oracle()
    assert [row["event_date"].day for row in expected.gold["user_activity"]] == [7, 8]
    assert expected.gold["hourly_revenue"] == []


@without_spark
def test_a_day_whose_only_rows_were_taken_back_disappears(world: World) -> None:
    write_object(world.root, TODAY, 0, [purchase(YESTERDAY, 3), event(TODAY, 1)])
    world.build([TODAY])
    write_object(world.root, TODAY, 0, [event(TODAY, 1)])
    world.build([TODAY])
    expected = world.assert_agrees_with_oracle()
    assert len(expected.gold["user_activity"]) == 1


@pytest.mark.parametrize("world", ["local", MEMORY, AWS], indirect=True)
def test_ties_and_truncation_of_the_top_products_agree_with_the_oracle(world: World) -> None:
    views = [
        event(TODAY, second, product_id=f"p_{product:03}", category=f"c_{product % 7}", user_id=f"u_{second}")
        for second, product in enumerate(product for product in range(150) for _ in range(1 + product % 3))
    ]
    write_object(world.root, TODAY, 0, views)
    world.build([TODAY])
    expected = world.assert_agrees_with_oracle()
    assert 100 <= len(expected.gold["top_products"]) < 150


@without_spark
def test_a_range_with_a_quiet_hour_and_an_hour_set_aside_whole_agrees_with_the_oracle(world: World) -> None:
    quiet, broken, busy = (YESTERDAY.plus(hours) for hours in range(3))
    write_object(world.root, broken, 0, b"not gzip")
    write_object(world.root, busy, 0, [event(busy, 1), {"timestamp": None}])
    built = world.build([quiet, broken, busy])
    assert [each.reason for each in built] == ["no raw objects: built as an empty hour", "first build", "first build"]
    ledger = rows(world.engine, "SELECT hour, objects, unreadable_objects, records FROM ops.hour_ledger ORDER BY hour")
    assert [tuple(row.values()) for row in ledger] == [("10", 0, 0, 0), ("11", 1, 1, 0), ("12", 1, 0, 2)]
    assert rows(world.engine, "SELECT count(*) AS n FROM silver.events") == [{"n": 1}]


@without_spark
def test_every_check_of_a_sound_hour_passes(world: World) -> None:
    generate(world.root / "raw", [JUST_AFTER_MIDNIGHT], DIRTY)
    (built,) = world.build([JUST_AFTER_MIDNIGHT])
    counted = world.engine.count_rows(built.commit)
    account = built.commit.account
    assert (counted.silver_rows, counted.quarantined) == (account.silver_rows, account.quarantined)
    assert counted.quarantined_by_reason == account.quarantined_by_reason
    assert world.engine.partition_faults(JUST_AFTER_MIDNIGHT) == []
    for table in world.tables:
        days = world.engine.touched_days(table, JUST_AFTER_MIDNIGHT)
        assert len(days) > 1
        measures = world.engine.reconcile(table, days)
        assert {measure.day for measure in measures} == set(days)
        assert [each for each in measures if each.gold != each.silver] == []
        assert world.engine.grain_faults(table, days) == []
        assert world.engine.hours_behind(table) == []


@without_spark
def test_a_second_run_changes_nothing(world: World) -> None:
    write_object(world.root, TODAY, 0, [event(TODAY, 1), purchase(YESTERDAY, 1)])
    world.build([TODAY])
    before = published(world)
    (again,) = world.build([TODAY])
    assert (again.outcome, again.reason) == (SilverOutcome.UNCHANGED, "same input, same rules")
    assert {change.action.value for change in world.engine.register_hours([TODAY])} == {"unchanged"}
    for table in world.tables:
        refreshed = world.engine.refresh_gold(table, [TODAY], progress=lambda _: None)
        assert (refreshed.partial_rows, refreshed.day_rows) == ({}, {})
        assert refreshed.unchanged_hours == (TODAY,)
        assert (refreshed.bytes_in, refreshed.bytes_out) == (0, 0)
    assert published(world) == before


def published(world: World) -> list[tuple[str, str]]:
    """Return key and version of every data file and commit record."""
    assert isinstance(world.engine, PortEngine)
    lake = world.engine._lake
    return [(each.key, each.version) for prefix in ("runs/", "commits/") for each in lake.list(prefix)]


@pytest.mark.spark
def test_both_engines_give_the_same_rows_in_the_same_types(
    aws: EmulatedAws, settings: Settings, engine: AwsEngine, root: Path
) -> None:
    # One plan of three hours: a start of Spark costs more than all that is compared here.
    generate(root / "raw", AROUND_MIDNIGHT, DIRTY)
    hours = [*AROUND_MIDNIGHT, write_hostile_lines(root)]
    on_spark = World(engine, root, (aws, settings.raw_bucket))
    on_spark.build(hours)
    expected = on_spark.assert_agrees_with_oracle()
    assert sum(len(hour.unreadable) for hour in expected.hours.values()) == 3
    local = LocalEngine(load_settings(root=root, workers=1))
    World(local, root, None).build(hours)
    own = ("fingerprint", "run_id", "committed_at")
    for table in HOUR_TABLES:
        columns = ", ".join(column.name for column in table.columns if column.name not in own)
        on_aws, here = (each.query(f"SELECT {columns} FROM {table.full_name}") for each in (engine, local))
        assert on_aws.schema == here.schema
        assert in_order(on_aws.to_pylist()) == in_order(here.to_pylist())
        assert on_aws.num_rows
    for gold in load_gold_tables():
        answers = [each.query(named_query(gold.name, load_gold_tables())) for each in (engine, local)]
        assert answers[0] == answers[1]
        assert answers[0].num_rows
    assert file_types(engine, aws, settings) == local_file_types(local, root)


def file_types(engine: AwsEngine, aws: EmulatedAws, settings: Settings) -> dict[str, set[str]]:
    """Table -> the Parquet schemas of its files in the lake bucket."""
    found: dict[str, set[str]] = {}
    listed = aws.client("s3").list_objects_v2(Bucket=settings.lake_bucket, Prefix="runs/")["Contents"]
    for each in listed:
        if not each["Key"].endswith("manifest.json"):
            body = aws.client("s3").get_object(Bucket=settings.lake_bucket, Key=each["Key"])["Body"].read()
            found.setdefault(kind_of(each["Key"]), set()).add(types_of(io.BytesIO(body)))
    return found


def local_file_types(engine: LocalEngine, root: Path) -> dict[str, set[str]]:
    """Table -> the Parquet schemas of its files on disk."""
    found: dict[str, set[str]] = {}
    for path in (root / "lake" / "runs").rglob("*.parquet"):
        found.setdefault(kind_of(path.relative_to(root / "lake").as_posix()), set()).add(types_of(path))
    return found


def kind_of(key: str) -> str:
    """Return `hours/events`, `partials/<table>` or `days/<table>` of a file's key."""
    _, kind, table, *rest = key.split("/")
    if kind != "hours":
        return f"{kind}/{table}"
    name = next(part for part in ("events", "quarantine", "ledger") if any(each.startswith(part) for each in rest))
    return f"hours/{name}"


def types_of(file: Path | io.BytesIO) -> str:
    """Return the columns of a Parquet file with their types, as every reader understands them."""
    schema = pq.ParquetFile(file).schema_arrow
    return ", ".join(f"{each.name} {str(each.type).removeprefix('large_')}" for each in schema)


@pytest.mark.long
@pytest.mark.parametrize("world", ["local", MEMORY, AWS_BY_HOST, AWS_WITH_SPARK], indirect=True)
def test_every_engine_keeps_the_digests_and_the_sample_that_find_what_was_sent_again(world: World, root: Path) -> None:
    batch = [purchase(second=number) for number in range(40)]
    first = write_object(root, HOUR, 55, batch)
    write_object(root, HOUR, 50, [event(second=3_000), event(second=3_000), *batch[:5]])
    write_object(root, HOUR.plus(1), 0, b"not gzip")
    again = write_object(root, HOUR.plus(1), 5, [*batch, event(HOUR.plus(1)), b"not json"])
    hours = [HOUR, HOUR.plus(1)]
    world.build(hours)

    commits = world.engine.hour_commits(HourRange.of(hours))
    stored = {path.relative_to(root / "raw").as_posix(): path.read_bytes() for path in root.glob("raw/**/*.gz")}
    assert {each.key: each.sha256 for commit in commits.values() for each in commit.account.objects} == {
        key: hashlib.sha256(content).hexdigest() for key, content in stored.items()
    }
    accounts = {hour: commit.account for hour, commit in commits.items()}
    assert neighbours_sent_again(HOUR.plus(1), accounts) == {
        HOUR: SentAgain(40, Decimal("799.20"), True, {again: first})
    }


@without_spark
def test_the_documented_way_to_a_local_zone_gives_the_same_on_every_engine(world: World) -> None:
    page = (Path(__file__).parents[3] / "docs" / "queries.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```sql\n(.*?)```", page, re.DOTALL)
    write_object(world.root, HOUR, 0, [purchase(), purchase(second=3_599)])
    world.build([HOUR])
    found = rows(world.engine, example)
    assert [(f"{row['event_ts']}", f"{row['in_new_york']}") for row in found] == [
        ("2025-12-07 22:00:00", "2025-12-07 17:00:00"),
        ("2025-12-07 22:59:59", "2025-12-07 17:59:59"),
    ]
    summer = example.replace("event_ts AT TIME", "CAST('2025-07-07 22:00:00' AS TIMESTAMP) AT TIME")
    assert {f"{row['in_new_york']}" for row in rows(world.engine, summer)} == {"2025-07-07 18:00:00"}


@without_spark
def test_every_engine_keeps_names_counts_and_the_first_value_of_unknown_fields(world: World) -> None:
    write_object(world.root, HOUR, 5, [event(second=300, referrer="ad", size=[1, 2])])
    write_object(world.root, HOUR, 0, [b"{", event(referrer=None), {"referrer": "refused", "device": "x" * 99}])
    (built,) = world.build([HOUR])

    for account in (built.commit.account, world.engine.hour_commits()[HOUR].account):
        assert account.unknown_fields == {"device": 1, "referrer": 3, "size": 1}
        assert account.unknown_examples == {"device": f'"{"x" * 79}…', "referrer": "null", "size": "[1, 2]"}
    world.assert_agrees_with_oracle()
    page = (Path(__file__).parents[3] / "docs" / "queries.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"`(SELECT json_extract_string[^`]*)`", page)
    assert sorted(rows(world.engine, example), key=str) == [
        {"referrer": "ad", "events": 1},
        {"referrer": None, "events": 1},
    ]


@without_spark
def test_every_engine_describes_its_tables_alike(world: World) -> None:
    for table in (*HOUR_TABLES, *(each.table for each in world.tables)):
        shown = rows(world.engine, f"describe {table.full_name}")
        assert {each["column"]: (each["type"], each["meaning"]) for each in shown} == {
            each.name: (each.type, each.meaning) for each in table.columns + table.partition_columns
        }
        assert [each["column"] for each in shown] == world.engine.query(
            f"SELECT * FROM {table.full_name} LIMIT 1"
        ).column_names


@without_spark
def test_every_engine_names_wrongly_framed_objects_by_the_same_rule(world: World, root: Path) -> None:
    lines = [json.dumps(event(second=second)).encode() for second in range(100)]
    write_object(root, HOUR, 0, lines)
    joined = write_object(root, HOUR, 5, [b"".join(lines) * 60])
    array = write_object(root, HOUR, 10, [b"[", *(line + b"," for line in lines), b"]"])
    write_object(root, HOUR, 15, gzip.compress(b"\n" * 9))
    (built,) = world.build([HOUR])

    account = built.commit.account
    assert account.quarantined_by_reason == {"not_json": 102, "too_long": 1}
    found = wrongly_framed(account)
    assert [(each.key, each.form) for each in found[:2]] == [(joined, "concatenated"), (array, "array")]
    assert [each.form for each in found[2:]] == ["empty"]
    world.assert_agrees_with_oracle()
