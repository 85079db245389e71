"""The whole pipeline works as the roles of the deployed template, which have what is asked of them and no more.

One walk over the emulated account, in which every call is judged by its caller's role, notes what each role was asked
for. Of every action that the template grants it is then known that it is needed: without it, that call is refused.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import dagster as dg
import pytest

from event_pipeline.cli import main
from event_pipeline.engines.aws import AwsEngine
from event_pipeline.engines.aws.athena import Athena
from event_pipeline.engines.aws.clients import Aws
from event_pipeline.engines.aws.costs import Meter
from event_pipeline.engines.aws.glue_job import GlueJob
from event_pipeline.engines.aws.storage import Bucket
from event_pipeline.engines.open import publish_to_topic
from event_pipeline.errors import PipelineError
from event_pipeline.operations.erasing import erase_person
from event_pipeline.rules.contract import Limits
from event_pipeline.rules.hour import Hour, HourRange
from event_pipeline.rules.query import load_gold_tables
from event_pipeline.settings import Settings, load_settings
from event_pipeline_tests.emulator import EmulatedAws
from event_pipeline_tests.emulator.deployed import put_stand_in_wheels
from event_pipeline_tests.emulator.permissions import Asked, Session, refusal, service_key, without
from event_pipeline_tests.emulator.policies import Need, Said
from event_pipeline_tests.engines.aws.conftest import run_plain_job
from event_pipeline_tests.infra.checks import statements
from event_pipeline_tests.infra.template import EVERYTHING_ON, TEMPLATE, Template
from event_pipeline_tests.materializing import materialize
from event_pipeline_tests.pipeline import HOUR, build, event, purchase, write_object

pytestmark = pytest.mark.long  # all share the walk, which takes a minute
ROLES = (
    "GlueJobRole", "OrchestratorRole", "AnalystRole", "GeneratorRole", "GeneratorScheduleRole", "BucketCleanerRole",
)  # fmt: skip
WITH_KEY = ROLES[:4]
KEY = EVERYTHING_ON["KmsKeyArn"]
LATER = datetime.now(UTC) + timedelta(days=9)
OPEN_HOUR = HOUR.plus(24)

BIG_RESULTS = "Athena uploads results in parts once they are large; the emulated one writes each in one call"
BIG_FILES = "boto3 and Hadoop give up an upload in parts with it; files of the walk are small"
ATHENA_GUIDE = "Athena's guide asks for it to SELECT from tables with partitions; the emulated one needs fewer calls"
REAL_JOB = "the Spark job does it; the walk's job is the one without Spark, which does not"
ERASURE = "erase --rewrite-raw"
EXPLAINED: Mapping[tuple[str, str, str], str] = {
    (
        "GlueJobRole",
        "List",
        "s3:GetBucketLocation",
    ): "Hadoop's S3 file system asks for it; the emulated job stages files",
    ("GlueJobRole", "List", "s3:ListBucket"): "Hadoop's S3 file system lists; without it a missing object is a 403",
    ("GlueJobRole", "WriteRuns", "s3:GetObject"): REAL_JOB,
    ("GlueJobRole", "WriteRuns", "s3:DeleteObject"): REAL_JOB,
    ("GlueJobRole", "WriteRuns", "s3:AbortMultipartUpload"): BIG_FILES,
    ("GlueJobRole", "TellProgress", "s3:PutObject"): REAL_JOB,
    ("GlueJobRole", "Logs", "logs:CreateLogGroup"): "Glue makes a group that somebody deleted",
    ("OrchestratorRole", "Publish", "s3:AbortMultipartUpload"): BIG_FILES,
    ("OrchestratorRole", "Publish", "s3:ListMultipartUploadParts"): BIG_RESULTS,
    ("OrchestratorRole", "PlansAndMessages", "s3:AbortMultipartUpload"): BIG_FILES,
    ("OrchestratorRole", "PlansAndMessages", "s3:ListMultipartUploadParts"): BIG_RESULTS,
    ("OrchestratorRole", "UploadsOfAthena", "s3:ListBucketMultipartUploads"): BIG_RESULTS,
    ("OrchestratorRole", "NewRawObjects", "sqs:ChangeMessageVisibility"): "what SQS's consumers have; notices run out",
    ("OrchestratorRole", "ReadBronze", "glue:GetPartition"): ATHENA_GUIDE,
    ("OrchestratorRole", "ReadBronze", "glue:GetPartitions"): ATHENA_GUIDE,
    ("OrchestratorRole", "Catalog", "glue:GetPartition"): ATHENA_GUIDE,
    ("AnalystRole", "QueryResults", "s3:AbortMultipartUpload"): BIG_RESULTS,
    ("AnalystRole", "QueryResults", "s3:ListMultipartUploadParts"): BIG_RESULTS,
    ("AnalystRole", "UploadsOfAthena", "s3:ListBucketMultipartUploads"): BIG_RESULTS,
    ("AnalystRole", "ReadCatalog", "glue:GetPartition"): ATHENA_GUIDE,
    ("AnalystRole", "ReadCatalog", "glue:BatchGetPartition"): ATHENA_GUIDE,
    ("AnalystRole", "Queries", "athena:GetQueryResultsStream"): "Athena's JDBC and ODBC drivers call it; boto3 cannot",
    (
        "GeneratorRole",
        "Key",
        "kms:Decrypt",
    ): "the roles share the policy of the key; this one only writes whole objects",
}
"""Granted, and not asked for in the walk."""


@dataclass(frozen=True)
class Walk:
    """What became known."""

    asked: tuple[Asked, ...]
    refused: tuple[Asked, ...]
    policies: Mapping[str, tuple[str, ...]]
    """Role's name in the template -> documents."""
    sessions: Mapping[str, Session]
    said_without: Mapping[str, str]
    """What a command or a step says when its role lacks a permission: `what it does` -> text."""
    doctor: str
    rules_that_may_send: list[str]
    decide: Callable[[Session, Need, tuple[str, ...]], Said]


class Account:
    """The deployed account and who works in it."""

    def __init__(self, aws: EmulatedAws, patch: pytest.MonkeyPatch, root: Path) -> None:
        self.aws, self.patch, self.root = aws, patch, root
        self.outputs: dict[str, str] = {}

    def deploy(self) -> None:
        """Deploy the template with every optional part, as its administrator."""
        put_stand_in_wheels(self.root / "wheels")
        given = {"KmsKeyArn": KEY, "GlueMetrics": "true", "EmptyBucketsOnDelete": "true"}
        parameters = [part for name, value in given.items() for part in ("--parameter", f"{name}={value}")]
        for line in self.command("stack", "deploy", "--yes", "--generator", *parameters).splitlines():
            name, _, value = line.removeprefix("export ").partition("=")
            self.patch.setenv(name, value)
        shown = self.aws.client("cloudformation").describe_stacks(StackName="event-pipeline")["Stacks"][0]
        self.outputs = {each["OutputKey"]: each["OutputValue"] for each in shown["Outputs"]}
        self.outputs["StackId"] = shown["StackId"]

    def role(self, name: str) -> str:
        """Return the ARN of a role by its name in the template."""
        roles = self.aws.client("iam").list_roles()["Roles"]
        return next(str(each["Arn"]) for each in roles if f"-{name}-" in each["RoleName"])

    def act_as(self, role: str) -> None:
        """Let everything that boto3 does from now on be a role's."""
        for name, value in self.aws.environment_of(self.role(role)).items():
            self.patch.setenv(name, value)

    def client_of_service(self, role: str, service: str, wanted: str) -> Any:
        """Return a client as a service has it that takes a role by itself."""
        key = service_key()
        assert self.aws.judge.hand_out(self.role(role), f"{service}.amazonaws.com", "service", key)
        session = boto3.Session(key, "emulated", region_name=self.aws.region)
        return session.client(wanted, endpoint_url=self.aws.endpoint)

    def command(self, *arguments: str, code: int | None = 0) -> str:
        """Run `event-pipeline` in this process and return what it printed."""
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed), pytest.raises(SystemExit) as end:
            main(list(arguments))
        assert code is None or end.value.code == code, printed.getvalue()
        return printed.getvalue()

    @contextlib.contextmanager
    def lacking(self, role: str, sid: str, action: str) -> Iterator[None]:
        """Take one action of one statement from a role for a while."""
        iam, name = self.aws.client("iam"), self.role(role).rpartition("/")[2]
        (policy,) = iam.list_role_policies(RoleName=name)["PolicyNames"]
        document = json.dumps(iam.get_role_policy(RoleName=name, PolicyName=policy)["PolicyDocument"])
        (less,) = without([document], sid, action)
        assert json.loads(less) != json.loads(document)
        iam.put_role_policy(RoleName=name, PolicyName=policy, PolicyDocument=less)
        try:
            yield
        finally:
            iam.put_role_policy(RoleName=name, PolicyName=policy, PolicyDocument=document)


def land(account: Account, settings: Settings, hour: Hour, minute: int, lines: list[Any]) -> None:
    """Put one raw object, as a producer with rights of its own."""
    key = write_object(account.root, hour, minute, lines)
    body = (account.root / "raw" / key).read_bytes()
    account.aws.client("s3").put_object(Bucket=settings.raw_bucket, Key=key, Body=body, ContentEncoding="gzip")


def generate(account: Account) -> None:
    """Let the schedule invoke the generator, and give up one tick permanently, as Scheduler and Lambda do."""
    function, functions = account.outputs["GeneratorFunction"], account.aws.client("lambda")
    variables = functions.get_function_configuration(FunctionName=function)["Environment"]["Variables"]
    small = {"Variables": {**variables, "EVENTS_PER_FILE": "50"}}
    functions.update_function_configuration(FunctionName=function, Environment=small)
    scheduler = account.client_of_service("GeneratorScheduleRole", "scheduler", "lambda")
    tick = json.dumps({"scheduled_time": f"{HOUR.start + timedelta(minutes=55):%Y-%m-%dT%H:%M:%SZ}"})
    answer = json.loads(scheduler.invoke(FunctionName=function, Payload=tick)["Payload"].read())
    assert answer["records"] == 50, answer
    for role, service in (("GeneratorScheduleRole", "scheduler"), ("GeneratorRole", "lambda")):
        given_up = account.client_of_service(role, service, "sqs")
        given_up.send_message(QueueUrl=account.outputs["DeadLettersUrl"], MessageBody=tick)


def orchestrate(account: Account, settings: Settings) -> None:
    """Do what the Dagster process does: notices, runs with checks, open hours, alerts, housekeeping, and commands."""
    engine, stopped = AwsEngine(settings), Aws(settings)
    notices = engine.take_notices(())
    assert HOUR in notices.hours
    engine.take_notices(notices.receipts)
    with dg.DagsterInstance.ephemeral() as instance:
        done = materialize(settings, instance, HourRange(HOUR, HOUR.plus(1)))
    assert done.success, [each.event_specific_data for each in done.all_events if each.is_failure]
    faults = [each for each in done.get_asset_check_evaluations() if not each.passed]
    assert all(each.severity is dg.AssetCheckSeverity.WARN for each in faults), faults

    # An hour that is not over, then the same hour again: what was decoded is read, and goes.
    during = OPEN_HOUR.start + timedelta(minutes=6)
    opened = AwsEngine(settings.model_copy(update={"build_mode": "every_object"}), clock=lambda: during)
    for minute in range(2):
        land(account, settings, OPEN_HOUR, minute, [event(OPEN_HOUR, minute)])
        assert [each.commit for each in opened.build_silver([OPEN_HOUR], progress=quiet)]
    opened.register_hours([OPEN_HOUR])
    # Replaced builds go with housekeeping, partitions with them.
    build(engine, [HOUR], force=True)
    for leftover in engine.leftovers(LATER):
        engine.remove(leftover)
    retiring = AwsEngine(settings.model_copy(update={"silver_retention_days": 1, "gold_retention_days": 2}))
    retired = retiring.leftovers(LATER)
    for leftover in retired:
        retiring.remove(leftover)

    for line in (
        ("verify", "--from", str(HOUR), "--to", str(HOUR.plus(1))),
        ("repair",),
        ("status",),
        ("cost", "--from", str(HOUR), "--to", str(HOUR.plus(1))),
        ("alerts", "--send"),
        ("query", "SELECT count(*) AS n FROM bronze.events WHERE year = '2025' AND month = '12' AND day = '07'"),
    ):
        # What they find is other tests' matter: here only that nothing is refused them.
        account.command(*line, code=None)
    publish_to_topic(settings, "subject", "text", "id/1")

    # What is stopped: a query and a run that nobody waits for.
    athena, job = (
        Athena(stopped, settings),
        GlueJob(stopped, settings, Bucket(stopped, settings.artifacts_bucket), Bucket(stopped, settings.lake_bucket)),
    )
    athena._stop(athena.run("SELECT 1 AS one", Meter(stopped, settings)).id)
    held = account.aws.hold_next_run()
    run = stopped.call("glue", "start_job_run", "the job", JobName=settings.glue_job)["JobRunId"]
    held.wait_until_reached()
    job._seen(run)
    job.stop(run)
    held.release()
    account.aws.wait_for_job(run)
    stopped.call("cloudformation", "describe_stacks", "the stack", StackName=account.outputs["StackId"])
    # A column that became wider is changed in the catalog.
    wide = account.aws.client("glue").get_table(DatabaseName="gold", Name="hourly_revenue")["Table"]
    kept = {name: wide[name] for name in ("Name", "PartitionKeys", "StorageDescriptor", "TableType", "Parameters")}
    stopped.call("glue", "update_table", "gold.hourly_revenue", DatabaseName="gold", TableInput=kept)


def ask(account: Account, settings: Settings) -> None:
    """Do what analysts do: the five questions and their own in their workgroup, and look around in the console."""
    engine = AwsEngine(settings.model_copy(update={"athena_workgroup": f"{settings.athena_workgroup}-analysts"}))
    for table in (*(f"gold.{each.name}" for each in load_gold_tables()), "silver.quarantine", "ops.hour_ledger"):
        engine.query(f"SELECT count(*) AS n FROM {table}")
    session = boto3.Session(region_name=account.aws.region)
    athena, glue = session.client("athena"), session.client("glue")
    workgroup = {"WorkGroup": f"{settings.athena_workgroup}-analysts"}
    named = athena.list_named_queries(**workgroup)["NamedQueryIds"]
    query = athena.get_named_query(NamedQueryId=named[0])["NamedQuery"]
    started = athena.start_query_execution(
        QueryString=query["QueryString"], QueryExecutionContext={"Database": query["Database"]}, **workgroup
    )["QueryExecutionId"]
    assert account.aws.wait_for_query(started)["Status"]["State"] == "SUCCEEDED"
    athena.stop_query_execution(QueryExecutionId=started)
    athena.batch_get_query_execution(QueryExecutionIds=[started])
    athena.get_work_group(**workgroup)
    glue.get_databases()
    glue.get_tables(DatabaseName="gold")
    catalog = {"CatalogName": "AwsDataCatalog"}
    # moto answers only some of these; that the role may ask is what counts.
    for call in (
        lambda: athena.list_query_executions(**workgroup),
        lambda: athena.batch_get_named_query(NamedQueryIds=named[:1]),
        lambda: athena.get_data_catalog(Name="AwsDataCatalog"),
        lambda: athena.list_databases(**catalog),
        lambda: athena.get_database(**catalog, DatabaseName="gold"),
        lambda: athena.list_table_metadata(**catalog, DatabaseName="gold"),
        lambda: athena.get_table_metadata(**catalog, DatabaseName="gold", TableName="hourly_revenue"),
        athena.list_work_groups,
        athena.list_data_catalogs,
        athena.list_engine_versions,
    ):
        with contextlib.suppress(athena.exceptions.ClientError):
            call()


def say_without(account: Account, settings: Settings) -> dict[str, str]:
    """Take single permissions away and return what a step of each kind then says."""
    said: dict[str, str] = {}
    for role, sid, action, step in PROBES:
        account.act_as(role)
        with account.lacking(role, sid, action), pytest.raises(PipelineError) as error:
            step(account, settings)
        said[f"{role} {sid} {action}"] = str(error.value)
    # No role of the stack may replace raw objects: erasing from them is for somebody else.
    account.act_as("OrchestratorRole")
    engine, user_id = AwsEngine(settings), event()["user_id"]
    with pytest.raises(PipelineError) as error:
        erase_person(
            engine, load_gold_tables(), Limits(), user_id, datetime.now(UTC), lambda *_: None, rewrite_raw=True
        )
    said[ERASURE] = (
        f"{error.value} | finished at {engine.eraser().list.receipt(engine.erasures().only(user_id)).finished_at}"
    )
    return said


def build_again(account: Account, settings: Settings) -> None:
    """Build an hour once more."""
    engine = AwsEngine(settings)
    list(engine.build_silver([HOUR], force=True, progress=quiet))
    engine.register_hours([HOUR])


def analyse(_: Account, settings: Settings) -> None:
    """Ask one question as analysts do."""
    AwsEngine(settings.model_copy(update={"athena_workgroup": f"{settings.athena_workgroup}-analysts"})).query(
        "SELECT count(*) AS n FROM gold.user_activity"
    )


def question(_: Account, settings: Settings) -> None:
    """Ask one question as the orchestrator does."""
    AwsEngine(settings).query("SELECT count(*) AS n FROM gold.user_activity")


PROBES: tuple[tuple[str, str, str, Callable[[Account, Settings], object]], ...] = (
    ("OrchestratorRole", "List", "s3:ListBucket", lambda _, settings: AwsEngine(settings).list_raw(HOUR)),
    ("OrchestratorRole", "Publish", "s3:GetObject", lambda _, settings: AwsEngine(settings).hour_commit(HOUR)),
    ("OrchestratorRole", "PlansAndMessages", "s3:PutObject", build_again),
    ("OrchestratorRole", "GlueRuns", "glue:StartJobRun", build_again),
    ("OrchestratorRole", "GlueRuns", "glue:GetJobRuns", build_again),
    ("OrchestratorRole", "Catalog", "glue:GetTable", question),
    ("OrchestratorRole", "Catalog", "glue:GetPartitions", question),
    ("OrchestratorRole", "Catalog", "glue:BatchUpdatePartition", build_again),
    ("OrchestratorRole", "AthenaLooksHere", "glue:GetDatabase", question),
    ("OrchestratorRole", "List", "s3:GetBucketLocation", question),
    ("OrchestratorRole", "Queries", "athena:StartQueryExecution", question),
    ("OrchestratorRole", "Queries", "athena:GetQueryResults", question),
    ("OrchestratorRole", "NewRawObjects", "sqs:ReceiveMessage", lambda _, each: AwsEngine(each).take_notices(())),
    ("OrchestratorRole", "Alerts", "sns:Publish", lambda _, settings: publish_to_topic(settings, "a", "b", "c/1")),
    ("AnalystRole", "AthenaLooksHere", "glue:GetDatabase", analyse),
    ("AnalystRole", "ReadFiles", "s3:GetObject", analyse),
    ("AnalystRole", "QueryResults", "s3:PutObject", analyse),
    ("AnalystRole", "QueryResults", "s3:GetObject", analyse),
)  # fmt: skip


def doctor_lacking(account: Account) -> str:
    """Return what the doctor finds where the orchestrator lacks a permission, asked as that role."""
    account.act_as("OrchestratorRole")
    with account.lacking("OrchestratorRole", "GlueRuns", "glue:BatchStopJobRun"):
        return account.command("doctor", code=None)


def rules_that_may_send(account: Account) -> list[str]:
    """Return which rules EventBridge may put messages into the queue for: the stack's and a stranger's are tried."""
    queue, events = account.outputs["RawQueueUrl"].rpartition("/")[2], account.aws.client("events")
    arn = account.aws.judge.place.arn("sqs", queue)
    own = next(each["Arn"] for each in events.list_rules()["Rules"] if "NewRawObjects" in each["Name"])
    tried = {"its own": own, "a stranger": own + "-2"}
    may = account.aws.judge.service_may
    return [name for name, rule in tried.items() if may("events.amazonaws.com", "sqs:SendMessage", arn, rule)]


def quiet(_: str) -> None:
    """Progress that nobody watches."""


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Walk]:
    """The walk, once; the account is gone when tests look at what it brought."""
    root = tmp_path_factory.mktemp("roles")
    with pytest.MonkeyPatch.context() as patch, EmulatedAws() as aws:
        for variable in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(variable)
        patch.setenv("EVENT_PIPELINE_ROOT", str(root))
        for name, value in aws.environment().items():
            patch.setenv(name, value)
        account = Account(aws, patch, root)
        account.deploy()
        settings = load_settings(glue_wait_minutes=1)
        run_plain_job(aws, settings)
        sessions = {name: Session(account.role(name), "test") for name in ROLES}
        policies = {name: aws.judge.policies_of(each.role_arn) for name, each in sessions.items()}
        generate(account)
        for minute in range(2):
            land(
                account,
                settings,
                HOUR,
                minute,
                [*(event(second=second) for second in range(50)), purchase(second=9), b"no json"],
            )
        account.act_as("OrchestratorRole")
        orchestrate(account, settings)
        account.act_as("AnalystRole")
        ask(account, settings)
        doctor, senders = doctor_lacking(account), rules_that_may_send(account)
        refused = tuple(aws.judge.refused)
        said = say_without(account, settings)
        for name, value in aws.environment().items():
            patch.setenv(name, value)
        patch.delenv("AWS_SESSION_TOKEN")
        aws.judge.refused.clear()
        account.command("stack", "destroy", "--yes", "--delete-data", "--really-delete-data")
        refused = (*refused, *aws.judge.refused)
        yield Walk(tuple(aws.judge.asked), refused, policies, sessions, said, doctor, senders, aws.judge.decide)


def grants() -> list[tuple[str, str, str]]:
    """Return every action that the template grants a role: the role, its statement and the action."""
    found = []
    for each in statements(Template(TEMPLATE.read_text(encoding="utf-8"))):
        roles = WITH_KEY if each.resource == "KeyUse" else (each.resource,)
        if each.effect == "Allow" and each.resources and roles[0] in ROLES:
            found += [(role, each.sid, action) for role in roles for action in each.actions]
    return found


def test_nothing_is_refused_to_the_roles(walk: Walk) -> None:
    assert [f"{each.role}: {each.need}" for each in walk.refused] == []


@pytest.mark.parametrize(("role", "sid", "action"), grants())
def test_every_action_granted_is_needed_and_refused_without(walk: Walk, role: str, sid: str, action: str) -> None:
    session, policies = walk.sessions[role], walk.policies[role]
    less = without(policies, sid, action)
    assert less != policies
    lost = [
        each.need
        for each in walk.asked
        if (each.role, each.need.action) == (session.role, action)
        and walk.decide(session, each.need, policies) is Said.ALLOW
        and walk.decide(session, each.need, less) is not Said.ALLOW
    ]
    if (role, sid, action) in EXPLAINED:
        assert lost == [], "the walk needs it: it wants no explanation"
        return
    assert lost, f"nothing in the walk needs {action} by {sid}"
    assert (
        f"is not authorized to perform: {action} on resource: " in refusal(session.arn, lost[0], Said.NOTHING).message
    )


def test_no_explanation_is_of_an_action_that_nobody_grants() -> None:
    assert EXPLAINED.keys() <= set(grants())


@pytest.mark.parametrize(("role", "sid", "action"), [probe[:3] for probe in PROBES])
def test_an_error_names_the_permission_that_the_role_lacks(walk: Walk, role: str, sid: str, action: str) -> None:
    assert action in walk.said_without[f"{role} {sid} {action}"]


def test_erasing_from_raw_objects_as_a_role_that_may_not_erases_all_else_and_names_the_permission(walk: Walk) -> None:
    said = walk.said_without[ERASURE]
    assert re.search(r"assumed-role/\S*OrchestratorRole\S* is not authorized to perform: s3:PutObject on", said), said
    assert "the role needs s3:PutObject there" in said
    assert "Everything else is done: " in said
    assert re.search(r"finished at 20\d\d", said), said


def test_the_queue_takes_messages_of_its_rule_alone(walk: Walk) -> None:
    assert walk.rules_that_may_send == ["its own"]


def test_the_doctor_says_what_the_role_lacks(walk: Walk) -> None:
    doctor = " ".join(walk.doctor.split())
    lacked = re.findall(r"permissions arn:\S+ lacks (.+?) docs/deploy.md", doctor)
    assert [re.sub(r"arn:\S+", "...", each) for each in lacked] == ["glue:BatchStopJobRun on ..."], doctor
    assert re.search(r"ok role of analysts arn:\S+ has the permissions of every step", doctor), doctor
    assert re.search(r"ok role of the Glue job arn:\S+ has the permissions of every step", doctor), doctor
