"""AWS without Glue and Athena: the host of Dagster builds Silver and Gold from S3 to S3, and the catalog shows it."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow.parquet as pq
import pytest
from urllib3.exceptions import ProtocolError

from event_pipeline.assets.builder_choice import BUILDER_TAG
from event_pipeline.engines.aws import AwsEngine
from event_pipeline.engines.aws.costs import estimate
from event_pipeline.engines.aws.storage import Bucket
from event_pipeline.engines.base import SilverBuild, SilverOutcome
from event_pipeline.engines.host.layout import HOST_FOLDER
from event_pipeline.errors import HoursFailedError, PipelineError, StorageError, TransientError
from event_pipeline.infrastructure.account import account_checks
from event_pipeline.infrastructure.role_needs import needs_of_the_orchestrator
from event_pipeline.rules.accounting import RawListing, RawObject
from event_pipeline.rules.hour import Hour
from event_pipeline.rules.query import load_gold_tables
from event_pipeline.settings import BuildMode, Environment, Settings, SilverBuilderKind
from event_pipeline_tests import oracle
from event_pipeline_tests.emulator import EmulatedAws, Fault
from event_pipeline_tests.engines.aws.conftest import BY_HOST
from event_pipeline_tests.engines.aws.pipeline import land, silver
from event_pipeline_tests.materializing import materialize, metadata, one
from event_pipeline_tests.pipeline import HOUR, assert_agrees_with_oracle, build, event, purchase

CHECKOUT = Path(__file__).parents[3]
CALLS = (
    "s3.ListObjectsV2",
    "s3.GetObject",
    "s3.PutObject",
    "glue.GetTable",
    "glue.CreateTable",
    "glue.GetPartitions",
    "glue.BatchGetPartition",
    "glue.BatchCreatePartition",
)
"""Every call of a first build: neither Glue runs nor Athena's queries are among them."""


@pytest.fixture
def settings(aws: EmulatedAws, root: Path) -> Settings:
    """Settings with which the host builds everything."""
    return aws.settings(root=root, **BY_HOST)


def land_two_objects(aws: EmulatedAws, settings: Settings, hour: Hour = HOUR) -> None:
    """Land an hour with a duplicate across objects, a broken record, and a purchase of the day before."""
    land(aws, settings, hour, 0, [event(hour), purchase(hour, second=1), {"bad": 1}])
    land(aws, settings, hour, 5, [event(hour), purchase(hour, second=-30 * 3600)])


def left_on_host(settings: Settings) -> list[str]:
    """Files below the host's folder, but for locks."""
    folder = settings.root / HOST_FOLDER
    files = (each for each in folder.rglob("*") if each.is_file() and each.suffix != ".lock")
    return sorted(str(each.relative_to(folder)) for each in files)


def test_neither_a_glue_run_nor_a_query_is_needed_until_somebody_asks(
    aws: EmulatedAws, engine: AwsEngine, settings: Settings
) -> None:
    land_two_objects(aws, settings)
    aws.requests.clear()
    build(engine, [HOUR])
    for table in load_gold_tables():
        days = engine.touched_days(table, HOUR)
        assert len(days) == 2
        assert engine.grain_faults(table, days) == []
        assert [each for each in engine.reconcile(table, days) if each.gold != each.silver] == []
    assert engine.partition_faults(HOUR) == []
    asked = {each.name for each in aws.requests.all()}
    assert not [name for name in asked if name.startswith(("athena.", "glue.StartJobRun", "glue.GetJobRun"))]
    assert left_on_host(settings) == []
    assert_agrees_with_oracle(engine, settings.root)


@pytest.mark.long
@pytest.mark.parametrize(
    ("of_settings", "tag", "glue_runs"),
    [("pool", "glue", 1), ("pool", None, 0), ("glue", "pool", 0), ("glue", None, 1)],
)
def test_a_run_chooses_its_builder_by_a_tag(
    aws: EmulatedAws, settings: Settings, of_settings: str, tag: str | None, glue_runs: int
) -> None:
    settings = settings.model_copy(update={"builder": SilverBuilderKind(of_settings), "glue_wait_minutes": 1})
    land_two_objects(aws, settings)
    with dg.DagsterInstance.ephemeral() as instance:
        ended = materialize(
            settings,
            instance,
            one(HOUR),
            assets=["silver_events", "silver_partitions"],
            tags={BUILDER_TAG: tag} if tag else {},
        )
        assert ended.success
        assert ("glue_run" in metadata(instance, "silver_events", HOUR)) == bool(glue_runs)
    assert len(aws.requests.of("glue.StartJobRun")) == glue_runs
    assert AwsEngine(settings).count_rows(AwsEngine(settings).hour_commits()[HOUR]).silver_rows == 3


@pytest.mark.parametrize(
    ("tag", "env", "said"),
    [
        (
            "spark",
            Environment.AWS,
            "event_pipeline/builder of this run is 'spark': it must be one of glue, pool",
        ),
        ("glue", Environment.LOCAL, "glue can build Silver only with EVENT_PIPELINE_ENV=aws"),
    ],
)
def test_a_run_that_asks_for_a_builder_that_is_not_there_says_so(
    settings: Settings, tag: str, env: Environment, said: str
) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        ended = materialize(
            settings.model_copy(update={"env": env}),
            instance,
            one(HOUR),
            assets=["silver_events"],
            tags={BUILDER_TAG: tag},
        )
    (failure,) = [event.step_failure_data for event in ended.all_events if event.is_step_failure]
    assert failure.user_failure_data
    assert said in str(failure.user_failure_data.description)


def test_processes_of_the_host_read_their_objects_themselves(
    aws: EmulatedAws, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("event_pipeline.engines.host.pool_builder.POOL_WORTH_BYTES", 0)
    engine = AwsEngine(settings.model_copy(update={"workers": 2}))
    hours = [HOUR, HOUR.plus(1)]
    for hour in hours:
        land_two_objects(aws, settings, hour)
    build(engine, hours)
    assert_agrees_with_oracle(engine, settings.root)
    assert left_on_host(settings) == []


def test_its_files_have_the_types_of_glues_and_athenas(aws: EmulatedAws, settings: Settings) -> None:
    land_two_objects(aws, settings)
    found = []
    for kind in (settings, aws.settings(root=settings.root, glue_wait_minutes=1)):
        engine = AwsEngine(kind)
        build(engine, [HOUR], force=True)
        commit = engine.hour_commit(HOUR)
        assert commit
        files = {file.table: file.path for file in commit.files}
        for table in load_gold_tables():
            for place in ("partials", "days"):
                prefix = f"runs/{place}/{table.name}/"
                listed = aws.client("s3").list_objects_v2(Bucket=settings.lake_bucket, Prefix=prefix)["Contents"]
                newest = max(listed, key=lambda each: each["LastModified"])
                files[f"{place} of {table.name}"] = newest["Key"]
        found.append({name: schema(aws, settings, key) for name, key in files.items()})
    assert len(found[0]) == 3 + 2 * 5
    assert found[0] == found[1]


def schema(aws: EmulatedAws, settings: Settings, key: str) -> list[tuple[str, str]]:
    """Return the columns of a file with their types."""
    body = aws.client("s3").get_object(Bucket=settings.lake_bucket, Key=key)["Body"].read()
    return [(field.name, str(field.type)) for field in pq.read_schema(io.BytesIO(body))]


@pytest.mark.long
@pytest.mark.parametrize(
    ("fault", "after_effect"),
    [(Fault.THROTTLED, False), (Fault.SERVER_ERROR, True), (Fault.NO_ANSWER, True)],
)
def test_each_call_may_fail_once_in_passing(
    aws: EmulatedAws, engine: AwsEngine, settings: Settings, fault: Fault, after_effect: bool
) -> None:
    land_two_objects(aws, settings)
    struck = [aws.fail_next(call, fault, after_effect=after_effect) for call in CALLS]
    build(engine, [HOUR])
    assert [each.struck for each in struck] == [1] * len(CALLS)
    assert_agrees_with_oracle(engine, settings.root)


def test_an_object_whose_connection_breaks_is_read_on_from_there(
    aws: EmulatedAws, engine: AwsEngine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, opened = Bucket.stream, list[int]()

    class Broken:
        """A body that ends in the middle of the bytes, as a connection does that is cut."""

        def __init__(self, body: Any) -> None:
            self.body, self.given = body, False

        def read(self, size: int | None = None) -> bytes:
            if self.given:
                raise ProtocolError("Connection broken: IncompleteRead")
            self.given = True
            return bytes(self.body.read(40))

        def close(self) -> None:
            self.body.close()

    def breaking(bucket: Bucket, key: str, etag: str, first: int = 0) -> Any:
        opened.append(first)
        body = whole(bucket, key, etag, first)
        return body if first else Broken(body)

    monkeypatch.setattr(Bucket, "stream", breaking)
    land_two_objects(aws, settings)
    build(engine, [HOUR])
    assert opened == [0, 40, 0, 40]
    assert_agrees_with_oracle(engine, settings.root)


def test_an_object_that_is_replaced_while_it_waits_to_be_read_is_not_mixed_up(
    aws: EmulatedAws, engine: AwsEngine, settings: Settings
) -> None:
    land_two_objects(aws, settings)
    held = aws.hold_next("s3.GetObject", containing="minute=05")
    failures = list[Exception]()

    def try_to_build() -> None:
        try:
            silver(engine, HOUR)
        except PipelineError as error:
            failures.append(error)

    thread = threading.Thread(target=try_to_build)
    thread.start()
    held.wait_until_reached()
    land(aws, settings, HOUR, 5, [event(user_id="u_replaced")])
    held.release()
    thread.join()
    assert [type(each) for each in failures] == [TransientError]
    assert "was replaced or removed while it was read" in str(failures[0])
    assert engine.hour_commit(HOUR) is None
    build(engine, [HOUR])
    assert_agrees_with_oracle(engine, settings.root)


def test_a_role_that_may_not_read_raw_is_told_so(aws: EmulatedAws, engine: AwsEngine, settings: Settings) -> None:
    land_two_objects(aws, settings)
    aws.fail_next("s3.GetObject", Fault.ACCESS_DENIED, times=None, containing=f"/{settings.raw_bucket}/")
    with pytest.raises(StorageError, match=r"the role needs s3:GetObject there"):
        silver(engine, HOUR)


def test_an_hour_that_cannot_be_read_keeps_no_other_one_back(
    aws: EmulatedAws, engine: AwsEngine, settings: Settings
) -> None:
    hours = [HOUR, HOUR.plus(1), HOUR.plus(2)]
    for hour in hours:
        land_two_objects(aws, settings, hour)
    denied = f"{hours[1].raw_prefix}minute=05"
    aws.fail_next("s3.GetObject", Fault.ACCESS_DENIED, times=None, containing=denied)
    built = list[SilverBuild]()
    with pytest.raises(HoursFailedError) as error:
        built.extend(engine.build_silver(hours, progress=lambda _: None))
    assert list(error.value.failures) == [hours[1]]
    assert [each.commit.hour for each in built] == [hours[0], hours[2]]
    aws.faults.clear()
    build(engine, hours)
    assert_agrees_with_oracle(engine, settings.root)


def test_of_two_hosts_that_build_one_hour_one_publishes(aws: EmulatedAws, settings: Settings, tmp_path: Path) -> None:
    land_two_objects(aws, settings)
    first = AwsEngine(settings)
    second = AwsEngine(settings.model_copy(update={"root": tmp_path / "another host"}))
    held = aws.hold_next("s3.PutObject", containing="commits/hours/")
    outcomes = list[SilverOutcome]()
    thread = threading.Thread(target=lambda: outcomes.extend(each.outcome for each in silver(first, HOUR)))
    thread.start()
    held.wait_until_reached()
    (built,) = silver(second, HOUR)
    held.release()
    thread.join()
    assert (built.outcome, outcomes) == (SilverOutcome.BUILT, [SilverOutcome.UNCHANGED])
    build(first, [HOUR])
    assert_agrees_with_oracle(first, settings.root)


def test_an_open_hour_decodes_only_what_is_new(aws: EmulatedAws, settings: Settings) -> None:
    now = [HOUR.start + timedelta(minutes=6)]
    building = settings.model_copy(update={"build_mode": BuildMode.EVERY_OBJECT})
    engine = AwsEngine(building, clock=lambda: now[0])

    def read_by(work: Callable[[], object]) -> list[str]:
        aws.requests.clear()
        work()
        read = aws.requests.of("s3.GetObject", f"/{settings.raw_bucket}/")
        return sorted(each.resource.split("minute=")[1][:2] for each in read)

    land(aws, settings, HOUR, 0, [event(), {"bad": 0}])
    assert read_by(lambda: silver(engine, HOUR)) == ["00"]
    land(aws, settings, HOUR, 5, [event(), purchase(second=301)])
    assert read_by(lambda: silver(engine, HOUR)) == ["05"]
    assert oracle.read_root(settings.root).hours[str(HOUR)].duplicates == 1
    assert any("rows.arrow" in each for each in left_on_host(settings))
    now[0] = HOUR.end
    assert read_by(lambda: silver(engine, HOUR)) == ["00", "05"]
    assert left_on_host(settings) == []
    build(engine, [HOUR])
    assert_agrees_with_oracle(engine, settings.root)


def test_the_doctor_asks_for_no_glue_job_and_for_no_right_to_run_one(settings: Settings) -> None:
    asked = settings.model_copy(update={"glue_job_role_arn": "arn:aws:iam::123456789012:role/job"})
    names = [name for name, _ in account_checks(asked, load_gold_tables())]
    assert "Athena workgroup" in names
    assert [name for name in names if "Glue" in name] == []
    needs = needs_of_the_orchestrator(settings, "aws", "123456789012")
    assert "glue:StartJobRun" not in {action for actions, _ in needs for action in actions}


def test_silver_with_other_bytes_than_were_committed_makes_no_gold(
    aws: EmulatedAws, engine: AwsEngine, settings: Settings
) -> None:
    land_two_objects(aws, settings)
    silver(engine, HOUR)
    commit = engine.hour_commit(HOUR)
    assert commit
    (file,) = commit.files_of("silver.events")
    stored = aws.client("s3").get_object(Bucket=settings.lake_bucket, Key=file.path)["Body"].read()
    damaged = stored[:100] + bytes([stored[100] ^ 1]) + stored[101:]
    aws.client("s3").put_object(Bucket=settings.lake_bucket, Key=file.path, Body=damaged)
    table = load_gold_tables()[0]
    with pytest.raises(StorageError, match="its bytes differ from the committed ones"):
        engine.refresh_gold(table, [HOUR], progress=lambda _: None)
    assert left_on_host(settings) == []


def test_it_costs_requests_and_no_capacity(aws: EmulatedAws, engine: AwsEngine, settings: Settings) -> None:
    land_two_objects(aws, settings)
    (built,) = silver(engine, HOUR)
    assert built.cost
    assert built.cost.dpu_seconds + built.cost.queries + built.cost.bytes_scanned == 0
    assert built.cost.requests >= 2 + 3
    objects = tuple(RawObject(f"{number:02}", "etag", 10_700_000, HOUR.start) for number in range(12))
    day = {HOUR.plus(number): RawListing(HOUR.plus(number), objects) for number in range(24)}
    by_host, by_glue = (estimate(day, 5, each) for each in (settings, aws.settings(root=settings.root)))
    assert by_host.glue_runs + by_host.cost.dpu_seconds == 0
    assert by_glue.glue_runs == 1
    assert by_host.cost.usd < by_glue.cost.usd
