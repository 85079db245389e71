"""Every check, shown to fail by the fault that it is there for, planted in real files."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from event_pipeline.assets.checks import joined, partition_verdicts
from event_pipeline.assets.results import CheckVerdict
from event_pipeline.engines.commit import CommitRecordError, DayCommit
from event_pipeline.engines.host.duckdb_sql import DuckDbSql
from event_pipeline.engines.local import LocalEngine
from event_pipeline.rules.accounting import HourAccount, ObjectAccount
from event_pipeline.rules.contract import Table
from event_pipeline.rules.hour import Hour, HourRange
from event_pipeline.settings import Settings, load_settings
from event_pipeline_tests.materializing import GOLD, evaluation, executed, materialize, one, verdicts
from event_pipeline_tests.pipeline import HOUR, event, purchase, write_object

WARN, ERROR = dg.AssetCheckSeverity.WARN, dg.AssetCheckSeverity.ERROR
SILVER = ("raw_events", "silver_events", "silver_partitions")
NEXT_HOUR = HOUR.plus(1)


@pytest.fixture
def settings(root: Path) -> Settings:
    """Settings for hours of one object, with wide thresholds that a test can count by hand."""
    return load_settings(
        root=root, workers=1, expected_objects=1, quarantine_warn_share=0.25, quarantine_error_share=0.5
    )


def test_a_sound_hour_passes_every_check(settings: Settings, instance: dg.DagsterInstance, root: Path) -> None:
    write_object(root, HOUR, 0, [event(), purchase(second=1), event(second=-36 * 3600), event()])
    result = materialize(settings, instance, one(HOUR))

    assert {(each.check_name, each.passed) for each in result.get_asset_check_evaluations()} == {
        (name, True)
        for name in (
            "expected_objects",
            "unmatched_keys",
            "conservation_law",
            "unreadable_objects",
            "object_framing",
            "quarantine_share",
            "unknown_fields",
            "sent_again",
            "partition_readable",
            "grain_unique",
            "equals_silver",
        )
    }
    law = evaluation(result, "conservation_law")
    assert law.description == "All 4 records are accounted for: 3 Silver rows + 0 quarantined + 1 duplicates"


@pytest.mark.long
def test_records_that_were_sent_again_in_the_next_hour_are_a_warning_with_number_revenue_and_objects(
    settings: Settings, instance: dg.DagsterInstance, root: Path
) -> None:
    batch = [event(second=3_500), purchase(second=3_501), purchase(second=3_502)]
    first = write_object(root, HOUR, 55, batch)
    write_object(root, NEXT_HOUR, 0, [event(NEXT_HOUR)])
    again = write_object(root, NEXT_HOUR, 5, batch[1:])
    materialize(settings, instance, one(HOUR))
    found = evaluation(materialize(settings, instance, one(NEXT_HOUR)), "sent_again")

    assert (found.passed, found.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert found.description == f"{HOUR} holds 2 records, revenue 39.96 USD ({again} like {first}) as well"
    assert f"| {HOUR} | 2 | 39.96 | counted |" in str(found.metadata["shared"].value)
    back = evaluation(materialize(settings, instance, one(HOUR)), "sent_again")
    assert back.description == f"{NEXT_HOUR} holds 2 records, revenue 39.96 USD ({first} like {again}) as well"


@pytest.mark.long
def test_hours_that_cannot_be_compared_are_a_warning_that_says_why(
    settings: Settings, instance: dg.DagsterInstance, root: Path
) -> None:
    for hour in (HOUR, NEXT_HOUR):
        write_object(root, hour, 0, [event(hour)])
    materialize(settings, instance, one(HOUR))
    damaged = root / "lake" / "commits" / "hours" / f"{HOUR.hive_path}.json"
    damaged.write_text("{")
    result = materialize(settings, instance, one(NEXT_HOUR))
    found = evaluation(result, "sent_again")

    assert (found.passed, found.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert str(found.description).startswith(f"1 hours near it cannot be compared: `{damaged}: not JSON")


@pytest.mark.parametrize("objects", [0, 2])
def test_another_number_of_objects_than_expected_is_a_warning(
    settings: Settings, instance: dg.DagsterInstance, root: Path, objects: int
) -> None:
    for minute in range(objects):
        write_object(root, HOUR, minute, [event(second=minute)])
    result = materialize(settings, instance, one(HOUR), assets=SILVER)

    found = evaluation(result, "expected_objects")
    assert (found.passed, found.severity, found.description) == (
        False,
        WARN,
        f"The hour has {objects} raw objects instead of the expected 1",
    )
    assert executed(result) == list(SILVER)


def test_a_key_that_does_not_match_the_layout_is_a_warning(
    settings: Settings, instance: dg.DagsterInstance, root: Path
) -> None:
    write_object(root, HOUR, 0, [event()])
    stray = root / "raw" / HOUR.raw_prefix / "minute=00" / "events.json"
    stray.write_text("{}")
    result = materialize(settings, instance, one(HOUR), assets=SILVER)

    found = evaluation(result, "unmatched_keys")
    assert (found.passed, found.severity) == (False, WARN)
    assert f"| {HOUR.raw_prefix}minute=00/events.json |" in str(found.metadata["keys"].value)
    assert executed(result) == list(SILVER)


def test_an_unreadable_object_is_an_error_that_names_it_and_the_hour_goes_on(
    settings: Settings, instance: dg.DagsterInstance, root: Path
) -> None:
    write_object(root, HOUR, 0, [event()])
    broken = write_object(root, HOUR, 5, b"not gzip")
    result = materialize(settings, instance, one(HOUR), assets=SILVER)

    found = evaluation(result, "unreadable_objects")
    assert (found.passed, found.severity, found.blocking) == (False, ERROR, False)
    assert found.description == f"{broken}: not_gzip"
    assert result.success


@pytest.mark.parametrize(
    ("bad", "passed", "severity"), [(1, True, WARN), (2, False, WARN), (5, False, ERROR)], ids=["25%", "40%", "62%"]
)
def test_the_share_of_quarantined_records_warns_and_then_fails(
    settings: Settings,
    instance: dg.DagsterInstance,
    root: Path,
    bad: int,
    passed: bool,
    severity: dg.AssetCheckSeverity,
) -> None:
    write_object(root, HOUR, 0, [*(event(second=second) for second in range(3)), *[b"not json"] * bad])
    result = materialize(settings, instance, one(HOUR), assets=SILVER)

    found = evaluation(result, "quarantine_share")
    assert (found.passed, found.severity) == (passed, severity)
    assert found.metadata["share"].value == bad / (3 + bad)
    assert passed or f"| not_json | {bad} |" in str(found.metadata["reasons"].value)
    assert executed(result) == list(SILVER)


def test_an_unknown_field_is_a_warning_and_rejects_nothing(
    settings: Settings, instance: dg.DagsterInstance, root: Path
) -> None:
    write_object(root, HOUR, 0, [event(colour="red"), event(second=1, colour="blue", size=3), event(second=2)])
    result = materialize(settings, instance, one(HOUR), assets=SILVER)

    found = evaluation(result, "unknown_fields")
    assert (found.passed, found.severity) == (False, WARN)
    assert found.description == 'colour in 2 records (for example `"red"`), size in 1 record (for example `3`)'
    assert '| colour | 2 | `"red"` |' in str(found.metadata["fields"].value)
    assert (
        evaluation(result, "conservation_law").description
        == "All 3 records are accounted for: 3 Silver rows + 0 quarantined + 0 duplicates"
    )


def test_records_without_a_verdict_break_the_law_and_nobody_sees_the_hour(
    settings: Settings, instance: dg.DagsterInstance, root: Path
) -> None:
    write_object(root, HOUR, 0, [event(), event(second=1)])
    engine = LocalEngine(settings)
    list(engine.build_silver([HOUR], progress=print))
    rewrite_commit(root, engine, lambda account: dataclasses.replace(account, records=3))
    result = materialize(settings, instance, one(HOUR))

    found = evaluation(result, "conservation_law")
    assert (found.passed, found.severity, found.blocking) == (False, ERROR, True)
    assert "1 records have no verdict or more than one" in (found.description or "")
    assert executed(result) == ["raw_events"]
    assert engine.registered_builds() == {}


def test_a_commit_record_that_counts_other_rows_than_the_files_hold_breaks_the_law(
    settings: Settings, instance: dg.DagsterInstance, root: Path
) -> None:
    write_object(root, HOUR, 0, [event(), event(second=1)])
    engine = LocalEngine(settings)
    list(engine.build_silver([HOUR], progress=print))
    rewrite_commit(root, engine, lambda account: dataclasses.replace(account, records=3, silver_rows=3))
    result = materialize(settings, instance, one(HOUR))

    found = evaluation(result, "conservation_law")
    assert (found.passed, found.description) == (False, "Silver rows: 3 by the commit record, 2 in the files")
    assert executed(result) == ["raw_events"]


def test_other_reasons_of_as_many_refused_records_break_the_law(
    settings: Settings, instance: dg.DagsterInstance, root: Path
) -> None:
    write_object(root, HOUR, 0, [*(event(second=number) for number in range(4)), b"{"])
    engine = LocalEngine(settings)
    list(engine.build_silver([HOUR], progress=print))
    rewrite_commit(root, engine, lambda account: dataclasses.replace(account, quarantined_by_reason={"too_long": 1}))
    result = materialize(settings, instance, one(HOUR))

    found = evaluation(result, "conservation_law")
    said = "not_json: 0 by the commit record, 1 in the files; too_long: 1 by the commit record, 0 in the files"
    assert (found.passed, found.description) == (False, said)


def test_rows_that_no_commit_names_keep_a_partition_from_passing(
    settings: Settings, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_object(root, HOUR, 0, [event(), event(second=1)])
    engine = LocalEngine(settings)
    list(engine.build_silver([HOUR], progress=print))
    engine.register_hours([HOUR])
    assert partition_verdicts(engine, HOUR)["partition_readable"].passed
    counts = DuckDbSql.counts

    def surplus(sql: DuckDbSql, tables: Sequence[Table], hour: Hour) -> dict[str, int]:
        return {name: rows + (name == "silver.events") for name, rows in counts(sql, tables, hour).items()}

    monkeypatch.setattr(DuckDbSql, "counts", surplus)
    found = partition_verdicts(engine, HOUR)["partition_readable"]
    said = f"`silver.events: {HOUR.hive_path} has 3 rows instead of the committed 2`"
    assert (found.passed, found.description) == (False, said)


def test_a_damaged_silver_file_breaks_the_law_of_its_hour_only(
    settings: Settings, instance: dg.DagsterInstance, root: Path
) -> None:
    hours = HourRange(HOUR, HOUR.plus(3))
    for hour in hours:
        write_object(root, hour, 0, [event(hour)])
    materialize(settings, instance, hours, assets=SILVER)
    damage(committed(root, LocalEngine(settings), HOUR.plus(1), "silver.events"))
    result = materialize(settings, instance, hours)

    assert verdicts(instance, "silver_events", "conservation_law") == {
        HOUR: "SUCCEEDED",
        HOUR.plus(1): "FAILED",
        HOUR.plus(2): "SUCCEEDED",
    }
    assert "other bytes than were committed" in (evaluation(result, "conservation_law", HOUR.plus(1)).description or "")
    assert not result.success
    assert executed(result) == list(SILVER)
    shown = (
        LocalEngine(settings)
        .query("SELECT total_events FROM gold.category_performance ORDER BY event_date")
        .to_pylist()
    )
    assert shown == [{"total_events": 1}, {"total_events": 1}]


def test_a_partition_that_cannot_be_read_stops_gold(
    settings: Settings, instance: dg.DagsterInstance, root: Path
) -> None:
    write_object(root, HOUR, 0, [event()])
    materialize(settings, instance, one(HOUR), assets=SILVER)
    damage(committed(root, LocalEngine(settings), HOUR, "silver.events"))
    result = materialize(settings, instance, one(HOUR), assets=["silver_partitions", *GOLD])

    found = evaluation(result, "partition_readable")
    assert (found.passed, found.severity, found.blocking) == (False, ERROR, True)
    assert f"{HOUR.hive_path} cannot be read: silver.events: " in (found.description or "")
    assert executed(result) == []


def publish(settings: Settings, instance: dg.DagsterInstance, root: Path, *tables: str) -> None:
    """Publish one hour with events of two days to some Gold tables."""
    write_object(root, HOUR, 0, [purchase(), event(second=1), event(second=2, event_type="search", search_query="x")])
    write_object(root, HOUR, 5, [purchase(second=-36 * 3600), event(second=-36 * 3600 + 1)])
    materialize(settings, instance, one(HOUR), assets=[*SILVER, *tables])


def test_doubled_rows_in_gold_fail_grain_and_reconciliation(
    settings: Settings, instance: dg.DagsterInstance, root: Path
) -> None:
    publish(settings, instance, root, *GOLD)
    for table in GOLD:
        change_day(root, table, lambda rows: pa.concat_tables([rows, rows]))
    result = materialize(settings, instance, one(HOUR), assets=GOLD)

    for table in GOLD:
        grain, equal = (evaluation(result, check, asset=table) for check in ("grain_unique", "equals_silver"))
        assert (grain.passed, grain.severity) == (False, ERROR)
        assert "| 2025-12-06 | " in str(grain.metadata["rows"].value)
        assert (equal.passed, equal.severity) == (False, ERROR)
        assert "2025-12-06" in (equal.description or "")
        assert "in Gold" in (equal.description or "")


@pytest.mark.parametrize("failed", range(3))
def test_any_failed_day_fails_the_hour(failed: int) -> None:
    days = [CheckVerdict(number != failed, f"day {number}") for number in range(3)]
    assert joined(days) == days[failed]


def test_a_cent_too_much_in_gold_is_found(settings: Settings, instance: dg.DagsterInstance, root: Path) -> None:
    def a_cent_more(rows: pa.Table) -> pa.Table:
        place = rows.schema.get_field_index("total_revenue")
        field = rows.schema.field(place)
        return rows.set_column(place, field, pa.array([19.99], pa.float64()).cast(field.type))

    publish(settings, instance, root, "hourly_revenue")
    change_day(root, "hourly_revenue", a_cent_more)
    result = materialize(settings, instance, one(HOUR), assets=["hourly_revenue"])

    found = evaluation(result, "equals_silver")
    assert (found.passed, found.description) == (False, "2025-12-06 revenue: 19.99 in Gold, 19.98 in Silver")
    assert evaluation(result, "grain_unique").passed


def test_a_damaged_gold_file_fails_the_checks_of_its_table(
    settings: Settings, instance: dg.DagsterInstance, root: Path
) -> None:
    publish(settings, instance, root, "user_activity")
    damage(day_file(root, "user_activity"))
    result = materialize(settings, instance, one(HOUR), assets=["user_activity"])

    for check in ("grain_unique", "equals_silver"):
        found = evaluation(result, check)
        assert (found.passed, found.severity) == (False, ERROR)
        assert "cannot be read" in (found.description or "")


def committed(root: Path, engine: LocalEngine, hour: Hour, table: str) -> Path:
    """The one committed file of an hour's table."""
    commit = engine.hour_commit(hour)
    assert commit
    (file,) = commit.files_of(table)
    return root / "lake" / file.path


def damage(path: Path) -> None:
    """Overwrite a file with as many other bytes, as a failing disk would."""
    path.chmod(0o644)
    path.write_bytes(b"\0" * path.stat().st_size)


def rewrite_commit(root: Path, engine: LocalEngine, change: Callable[[ObjectAccount], ObjectAccount]) -> None:
    """Replace the account of the only object in the commit record of the hour."""
    commit = engine.hour_commit(HOUR)
    assert commit
    changed = dataclasses.replace(
        commit,
        account=HourAccount((change(commit.account.objects[0]),), commit.account.days),
    )
    commit_record(root, commit.build_id).write_text(changed.to_json())


def commit_record(root: Path, build_id: str) -> Path:
    """The commit record of a build."""
    (path,) = [path for path in root.glob("lake/**/*.json") if f'"build_id": "{build_id}"' in path.read_text()]
    return path


def day_file(root: Path, table: str) -> Path:
    """The published file of 2025-12-06."""
    (path,) = [path for path in root.glob("lake/**/*.json") if is_day_record(path, table)]
    (file,) = DayCommit.from_json(path.read_text()).files
    return root / "lake" / file.path


def is_day_record(path: Path, table: str) -> bool:
    """Return whether a commit record publishes 2025-12-06 of a Gold table."""
    try:
        commit = DayCommit.from_json(path.read_text())
    except CommitRecordError:
        return False
    return (commit.table, str(commit.day)) == (table, "2025-12-06")


def change_day(root: Path, table: str, change: Callable[[pa.Table], pa.Table]) -> None:
    """Publish other rows of 2025-12-06, as a mistake in the engine would: file and commit record agree."""
    (record,) = [path for path in root.glob("lake/**/*.json") if is_day_record(path, table)]
    path = day_file(root, table)
    rows = pq.ParquetFile(path).read()
    path.chmod(0o644)
    pq.write_table(change(rows), path)
    commit = DayCommit.from_json(record.read_text())
    files = (dataclasses.replace(commit.files[0], size=path.stat().st_size),)
    record.write_text(dataclasses.replace(commit, files=files).to_json())
