"""Alerts over a real data folder and Dagster: the sensor's looks, failed runs, backfills, the digest, the command."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill

from event_pipeline.alerts.conditions import AlertKind
from event_pipeline.alerts.look import look
from event_pipeline.alerts.state import AlertState
from event_pipeline.automation.alert_sensor import alerts_sensor
from event_pipeline.dagster_instance.run_hours import range_tags
from event_pipeline.definitions import build_definitions
from event_pipeline.engines.base import Engine
from event_pipeline.engines.commit import HourCommit
from event_pipeline.engines.host.layout import Layout
from event_pipeline.engines.local import LocalEngine
from event_pipeline.engines.pipeline import Pipeline
from event_pipeline.errors import LockTimeoutError, StorageError
from event_pipeline.rules.hour import Hour, HourRange
from event_pipeline.rules.query import load_gold_tables
from event_pipeline.settings import Settings, load_settings
from event_pipeline_tests.materializing import materialize, one
from event_pipeline_tests.pipeline import build, event, purchase, write_object
from event_pipeline_tests.receiver import Receiver, webhook_receiver

NOW = datetime.now(UTC)
"""Dagster stamps its runs with the time there is."""
CLOSED = Hour.containing(NOW).plus(-1)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A webhook on loopback."""
    with webhook_receiver() as running:
        yield running


@pytest.fixture
def settings(root: Path, receiver: Receiver) -> Settings:
    """Settings whose alerts go there; the digest is due at any hour."""
    return load_settings(
        expected_objects=1,
        root=root,
        workers=1,
        alert_webhook_url=receiver.url,
        alert_digest_hour=0,
        dagster_url="http://dagster.example",
    )


class Watch:
    """The sensor, look by look."""

    def __init__(self, settings: Settings, instance: dg.DagsterInstance) -> None:
        self.engine: Engine = LocalEngine(settings)
        self.instance = instance
        self.now = NOW
        self.sensor = alerts_sensor(load_gold_tables(), settings, lambda: self.now)

    def look(self, after: timedelta = timedelta(0)) -> str:
        """Evaluate one tick and return what it says."""
        self.now += after
        context = dg.build_sensor_context(self.instance, resources={"engine": self.engine}, sensor_name="alerts")
        result = self.sensor(context)
        assert isinstance(result, dg.SkipReason)
        return str(result.skip_message)


@pytest.fixture
def watch(settings: Settings, instance: dg.DagsterInstance) -> Watch:
    """The sensor over the test's data folder."""
    return Watch(settings, instance)


def headlines(receiver: Receiver) -> list[str]:
    """First lines of what arrived, without the digests."""
    lines = [body["text"].splitlines()[0] for body in receiver.received]
    return [line for line in lines if "Digest" not in line]


def test_a_broken_object_is_told_once_and_resolved_once_it_is_replaced(
    watch: Watch, receiver: Receiver, root: Path
) -> None:
    write_object(root, CLOSED, 0, [event(CLOSED)])
    broken = write_object(root, CLOSED, 5, b"no gzip")
    build(watch.engine, [CLOSED])
    assert watch.look() == "Open alerts: unreadable_objects; 4 messages sent, 0 waiting"
    watch.look(timedelta(minutes=1))
    assert headlines(receiver) == [f"[warning, raised] Raw objects cannot be read in 1 hour ({CLOSED})"]
    text = receiver.received[0]["text"]
    assert f"{CLOSED}: 1 of 2 objects, first {broken}: not_gzip" in text
    assert (
        f"hour: http://dagster.example/assets/silver_events?view=partitions&amp;partition={CLOSED.partition_key}"
        in text
    )

    write_object(root, CLOSED, 5, [event(CLOSED, 1)])
    build(watch.engine, [CLOSED])
    watch.look(timedelta(minutes=1))
    watch.look(timedelta(minutes=10))
    assert headlines(receiver)[1:] == [f"[info, resolved] Raw objects cannot be read in 1 hour ({CLOSED})"]


def test_keys_that_are_not_read_stay_told_until_they_are_gone(watch: Watch, receiver: Receiver, root: Path) -> None:
    write_object(root, CLOSED, 0, [event(CLOSED)])
    build(watch.engine, [CLOSED])
    odd = root / "raw" / "events" / "odd.txt"
    odd.write_text("?")
    # The hour must not end between the looks.
    watch.now = Hour.containing(NOW).start
    for after in (0, 10, 10, 20):
        assert "unmatched_keys" in watch.look(timedelta(minutes=after))
    odd.unlink()
    watch.look(timedelta(minutes=1))
    watch.look(timedelta(minutes=10))
    assert headlines(receiver) == ["[warning, raised] 1 key is not read", "[info, resolved] 1 key is not read"]


def test_the_digest_of_yesterday_comes_once(watch: Watch, receiver: Receiver, root: Path) -> None:
    midnight = Hour.containing(NOW.replace(hour=0))
    yesterday = midnight.plus(-3)
    write_object(root, yesterday, 0, [purchase(yesterday), event(yesterday, 1), b"no json"])
    write_object(root, midnight.plus(-30), 0, [event(midnight.plus(-30))])
    build(watch.engine, [yesterday, midnight.plus(-30)])
    watch.look()
    watch.look(timedelta(minutes=1))

    (text,) = [body["text"] for body in receiver.received if "Digest" in body["text"]]
    lines = [line.strip() for line in text.splitlines()]
    assert lines[0] == f"[info, report] Digest of {yesterday.start.date()}"
    assert lines[1] == "hours: 1 of 24 published"
    assert lines[3:7] == [
        "records: 3, of them 2 Silver rows, 0 duplicates",
        "quarantined: 1 (33.33%)",
        "unreadable objects: 0",
        "revenue: 19.98 USD (of what landed on the day)",
    ]


def test_a_run_that_failed_for_good_is_told_until_a_later_one_succeeds(
    watch: Watch, settings: Settings, receiver: Receiver, root: Path
) -> None:
    write_object(root, CLOSED, 0, [event(CLOSED)])
    build(watch.engine, [CLOSED])
    (root / "raw").rename(root / "raw.away")
    write_object(root, CLOSED, 3, [event(CLOSED)])
    failed = materialize(settings, watch.instance, one(CLOSED))
    assert not failed.success
    watch.look()

    (told,) = [body["text"] for body in receiver.received if "Runs failed" in body["text"]]
    assert told.startswith(f"[critical, raised] Runs failed and are not retried: 1 hour ({CLOSED})")
    assert "silver_events: " in told
    assert "raw objects of the published build are lost" in told
    assert "docs/runbook.md#LostObjectsError" in told
    assert f"http://dagster.example/runs/{failed.run_id}" in told

    (root / "raw").rename(root / "raw.second")
    (root / "raw.away").rename(root / "raw")
    assert materialize(settings, watch.instance, one(CLOSED)).success
    watch.look(timedelta(minutes=1))
    watch.look(timedelta(minutes=10))
    assert f"[info, resolved] Runs failed and are not retried: 1 hour ({CLOSED})" in headlines(receiver)


@pytest.mark.parametrize(
    ("later", "told"),
    [
        ((dg.DagsterRunStatus.FAILURE, {}), True),
        ((dg.DagsterRunStatus.FAILURE, {"dagster/will_retry": "true"}), True),
        ((dg.DagsterRunStatus.STARTED, {}), True),
        ((dg.DagsterRunStatus.CANCELED, {}), True),
        ((dg.DagsterRunStatus.SUCCESS, {}), False),
    ],
)
def test_what_a_later_run_of_the_hour_says_about_a_failed_one(
    watch: Watch, settings: Settings, later: tuple[dg.DagsterRunStatus, dict[str, str]], told: bool
) -> None:
    add_run(watch, settings, dg.DagsterRunStatus.FAILURE, {})
    add_run(watch, settings, *later)
    assert ("run_failed" in watch.look()) == told


def test_a_run_that_dagster_starts_again_has_not_failed_for_good(watch: Watch, settings: Settings) -> None:
    add_run(watch, settings, dg.DagsterRunStatus.FAILURE, {"dagster/will_retry": "true"})
    assert watch.look().startswith("Open alerts: none")


def test_a_run_of_many_hours_is_one_message(watch: Watch, settings: Settings, receiver: Receiver) -> None:
    first = CLOSED.plus(-30)
    add_run(watch, settings, dg.DagsterRunStatus.FAILURE, {}, HourRange(first, CLOSED.plus(1)))
    watch.look()
    assert headlines(receiver) == [
        f"[critical, raised] Runs failed and are not retried: 31 hours ({first} to {CLOSED.plus(1)})"
    ]


def test_a_failed_run_of_an_hour_of_last_week_is_told_too(watch: Watch, settings: Settings, receiver: Receiver) -> None:
    old = CLOSED.plus(-24 * 8)
    add_run(watch, settings, dg.DagsterRunStatus.FAILURE, {}, one(old))
    watch.look()
    assert headlines(receiver) == [f"[critical, raised] Runs failed and are not retried: 1 hour ({old})"]


def test_a_backfill_that_finished_is_reported_once_with_its_counts(
    watch: Watch, settings: Settings, receiver: Receiver
) -> None:
    backfill = PartitionBackfill(
        "abcdefgh",
        BulkActionStatus.COMPLETED_FAILED,
        False,
        {},
        NOW.timestamp() - 600,
        backfill_end_timestamp=NOW.timestamp() - 60,
    )
    watch.instance.add_backfill(backfill)
    tag = {"dagster/backfill": "abcdefgh"}
    add_run(watch, settings, dg.DagsterRunStatus.SUCCESS, tag, HourRange(CLOSED.plus(-5), CLOSED))
    add_run(watch, settings, dg.DagsterRunStatus.CANCELED, tag, one(CLOSED))
    watch.look()
    watch.look(timedelta(minutes=1))

    assert headlines(receiver) == ["[warning, report] Backfill abcdefgh finished: completed failed"]
    assert f"5 hours done, 1 failed, in 9 min\n  failed: 1 hour ({CLOSED})" in receiver.received[0]["text"]
    assert "http://dagster.example/runs/b/abcdefgh" in receiver.received[0]["text"]


def test_what_cannot_be_read_is_told_and_the_sensor_goes_on(watch: Watch, receiver: Receiver, root: Path) -> None:
    write_object(root, CLOSED, 0, [event(CLOSED), purchase(CLOSED, 1, quantity=-1)])
    build(watch.engine, [CLOSED])
    assert watch.look().startswith("Open alerts: quarantine_share;")
    catalog = Layout(root).catalog
    sound = catalog.read_bytes()
    catalog.write_bytes(b"garbage" * 1000)
    assert watch.look(timedelta(minutes=1)).startswith("Open alerts: cannot_look, quarantine_share;")
    assert headlines(receiver)[1:] == ["[critical, raised] The pipeline's data cannot be read, so it is not monitored"]
    assert any(str(catalog) in each["text"] for each in receiver.received)
    # What cannot be seen is not gone.
    assert watch.look(timedelta(hours=1)).startswith("Open alerts: cannot_look, quarantine_share;")

    catalog.write_bytes(sound)
    watch.look(timedelta(minutes=1))
    assert watch.look(timedelta(minutes=10)).startswith("Open alerts: quarantine_share;")


def test_a_damaged_commit_record_is_told_and_the_other_hours_are_watched(
    watch: Watch, receiver: Receiver, root: Path
) -> None:
    other = CLOSED.plus(-1)
    write_object(root, CLOSED, 0, [event(CLOSED)])
    write_object(root, other, 0, [event(other), purchase(other, 1, quantity=-1)])
    build(watch.engine, [other, CLOSED])
    record = Layout(root).hour_commit(CLOSED)
    record.write_text("{")

    assert watch.look().startswith("Open alerts: damaged_commit_record, quarantine_share;")
    assert headlines(receiver)[:2] == [
        f"[critical, raised] More than 5.00% of the records quarantined in 1 hour ({other})",
        f"[critical, raised] Commit records cannot be read, so alerts do not cover 1 hour ({CLOSED})",
    ]
    assert str(record) in receiver.received[1]["text"]


class Busy(LocalEngine):
    """An engine whose reading fails for a moment."""

    def hour_commits(
        self, hours: HourRange | None = None, damaged: dict[Hour, StorageError] | None = None
    ) -> dict[Hour, HourCommit]:
        raise LockTimeoutError("busy")


def test_a_passing_fault_is_told_only_when_it_has_lasted(settings: Settings) -> None:
    engine, patience = Busy(settings), timedelta(minutes=settings.alert_freshness_minutes)
    seen = [
        look(Pipeline(engine, (), settings), nullcontext, AlertState(looked_at=looked_at), NOW).seen
        for looked_at in (NOW - patience + timedelta(seconds=1), NOW - patience, None)
    ]
    assert [[finding.kind for finding in each.findings] for each in seen] == [
        [],
        [AlertKind.CANNOT_LOOK],
        [AlertKind.CANNOT_LOOK],
    ]
    assert not any(each.complete for each in seen)


def test_volume_is_learned_once_and_kept_in_the_state(watch: Watch, receiver: Receiver, root: Path) -> None:
    days = [CLOSED.plus(-24 * day) for day in range(1, 6)]
    for hour in days:
        write_object(root, hour, 0, [event(hour, second) for second in range(40)])
    write_object(root, CLOSED, 0, [event(CLOSED, second) for second in range(5)])
    build(watch.engine, [*days, CLOSED])
    watch.look()
    # What lies behind the window is known by now: its records may go.
    for hour in days[2:]:
        (root / "lake" / "commits" / "hours" / f"{hour.hive_path}.json").unlink()
    write_object(root, CLOSED, 5, [event(CLOSED, 100 + second) for second in range(35)])
    build(watch.engine, [CLOSED])
    watch.look(timedelta(minutes=1))
    watch.look(timedelta(minutes=10))

    title = f"Unusual number of records in 1 hour ({CLOSED})"
    assert headlines(receiver) == [f"[warning, raised] {title}", f"[info, resolved] {title}"]
    assert (
        f"{CLOSED}: 5 records, -88% of the expected 40 (normal 31 to 52, from 5 days)" in receiver.received[0]["text"]
    )


def test_the_sensor_is_off_until_it_is_switched_on_and_starts_no_runs(settings: Settings) -> None:
    sensor = build_definitions(settings).resolve_sensor_def("alerts")
    assert sensor.default_status is dg.DefaultSensorStatus.STOPPED
    assert sensor.minimum_interval_seconds == settings.alert_interval_seconds == 60
    assert sensor.targets == []


def add_run(
    watch: Watch,
    settings: Settings,
    status: dg.DagsterRunStatus,
    tags: dict[str, str],
    hours: HourRange | None = None,
) -> None:
    """Put a run of the pipeline into Dagster's storage."""
    job = build_definitions(settings).resolve_job_def("hourly_pipeline")
    covered = range_tags(hours or one(CLOSED))
    watch.instance.create_run_for_job(job, tags={**covered, **tags}, status=status)
