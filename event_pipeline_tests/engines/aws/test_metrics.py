"""The quarantined share of every published hour reaches CloudWatch, from the commit record and nothing else."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from event_pipeline.engines.aws import AwsEngine
from event_pipeline.engines.base import SilverOutcome
from event_pipeline.rules.hour import Hour
from event_pipeline.settings import Settings
from event_pipeline_tests.emulator import EmulatedAws
from event_pipeline_tests.emulator.wire import AwsError
from event_pipeline_tests.engines.aws.pipeline import land, silver
from event_pipeline_tests.pipeline import HOUR, event

NEXT = HOUR.plus(1)
CLEAN = HOUR.plus(2)
EMPTY = HOUR.plus(3)

THIRD = round(1 / 3, 9)


def told(aws: EmulatedAws) -> tuple[int, float]:
    """Return how many data points were put in the last hour, and the highest, to nine digits."""
    now = datetime.now(UTC)
    points = aws.client("cloudwatch").get_metric_statistics(
        Namespace="event-pipeline",
        MetricName="QuarantinedShare",
        StartTime=now - timedelta(hours=1),
        EndTime=now + timedelta(minutes=1),
        Period=7200,
        Statistics=["SampleCount", "Maximum"],
    )["Datapoints"]
    highest: float = max((each["Maximum"] for each in points), default=0.0)
    return int(sum(each["SampleCount"] for each in points)), round(highest, 9)


def land_hours(aws: EmulatedAws, settings: Settings) -> tuple[Hour, ...]:
    """Land an hour with a quarter of bad records, one with a third, and a clean one."""
    for hour, bad in ((HOUR, 1), (NEXT, 1), (CLEAN, 0)):
        good = 3 if hour == HOUR else 2
        land(aws, settings, hour, 0, [*(event(hour, session_id=f"s{n}") for n in range(good)), *["broken"] * bad])
    return HOUR, NEXT, CLEAN


def test_each_published_hour_gives_its_share_and_the_alarm_sees_the_worst(
    aws: EmulatedAws, engine: AwsEngine, settings: Settings
) -> None:
    silver(engine, *land_hours(aws, settings), EMPTY)
    # The hour without records has no share.
    assert told(aws) == (3, THIRD)


def test_an_hour_whose_run_died_after_its_publication_is_told_by_the_next_run(
    aws: EmulatedAws, engine: AwsEngine, settings: Settings
) -> None:
    hours = land_hours(aws, settings)
    aws.fail_next("cloudwatch.PutMetricData", AwsError("AccessDenied", "not you", 403), times=None)
    lines: list[str] = []
    builds = list(engine.build_silver(hours, progress=lines.append))
    assert [each.outcome for each in builds] == [SilverOutcome.BUILT] * 3
    assert any(
        "the quarantined share was not reported to EVENT_PIPELINE_METRIC_NAMESPACE=event-pipeline" in each
        for each in lines
    )
    assert told(aws) == (0, 0.0)
    aws.faults.clear()
    assert [each.outcome for each in engine.build_silver(hours, progress=lines.append)] == [SilverOutcome.UNCHANGED] * 3
    assert told(aws) == (3, THIRD)


def test_an_hour_of_long_ago_is_not_told_again(aws: EmulatedAws, settings: Settings) -> None:
    hours = land_hours(aws, settings)
    silver(AwsEngine(settings), *hours)
    later = AwsEngine(settings, clock=lambda: datetime.now(UTC) + timedelta(hours=2))
    silver(later, *hours)
    assert told(aws)[0] == 3


def test_without_a_namespace_nothing_is_put(aws: EmulatedAws, root: object) -> None:
    settings = aws.settings(root=root, metric_namespace="")
    silver(AwsEngine(settings), *land_hours(aws, settings))
    assert told(aws) == (0, 0.0)
