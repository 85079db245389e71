"""Gold and the catalog on AWS: folds that race, tables that differ, partitions that show the wrong thing."""

from __future__ import annotations

from datetime import date

import pytest

from event_pipeline.engines.aws import AwsEngine
from event_pipeline.engines.base import GoldRefresh
from event_pipeline.errors import PipelineError, QueryError, StorageError, TransientError
from event_pipeline.rules.hour import Hour, HourRange
from event_pipeline.rules.query import GOLD_FOLDER, GoldTable, load_gold_table, load_gold_tables
from event_pipeline.settings import Settings
from event_pipeline_tests.emulator import AwsError, EmulatedAws, Fault
from event_pipeline_tests.engines.aws.conftest import run_plain_job
from event_pipeline_tests.engines.aws.pipeline import land, seen, silver
from event_pipeline_tests.pipeline import HOUR, event, purchase, rows

TABLES = {table.name: table for table in load_gold_tables()}
USERS, FUNNEL = TABLES["user_activity"], TABLES["conversion_funnel"]
DAY = date(2025, 12, 7)
NEXT_HOUR = HOUR.plus(1)


def refresh(engine: AwsEngine, table: GoldTable, *hours: Hour) -> GoldRefresh:
    """Refresh one table."""
    return engine.refresh_gold(table, hours, progress=lambda _: None)


def unique_users(engine: AwsEngine) -> list[int]:
    """Return the published number of users by day."""
    return [row["unique_users"] for row in rows(engine, "SELECT unique_users FROM gold.user_activity")]


def two_hours(aws: EmulatedAws, engine: AwsEngine, settings: Settings) -> None:
    """Publish Silver of two hours of one day, each with a user of its own."""
    for number, hour in enumerate((HOUR, NEXT_HOUR)):
        land(aws, settings, hour, 0, [event(hour, 1, user_id=f"u_{number}")])
    silver(engine, HOUR, NEXT_HOUR)


def test_a_refresh_costs_queries_for_what_changed_only(aws: EmulatedAws, engine: AwsEngine, settings: Settings) -> None:
    two_hours(aws, engine, settings)
    first = refresh(engine, USERS, HOUR, NEXT_HOUR)
    assert first.cost is not None
    assert (first.cost.queries, len(first.partial_rows), len(first.day_rows)) == (3, 2, 1)
    assert first.bytes_in == first.cost.bytes_scanned > 0
    land(aws, settings, NEXT_HOUR, 5, [event(NEXT_HOUR, 300)])
    silver(engine, NEXT_HOUR)
    assert engine.hours_behind(USERS) == [NEXT_HOUR]
    again = refresh(engine, USERS, HOUR, NEXT_HOUR)
    assert again.cost is not None
    assert (again.cost.queries, again.unchanged_hours) == (2, (HOUR,))


@pytest.mark.parametrize("after_effect", [False, True])
@pytest.mark.parametrize("prefix", ["runs/partials/", "runs/days/"])
def test_a_query_that_fails_in_passing_leaves_nothing_visible_and_the_next_refresh_heals(
    aws: EmulatedAws, engine: AwsEngine, settings: Settings, prefix: str, after_effect: bool
) -> None:
    land(aws, settings, HOUR, 0, [event()])
    silver(engine, HOUR)
    aws.fail_next_query(
        "Query exhausted resources at this scale factor",
        retryable=True,
        after_effect=after_effect,
        containing=prefix,
    )
    with pytest.raises(TransientError, match="exhausted resources"):
        refresh(engine, USERS, HOUR)
    assert unique_users(engine) == []
    assert engine.hours_behind(USERS) == [HOUR]
    refresh(engine, USERS, HOUR)
    assert unique_users(engine) == [1]


def test_a_query_that_is_still_running_after_the_timeout_is_stopped(
    aws: EmulatedAws, engine: AwsEngine, settings: Settings
) -> None:
    land(aws, settings, HOUR, 0, [event()])
    silver(engine, HOUR)
    hurried = AwsEngine(settings.model_copy(update={"athena_timeout_seconds": 0}))
    with pytest.raises(TransientError, match="after 0 s and was stopped.*EVENT_PIPELINE_ATHENA_TIMEOUT_SECONDS"):
        refresh(hurried, USERS, HOUR)
    assert aws.requests.of("athena.StopQueryExecution")


def test_a_start_whose_answer_was_lost_runs_no_second_query(
    aws: EmulatedAws, engine: AwsEngine, settings: Settings
) -> None:
    land(aws, settings, HOUR, 0, [event()])
    silver(engine, HOUR)
    aws.fail_next("athena.StartQueryExecution", Fault.NO_ANSWER, after_effect=True)
    refresh(engine, USERS, HOUR)
    assert unique_users(engine) == [1]


@pytest.mark.parametrize("sql", ["SELECT nope FROM silver.events", "SELECT * FROM silver.nothing", "SELECT 1 +"])
def test_bad_sql_is_the_askers_fault(engine: AwsEngine, sql: str) -> None:
    with pytest.raises(QueryError):
        engine.query(sql)


def test_a_partial_of_other_sql_makes_partials_and_days_again(
    aws: EmulatedAws, engine: AwsEngine, settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> None:
    land(aws, settings, HOUR, 0, [event(), purchase(second=1)])
    silver(engine, HOUR)
    refresh(engine, FUNNEL, HOUR)
    path = tmp_path_factory.mktemp("gold") / "conversion_funnel.sql"
    text = (GOLD_FOLDER / "conversion_funnel.sql").read_text()
    more = text.replace("    event_date,\n    product_id,", "    event_date,\n    'x' AS mark,\n    product_id,", 1)
    path.write_text(
        more.replace("GROUP BY product_id, category\n)", "WHERE mark = 'x' GROUP BY product_id, category\n)")
    )
    changed = load_gold_table(path)
    assert changed.version != FUNNEL.version
    assert engine.hours_behind(changed) == [HOUR]
    other = AwsEngine(settings)
    refreshed = refresh(other, changed, HOUR)
    assert (refreshed.partial_rows, refreshed.day_rows) == ({HOUR: 1}, {DAY: 1})
    assert other.hours_behind(changed) == []


# -- the catalog


def test_a_table_with_another_column_is_refused_and_nothing_is_registered(
    aws: EmulatedAws, engine: AwsEngine, settings: Settings
) -> None:
    land(aws, settings, HOUR, 0, [event()])
    glue = aws.client("glue")
    table = glue.get_table(DatabaseName="silver", Name="events")["Table"]
    for column in table["StorageDescriptor"]["Columns"]:
        column["Type"] = "double" if column["Name"] == "price" else column["Type"]
    table["StorageDescriptor"]["Columns"].append({"Name": "extra", "Type": "string"})
    kept = {key: table[key] for key in ("Name", "StorageDescriptor", "PartitionKeys", "TableType", "Parameters")}
    glue.update_table(DatabaseName="silver", TableInput=kept)
    with pytest.raises(StorageError) as refused:
        silver(engine, HOUR)
    assert "column price is double, not decimal(10,2); column extra is unknown" in str(refused.value)
    assert glue.get_partitions(DatabaseName="silver", TableName="events")["Partitions"] == []


def test_repair_registers_repoints_and_drops_until_the_catalog_shows_what_is_committed(
    aws: EmulatedAws, engine: AwsEngine, settings: Settings
) -> None:
    two_hours(aws, engine, settings)
    refresh(engine, USERS, HOUR, NEXT_HOUR)
    glue = aws.client("glue")
    glue.delete_partition(DatabaseName="silver", TableName="events", PartitionValues=list(HOUR.partition_values))
    wrong = glue.get_partitions(DatabaseName="silver", TableName="quarantine")["Partitions"][1]
    moved = {**wrong["StorageDescriptor"], "Location": "s3://elsewhere/"}
    glue.update_partition(
        DatabaseName="silver",
        TableName="quarantine",
        PartitionValueList=wrong["Values"],
        PartitionInput={"Values": wrong["Values"], "StorageDescriptor": moved, "Parameters": wrong["Parameters"]},
    )
    unknown = {"Values": ["2025", "12", "07", "01"], "StorageDescriptor": moved}
    glue.create_partition(DatabaseName="silver", TableName="events", PartitionInput=unknown)
    glue.delete_table(DatabaseName="gold", Name="user_activity")
    changes = AwsEngine(settings).repair()
    done = {(change.table, change.partition, change.action.value) for change in changes if change.reason}
    assert done == {
        ("silver.events", HOUR.hive_path, "added"),
        ("silver.quarantine", NEXT_HOUR.hive_path, "repointed"),
        ("silver.events", HOUR.plus(-21).hive_path, "dropped"),
        ("gold.user_activity", "event_date=2025-12-07", "added"),
    }
    assert {change.action.value for change in engine.repair()} == {"unchanged"}
    assert engine.repair(HourRange(HOUR.plus(-48), HOUR.plus(-47))) == []
    assert unique_users(engine) == [2]
    assert seen(engine) == 2


def test_more_partitions_than_one_call_takes_are_repaired_in_batches(
    aws: EmulatedAws, engine: AwsEngine, settings: Settings
) -> None:
    hours = [HOUR.plus(-offset) for offset in range(120)]
    list(engine.build_silver(hours, progress=lambda _: None))
    assert len(engine.register_hours(hours)) == 360
    assert sorted(engine.registered_builds()) == sorted(hours)
    assert list(engine.registered_builds(HourRange(HOUR.plus(-30), HOUR.plus(-2)))) == sorted(hours[3:31])


def test_listings_of_many_pages_are_read_to_their_end(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with EmulatedAws(page_size=2) as aws:
        for name, value in aws.environment().items():
            monkeypatch.setenv(name, value)
        aws.create_resources()
        settings = aws.settings(root=tmp_path_factory.mktemp("paged"))
        run_plain_job(aws, settings)
        engine = AwsEngine(settings)
        hours = HourRange(HOUR, HOUR.plus(3))
        for hour in hours:
            for minute in range(0, 25, 5):
                land(aws, settings, hour, minute, [event(hour, minute * 60)])
        listed = engine.list_raw_hours()
        assert {hour: len(listing.objects) for hour, listing in listed.items()} == dict.fromkeys(hours, 5)
        assert engine.list_raw_hours(HourRange(HOUR, HOUR.plus(2))) == {hour: listed[hour] for hour in list(hours)[:2]}
        assert engine.list_raw(HOUR) == listed[HOUR]
        silver(engine, *hours)
        assert seen(engine) == 15
        assert list(engine.registered_builds()) == list(hours)
        assert sorted(engine.hour_commits()) == list(hours)


@pytest.mark.parametrize("hour", ["1970-01-01T00", "2300-06-01T12", "9999-12-31T23"])
def test_objects_of_hours_that_cannot_be_are_reported_and_not_read(
    aws: EmulatedAws, engine: AwsEngine, settings: Settings, hour: str
) -> None:
    land(aws, settings, HOUR, 0, [event()])
    odd = f"{Hour.parse(hour).raw_prefix}minute=00/events-20251207-220000.jsonl.gz"
    aws.client("s3").put_object(Bucket=settings.raw_bucket, Key=odd, Body=b"")
    (unmatched,) = engine.unmatched_raw_keys()
    assert unmatched.key == odd
    assert unmatched.reason.startswith(("before the first partition", "more than 1 day ahead"))
    assert list(engine.list_raw_hours()) == [HOUR]
    assert engine.list_raw(Hour.parse(hour)).objects == ()
    before = len(aws.requests.of("s3.ListObjectsV2"))
    assert list(engine.list_raw_hours(HourRange(Hour.parse("1970-01-01T00"), HOUR))) == []
    assert list(engine.list_raw_hours(HourRange(HOUR, Hour.parse("2026-01-01T00")))) == [HOUR]
    # Days of the past 55 years are not asked for one by one.
    assert len(aws.requests.of("s3.ListObjectsV2")) - before < 100


def test_the_stored_bytes_of_a_raw_object_are_handed_over_as_they_are(
    aws: EmulatedAws, engine: AwsEngine, settings: Settings
) -> None:
    key = land(aws, settings, HOUR, 0, [event()])
    with engine.open_raw(key) as stored:
        assert stored.read() == (settings.root / "raw" / key).read_bytes()
    with pytest.raises(StorageError, match="s3://emulated-raw/events/none: it does not exist"):
        engine.open_raw("events/none")


def test_two_pipelines_share_an_account_under_a_prefix(aws: EmulatedAws, engine: AwsEngine, settings: Settings) -> None:
    land(aws, settings, HOUR, 0, [event()])
    prefixed = AwsEngine(settings.model_copy(update={"database_prefix": "test_"}))
    silver(prefixed, HOUR)
    refresh(prefixed, USERS, HOUR)
    assert seen(prefixed) == 1
    assert unique_users(prefixed) == [1]
    assert seen(engine) == 0
    databases = {each["Name"] for each in aws.client("glue").get_databases()["DatabaseList"]}
    assert {"test_silver", "test_ops", "test_gold", "test_gold_partials"} <= databases


def test_a_cancelled_query_is_no_passing_fault(aws: EmulatedAws, engine: AwsEngine, settings: Settings) -> None:
    aws.fail_next("athena.GetQueryExecution", AwsError("InvalidRequestException", "gone"))
    with pytest.raises(PipelineError, match="athena:GetQueryExecution"):
        engine.query("SELECT 1 AS one")


def test_the_measures_of_many_days_are_read_by_queries_that_athena_takes(
    aws: EmulatedAws, engine: AwsEngine, settings: Settings
) -> None:
    table = TABLES["category_performance"]
    land(aws, settings, HOUR, 0, [purchase(HOUR.plus(-24 * day), quantity=day + 1) for day in range(8)])
    silver(engine, HOUR)
    refresh(engine, table, HOUR)
    days = engine.touched_days(table, HOUR)
    found = engine.reconcile(table, days)

    assert len(days) == 8
    assert [each for each in found if each.gold != each.silver] == []
    purchases = {each.day: each.gold for each in found if each.name == "purchases"}
    assert purchases == dict.fromkeys(days, 1)
    assert len({each.name for each in found}) * len(days) == len(found) > 50
