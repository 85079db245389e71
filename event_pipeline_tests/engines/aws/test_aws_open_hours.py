"""Hours that are built before they are over, on AWS: a Glue run reads the objects that are new, and no other."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from event_pipeline.engines.aws import AwsEngine
from event_pipeline.engines.base import LeftoverKind, SilverBuild
from event_pipeline.engines.pipeline import Pipeline
from event_pipeline.engines.state import HourState
from event_pipeline.errors import PipelineError
from event_pipeline.rules.hour import HourRange
from event_pipeline.settings import BuildMode, Settings
from event_pipeline_tests import oracle
from event_pipeline_tests.emulator import EmulatedAws
from event_pipeline_tests.engines.aws.pipeline import land, silver
from event_pipeline_tests.pipeline import HOUR, event, in_order, purchase, rows


class Clock:
    """The time that the engine sees."""

    def __init__(self) -> None:
        self.now: datetime = HOUR.start + timedelta(minutes=6)

    def __call__(self) -> datetime:
        return self.now


class OpenHour:
    """One hour that grows in an emulated account."""

    def __init__(self, aws: EmulatedAws, settings: Settings) -> None:
        self.aws = aws
        self.settings = settings
        self.clock = Clock()
        self.engine = AwsEngine(self.settings, clock=self.clock)

    def land(self, minute: int) -> str:
        """One object with a row of its own, a duplicate of every other object's, and a broken record."""
        lines = [event(), purchase(second=60 * minute + 1), {"bad": minute}]
        return land(self.aws, self.settings, HOUR, minute, lines)

    def build(self) -> SilverBuild:
        """Build and register the hour, without Gold."""
        self.aws.requests.clear()
        (built,) = silver(self.engine, HOUR)
        return built

    def read_by_the_job(self) -> list[str]:
        """Minutes of the raw objects that were read by the last build's run, in order."""
        read = self.aws.requests.of("s3.GetObject", f"/{self.settings.raw_bucket}/")
        return sorted(each.resource.split("minute=")[1][:2] for each in read if each.caller != "client")

    def kept(self) -> list[str]:
        """Keys below `decoded/`."""
        listed = self.aws.client("s3").list_objects_v2(Bucket=self.settings.lake_bucket, Prefix="decoded/")
        return [each["Key"] for each in listed.get("Contents", [])]

    def state(self) -> HourState:
        """How far the hour has come, without Gold."""
        building = self.settings.model_copy(update={"build_mode": BuildMode.EVERY_OBJECT})
        return Pipeline(self.engine, (), building).states(self.clock.now, HourRange(HOUR, HOUR.plus(1)))[HOUR]

    def assert_rows_are_the_oracles(self) -> oracle.LandingHour:
        """Hold Silver and quarantine to what the oracle makes of the same objects."""
        expected = oracle.read_root(self.settings.root)
        assert in_order(rows(self.engine, "FROM silver.events")) == in_order(expected.silver)
        assert in_order(rows(self.engine, "FROM silver.quarantine")) == in_order(expected.quarantine)
        return expected.hours[str(HOUR)]


@pytest.fixture
def settings(aws: EmulatedAws, root: Path) -> Settings:
    return aws.settings(root=root, glue_wait_minutes=1, glue_timeout_minutes=5, build_mode="every_object")


@pytest.fixture
def hour(aws: EmulatedAws, settings: Settings) -> OpenHour:
    return OpenHour(aws, settings)


@pytest.mark.long
@pytest.mark.spark
def test_a_run_reads_the_objects_that_are_new_and_an_hour_that_is_over_is_read_whole(hour: OpenHour) -> None:
    hour.land(0)
    hour.land(5)
    hour.aws.kill_job_at("s3.PutObject", containing="report.json")
    with pytest.raises(PipelineError, match="ended FAILED"):
        hour.build()
    assert hour.engine.hour_commit(HOUR) is None
    assert hour.build().commit.committed_at == hour.clock.now
    hour.assert_rows_are_the_oracles()

    hour.land(10)
    built = hour.build()
    assert hour.read_by_the_job() == ["10"]
    assert hour.assert_rows_are_the_oracles().duplicates == 2
    assert [each.duplicates for each in built.commit.account.objects] == [0, 1, 1]

    land(hour.aws, hour.settings, HOUR, 0, [event(user_id="u_2")])
    hour.build()
    assert hour.read_by_the_job() == ["00"]
    assert hour.assert_rows_are_the_oracles().duplicates == 1

    hour.clock.now = HOUR.end
    whole = hour.build()
    assert whole.reason == "the hour is over: built whole"
    assert hour.read_by_the_job() == ["00", "05", "10"]
    assert hour.kept() == []
    hour.assert_rows_are_the_oracles()


def test_an_hour_walks_from_new_over_open_and_provisional_to_ready(hour: OpenHour) -> None:
    hour.land(0)
    assert hour.state() is HourState.NEW
    hour.build()
    assert hour.state() is HourState.OPEN
    assert len(hour.kept()) == 1
    hour.land(5)
    assert hour.state() is HourState.CHANGED
    opened = hour.build()
    assert opened.commit.committed_at == hour.clock.now

    hour.clock.now = HOUR.end + timedelta(seconds=3)
    assert hour.state() is HourState.PROVISIONAL
    whole = hour.build()
    # What a run left of the open hour has the same input, and does not stand for the hour that is over.
    assert len(hour.aws.requests.of("glue.StartJobRun")) == 1
    assert (whole.reason, whole.commit.account) == ("the hour is over: built whole", opened.commit.account)
    assert hour.kept() == []
    assert hour.state() is HourState.READY
    assert hour.build().outcome.value == "unchanged"


def test_an_hour_that_ends_while_its_run_works_is_built_whole_after_all(hour: OpenHour) -> None:
    hour.land(0)
    hour.clock.now = HOUR.end - timedelta(seconds=1)
    hour.build()
    hour.clock.now = HOUR.end + timedelta(seconds=3)
    assert hour.state() is HourState.PROVISIONAL


def test_a_late_object_of_an_hour_that_is_over_keeps_nothing(hour: OpenHour) -> None:
    hour.clock.now = HOUR.end
    hour.land(0)
    hour.build()
    assert hour.kept() == []
    assert hour.state() is HourState.READY


def test_what_is_decoded_and_was_left_behind_goes_with_housekeeping(hour: OpenHour) -> None:
    s3, bucket = hour.aws.client("s3"), hour.settings.lake_bucket
    keys = [f"decoded/{HOUR.hive_path}/digest/{name}" for name in ("events.arrow", "report.json")]
    for key in keys:
        s3.put_object(Bucket=bucket, Key=key, Body=b"rows")
    now = datetime.now(UTC)
    assert hour.engine.leftovers(now + timedelta(hours=23)) == []
    (leftover,) = hour.engine.leftovers(now + timedelta(hours=25))
    assert (leftover.kind, leftover.place) == (LeftoverKind.SCRATCH, f"decoded/{HOUR.hive_path}")
    assert (leftover.paths, leftover.size) == (tuple(keys), 8)
    hour.engine.remove(leftover)
    assert hour.kept() == []
