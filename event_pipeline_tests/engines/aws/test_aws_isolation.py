"""One hour that fails on AWS does not block other hours: what queries see, and what is said."""

from __future__ import annotations

import re

import dagster as dg
import pytest

from event_pipeline.assets.isolation import failures_of
from event_pipeline.engines.aws import AwsEngine
from event_pipeline.engines.pipeline import Pipeline
from event_pipeline.engines.state import HourState
from event_pipeline.errors import HoursFailedError, PipelineError, TransientError
from event_pipeline.rules.hour import Hour, HourRange
from event_pipeline.rules.query import load_gold_tables
from event_pipeline.settings import Settings
from event_pipeline_tests.emulator import AwsError, EmulatedAws
from event_pipeline_tests.engines.aws.pipeline import land
from event_pipeline_tests.materializing import materialize, materialized_hours
from event_pipeline_tests.pipeline import HOUR, event, purchase

pytestmark = pytest.mark.long

HOURS = HourRange(HOUR, HOUR.plus(3))
BAD = HOUR.plus(1)
HEALTHY = [HOUR, HOUR.plus(2)]
FUNNEL = next(table for table in load_gold_tables() if table.name == "conversion_funnel")

UNREADABLE = {
    "denied": (AwsError("AccessDenied", "Access Denied", 403), "AccessDenied"),
    "archived": (
        AwsError("InvalidObjectState", "The operation is not valid for the object's storage class", 403),
        "InvalidObjectState",
    ),
    "gone": (AwsError("NoSuchKey", "The specified key does not exist.", 404), "was replaced or removed"),
}


@pytest.fixture
def key(aws: EmulatedAws, settings: Settings) -> str:
    """The object of the hour that fails, beside two healthy hours."""
    return [land(aws, settings, hour, 0, [event(hour), purchase(hour, 1)]) for hour in HOURS][1]


def built(engine: AwsEngine, wanted: HourRange = HOURS) -> tuple[list[Hour], dict[Hour, PipelineError]]:
    """Build a range; return the hours that were built, and those that failed."""
    hours, failures = list[Hour](), dict[Hour, PipelineError]()
    try:
        for build in engine.build_silver(list(wanted), progress=lambda _: None):
            hours.append(build.commit.hour)
    except HoursFailedError as failed:
        failures = failed.failures
    return hours, failures


@pytest.mark.parametrize("spark", [False, pytest.param(True, marks=pytest.mark.spark)])
def test_objects_that_s3_does_not_give_cost_their_own_hours_alone(
    aws: EmulatedAws, engine: AwsEngine, settings: Settings, spark: bool
) -> None:
    hours = HourRange(HOUR, HOUR.plus(len(UNREADABLE) + 2))
    keys = {hour: land(aws, settings, hour, 0, [event(hour), purchase(hour, 1)]) for hour in hours}
    first, *bad, last = hours
    kinds = dict(zip(bad, UNREADABLE, strict=True))
    for hour, kind in kinds.items():
        aws.fail_next("s3.GetObject", UNREADABLE[kind][0], None, containing=keys[hour], caller="job")
    found, failures = built(engine, hours)

    assert found == [first, last]
    assert sorted(failures) == bad
    for hour, kind in kinds.items():
        said = str(failures[hour])
        assert re.search(f"{hour}: .*{keys[hour]}.*{UNREADABLE[kind][1]}.*; logs: https://", said), said
        assert isinstance(failures[hour], TransientError) is (kind == "gone")
        if spark and kind != "gone":
            assert re.search("let the job's role read it|restore it", said)
    engine.register_hours([first, last])
    assert engine.query("SELECT count(*) AS n FROM silver.events").to_pylist() == [{"n": 4}]
    aws.faults.clear()
    again, failures = built(engine, hours)
    assert (sorted(again), failures) == (list(hours), {})


def test_a_damaged_commit_record_costs_its_own_hour_alone(
    aws: EmulatedAws, engine: AwsEngine, settings: Settings, key: str
) -> None:
    record = f"commits/hours/{BAD.hive_path}.json"
    aws.client("s3").put_object(Bucket=settings.lake_bucket, Key=record, Body=b'{"kind": "hour", ')
    hours, failures = built(engine)

    assert hours == HEALTHY
    assert re.search(f"{record}: .*move it away", str(failures[BAD]))
    engine.register_hours(HEALTHY)
    states = Pipeline(engine, (FUNNEL,), settings).states(HOURS.end.plus(1).start, HOURS)
    assert states == {**dict.fromkeys(HEALTHY, HourState.GOLD_BEHIND), BAD: HourState.DAMAGED}


def test_an_hour_whose_partial_fails_is_named_and_the_others_are_folded(
    aws: EmulatedAws, engine: AwsEngine, settings: Settings, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    built(engine)
    engine.register_hours(list(HOURS))
    denied = AwsError("AccessDenied", "Access Denied", 403)
    aws.fail_next("s3.PutObject", denied, None, containing=f"partials/{FUNNEL.name}/{BAD.hive_path}", caller="client")
    refreshed = engine.refresh_gold(FUNNEL, list(HOURS), progress=lambda _: None)

    assert list(refreshed.failures) == [BAD]
    assert "s3:PutObject" in str(refreshed.failures[BAD])
    assert engine.query("SELECT sum(views) AS n FROM gold.conversion_funnel").to_pylist() == [{"n": 2}]
    assert engine.hours_behind(FUNNEL, HOURS) == [BAD]


def test_a_run_of_several_hours_publishes_the_healthy_ones_and_fails(
    aws: EmulatedAws, engine: AwsEngine, settings: Settings, key: str
) -> None:
    aws.fail_next("s3.GetObject", UNREADABLE["denied"][0], None, containing=key, caller="job")
    with dg.DagsterInstance.ephemeral() as instance:
        result = materialize(settings, instance, HOURS, engine=engine)
        assert not result.success
        (failure,) = failures_of(result.all_events)
        assert (failure.hour, failure.step) == (BAD, "silver_events")
        assert materialized_hours(instance, "user_activity") == HEALTHY
    assert engine.query("SELECT sum(total_events) AS n FROM gold.user_activity").to_pylist() == [{"n": 4}]


def test_a_day_is_compared_with_what_it_was_folded_from_while_another_run_moves_its_hours(
    aws: EmulatedAws, engine: AwsEngine, settings: Settings, key: str
) -> None:
    def compared() -> list[tuple[int, int]]:
        return [
            (each.gold, each.silver) for each in engine.reconcile(FUNNEL, [HOUR.start.date()]) if each.name == "views"
        ]

    built(engine)
    engine.register_hours([HOUR])
    engine.refresh_gold(FUNNEL, [HOUR], progress=lambda _: None)
    assert compared() == [(1, 1)]
    engine.register_hours([BAD])
    assert compared() == [(1, 1)]
    land(aws, settings, HOUR, 5, [event(HOUR, 301)])
    list(engine.build_silver([HOUR], progress=lambda _: None))
    engine.register_hours([HOUR])
    assert compared() == []
    engine.refresh_gold(FUNNEL, [HOUR, BAD], progress=lambda _: None)
    assert compared() == [(3, 3)]
