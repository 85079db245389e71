"""What AWS answers when something is wrong: a passing fault heals by itself, any other one says call, thing, remedy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from event_pipeline.engines.aws import AwsEngine, glue_job
from event_pipeline.engines.aws.catalog import GlueCatalog
from event_pipeline.engines.aws.clients import PERMITTED_AS, Aws
from event_pipeline.engines.aws.storage import Bucket
from event_pipeline.errors import PipelineError, StorageError, TransientError
from event_pipeline.rules.contract import HOUR_LEDGER
from event_pipeline.rules.query import load_gold_tables
from event_pipeline.settings import Settings, SettingsError, load_settings
from event_pipeline_tests.emulator import AwsError, EmulatedAws, Fault
from event_pipeline_tests.engines.aws.pipeline import World, land, silver
from event_pipeline_tests.pipeline import HOUR, event, purchase, write_object

FUNNEL = next(table for table in load_gold_tables() if table.name == "conversion_funnel")

CALLS = (
    "s3.ListObjectsV2",
    "s3.GetObject",
    "s3.PutObject",
    "glue.GetTable",
    "glue.CreateTable",
    "glue.GetPartitions",
    "glue.BatchGetPartition",
    "glue.BatchCreatePartition",
    "glue.GetJobRuns",
    "glue.StartJobRun",
    "glue.GetJobRun",
    "athena.StartQueryExecution",
    "athena.GetQueryExecution",
    "athena.GetQueryResults",
)
"""Every call of a first build."""


@pytest.mark.long
@pytest.mark.parametrize(
    ("fault", "after_effect"),
    [
        (Fault.THROTTLED, False),
        (Fault.SERVER_ERROR, False),
        (Fault.SERVER_ERROR, True),
        (Fault.NO_ANSWER, True),
    ],
)
def test_each_call_may_fail_once_in_passing(
    aws: EmulatedAws,
    engine: AwsEngine,
    settings: Settings,
    fault: Fault,
    after_effect: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(glue_job, "LOST_START_SECONDS", 0.2)
    # Or a busy machine does not see the run within that time, and starts another.
    aws.unseen_for(0)
    write_object(settings.root, HOUR, 0, [event(), purchase(second=1), {"bad": 1}])
    struck = [aws.fail_next(call, fault, after_effect=after_effect, caller="client") for call in CALLS]
    world = World(engine, settings.root, (aws, settings.raw_bucket))
    try:
        world.land()
    except Exception:
        world.land()  # the test's own client tries nothing twice
    (built,) = world.build([HOUR])
    world.assert_agrees_with_oracle()
    assert engine.partition_faults(HOUR) == []
    assert [each.operation for each in struck if not each.struck] == []
    assert len(aws.client("glue").get_job_runs(JobName=settings.glue_job)["JobRuns"]) == 1


@pytest.mark.parametrize("operation", ["s3.PutObject", "athena.StartQueryExecution", "glue.BatchCreatePartition"])
def test_a_service_that_stays_busy_is_a_passing_fault_and_a_rerun_heals(
    aws: EmulatedAws, engine: AwsEngine, settings: Settings, operation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("event_pipeline.engines.aws.clients._ATTEMPTS", 2)
    land(aws, settings, HOUR, 0, [event()])
    aws.fail_next(operation, Fault.THROTTLED, None, caller="client")
    name = operation.replace(".", ":")
    with pytest.raises(TransientError, match=rf"{name} on .* \(after 2 attempts with backoff\)"):
        everything(AwsEngine(settings))
    aws.faults.clear()
    everything(AwsEngine(settings))
    assert engine.partition_faults(HOUR) == []
    assert engine.hours_behind(FUNNEL) == []


def everything(engine: AwsEngine) -> None:
    """Build and register an hour and refresh one Gold table."""
    silver(engine, HOUR)
    engine.refresh_gold(FUNNEL, [HOUR], progress=lambda _: None)


@pytest.mark.long
@pytest.mark.parametrize(
    "operation",
    [
        "s3.ListObjectsV2",
        "s3.GetObject",
        "s3.PutObject",
        "glue.GetJobRuns",
        "glue.StartJobRun",
        "glue.GetTable",
        "glue.BatchCreatePartition",
        "athena.StartQueryExecution",
        "athena.GetQueryExecution",
    ],
)
def test_a_denied_call_names_itself_the_thing_and_what_the_role_needs(
    aws: EmulatedAws, engine: AwsEngine, settings: Settings, operation: str
) -> None:
    land(aws, settings, HOUR, 0, [event()])
    aws.fail_next(operation, Fault.ACCESS_DENIED, None, caller="client")
    call = operation.replace(".", ":")
    needed = PERMITTED_AS.get(call, call)
    with pytest.raises(StorageError, match=rf"{call} on .+: denied \(.*the role needs {needed} there; docs/aws.md"):
        everything(engine)
    aws.faults.clear()
    everything(AwsEngine(settings))
    assert engine.hours_behind(FUNNEL) == []


@pytest.mark.parametrize("operation", ["s3.GetObject", "glue.GetJobRuns", "athena.StartQueryExecution"])
def test_expired_credentials_say_so(aws: EmulatedAws, engine: AwsEngine, settings: Settings, operation: str) -> None:
    land(aws, settings, HOUR, 0, [event()])
    aws.fail_next(operation, Fault.EXPIRED_CREDENTIALS, None, caller="client")
    with pytest.raises(StorageError, match=r"the AWS credentials have expired .*: log in again and run again"):
        everything(engine)


@pytest.mark.parametrize(
    ("operation", "code", "said"),
    [
        ("s3.ListObjectsV2", "RequestTimeTooSkewed", "The difference between the request time and the current time"),
        ("s3.GetObject", "RequestTimeTooSkewed", "The difference between the request time and the current time"),
        ("glue.GetJobRuns", "InvalidSignatureException", "Signature not yet current: 20251208T000000Z is still later"),
        ("athena.StartQueryExecution", "InvalidSignatureException", "Signature expired: 20251207T000000Z is earlier"),
    ],
)
def test_a_wrong_clock_is_told_as_one(
    aws: EmulatedAws, engine: AwsEngine, settings: Settings, operation: str, code: str, said: str
) -> None:
    land(aws, settings, HOUR, 0, [event()])
    aws.fail_next(operation, AwsError(code, said, 403), None, caller="client")
    with pytest.raises(StorageError, match=rf"the clock of this machine is wrong \({code}: {said}"):
        everything(engine)


def test_a_conditional_put_beside_another_request_is_sent_again(
    aws: EmulatedAws, engine: AwsEngine, settings: Settings
) -> None:
    conflict = AwsError("ConditionalRequestConflict", "The conditional request cannot succeed due to a conflict", 409)
    land(aws, settings, HOUR, 0, [event()])
    planned = aws.fail_next("s3.PutObject", conflict, 3, caller="client", containing="commits/hours/")
    everything(engine)
    assert planned.struck == 3
    assert engine.partition_faults(HOUR) == []
    assert engine.hours_behind(FUNNEL) == []


def test_a_conditional_put_that_always_meets_another_request_is_a_passing_fault(
    aws: EmulatedAws, settings: Settings
) -> None:
    bucket = Bucket(Aws(settings), settings.lake_bucket)
    conflict = AwsError("ConditionalRequestConflict", "The conditional request cannot succeed due to a conflict", 409)
    aws.fail_next("s3.PutObject", conflict, None)
    with pytest.raises(TransientError, match=r"PutObject on s3://.*/a: other requests .* were in progress 6 times"):
        bucket.replace("a", b"1", None)
    aws.faults.clear()
    assert bucket.replace("a", b"1", None)
    assert not bucket.replace("a", b"2", "0" * 32)
    found = bucket.read("a")
    assert found is not None
    assert bucket.replace("a", b"2", found[1])


def test_a_conditional_put_whose_answer_was_lost_counts_as_done(aws: EmulatedAws, settings: Settings) -> None:
    bucket, version = Bucket(Aws(settings), settings.lake_bucket), None
    for body in (b"1", b"2"):
        lost = aws.fail_next("s3.PutObject", Fault.NO_ANSWER, after_effect=True)
        assert bucket.replace("a", body, version)
        assert lost.struck == 1
        found = bucket.read("a")
        assert found is not None
        assert found[0] == body
        version = found[1]
    assert not bucket.replace("a", b"3", None)


class Halved(Aws):
    """Clients of a service that does only the first of several things that one call asks for."""

    def __init__(self, settings: Settings, code: str = "InternalServiceException") -> None:
        super().__init__(settings)
        self._code = code

    def call(self, service: str, operation: str, resource: str, **parameters: Any) -> dict[str, Any]:
        """Make one call for the first thing, and report the others as the service does."""
        if operation == "delete_objects":
            first, *left = parameters["Delete"]["Objects"]
            parameters["Delete"] = {"Objects": [first], "Quiet": True}
            faults = [{**each, "Code": "InternalError", "Message": "one of those days"} for each in left]
            return super().call(service, operation, resource, **parameters) | {"Errors": faults}
        if operation not in LISTS:
            return super().call(service, operation, resource, **parameters)
        name, values = LISTS[operation]
        first, *left = parameters[name]
        answer = super().call(service, operation, resource, **parameters | {name: [first]})
        if operation == "batch_get_partition":
            return answer | {"UnprocessedKeys": left}
        values_key = "PartitionValueList" if operation == "batch_update_partition" else "PartitionValues"
        faults = [{values_key: each[values], "ErrorDetail": {"ErrorCode": self._code}} for each in left]
        return answer | {"Errors": faults}


LISTS = {
    "batch_get_partition": ("PartitionsToGet", "Values"),
    "batch_create_partition": ("PartitionInputList", "Values"),
    "batch_update_partition": ("Entries", "PartitionValueList"),
    "batch_delete_partition": ("PartitionsToDelete", "Values"),
}
"""Operation -> its parameter with several things, and where each of these has the values of its partition."""


def test_an_object_that_could_not_be_deleted_is_reported(aws: EmulatedAws, settings: Settings) -> None:
    bucket = Bucket(Halved(settings), settings.lake_bucket)
    for key in ("gone", "left"):
        bucket.write(f"runs/{key}", b"")
    with pytest.raises(TransientError, match=r"s3:DeleteObjects on s3://.*/runs/left: InternalError: one of those"):
        bucket.delete(["runs/gone", "runs/left"])
    assert [each.key for each in bucket.list("runs/")] == ["runs/left"]


def test_partitions_that_a_call_left_out_are_asked_for_again(
    aws: EmulatedAws, engine: AwsEngine, settings: Settings
) -> None:
    hours = [HOUR.plus(number) for number in range(3)]
    silver(engine, *hours)
    found = GlueCatalog(Halved(settings), settings).get("ops.hour_ledger", [hour.hive_path for hour in hours])
    assert list(found) == [hour.hive_path for hour in hours]


@pytest.mark.parametrize(
    ("code", "kind"), [("InvalidInputException", StorageError), ("InternalServiceException", TransientError)]
)
def test_a_partition_that_fails_alone_is_named(
    aws: EmulatedAws, engine: AwsEngine, settings: Settings, code: str, kind: type[PipelineError]
) -> None:
    builds = engine.build_silver([HOUR, HOUR.plus(1)], progress=print)
    whole, halved = GlueCatalog(Aws(settings), settings), GlueCatalog(Halved(settings, code), settings)
    entries = [
        each for build in builds for each in whole.entries_of(build.commit) if each.table == HOUR_LEDGER.full_name
    ]
    for catalog in (whole, halved):
        catalog.ensure(HOUR_LEDGER)
    last = HOUR.plus(1).hive_path
    with pytest.raises(kind, match=rf"BatchCreatePartition on ops.hour_ledger: 1 partitions failed.*{last}"):
        halved.change(entries, ())
    whole.change(entries, ())
    with pytest.raises(kind, match=rf"BatchUpdatePartition on ops.hour_ledger: 1 partitions failed.*{last}"):
        halved.change(entries, ())
    with pytest.raises(kind, match=rf"BatchDeletePartition on ops.hour_ledger: 1 partitions failed.*{last}"):
        halved.change((), [(each.table, each.partition) for each in entries])
    assert [each.partition for each in whole.entries(HOUR_LEDGER.full_name)] == [last]


@pytest.mark.parametrize(
    ("change", "act", "said"),
    [
        (
            {"raw_bucket": "nobody-made-it"},
            lambda engine: engine.list_raw(HOUR),
            "s3:ListObjectsV2 on s3://nobody-made-it/events/.*: there is no such bucket in region eu-central-1.*"
            "EVENT_PIPELINE_RAW_BUCKET",
        ),
        (
            {"lake_bucket": "nobody-made-it"},
            lambda engine: engine.hour_commits(),
            "s3://nobody-made-it/commits/hours/: there is no such bucket",
        ),
        (
            {"glue_job": "nobody-made-it"},
            lambda engine: list(engine.build_silver([HOUR], progress=print)),
            "glue:GetJobRuns on Glue job nobody-made-it: it does not exist in region eu-central-1 .*deploy",
        ),
        (
            {"athena_workgroup": "nobody-made-it"},
            lambda engine: engine.query("SELECT 1 AS one"),
            "workgroup nobody-made-it.*EVENT_PIPELINE_ATHENA_WORKGROUP",
        ),
    ],
)
def test_a_missing_resource_is_named_with_the_setting_that_names_it(
    aws: EmulatedAws, settings: Settings, change: dict[str, str], act: Callable[[AwsEngine], Any], said: str
) -> None:
    land(aws, settings, HOUR, 0, [event()])
    with pytest.raises(StorageError, match=said):
        act(AwsEngine(settings.model_copy(update=change)))


def test_a_bucket_of_another_region_says_which_setting(aws: EmulatedAws, engine: AwsEngine) -> None:
    aws.fail_next(
        "s3.GetObject", AwsError("AuthorizationHeaderMalformed", "the region 'us-east-1' is wrong", 400), None
    )
    with pytest.raises(StorageError, match="it is not in region eu-central-1 .*EVENT_PIPELINE_AWS_REGION"):
        engine.hour_commit(HOUR)


def test_no_credentials_at_all_say_how_to_get_some(
    aws: EmulatedAws, engine: AwsEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(variable)
    with pytest.raises(StorageError, match="no usable AWS credentials .*log in or set AWS_PROFILE"):
        engine.hour_commit(HOUR)


def test_an_endpoint_that_nobody_answers_at_is_a_passing_fault(
    aws: EmulatedAws, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("event_pipeline.engines.aws.clients._ATTEMPTS", 1)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(TransientError, match="check the network and EVENT_PIPELINE_AWS_REGION=eu-central-1"):
        AwsEngine(settings).hour_commit(HOUR)


def test_a_damaged_commit_record_is_named(aws: EmulatedAws, engine: AwsEngine, settings: Settings) -> None:
    key = f"commits/hours/{HOUR.hive_path}.json"
    aws.client("s3").put_object(Bucket=settings.lake_bucket, Key=key, Body=b"{}")
    with pytest.raises(StorageError, match=f"s3://emulated-lake/{key}: not a commit record.*move it away"):
        engine.hour_commit(HOUR)


def test_the_aws_environment_names_what_it_misses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVENT_PIPELINE_ENV", "aws")
    monkeypatch.setenv("EVENT_PIPELINE_RAW_BUCKET", "raw")
    with pytest.raises(
        SettingsError, match="EVENT_PIPELINE_AWS_REGION, EVENT_PIPELINE_LAKE_BUCKET, EVENT_PIPELINE_ART"
    ):
        load_settings()
    monkeypatch.setenv("EVENT_PIPELINE_ENV", "azure")
    with pytest.raises(SettingsError, match="EVENT_PIPELINE_ENV='azure': Input should be 'local' or 'aws'"):
        load_settings()
