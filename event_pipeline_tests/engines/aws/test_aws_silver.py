"""Silver on AWS: one Glue run for many hours, never two for the same work, and what becomes of runs that go wrong."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import pytest

from event_pipeline.engines.aws import AwsEngine, glue_job
from event_pipeline.engines.aws.glue_job import GlueJob
from event_pipeline.engines.base import SilverBuild, SilverOutcome
from event_pipeline.engines.builder import HourInput
from event_pipeline.errors import PipelineError, StorageError, TransientError
from event_pipeline.rules.accounting import RawListing, RawObject
from event_pipeline.rules.erasure import Erasures
from event_pipeline.rules.hour import Hour
from event_pipeline.settings import Settings
from event_pipeline_tests.emulator import AwsError, EmulatedAws, Fault
from event_pipeline_tests.engines.aws.pipeline import land, seen, silver
from event_pipeline_tests.pipeline import HOUR, event, purchase

NEXT_HOUR = HOUR.plus(1)


def build(engine: AwsEngine, *hours: Hour, progress: Callable[[str], None] = lambda _: None) -> list[SilverBuild]:
    """Build hours without registering them."""
    return list(engine.build_silver(hours, progress=progress))


def only_run(aws: EmulatedAws, settings: Settings) -> str:
    """Return the id of the only run that the job ever had, as soon as Glue lists it."""
    runs: list[dict[str, Any]] = []
    deadline = time.monotonic() + 10
    while not runs and time.monotonic() < deadline:
        runs = aws.client("glue").get_job_runs(JobName=settings.glue_job)["JobRuns"]
    (run,) = runs
    return str(run["Id"])


def test_hours_of_a_range_are_built_by_one_run(aws: EmulatedAws, engine: AwsEngine, settings: Settings) -> None:
    for hour in (HOUR, NEXT_HOUR):
        land(aws, settings, hour, 0, [event(hour)])
    built = silver(engine, HOUR, NEXT_HOUR, NEXT_HOUR.plus(1))
    assert [each.commit.hour for each in built] == [HOUR, NEXT_HOUR, NEXT_HOUR.plus(1)]
    assert len(aws.requests.of("glue.StartJobRun")) == 1
    assert seen(engine) == 2


def test_hours_without_objects_need_no_run(aws: EmulatedAws, engine: AwsEngine) -> None:
    (empty,) = silver(engine, HOUR)
    assert empty.reason == "no raw objects: built as an empty hour"
    assert aws.requests.of("glue.StartJobRun") == []
    assert engine.query("SELECT objects, records FROM ops.hour_ledger").to_pylist() == [{"objects": 0, "records": 0}]


def test_the_run_gets_its_plan_token_and_size(aws: EmulatedAws, engine: AwsEngine, settings: Settings) -> None:
    key = land(aws, settings, HOUR, 0, [event()])
    (built,) = silver(engine, HOUR)
    run = aws.client("glue").get_job_run(JobName=settings.glue_job, RunId=built.details["glue_run"])["JobRun"]
    plan_url = run["Arguments"]["--plan"]
    bucket, _, plan_key = plan_url.removeprefix("s3://").partition("/")
    plan = json.loads(aws.client("s3").get_object(Bucket=bucket, Key=plan_key)["Body"].read())
    assert plan["token"] == run["Arguments"]["--token"]
    assert plan["limits"] == {
        "max_age_seconds": 604_800,
        "max_lead_seconds": 300,
        "max_line_bytes": 1_048_576,
        "max_object_bytes": 4_294_967_296,
        "max_object_records": 20_000_000,
    }
    (planned,) = plan["hours"]
    assert planned["target"] == f"s3://{settings.lake_bucket}/runs/hours/{HOUR.hive_path}/{built.commit.build_id}/"
    assert [each["key"] for each in planned["objects"]] == [key]
    assert (run["WorkerType"], run["NumberOfWorkers"], run["Timeout"]) == ("G.1X", 3, 5)
    group = "log-group/$252Faws-glue$252Fjobs$252Foutput$3FlogStreamNameFilter$3D"
    assert built.details["glue_logs"].endswith(f"#logsV2:log-groups/{group}{run['Id']}")
    found = aws.client("logs").describe_log_streams(logGroupName="/aws-glue/jobs/output", logStreamNamePrefix=run["Id"])
    assert [each["logStreamName"] for each in found["logStreams"]] == [f"{run['Id']}-driver"]


def test_work_is_the_same_only_with_the_same_input_rules_lake_and_erasures(settings: Settings) -> None:
    """What a run left is taken for the work of its token: for any other work it would be wrong."""

    def token(settings: Settings, *inputs: HourInput) -> str:
        # None of what is unset here is asked.
        job = GlueJob(None, settings, None, None)  # type: ignore[arg-type]
        return job.token(inputs)

    first, second = (RawObject(HOUR.raw_key(HOUR.start), etag, 1, HOUR.start) for etag in ("a", "b"))
    work = HourInput(RawListing(HOUR, (first,)), None)
    others = [
        token(settings, replace(work, listing=RawListing(HOUR, (second,)))),
        token(settings, replace(work, listing=RawListing(NEXT_HOUR, (first,)))),
        token(settings, replace(work, open_at=HOUR.start)),
        token(settings, replace(work, erasures=Erasures(b"key", frozenset((b"digest",))))),
        token(settings, work, replace(work, listing=RawListing(NEXT_HOUR, ()))),
        token(settings.model_copy(update={"event_max_age_days": 3}), work),
        token(settings.model_copy(update={"lake_bucket": "another"}), work),
    ]
    assert token(settings, work) == token(settings, replace(work))
    assert len({token(settings, work), *others}) == len(others) + 1


@pytest.mark.parametrize(
    ("region", "domain"),
    [
        ("eu-central-1", "eu-central-1.console.aws.amazon.com"),
        ("cn-north-1", "cn-north-1.console.amazonaws.cn"),
        ("us-gov-west-1", "us-gov-west-1.console.amazonaws-us-gov.com"),
    ],
)
def test_the_link_to_the_logs_is_of_the_partition_and_of_the_group_that_the_job_names(
    aws: EmulatedAws, settings: Settings, region: str, domain: str
) -> None:
    glue = aws.client("glue")
    job = glue.get_job(JobName=settings.glue_job)["Job"]
    update = {name: job[name] for name in ("Role", "Command", "GlueVersion", "NonOverridableArguments")}
    prefix = {"--custom-logGroup-prefix": "/own/prefix"}
    glue.update_job(JobName=settings.glue_job, JobUpdate={**update, "DefaultArguments": prefix})
    aws.unseen_for(0)
    held = aws.hold_next_run()
    glue.start_job_run(JobName=settings.glue_job, Arguments={"--plan": "s3://none/none", "--token": "t"})
    engine = AwsEngine(settings)
    job_of_settings = GlueJob(engine._aws, settings.model_copy(update={"aws_region": region}), *[engine._artifacts] * 2)
    held.wait_until_reached()
    run = job_of_settings.find("t")
    assert run is not None
    assert run.logs == (
        f"https://{domain}/cloudwatch/home?region={region}#logsV2:log-groups/log-group/"
        f"$252Fown$252Fprefix$252Foutput$3FlogStreamNameFilter$3D{run.id}"
    )
    held.release()


def test_a_run_that_is_under_way_is_waited_for_and_not_started_again(
    aws: EmulatedAws, engine: AwsEngine, settings: Settings
) -> None:
    land(aws, settings, HOUR, 0, [event()])
    held = aws.hold_next_run()
    aws.fail_next("glue.GetJobRun", Fault.ACCESS_DENIED)
    with pytest.raises(StorageError, match="glue:GetJobRun"):
        build(engine, HOUR)
    held.release()
    (built,) = build(AwsEngine(settings), HOUR)
    assert built.outcome is SilverOutcome.BUILT
    assert built.details["glue_run"] == only_run(aws, settings)
    assert len(aws.requests.of("glue.StartJobRun")) == 1


def test_what_a_run_left_while_nobody_watched_is_taken(aws: EmulatedAws, engine: AwsEngine, settings: Settings) -> None:
    land(aws, settings, HOUR, 0, [event()])
    aws.unseen_for(0)
    held = aws.hold_next_run()
    aws.fail_next("glue.GetJobRun", Fault.ACCESS_DENIED)
    with pytest.raises(StorageError):
        build(engine, HOUR)
    held.release()
    aws.wait_for_job(only_run(aws, settings))
    lines: list[str] = []
    (built,) = build(AwsEngine(settings), HOUR, progress=lines.append)
    assert built.outcome is SilverOutcome.BUILT
    assert any("took over 1 hours that an earlier run had built" in line for line in lines)
    assert len(aws.requests.of("glue.StartJobRun")) == 1


def test_a_forced_build_takes_nothing_from_an_earlier_run(
    aws: EmulatedAws, engine: AwsEngine, settings: Settings
) -> None:
    land(aws, settings, HOUR, 0, [event()])
    (first,) = silver(engine, HOUR)
    (forced,) = silver(engine, HOUR, force=True)
    assert forced.reason == "forced"
    assert forced.commit.build_id != first.commit.build_id
    assert len(aws.requests.of("glue.StartJobRun")) == 2
    assert seen(engine) == 1


def test_a_start_whose_answer_was_lost_starts_no_second_run(
    aws: EmulatedAws, engine: AwsEngine, settings: Settings
) -> None:
    land(aws, settings, HOUR, 0, [event()])
    aws.fail_next("glue.StartJobRun", Fault.NO_ANSWER, after_effect=True)
    (built,) = build(engine, HOUR)
    assert built.outcome is SilverOutcome.BUILT
    runs = aws.client("glue").get_job_runs(JobName=settings.glue_job)["JobRuns"]
    assert [run["Id"] for run in runs] == [built.details["glue_run"]]


def test_a_run_that_glue_does_not_know_yet_is_waited_for(
    aws: EmulatedAws, engine: AwsEngine, settings: Settings
) -> None:
    unknown = AwsError("EntityNotFoundException", "Job Run not found")
    land(aws, settings, HOUR, 0, [event()])
    planned = aws.fail_next("glue.GetJobRun", unknown, 4)
    (built,) = build(engine, HOUR)
    assert planned.struck == 4
    assert built.outcome is SilverOutcome.BUILT
    assert len(aws.requests.of("glue.StartJobRun")) == 1


def test_a_run_that_stays_unknown_is_a_passing_fault_that_names_it(
    aws: EmulatedAws, engine: AwsEngine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(glue_job, "UNSEEN_SECONDS", 0.3)
    land(aws, settings, HOUR, 0, [event()])
    aws.fail_next("glue.GetJobRun", AwsError("EntityNotFoundException", "Job Run not found"), None)
    with pytest.raises(TransientError, match=r"run jr_\w+ was started but is still unknown after 0.3 s"):
        build(engine, HOUR)
    aws.faults.clear()
    (built,) = build(AwsEngine(settings), HOUR)
    assert built.outcome is SilverOutcome.BUILT
    assert len(aws.requests.of("glue.StartJobRun")) == 1


def test_a_start_whose_answer_was_lost_is_looked_for_until_glue_lists_the_run(
    aws: EmulatedAws, engine: AwsEngine, settings: Settings
) -> None:
    land(aws, settings, HOUR, 0, [event()])
    aws.fail_next("glue.StartJobRun", Fault.NO_ANSWER, after_effect=True)
    # The first look for a run of the token is before the start; then two that do not list it yet.
    listed = aws.client("glue").get_job_runs(JobName=settings.glue_job)["JobRuns"]
    assert listed == []
    aws.unseen_for(0.6)
    (built,) = build(engine, HOUR)
    assert built.outcome is SilverOutcome.BUILT
    assert len(aws.requests.of("glue.StartJobRun")) == 1


@pytest.mark.parametrize("flex", [True, False])
def test_a_run_says_whether_it_may_be_queued_and_flex_never_is(
    aws: EmulatedAws, settings: Settings, flex: bool
) -> None:
    land(aws, settings, HOUR, 0, [event()])
    engine = AwsEngine(settings.model_copy(update={"glue_flex": flex}))
    other = aws.hold_next_run()
    aws.client("glue").start_job_run(JobName=settings.glue_job, Arguments={"--plan": "s3://none/none", "--token": "x"})
    lines: list[str] = []

    def progress(line: str) -> None:
        lines.append(line)
        if "no capacity" in line or "is WAITING" in line:
            other.release()

    (built,) = build(engine, HOUR, progress=progress)
    assert built.outcome is SilverOutcome.BUILT
    assert any(("ConcurrentRunsExceededException" if flex else "is WAITING") in line for line in lines)


def test_a_build_gives_up_when_glue_has_no_room_for_too_long(aws: EmulatedAws, settings: Settings) -> None:
    land(aws, settings, HOUR, 0, [event()])
    engine = AwsEngine(settings.model_copy(update={"glue_wait_minutes": 0}))
    aws.fail_next("glue.StartJobRun", AwsError("ConcurrentRunsExceededException", "Concurrent runs exceeded"), None)
    with pytest.raises(TransientError, match="no capacity for 0 minutes.*EVENT_PIPELINE_GLUE_WAIT_MINUTES"):
        build(engine, HOUR)


@pytest.mark.parametrize(
    ("state", "message", "kind", "said"),
    [
        ("FAILED", "ValueError: bad plan", PipelineError, "ended FAILED: ValueError: bad plan"),
        ("FAILED", "Resource unavailable", TransientError, "ended FAILED: Resource unavailable"),
        ("ERROR", "Internal", TransientError, "Glue itself failed"),
        ("TIMEOUT", "", PipelineError, "after 5 minutes.*EVENT_PIPELINE_GLUE_TIMEOUT_MINUTES"),
        ("EXPIRED", "", TransientError, "no capacity"),
        ("STOPPED", "", PipelineError, "it was stopped from outside"),
    ],
)
def test_a_run_that_ends_badly_publishes_nothing_and_the_next_one_heals(
    aws: EmulatedAws,
    engine: AwsEngine,
    settings: Settings,
    state: str,
    message: str,
    kind: type[PipelineError],
    said: str,
) -> None:
    land(aws, settings, HOUR, 0, [event()])
    aws.fail_next_run(state, message)
    with pytest.raises(kind, match=said) as failed:
        build(engine, HOUR)
    assert isinstance(failed.value, TransientError) is (kind is TransientError)
    assert "https://eu-central-1.console.aws.amazon.com/cloudwatch" in str(failed.value)
    assert engine.hour_commit(HOUR) is None
    (built,) = silver(engine, HOUR)
    assert built.outcome is SilverOutcome.BUILT
    assert seen(engine) == 1


@pytest.mark.parametrize(
    ("operation", "containing"),
    [
        ("s3.GetObject", "plans/"),
        ("s3.GetObject", "events/"),
        ("s3.PutObject", "events-0"),
        ("s3.PutObject", "manifest"),
    ],
)
@pytest.mark.parametrize("after_effect", [False, True])
def test_a_run_that_dies_at_any_stage_leaves_nothing_visible(
    aws: EmulatedAws, engine: AwsEngine, settings: Settings, operation: str, containing: str, after_effect: bool
) -> None:
    land(aws, settings, HOUR, 0, [event(), {"bad": 1}])
    struck = aws.kill_job_at(operation, containing=containing, after_effect=after_effect)
    complete = (operation, containing, after_effect) == ("s3.PutObject", "manifest", True)
    # With its manifest an hour is whole, and is published whatever became of the run that wrote it.
    with nullcontext() if complete else pytest.raises(PipelineError, match="ended FAILED"):
        build(engine, HOUR)
    assert struck.struck == 1
    assert (engine.hour_commit(HOUR) is not None) is complete
    silver(engine, HOUR)
    assert seen(engine) == 1
    assert engine.partition_faults(HOUR) == []


def test_hours_that_were_built_before_a_run_failed_are_published(
    aws: EmulatedAws, engine: AwsEngine, settings: Settings
) -> None:
    for hour in (HOUR, NEXT_HOUR):
        land(aws, settings, hour, 0, [event(hour)])
    aws.kill_job_at("s3.PutObject", containing=f"hour={NEXT_HOUR.partition_values[3]}")
    with pytest.raises(PipelineError, match="ended FAILED"):
        build(engine, HOUR, NEXT_HOUR)
    assert list(engine.hour_commits()) == [HOUR]
    assert [each.outcome.value for each in build(engine, HOUR, NEXT_HOUR)] == ["unchanged", "built"]


def test_an_interrupt_stops_the_run(aws: EmulatedAws, engine: AwsEngine, settings: Settings) -> None:
    land(aws, settings, HOUR, 0, [event()])
    aws.hold_next_run()

    def interrupt(line: str) -> None:
        if "is STARTING" in line:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(engine, HOUR, progress=lambda line: interrupt(line))
    assert aws.wait_for_job(only_run(aws, settings)).state == "STOPPED"
    assert engine.hour_commit(HOUR) is None


def test_an_object_that_is_replaced_while_the_job_reads_is_a_passing_fault(
    aws: EmulatedAws, engine: AwsEngine, settings: Settings
) -> None:
    land(aws, settings, HOUR, 0, [event()])
    held = aws.hold_next_run()
    with ThreadPoolExecutor(1) as pool:
        building = pool.submit(build, engine, HOUR)
        held.wait_until_reached()
        land(aws, settings, HOUR, 0, [event(), purchase(second=1)])
        held.release()
        with pytest.raises(TransientError, match="was replaced or removed while it was read"):
            building.result(60)
    silver(engine, HOUR)
    assert seen(engine) == 2


def test_two_orchestrators_of_one_hour_publish_one_build(
    aws: EmulatedAws, engine: AwsEngine, settings: Settings
) -> None:
    land(aws, settings, HOUR, 0, [event()])
    held = aws.hold_next_run()
    with ThreadPoolExecutor(2) as pool:
        first: Future[list[SilverBuild]] = pool.submit(build, engine, HOUR)
        held.wait_until_reached()
        second: Future[list[SilverBuild]] = pool.submit(build, AwsEngine(settings), HOUR)
        held.release()
        builds = [*first.result(60), *second.result(60)]
    assert len({each.commit.build_id for each in builds}) == 1
    assert len(aws.requests.of("glue.StartJobRun")) == 1
    engine.register_hours([HOUR])
    assert engine.partition_faults(HOUR) == []
    assert engine.query("SELECT count(*) AS n FROM ops.hour_ledger").to_pylist() == [{"n": 1}]
