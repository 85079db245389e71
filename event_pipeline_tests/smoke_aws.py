"""Tries the deployed stack in an AWS account: deploys it, builds as its roles, has a run fail, removes everything.

    make smoke-aws ARGUMENTS="--region us-east-1"

Everything it makes is named event-pipeline-smoke-<token>; nothing else is touched. Allow half an hour and 0.20 USD. It
needs the permissions of a deployment (docs/deploy.md), and takes the roles of the orchestrator and of the analysts:
they trust whoever runs this, or the one that --principal names.

Exit codes: 0 all is as it should be; 1 something is not; 2 wrong options; 3 AWS refused; 130 interrupted.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import time
import traceback
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from event_pipeline.engines.aws import AwsEngine
from event_pipeline.engines.aws.clients import Aws
from event_pipeline.engines.base import Cost, SilverOutcome
from event_pipeline.errors import PipelineError
from event_pipeline.generator import GeneratorOptions, generate
from event_pipeline.infrastructure.deployment import Hooks, Wanted, deploy, destroy
from event_pipeline.infrastructure.environment import environment
from event_pipeline.infrastructure.errors import StackOptionError
from event_pipeline.infrastructure.stack import Stack, StackEvent, StackState
from event_pipeline.infrastructure.template import load_template
from event_pipeline.rules.hour import Hour, HourRange
from event_pipeline.rules.query import load_gold_tables
from event_pipeline.settings import PREFIX, Environment, Settings, load_settings
from event_pipeline_tests.pipeline import HOUR, assert_agrees_with_oracle, event, write_object

HOURS = HourRange(HOUR, HOUR.plus(2))
DIRTY = GeneratorOptions(
    events_per_file=2_000, files_per_hour=3, seed=7, bad_share=0.02, duplicate_share=0.02, late_share=0.1,
    broken_objects=1,
)  # fmt: skip
REFUSED_NAME = "must-be-refused"
"""Marks what the analyst tries and must not be able to do."""

_WAIT_MINUTES = 60
_PATIENCE_SECONDS = 600
_ROLE_SECONDS = 120
"""How long a new role may take until it is known everywhere."""
_POLL_SECONDS = 0.5
_DENIED = ("AccessDenied", "AccessDeniedException", "403")
_ENDED = ("SUCCEEDED", "FAILED", "TIMEOUT", "ERROR", "STOPPED", "EXPIRED")


@dataclass(frozen=True, slots=True)
class Account:
    """The account as whoever runs this sees it, and the stack in it."""

    session: boto3.Session
    stack: Stack
    state: StackState

    def client(self, service: str) -> Any:
        """Return a client with the credentials of whoever runs this."""
        return self.session.client(service)


def main(arguments: list[str] | None = None) -> int:
    """Run all steps and return the exit code; whatever ends it, what was made is removed first."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--region", required=True, help="region to do it in")
    parser.add_argument("--principal", metavar="ARN", help="who may take the stack's roles; else whoever runs this")
    parser.add_argument(
        "--parameter", action="append", default=[], metavar="NAME=VALUE", help="a further parameter of the template"
    )
    parser.add_argument("--keep", action="store_true", help="leave the stack there, to look at it")
    options = parser.parse_args(arguments)
    given = dict(each.partition("=")[::2] for each in options.parameter)
    if "" in given or not all("=" in each for each in options.parameter):
        parser.error("--parameter: write NAME=VALUE, for example --parameter GlueVersion=5.0")
    try:
        run(options.region, options.principal, given, keep=options.keep)
    except KeyboardInterrupt:
        return failed("interrupted", 130)
    except AssertionError as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        return failed(f"not as it should be: {place.line} {str(error)[:2000]}", 1)
    except StackOptionError as error:
        return failed(str(error), 2)
    except (PipelineError, ClientError, BotoCoreError) as error:
        return failed(f"{error}. AWS_PROFILE says who asks; docs/deploy.md lists what a deployment needs", 3)
    print("all of it is as it should be")
    return 0


def failed(message: str, code: int) -> int:
    """Report what ended it and return the exit code."""
    print(f"smoke-aws: {message}", file=sys.stderr, flush=True)
    return code


def run(region: str, principal: str | None, given: Mapping[str, str], *, keep: bool) -> None:
    """Deploy, try, and remove."""
    session = boto3.Session(region_name=region)
    # Found now: later the environment holds the credentials of roles.
    session.get_credentials()
    with step("credentials found"):
        principal = principal or own_principal(session)
        say(f"{principal} may take the stack's roles")
    name = f"event-pipeline-smoke-{uuid.uuid4().hex[:8]}"
    print(f"everything is named {name}", flush=True)
    local = load_settings(env=Environment.LOCAL, aws_region=region)
    stack = Stack(Aws(local), name, _WAIT_MINUTES)
    parameters = {
        "NamePrefix": name,
        "DatabasePrefix": f"smoke_{name[-8:]}_",
        "EmptyBucketsOnDelete": "true",
        "GlueWorkers": "2",
        "LogRetentionDays": "1",
        "OrchestratorPrincipalArn": principal,
        "AnalystPrincipalArn": principal,
        **given,
    }
    with tempfile.TemporaryDirectory(prefix="smoke-aws-") as folder, ExitStack() as cleaning:
        if keep:
            print(f"it stays; remove it with: {removal(stack)}", flush=True)
        else:
            cleaning.callback(remove, stack)
        with step("stack deployed, with the generator"):
            wanted = Wanted(parameters, True, local.root / "wheels")
            state = deploy(stack, load_template(), wanted, lambda _: None, Hooks(say, show))
        account = Account(session, stack, state)
        queue = listen(account, name, cleaning)
        try_everything(account, Path(folder), queue)


def own_principal(session: boto3.Session) -> str:
    """Return the ARN by which a role can trust whoever runs this: a user, the account, or the role behind a session."""
    arn: str = session.client("sts").get_caller_identity()["Arn"]
    if ":iam:" in arn:
        return arn
    if ":assumed-role/" not in arn:
        raise StackOptionError(f"{arn} is no user or role that a role can trust: give the ARN of one by --principal")
    # The session's ARN leaves the path of the role out, which roles of a single sign-on have.
    found: str = session.client("iam").get_role(RoleName=arn.split("/")[1])["Role"]["Arn"]
    return found


def removal(stack: Stack) -> str:
    """Return the command that removes a stack with its data."""
    region = stack.aws.settings.aws_region
    return f"event-pipeline stack destroy --name {stack.name} --region {region} --delete-data"


def remove(stack: Stack) -> None:
    """Delete the stack with its buckets; where that fails, say how to go on by hand."""
    try:
        with step("everything removed"):
            kept = destroy(stack, lambda _, __: None, Hooks(say, show), delete_data=True)
            for each in kept:
                assert each.type == "AWS::S3::Bucket", f"{each.type} {each.physical_id} is left: delete it by hand"
                remove_bucket(stack.aws.client("s3"), each.physical_id)
    except BaseException:
        print(f"smoke-aws: not everything is removed; go on with: {removal(stack)}", file=sys.stderr, flush=True)
        raise


def remove_bucket(s3: Any, bucket: str) -> None:
    """Delete a bucket of ours with every version of all it holds."""
    while True:
        # From the start each time: markers into what is deleted already lead nowhere.
        page = s3.list_object_versions(Bucket=bucket)
        found = [*page.get("Versions", []), *page.get("DeleteMarkers", [])]
        if not found:
            break
        keys = [{"Key": each["Key"], "VersionId": each["VersionId"]} for each in found]
        gone = s3.delete_objects(Bucket=bucket, Delete={"Objects": keys, "Quiet": True})
        assert not gone.get("Errors"), gone["Errors"][0]
    s3.delete_bucket(Bucket=bucket)


def listen(account: Account, name: str, cleaning: ExitStack) -> str:
    """Subscribe a queue of our own to the topic of alerts and return its URL; it never outlives the trial."""
    with step("a queue listens to the alerts"):
        sqs, sns, topic = account.client("sqs"), account.client("sns"), account.state.outputs["AlertTopicArn"]
        queue: str = sqs.create_queue(QueueName=f"{name}-listener")["QueueUrl"]
        cleaning.callback(sqs.delete_queue, QueueUrl=queue)
        attributes = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]
        statement = {
            "Effect": "Allow",
            "Principal": {"Service": "sns.amazonaws.com"},
            "Action": "sqs:SendMessage",
            "Resource": attributes["QueueArn"],
            "Condition": {"ArnEquals": {"aws:SourceArn": topic}},
        }
        policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        sqs.set_queue_attributes(QueueUrl=queue, Attributes={"Policy": policy})
        made = sns.subscribe(
            TopicArn=topic, Protocol="sqs", Endpoint=attributes["QueueArn"], ReturnSubscriptionArn=True
        )
        cleaning.callback(sns.unsubscribe, SubscriptionArn=made["SubscriptionArn"])
    return queue


def try_everything(account: Account, root: Path, queue: str) -> None:
    """Have the generator write, build as the orchestrator, ask as an analyst, and let one run fail."""
    variables = environment(account.state, account.stack.aws.settings.aws_region)
    begun = datetime.now(UTC)
    generate_as_scheduled(account)
    with assumed(account, "OrchestratorRoleArn", variables):
        settings = load_settings(root=root)
        build_as_orchestrator(settings, account)
        fail_on_purpose(settings, account, queue)
    with assumed(account, "AnalystRoleArn", variables):
        ask_as_analyst(settings, boto3.Session(region_name=settings.aws_region))
    tell_what_nobody_knew(settings, account, begun)


@contextmanager
def assumed(account: Account, role: str, variables: Mapping[str, str]) -> Iterator[None]:
    """Be one of the stack's roles, with the stack's settings: whatever boto3 is made meanwhile asks as that role."""
    with step(f"role taken: {role.removesuffix('Arn')}"):
        arn = account.state.outputs[role]
        sts = account.client("sts")
        taken = until_allowed(lambda: sts.assume_role(RoleArn=arn, RoleSessionName="smoke-aws", DurationSeconds=3600))
    hidden = [name for name in os.environ if name == "AWS_PROFILE" or name.startswith(PREFIX)]
    before = {name: os.environ[name] for name in hidden}
    credentials = taken["Credentials"]
    changed = {
        **variables,
        "AWS_ACCESS_KEY_ID": credentials["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": credentials["SecretAccessKey"],
        "AWS_SESSION_TOKEN": credentials["SessionToken"],
    }
    before |= {name: os.environ[name] for name in changed if name in os.environ}
    for name in hidden:
        del os.environ[name]
    os.environ.update(changed)
    try:
        yield
    finally:
        for name in changed:
            del os.environ[name]
        os.environ.update(before)


def until_allowed(call: Callable[[], Any]) -> Any:
    """Return what a call answers, trying again while a role that was just made is not known everywhere."""
    deadline = time.monotonic() + _ROLE_SECONDS
    while True:
        try:
            return call()
        except ClientError as error:
            if error.response["Error"]["Code"] not in _DENIED or time.monotonic() > deadline:
                raise
            time.sleep(_POLL_SECONDS * 10)


def generate_as_scheduled(account: Account) -> None:
    """Invoke the generator's function with what its schedule hands it, and find the object that it wrote."""
    with step("the generator writes an object"):
        outputs = account.state.outputs
        tick = json.dumps({"scheduled_time": datetime.now(UTC).isoformat()})
        answer = account.client("lambda").invoke(FunctionName=outputs["GeneratorFunction"], Payload=tick)
        done = json.loads(answer["Payload"].read())
        assert "FunctionError" not in answer, done
        stored = account.client("s3").head_object(Bucket=outputs["RawBucket"], Key=done["key"])
        assert stored["ContentLength"] == done["bytes"] or done["was_there"], done
        say(f"{done['key']}: {done['records']:,} records, {stored['ContentLength']:,} bytes")


def build_as_orchestrator(settings: Settings, account: Account) -> None:
    """Walk hours the whole way, late event and rerun included, and hold every table to the oracle."""
    engine, costs, s3 = AwsEngine(settings), list[Cost | None](), account.client("s3")
    with step("raw objects landed"):
        generate(settings.root / "raw", HOURS, DIRTY)
        land(settings, s3)
    with step("Silver of two hours by one Glue run"):
        for build in engine.build_silver(list(HOURS), progress=say):
            assert build.outcome is SilverOutcome.BUILT
            costs.append(build.cost)
    with step("partitions registered"):
        engine.register_hours(list(HOURS))
        assert [fault for hour in HOURS for fault in engine.partition_faults(hour)] == []
    with step("five Gold tables by Athena"):
        costs += refresh_all(engine, list(HOURS))
    with step("every table equals the oracle's"):
        assert_agrees_with_oracle(engine, settings.root)
        for table in load_gold_tables():
            days = engine.touched_days(table, HOURS.first)
            assert [each for each in engine.reconcile(table, days) if each.gold != each.silver] == []
            assert engine.grain_faults(table, days) == []
    with step("an object that lands later moves an older day"):
        write_object(settings.root, HOURS.last, 55, [event(HOURS.first, 1, user_id="u_late")], second=30)
        land(settings, s3)
        (late,) = engine.build_silver([HOURS.last], progress=say)
        assert late.reason == "input changed"
        engine.register_hours([HOURS.last])
        costs += [late.cost, *refresh_all(engine, [HOURS.last])]
        assert_agrees_with_oracle(engine, settings.root)
    with step("a second run changes nothing"):
        again = list(engine.build_silver(list(HOURS), progress=say))
        assert {build.outcome for build in again} == {SilverOutcome.UNCHANGED}
        assert {change.action.value for change in engine.repair()} == {"unchanged"}
        assert [hour for table in load_gold_tables() for hour in engine.hours_behind(table)] == []
    with step("Bronze can be queried"):
        (found,) = engine.query(
            "SELECT COUNT(*) AS lines FROM bronze.events "
            f"WHERE year = '{HOUR.start:%Y}' AND month = '{HOUR.start:%m}' AND day = '{HOUR.start:%d}'"
        ).to_pylist()
        assert found["lines"] > 0
    spent = sum((cost for cost in costs if cost), Cost())
    say(f"cost about {spent.usd:.4f} USD: {spent.dpu_seconds} DPU-seconds, {spent.bytes_scanned:,} bytes scanned")


def refresh_all(engine: AwsEngine, hours: list[Hour]) -> list[Cost | None]:
    """Refresh every Gold table and return what it cost."""
    return [engine.refresh_gold(table, hours, progress=say).cost for table in load_gold_tables()]


def land(settings: Settings, s3: Any) -> None:
    """Put every object of the raw folder into the raw bucket, as a producer does, unless it is there."""
    raw = settings.root / "raw"
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=settings.raw_bucket)
    there = {each["Key"] for page in pages for each in page.get("Contents", [])}
    for path in sorted(raw.rglob("*.gz")):
        key = path.relative_to(raw).as_posix()
        if key not in there:
            s3.put_object(Bucket=settings.raw_bucket, Key=key, Body=path.read_bytes(), ContentEncoding="gzip")


def fail_on_purpose(settings: Settings, account: Account, queue: str) -> None:
    """Start a Glue run that has no plan, as the orchestrator, and see its failure told to the queue."""
    with step("a failed run is told to whoever subscribed to the alerts"):
        # The run of the last build may be ending still: it holds the job's only place for a moment.
        glue = boto3.Session(region_name=settings.aws_region).client("glue")
        run_id: str = glue.start_job_run(JobName=settings.glue_job, JobRunQueuingEnabled=False)["JobRunId"]
        sqs, deadline, said = account.client("sqs"), time.monotonic() + _PATIENCE_SECONDS, list[str]()
        while not any(run_id in each for each in said):
            assert time.monotonic() < deadline, f"no alert of run {run_id} within {_PATIENCE_SECONDS} s, but {said}"
            for message in sqs.receive_message(QueueUrl=queue, WaitTimeSeconds=5).get("Messages", []):
                said.append(json.loads(message["Body"])["Message"])
                sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
        say(next(each for each in said if run_id in each))


def ask_as_analyst(settings: Settings, session: boto3.Session) -> None:
    """Ask Gold in the analysts' workgroup, and try what an analyst must not do."""
    athena, s3 = session.client("athena"), session.client("s3")
    workgroup, prefix = f"{settings.athena_workgroup}-analysts", settings.database_prefix
    with step("an analyst asks every Gold table"):
        for table in load_gold_tables():
            sql = f"SELECT COUNT(*) FROM {prefix}gold.{table.name}"
            started = until_allowed(
                lambda sql=sql: athena.start_query_execution(  # type: ignore[misc]
                    QueryString=sql,
                    WorkGroup=workgroup,
                    QueryExecutionContext={"Catalog": "AwsDataCatalog", "Database": f"{prefix}gold"},
                )
            )
            rows = answer_of(athena, started["QueryExecutionId"])
            assert int(rows) > 0, f"{table.name} has no rows"
            say(f"{table.name}: {rows} rows")
    with step("an analyst is refused the rest"):
        lake, raw = {"Bucket": settings.lake_bucket}, {"Bucket": settings.raw_bucket}
        refused("write into the lake", lambda: s3.put_object(**lake, Key=f"runs/days/{REFUSED_NAME}", Body=b"x"))
        refused("read raw objects", lambda: s3.get_object(**raw, Key=f"events/{REFUSED_NAME}"))
        refused(
            "ask in the orchestrator's workgroup",
            lambda: athena.start_query_execution(
                QueryString=f"SELECT '{REFUSED_NAME}'", WorkGroup=settings.athena_workgroup
            ),
        )


def answer_of(athena: Any, execution_id: str) -> str:
    """Wait for a query and return the one value that it answers."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        status = athena.get_query_execution(QueryExecutionId=execution_id)["QueryExecution"]["Status"]
        if status["State"] == "SUCCEEDED":
            found: str = athena.get_query_results(QueryExecutionId=execution_id)["ResultSet"]["Rows"][1]["Data"][0][
                "VarCharValue"
            ]
            return found
        assert status["State"] in ("QUEUED", "RUNNING"), status.get("StateChangeReason")
        assert time.monotonic() < deadline, f"query {execution_id} is {status['State']} for {_PATIENCE_SECONDS} s"
        time.sleep(_POLL_SECONDS)


def refused(what: str, call: Callable[[], Any]) -> None:
    """Hold a call to be denied."""
    try:
        call()
    except ClientError as error:
        if error.response["Error"]["Code"] not in _DENIED:
            raise
        say(f"refused: {what}")
        return
    raise AssertionError(f"the role may {what}")


def tell_what_nobody_knew(settings: Settings, account: Account, begun: datetime) -> None:
    """Print what documentation does not say and the pipeline would like to know."""
    with step("what nobody knows yet"):
        files = Counter[str]()
        for page in (
            account.client("s3")
            .get_paginator("list_objects_v2")
            .paginate(Bucket=settings.lake_bucket, Prefix="runs/days/")
        ):
            files.update(each["Key"].rpartition("/")[0] for each in page.get("Contents", []))
        say(f"files per Gold run: {dict(sorted(Counter(files.values()).items()))} (files -> folders)")
        logs, runs = account.client("logs"), account.client("glue").get_job_runs(JobName=settings.glue_job)["JobRuns"]
        groups = [
            each["logGroupName"]
            for page in logs.get_paginator("describe_log_groups").paginate(logGroupNamePrefix="/aws-glue")
            for each in page["logGroups"]
        ]
        for each in runs:
            seconds = (each["CompletedOn"] - each["StartedOn"]).total_seconds()
            billed = each.get("DPUSeconds", each["ExecutionTime"] * each["MaxCapacity"])
            say(
                f"run {each['Id']}: {each['JobRunState']}, start-up {seconds - each['ExecutionTime']:.0f} s, "
                f"{each['ExecutionTime']} s of work, {billed} DPU-seconds"
            )
            for group in groups:
                found = logs.describe_log_streams(logGroupName=group, logStreamNamePrefix=each["Id"])["logStreams"]
                for stream in found:
                    say(f"its log: {group} {stream['logStreamName']}")
                    lines = logs.filter_log_events(
                        logGroupName=group, logStreamNames=[stream["logStreamName"]], filterPattern="pyarrow"
                    )["events"]
                    for line in lines[:3]:
                        say(f"it says: {line['message'].strip()[:200]}")
        tell_alarms(account, begun)


def tell_alarms(account: Account, begun: datetime) -> None:
    """Print the state of each alarm of the stack and the data points that it has seen; CloudWatch is minutes late."""
    cloudwatch = account.client("cloudwatch")
    pages = cloudwatch.get_paginator("describe_alarms").paginate(AlarmNamePrefix=account.stack.name)
    for alarm in (each for page in pages for each in page["MetricAlarms"]):
        stat = next((each["MetricStat"] for each in alarm.get("Metrics", []) if "MetricStat" in each), None)
        metric = stat["Metric"] if stat else alarm
        points = cloudwatch.get_metric_statistics(
            Namespace=metric["Namespace"],
            MetricName=metric["MetricName"],
            Dimensions=metric["Dimensions"],
            StartTime=begun - timedelta(minutes=5),
            EndTime=datetime.now(UTC) + timedelta(minutes=5),
            Period=60,
            Statistics=["SampleCount"],
        )["Datapoints"]
        samples = sum(each["SampleCount"] for each in points)
        say(f"alarm on {metric['Namespace']} {metric['MetricName']}: {alarm['StateValue']}, {samples:.0f} data points")


@contextmanager
def step(name: str) -> Iterator[None]:
    """Print the current step, and then how long it took."""
    print(f"           ... {name}", flush=True)
    started = time.monotonic()
    yield
    print(f"{time.monotonic() - started:7.1f} s  {name}", flush=True)


def say(line: str) -> None:
    """Print a line of progress."""
    print(f"           {line}", flush=True)


def show(event: StackEvent) -> None:
    """Print a step of CloudFormation's that ended."""
    if not event.status.endswith("_IN_PROGRESS"):
        say(f"{event.status} {event.resource}" + (f": {event.reason}" if event.reason else ""))


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(main())
