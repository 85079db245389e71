"""Checks whether the account is as the code expects: one finding per subject, with read-only calls."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from event_pipeline.engines.aws.catalog import GlueCatalog, evolved_input, schema_faults
from event_pipeline.engines.aws.clients import Aws, ExpectedError
from event_pipeline.engines.finding import Finding, Level
from event_pipeline.errors import PipelineError
from event_pipeline.infrastructure.role_needs import (
    Need,
    needs_of_analysts,
    needs_of_the_job,
    needs_of_the_orchestrator,
)
from event_pipeline.infrastructure.shipment import GENERATOR_KEY, PACKAGE_KEY, SCRIPT_KEY, WHEEL_KEYS, stale_keys
from event_pipeline.rules.contract import HOUR_TABLES, Table
from event_pipeline.rules.hour import RAW_ROOT
from event_pipeline.rules.query import GoldTable
from event_pipeline.settings import PREFIX, Settings, SilverBuilderKind

DEPLOY = "`event-pipeline stack deploy` brings it up to date; `event-pipeline stack status` shows the stack"
GLUE_VERSIONS = ("5.1", "5.0")
"""Versions for which script and wheels are built; a job without a version gets the newest, with another Python."""

_NOT_FOUND = ("EntityNotFoundException",)
_DENIED = (
    "AccessDenied",
    "AccessDeniedException",
    "AuthorizationError",
    "AuthorizationErrorException",
    "NotImplemented",
)

Check = Callable[[], Finding]
Needs = Callable[[Settings, str, str], Iterator[Need]]
"""Yields the needs of a role, for settings and the partition and account of its ARNs."""


def account_checks(settings: Settings, gold_tables: Sequence[GoldTable]) -> Iterator[tuple[str, Check]]:
    """Yield the subjects in order, each with its check."""
    aws = Aws(settings)
    yield "AWS credentials", lambda: _identity(aws)
    for what in ("raw_bucket", "lake_bucket", "artifacts_bucket"):
        yield what.replace("_", " "), lambda name=what: _bucket(aws, name)  # type: ignore[misc]
    for table in HOUR_TABLES:
        yield f"table {table.full_name}", lambda each=table: _table(aws, each, made_later=False)  # type: ignore[misc]
    for gold in gold_tables:
        table = gold.table
        yield f"table {table.full_name}", lambda each=table: _table(aws, each, made_later=True)  # type: ignore[misc]
    if settings.builder is SilverBuilderKind.GLUE:
        yield "Glue job", lambda: _job(aws)
    yield "Athena workgroup", lambda: _workgroup(aws)
    yield "permissions", lambda: _permissions(aws)
    for subject, role, needs in _roles(settings):
        if role:
            yield subject, partial(_role, aws, subject, role, needs)
    if settings.raw_queue_url:
        yield "queue of new objects", lambda: _queue(aws)
    if settings.alert_topic_arn:
        yield "alert topic", lambda: _topic(aws)


def _identity(aws: Aws) -> Finding:
    who = aws.call("sts", "get_caller_identity", "the credentials")
    found = f"{who['Arn']} in {aws.settings.aws_region}"
    return Finding(Level.OK, "AWS credentials", found)


def _bucket(aws: Aws, setting: str) -> Finding:
    name, subject = getattr(aws.settings, setting), setting.replace("_", " ")
    prefix = f"{aws.settings.raw_prefix}{RAW_ROOT}" if setting == "raw_bucket" else ""
    listed = aws.call("s3", "list_objects_v2", f"s3://{name}", Bucket=name, Prefix=prefix, MaxKeys=1)
    found = f"s3://{name} can be listed" + ("" if listed.get("KeyCount") else " and is empty")
    return Finding(Level.OK, subject, found)


def _table(aws: Aws, table: Table, *, made_later: bool) -> Finding:
    subject = f"table {table.full_name}"
    database = GlueCatalog(aws, aws.settings).database(table.full_name)
    place = f"{database}.{table.name}"
    try:
        answer = aws.call("glue", "get_table", place, expected=_NOT_FOUND, DatabaseName=database, Name=table.name)
    except ExpectedError:
        if made_later:
            return Finding(Level.OK, subject, f"{place} does not exist yet; its first refresh creates it")
        return Finding(Level.FAIL, subject, f"{place} does not exist in {aws.settings.aws_region}", DEPLOY)
    evolved = evolved_input(table, answer["Table"])
    if faults := schema_faults(table, evolved or answer["Table"]):
        return Finding(Level.FAIL, subject, f"{place}: {'; '.join(faults)}", DEPLOY)
    if evolved:
        found = f"{place}: its next refresh gives it the columns and types of this version"
        return Finding(Level.OK, subject, found)
    return Finding(Level.OK, subject, f"{place}: {len(table.columns)} columns as in the contract")


def _job(aws: Aws) -> Finding:
    settings, subject = aws.settings, "Glue job"
    try:
        job = aws.call(
            "glue", "get_job", f"Glue job {settings.glue_job}", expected=_NOT_FOUND, JobName=settings.glue_job
        )["Job"]
    except ExpectedError:
        found = f"{settings.glue_job} does not exist in {settings.aws_region}"
        return Finding(Level.FAIL, subject, found, f"{DEPLOY}, or set {PREFIX}GLUE_JOB")
    faults = _job_faults(settings, job)
    if faults:
        return Finding(Level.FAIL, subject, f"{settings.glue_job}: {'; '.join(faults)}", DEPLOY)
    at_once = job.get("ExecutionProperty", {}).get("MaxConcurrentRuns", 1)
    if at_once < settings.silver_pool_limit:
        found = f"{settings.glue_job} allows {at_once} concurrent runs, Dagster {settings.silver_pool_limit}"
        remedy = f"deploy with --parameter SilverPoolLimit={settings.silver_pool_limit}: until then builds wait"
        return Finding(Level.WARN, subject, found, remedy)
    return Finding(Level.OK, subject, f"{settings.glue_job} runs the script and the packages of this checkout")


def _job_faults(settings: Settings, job: dict[str, Any]) -> list[str]:
    arguments = job.get("DefaultArguments", {}) | job.get("NonOverridableArguments", {})
    command = job.get("Command", {})
    artifacts = f"s3://{settings.artifacts_bucket}/"
    deployed = {
        SCRIPT_KEY: command.get("ScriptLocation", "").removeprefix(artifacts),
        PACKAGE_KEY: arguments.get("--extra-py-files", "").removeprefix(artifacts),
        WHEEL_KEYS: arguments.get("--additional-python-modules", ""),
        GENERATOR_KEY: "",
    }
    names = {SCRIPT_KEY: "script", PACKAGE_KEY: "package", WHEEL_KEYS: "wheels"}
    faults = [f"its {names[key]} is not this checkout's" for key in stale_keys(deployed)]
    wanted = {
        "command": (command.get("Name"), "glueetl"),
        "--job-bookmark-option": (arguments.get("--job-bookmark-option"), "job-bookmark-disable"),
        "--region": (arguments.get("--region"), settings.aws_region),
    }
    faults += [f"{name} is {found}, not {right}" for name, (found, right) in wanted.items() if found != right]
    if job.get("GlueVersion") not in GLUE_VERSIONS:
        faults.append(f"GlueVersion is {job.get('GlueVersion')}, not {' or '.join(GLUE_VERSIONS)}")
    if job.get("MaxRetries"):
        faults.append(f"MaxRetries is {job['MaxRetries']}, not 0: Dagster retries, and only transient errors")
    return faults


def _workgroup(aws: Aws) -> Finding:
    name, subject = aws.settings.athena_workgroup, "Athena workgroup"
    group = aws.call("athena", "get_work_group", f"workgroup {name}", WorkGroup=name)["WorkGroup"]
    configuration = group.get("Configuration", {})
    faults = []
    if group.get("State", "ENABLED") != "ENABLED":
        faults.append(f"it is {group['State']}")
    if not configuration.get("EnforceWorkGroupConfiguration"):
        faults.append("it does not enforce its configuration: results may go anywhere")
    if not configuration.get("ResultConfiguration", {}).get("OutputLocation"):
        faults.append("it has no output location")
    if faults:
        return Finding(Level.FAIL, subject, f"{name}: {'; '.join(faults)}", DEPLOY)
    limit = configuration.get("BytesScannedCutoffPerQuery")
    if not limit:
        remedy = "deploy with --parameter AthenaScanLimitBytes=... to limit a careless query"
        return Finding(Level.WARN, subject, f"{name} does not limit queries", remedy)
    place = configuration["ResultConfiguration"]["OutputLocation"]
    return Finding(Level.OK, subject, f"{name}: results go to {place}, a query ends at {limit / 1e9:,.0f} GB scanned")


def _roles(settings: Settings) -> tuple[tuple[str, str, Needs], ...]:
    """Return the roles in the settings: subject, ARN and needs."""
    job_role = settings.glue_job_role_arn if settings.builder is SilverBuilderKind.GLUE else ""
    return (
        ("role of the Glue job", job_role, needs_of_the_job),
        ("role of the Dagster process", settings.orchestrator_role_arn, needs_of_the_orchestrator),
        ("role of analysts", settings.analyst_role_arn, needs_of_analysts),
    )


def _permissions(aws: Aws) -> Finding:
    caller = aws.call("sts", "get_caller_identity", "the credentials")
    return _role(aws, "permissions", _role_of(caller["Arn"]), needs_of_the_orchestrator)


def _role(aws: Aws, subject: str, principal: str, needs: Needs) -> Finding:
    """Ask IAM what a principal may do; without that permission, only the read checks before count."""
    _, partition, _, _, account, *_ = principal.split(":")
    namespace = [aws.settings.metric_namespace]
    context = [{"ContextKeyName": "cloudwatch:namespace", "ContextKeyType": "string", "ContextKeyValues": namespace}]
    denied = []
    for actions, resource in needs(aws.settings, partition, account):
        try:
            answer = aws.call(
                "iam",
                "simulate_principal_policy",
                principal,
                expected=_DENIED,
                PolicySourceArn=principal,
                ActionNames=list(actions),
                ResourceArns=[resource],
                ContextEntries=context,
            )
        except (ExpectedError, PipelineError) as error:
            remedy = (
                "run `event-pipeline doctor` as a principal with iam:SimulatePrincipalPolicy, for example the deployer"
            )
            found = f"not all permissions of {principal} could be checked: {error}"
            return Finding(Level.WARN, subject, found, remedy)
        denied += [
            f"{each['EvalActionName']} on {resource}"
            for each in answer["EvaluationResults"]
            if each["EvalDecision"] != "allowed"
        ]
    if denied:
        remedy = "docs/deploy.md says where the template grants it: to the stack's own role of that kind"
        return Finding(Level.FAIL, subject, f"{principal} lacks {', '.join(denied)}", remedy)
    return Finding(Level.OK, subject, f"{principal} has the permissions of every step")


def _role_of(arn: str) -> str:
    """Return the principal to which policies are attached: for a role's session, the role."""
    head, _, session = arn.partition(":assumed-role/")
    return f"{head.replace(':sts:', ':iam:')}:role/{session.split('/')[0]}" if session else arn


def _queue(aws: Aws) -> Finding:
    url, subject = aws.settings.raw_queue_url, "queue of new objects"
    names = ["ApproximateNumberOfMessages", "RedrivePolicy"]
    found = aws.call("sqs", "get_queue_attributes", url, QueueUrl=url, AttributeNames=names).get("Attributes", {})
    waiting = f"{url}: {found.get('ApproximateNumberOfMessages', 0)} messages waiting"
    if not json.loads(found.get("RedrivePolicy", "{}")):
        return Finding(Level.WARN, subject, f"{waiting}, and there is no dead-letter queue", DEPLOY)
    return Finding(Level.OK, subject, waiting)


def _topic(aws: Aws) -> Finding:
    arn, subject = aws.settings.alert_topic_arn, "alert topic"
    try:
        topic = aws.call("sns", "get_topic_attributes", arn, expected=_DENIED, TopicArn=arn)["Attributes"]
    except ExpectedError as error:
        found = f"{arn} cannot be read ({error.code}); publishing to it needs another permission"
        return Finding(Level.OK, subject, found)
    if not int(topic.get("SubscriptionsConfirmed", 0)):
        remedy = "deploy with --parameter AlertEmail=..., and confirm the message that arrives"
        return Finding(Level.WARN, subject, f"{arn} has no confirmed subscription: nobody receives alerts", remedy)
    return Finding(Level.OK, subject, f"{arn}: {topic['SubscriptionsConfirmed']} confirmed subscriptions")
