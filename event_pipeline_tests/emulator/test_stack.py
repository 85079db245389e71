"""The template deployed for real: by the command that people give, into the emulated account, and away again."""

from __future__ import annotations

import io
import json
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from event_pipeline.cli import main
from event_pipeline.engines.aws import AwsEngine
from event_pipeline.engines.aws.clients import Aws
from event_pipeline.engines.finding import Level
from event_pipeline.infrastructure.deployment import Hooks, Wanted, deploy
from event_pipeline.infrastructure.stack import ChangeSet, Stack, StackEvent
from event_pipeline.infrastructure.template import load_template
from event_pipeline.inspection.doctor import examine
from event_pipeline.rules.hour import Hour
from event_pipeline.rules.query import load_gold_tables
from event_pipeline.rules.query_pack import load_questions
from event_pipeline.settings import load_settings
from event_pipeline_tests.emulator import EmulatedAws, Fault
from event_pipeline_tests.emulator.deployed import put_stand_in_wheels
from event_pipeline_tests.emulator.stack_resources import as_strings
from event_pipeline_tests.engines.aws import plain_job
from event_pipeline_tests.pipeline import build

HOUR = Hour.parse("2025-12-07T22")


@dataclass(frozen=True)
class Ended:
    """How one command ended."""

    code: int
    out: str
    err: str


Command = Callable[..., Ended]


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch, root: Path) -> Iterator[EmulatedAws]:
    """An empty account that boto3 finds, and stand-ins for the wheels, so that pip is not asked."""
    put_stand_in_wheels(root / "wheels")
    monkeypatch.setenv("EVENT_PIPELINE_ROOT", str(root))
    with EmulatedAws() as account:
        for name, value in account.environment().items():
            monkeypatch.setenv(name, value)
        yield account


@pytest.fixture
def stack(aws: EmulatedAws, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """Gives one `event-pipeline stack` command, with what a person types."""

    def command(*arguments: str, typed: str = "") -> Ended:
        capsys.readouterr()
        monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
        with pytest.raises(SystemExit) as end:
            main(["stack", *arguments])
        printed = capsys.readouterr()
        assert isinstance(end.value.code, int)
        return Ended(int(end.value.code), printed.out, printed.err)

    return command


def inventory(aws: EmulatedAws) -> dict[str, list[str]]:
    """Name everything that a stack could have left in the account."""
    work_groups, logs = aws.client("athena").list_work_groups()["WorkGroups"], aws.client("logs")
    groups = [each["logGroupName"] for each in logs.describe_log_groups()["logGroups"]]
    return {
        "buckets": [each["Name"] for each in aws.client("s3").list_buckets()["Buckets"]],
        "queues": aws.client("sqs").list_queues().get("QueueUrls", []),
        "topics": [each["TopicArn"] for each in aws.client("sns").list_topics()["Topics"]],
        "roles": [each["RoleName"] for each in aws.client("iam").list_roles()["Roles"]],
        "functions": [each["FunctionName"] for each in aws.client("lambda").list_functions()["Functions"]],
        "rules": [each["Name"] for each in aws.client("events").list_rules()["Rules"]],
        "schedules": [each["Name"] for each in aws.client("scheduler").list_schedules()["Schedules"]],
        "alarms": [each["AlarmName"] for each in aws.client("cloudwatch").describe_alarms()["MetricAlarms"]],
        # Those two are Glue's own, for all jobs of an account.
        "log groups": [each for each in groups if each not in ("/aws-glue/jobs/output", "/aws-glue/jobs/error")],
        "databases": [each["Name"] for each in aws.client("glue").get_databases()["DatabaseList"]],
        "jobs": aws.client("glue").list_jobs()["JobNames"],
        "workgroups": [each["Name"] for each in work_groups if each["Name"] != "primary"],
        "named queries": aws.client("athena").list_named_queries()["NamedQueryIds"],
        "parameters": [each["Name"] for each in aws.client("ssm").describe_parameters()["Parameters"]],
    }


def environment_of(ended: Ended) -> dict[str, str]:
    """Read the environment that a deployment printed."""
    lines = [line.removeprefix("export ").partition("=") for line in ended.out.splitlines()]
    return {name: value for name, _, value in lines}


@pytest.mark.long
def test_a_stack_lives_from_its_first_deployment_to_its_last_resource(
    aws: EmulatedAws, stack: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing = inventory(aws)
    assert all(not found for found in nothing.values()), nothing
    made = stack("deploy", "--yes", "--generator")
    assert made.code == 0, made.err
    environment = environment_of(made)
    assert environment["EVENT_PIPELINE_ENV"] == "aws"
    assert environment["EVENT_PIPELINE_AWS_REGION"] == aws.region
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    settings = load_settings(glue_wait_minutes=1)

    # The generator's handler lands an object, and says so to the queue.
    outputs = {
        each["OutputKey"]: each["OutputValue"]
        for each in aws.client("cloudformation").describe_stacks(StackName="event-pipeline")["Stacks"][0]["Outputs"]
    }
    function, functions = outputs["GeneratorFunction"], aws.client("lambda")
    variables = functions.get_function_configuration(FunctionName=function)["Environment"]["Variables"]
    assert variables["RAW_BUCKET"] == settings.raw_bucket
    functions.update_function_configuration(
        FunctionName=function, Environment={"Variables": {**variables, "EVENTS_PER_FILE": "200"}}
    )
    for minute in (0, 5):
        tick = json.dumps({"scheduled_time": f"2025-12-07T22:{minute:02}:07Z"})
        invoked = functions.invoke(FunctionName=function, Payload=tick)
        answer = json.loads(invoked["Payload"].read())
        assert answer["records"] == 200, answer
    sqs, queue = aws.client("sqs"), outputs["RawQueueUrl"]
    told = sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10, WaitTimeSeconds=1)["Messages"]
    keys = sorted(json.loads(message["Body"])["detail"]["object"]["key"] for message in told)
    assert keys == [HOUR.raw_key(HOUR.start.replace(minute=minute)) for minute in (0, 5)]

    # The pipeline builds the hour in what was deployed. (The deployed script itself runs under Spark in other tests.)
    location = aws.client("glue").get_job(JobName=settings.glue_job)["Job"]["Command"]["ScriptLocation"]
    bucket, _, key = location.removeprefix("s3://").partition("/")
    aws.client("s3").put_object(Bucket=bucket, Key=key, Body=Path(plain_job.__file__).read_bytes())
    engine = AwsEngine(settings)
    build(engine, [HOUR])
    assert engine.query("SELECT count(*) AS n FROM silver.events").to_pylist() == [{"n": 400}]
    assert engine.query("SELECT sum(total_events) AS n FROM gold.user_activity").to_pylist() == [{"n": 400}]
    named = aws.client("athena").list_named_queries(WorkGroup=f"{settings.athena_workgroup}-analysts")["NamedQueryIds"]
    assert len(named) == len(load_gold_tables()) + len(load_questions())

    # The doctor finds it as the code expects it.
    found = {each.subject: each for each in examine(settings, engine)}
    assert [subject for subject, each in found.items() if each.level is Level.FAIL] == []
    assert found["Glue job"].found == "event-pipeline-silver runs the script and the packages of this checkout"
    assert found["table silver.events"].level is Level.OK
    assert found["queue of new objects"].found.startswith(settings.raw_queue_url)
    assert found["alert topic"].level is Level.WARN
    assert found["permissions"].level is Level.OK

    # A changed parameter changes the job in place, and nothing else.
    shown = stack("diff", "--parameter", "GlueWorkers=5")
    assert shown.code == 0
    assert [line.split()[:3] for line in shown.out.splitlines() if "Modify" in line] == [
        ["Modify", "SilverJob", "AWS::Glue::Job"]
    ]
    assert aws.client("glue").get_job(JobName=settings.glue_job)["Job"]["NumberOfWorkers"] == 3
    updated = stack("deploy", "--parameter", "GlueWorkers=5", typed="y\n")
    assert updated.code == 0, updated.err
    assert environment_of(updated) == {**environment, "EVENT_PIPELINE_GLUE_WORKERS": "5"}
    assert aws.client("glue").get_job(JobName=settings.glue_job)["Job"]["NumberOfWorkers"] == 5
    again = stack("deploy", "--yes")
    assert again.code == 0
    assert "up to date: nothing to change" in again.err
    assert engine.query("SELECT count(*) AS n FROM silver.events").to_pylist() == [{"n": 400}]

    # Away with it, data and all.
    gone = stack("destroy", "--delete-data", typed="event-pipeline\n")
    assert gone.code == 0, gone.err
    assert "nothing is left behind" in gone.out
    assert inventory(aws) == nothing


def test_the_doctor_names_what_is_not_as_the_code_expects(
    aws: EmulatedAws, stack: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment_of(stack("deploy", "--yes")).items():
        monkeypatch.setenv(name, value)
    settings, glue = load_settings(glue_wait_minutes=1), aws.client("glue")
    job = glue.get_job(JobName=settings.glue_job)["Job"]
    update = {"Role": job["Role"], "Command": job["Command"], "GlueVersion": "6.0"}
    update["DefaultArguments"] = job["DefaultArguments"]
    update["NonOverridableArguments"] = job["NonOverridableArguments"] | {"--extra-py-files": "s3://elsewhere/old.zip"}
    glue.update_job(JobName=settings.glue_job, JobUpdate=update)
    database, name = "silver", "quarantine"
    table = glue.get_table(DatabaseName=database, Name=name)["Table"]
    table["StorageDescriptor"]["Columns"][2]["Type"] = "int"
    changed = {key: table[key] for key in ("Name", "PartitionKeys", "StorageDescriptor")}
    glue.update_table(DatabaseName=database, TableInput=changed)
    loose = {"EnforceWorkGroupConfiguration": False}
    aws.client("athena").update_work_group(WorkGroup=settings.athena_workgroup, ConfigurationUpdates=loose)
    lost = load_settings(glue_wait_minutes=1, lake_bucket="nobodys-lake")
    found = {each.subject: each for each in examine(lost, AwsEngine(lost)) if each.level is Level.FAIL}
    assert found["Glue job"].found == (
        "event-pipeline-silver: its package is not this checkout's; GlueVersion is 6.0, not 5.1 or 5.0"
    )
    assert found["table silver.quarantine"].found == "silver.quarantine: column line_number is int, not bigint"
    assert "s3:ListObjectsV2 on s3://nobodys-lake" in found["lake bucket"].found
    assert "it does not enforce its configuration" in found["Athena workgroup"].found
    # Commit records are in the lake, and so is what they are compared with.
    in_the_lake = {"lake bucket", "commit records", "published builds"}
    # The stack's roles have nothing in a bucket that the stack does not know.
    roles = {"role of the Glue job", "role of the Dagster process", "role of analysts"}
    assert "lacks s3:ListBucket on arn:aws:s3:::nobodys-lake" in found["role of analysts"].found
    assert found.keys() == {"Glue job", "table silver.quarantine", "Athena workgroup"} | in_the_lake | roles


def test_an_operation_that_is_not_seen_yet_is_waited_for(aws: EmulatedAws, stack: Command) -> None:
    """Right after it is asked for, CloudFormation shows the stack as it was: that is not its end."""
    assert stack("deploy", "--yes").code == 0
    updated = stack("deploy", "--yes", "--parameter", "GlueWorkers=5")
    assert updated.code == 0, updated.err
    assert environment_of(updated)["EVENT_PIPELINE_GLUE_WORKERS"] == "5"
    assert aws.client("glue").get_job(JobName="event-pipeline-silver")["Job"]["NumberOfWorkers"] == 5
    events = aws.client("cloudformation").describe_stack_events(StackName="event-pipeline")["StackEvents"]
    tokens = {each["ClientRequestToken"] for each in events if each["ResourceStatus"].startswith("UPDATE_")}
    assert len(tokens) == 1, "each step names the request that began it"


def test_a_request_whose_answer_was_lost_begins_nothing_twice(aws: EmulatedAws, stack: Command) -> None:
    for operation in ("cloudformation.ExecuteChangeSet", "cloudformation.DeleteStack"):
        aws.fail_next(operation, Fault.NO_ANSWER, after_effect=True)
    made = stack("deploy", "--yes")
    assert made.code == 0, made.err
    gone = stack("destroy", "--yes")
    assert gone.code == 0, gone.err
    assert inventory(aws)["jobs"] == []


def test_a_custom_resource_gets_every_scalar_as_text() -> None:
    properties = {"Days": 7, "On": True, "Names": ["a", 1.5, False], "Inner": {"Zero": 0}}
    assert as_strings(properties) == {
        "Days": "7",
        "On": "true",
        "Names": ["a", "1.5", "false"],
        "Inner": {"Zero": "0"},
    }


def test_an_account_that_lets_nobody_make_roles_gives_its_own(
    aws: EmulatedAws, stack: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    services = [f"{service}.amazonaws.com" for service in ("glue", "lambda", "scheduler")]
    trust = {"Effect": "Allow", "Principal": {"Service": services}, "Action": "sts:AssumeRole"}
    lab = aws.client("iam").create_role(RoleName="LabRole", AssumeRolePolicyDocument=json.dumps({"Statement": [trust]}))
    arn = lab["Role"]["Arn"]
    aws.fail_next("iam.CreateRole", Fault.ACCESS_DENIED)
    aws.fail_next("iam.CreatePolicy", Fault.ACCESS_DENIED)
    kinds = ("GlueJob", "Orchestrator", "Analyst", "Function")
    given = [option for kind in kinds for option in ("--parameter", f"Existing{kind}RoleArn={arn}")]
    made = stack("deploy", "--yes", "--generator", "--parameter", "EmptyBucketsOnDelete=true", *given)
    assert made.code == 0, made.err
    assert inventory(aws)["roles"] == ["LabRole"]
    settings, cloudformation = environment_of(made), aws.client("cloudformation")
    job = aws.client("glue").get_job(JobName=settings["EVENT_PIPELINE_GLUE_JOB"])["Job"]
    assert job["Role"] == arn
    described = cloudformation.describe_stacks(StackName="event-pipeline")["Stacks"][0]
    outputs = {each["OutputKey"]: each["OutputValue"] for each in described["Outputs"]}
    assert [outputs[f"{kind}RoleArn"] for kind in kinds[:3]] == [arn] * 3
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    loaded = load_settings(glue_wait_minutes=1)
    found = {each.subject: each for each in examine(loaded, AwsEngine(loaded))}
    for subject in ("role of the Glue job", "role of the Dagster process", "role of analysts"):
        assert found[subject].level is not Level.OK, "nobody gave the role any right"
        assert arn in found[subject].found
    # No capability is asked for: nothing of IAM is made. Where a role is, one is.
    kept = [
        {"ParameterKey": each["ParameterKey"], "UsePreviousValue": True}
        for each in described["Parameters"]
        if each["ParameterKey"] != "ExistingAnalystRoleArn"
    ]
    change = {"StackName": "event-pipeline", "UsePreviousTemplate": True, "ChangeSetType": "UPDATE"}
    cloudformation.create_change_set(
        **change,
        ChangeSetName="none",
        Parameters=[*kept, {"ParameterKey": "ExistingAnalystRoleArn", "UsePreviousValue": True}],
    )
    with pytest.raises(cloudformation.exceptions.InsufficientCapabilitiesException):
        cloudformation.create_change_set(
            **change,
            ChangeSetName="one",
            Parameters=[*kept, {"ParameterKey": "ExistingAnalystRoleArn", "ParameterValue": ""}],
        )
    aws.faults.clear()

    # What the function that empties buckets needs; a course's role has it from the start.
    everything = {"Effect": "Allow", "Action": ["s3:*", "cloudformation:DescribeStacks", "logs:*"], "Resource": "*"}
    aws.client("iam").put_role_policy(
        RoleName="LabRole",
        PolicyName="lab",
        PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [everything]}),
    )

    # Away with it: the schedule and the function that write go before the buckets are emptied.
    gone = stack("destroy", "--yes", "--delete-data", "--really-delete-data")
    assert gone.code == 0, gone.err
    pages = cloudformation.get_paginator("describe_stack_events").paginate(StackName=described["StackId"])
    events = [each for page in pages for each in page["StackEvents"]][::-1]
    steps = [(each["LogicalResourceId"], each["ResourceStatus"]) for each in events]
    emptied = steps.index(("BucketCleaner", "DELETE_IN_PROGRESS"))
    assert steps.index(("GeneratorSchedule", "DELETE_COMPLETE")) < emptied
    assert steps.index(("Generator", "DELETE_COMPLETE")) < emptied
    assert inventory(aws)["roles"] == ["LabRole"]


def test_a_failed_first_deployment_says_why_and_the_next_one_starts_over(aws: EmulatedAws, stack: Command) -> None:
    aws.fail_next("glue.CreateJob", Fault.ACCESS_DENIED)
    failed = stack("deploy", "--yes")
    assert failed.code == 1
    assert "ended ROLLBACK_COMPLETE: SilverJob (AWS::Glue::Job) is CREATE_FAILED" in failed.err
    assert "not authorized to perform: glue:CreateJob" in failed.err
    assert "the deployer lacks that permission" in failed.err
    assert inventory(aws)["buckets"] == []
    assert stack("diff").code == 1
    again = stack("deploy", "--yes")
    assert again.code == 0, again.err
    assert "deleting what is left of stack event-pipeline, to create it again" in again.err
    assert len(inventory(aws)["buckets"]) == 3
    shown = stack("status")
    assert shown.code == 0
    assert "the stack runs the code of this checkout" in shown.out


def test_an_update_whose_rollback_got_stuck_is_rolled_back_and_then_done(aws: EmulatedAws, stack: Command) -> None:
    assert stack("deploy", "--yes").code == 0
    groups, change = (
        aws.client("athena"),
        ("--parameter", "AthenaScanLimitBytes=20000000", "--parameter", "GlueWorkers=4"),
    )
    order = [line.split()[1] for line in stack("diff", *change).out.splitlines() if "Modify" in line]
    assert sorted(order) == ["AnalystWorkgroup", "SilverJob", "Workgroup"]
    # The job is made before the workgroup: the workgroup fails, and then the job cannot be put back.
    aws.fail_next("athena.UpdateWorkGroup", Fault.SERVER_ERROR, containing='"event-pipeline"')
    aws.fail_next("glue.UpdateJob", Fault.ACCESS_DENIED, containing='"NumberOfWorkers": 3')
    failed = stack("deploy", "--yes", *change)
    if "UPDATE_ROLLBACK_FAILED" not in failed.err:
        aws.faults.clear()
    assert failed.code == 1
    assert "Workgroup (AWS::Athena::WorkGroup) is UPDATE_FAILED" in failed.err
    mended = stack("deploy", "--yes", *change)
    assert mended.code == 0, mended.err
    limit = groups.get_work_group(WorkGroup="event-pipeline")["WorkGroup"]["Configuration"][
        "BytesScannedCutoffPerQuery"
    ]
    assert limit == 20_000_000


def test_a_deployment_that_was_left_is_waited_for_and_goes_on(aws: EmulatedAws, root: Path) -> None:
    settings = load_settings(aws_region=aws.region)
    wanted, said = Wanted({}, None, root / "wheels"), list[str]()
    held = aws.hold_next("glue.CreateJob")

    def leave(event: StackEvent) -> None:
        raise KeyboardInterrupt

    def approve(change_set: ChangeSet) -> None:
        said.append(f"{len(change_set.changes)} changes")

    one = Stack(Aws(settings), "event-pipeline", 1)
    with pytest.raises(KeyboardInterrupt):
        deploy(one, load_template(), wanted, approve, Hooks(said.append, leave))
    assert said[-1] == "CloudFormation continues; repeat the command to wait for it and continue"
    held.wait_until_reached()
    threading.Timer(0.5, held.release).start()
    another = Stack(Aws(settings), "event-pipeline", 1)
    state = deploy(another, load_template(), wanted, approve, Hooks(said.append, lambda _: None))
    assert state.status == "CREATE_COMPLETE"
    assert "stack event-pipeline is CREATE_IN_PROGRESS: waiting until that is over" in said
    assert said[-1] == "stack event-pipeline is up to date: nothing to change"
    key = state.parameters["GlueScriptKey"]
    assert aws.client("s3").head_object(Bucket=state.outputs["ArtifactsBucket"], Key=key)["ContentLength"] > 0


def test_nothing_is_done_that_was_not_agreed_to(aws: EmulatedAws, stack: Command) -> None:
    looked = stack("diff")
    assert looked.code == 0
    assert "SilverJob" in looked.out
    refused = stack("deploy", typed="n\n")
    assert (refused.code, refused.out) == (4, "")
    unanswered = stack("deploy")
    assert unanswered.code == 2
    assert "no answer on stdin: give --yes" in unanswered.err
    assert stack("status").code == 1
    assert aws.client("cloudformation").describe_stacks()["Stacks"] == []
    assert inventory(aws)["buckets"] == []


def test_data_is_not_lost_without_saying_so_twice(aws: EmulatedAws, stack: Command) -> None:
    key = f"arn:aws:kms:{aws.region}:123456789012:key/0a1b"
    options = [f"KmsKeyArn={key}", "AlertEmail=somebody@example.com", "Alarms=off", "DatabasePrefix=try_"]
    made = stack("deploy", "--yes", *(part for option in options for part in ("--parameter", option)))
    assert made.code == 0, made.err
    buckets = inventory(aws)["buckets"]
    risky = stack("deploy", "--yes", "--parameter", "ExistingRawBucket=somewhere-else")
    assert risky.code == 4
    assert "DATA AT STAKE: RawBucket (AWS::S3::Bucket" in risky.err
    assert stack("deploy", "--parameter", "ExistingRawBucket=somewhere-else", typed="y\n").code == 4
    assert stack("destroy", "--yes", "--delete-data").code == 4
    assert stack("destroy", "--delete-data", typed="some-other-stack\n").code == 4
    assert stack("deploy", "--yes", "--parameter", "EmptyBucketsOnDelete=true").code == 0
    refused = stack("destroy", "--yes")
    assert refused.code == 4
    assert "was deployed with EmptyBucketsOnDelete=true" in refused.err
    assert inventory(aws)["buckets"] == buckets
    # Turning it off takes the function away that empties buckets; it empties none on its way.
    aws.client("s3").put_object(Bucket=buckets[0], Key="events/kept", Body=b"kept")
    assert stack("deploy", "--yes", "--parameter", "EmptyBucketsOnDelete=false").code == 0
    kept = stack("destroy", "--yes")
    assert kept.code == 0, kept.err
    assert all(f"AWS::S3::Bucket {name}" in kept.out for name in buckets)
    assert aws.client("s3").get_object(Bucket=buckets[0], Key="events/kept")["Body"].read() == b"kept"
    assert {kind for kind, found in inventory(aws).items() if found} == {"buckets"}


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("deploy", "--parameter", "GlueWorker=5"), 2, "did you mean GlueWorkers?"),
        (("deploy", "--parameter", "GlueScriptKey=artifacts/x"), 2, "deploy sets it from this checkout"),
        (("deploy", "--parameter", "five"), 2, "write NAME=VALUE"),
        (("deploy", "--parameter", "GlueWorkers=1"), 1, "'GlueWorkers' must be a number from 2 to 299"),
        (("destroy", "--really-delete-data"), 2, "--really-delete-data needs --delete-data"),
    ],
)
def test_wrong_options_are_refused_by_name(stack: Command, arguments: tuple[str, ...], code: int, said: str) -> None:
    ended = stack(*arguments)
    assert ended.code == code
    assert said in ended.err
    assert "Traceback" not in ended.err


def test_missing_credentials_and_a_wrong_region_are_named(
    aws: EmulatedAws, stack: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = stack("status", "--region", "us-east-1")
    assert elsewhere.code == 3
    assert "cloudformation:DescribeStacks on stack event-pipeline in us-east-1" in elsewhere.err
    aws.fail_next("cloudformation.DescribeStacks", Fault.ACCESS_DENIED)
    denied = stack("status")
    assert denied.code == 3
    assert "the role needs cloudformation:DescribeStacks there" in denied.err
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    nobody = stack("status")
    assert nobody.code == 3
    assert "no usable AWS credentials" in nobody.err
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    monkeypatch.delenv("AWS_REGION")
    nowhere = stack("status")
    assert nowhere.code == 2
    assert "no region: give --region" in nowhere.err
