"""What no schema says, and aws-cdk's constructs refuse before they make a template: each check names its construct.

They were read in https://github.com/aws/aws-cdk (Apache-2.0), the ranges in its code, and written down anew. Each is
checked with every optional part of the template on, with none, and with Glue on spare capacity.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from event_pipeline_tests.infra.template import EVERYTHING_ON, Template

Properties = Mapping[str, Any]

VARIANTS: tuple[dict[str, str], ...] = (
    EVERYTHING_ON,
    dict.fromkeys(EVERYTHING_ON, ""),
    {**EVERYTHING_ON, "GlueFlex": "true"},
)

RANGES: dict[str, dict[str, tuple[float, float]]] = {
    # aws-sqs/lib/validate-queue-props.ts
    "AWS::SQS::Queue": {
        "DelaySeconds": (0, 900),
        "MaximumMessageSize": (1_024, 1_048_576),
        "MessageRetentionPeriod": (60, 1_209_600),
        "ReceiveMessageWaitTimeSeconds": (0, 20),
        "VisibilityTimeout": (0, 43_200),
        "RedrivePolicy.maxReceiveCount": (1, 1_000),
    },
    # aws-lambda/lib/event-invoke-config.ts
    "AWS::Lambda::EventInvokeConfig": {"MaximumEventAgeInSeconds": (60, 21_600), "MaximumRetryAttempts": (0, 2)},
    # aws-lambda/lib/function.ts
    "AWS::Lambda::Function": {"MemorySize": (128, 10_240), "Timeout": (1, 900), "EphemeralStorage.Size": (512, 10_240)},
    # aws-scheduler/lib/schedule.ts
    "AWS::Scheduler::Schedule": {
        "Target.RetryPolicy.MaximumEventAgeInSeconds": (60, 86_400),
        "Target.RetryPolicy.MaximumRetryAttempts": (0, 185),
        "FlexibleTimeWindow.MaximumWindowInMinutes": (1, 1_440),
    },
    # aws-iam/lib/role.ts
    "AWS::IAM::Role": {"MaxSessionDuration": (3_600, 43_200)},
    # aws-glue-alpha/lib/jobs/spark-job.ts: two workers are the least, the driver is one of them
    "AWS::Glue::Job": {"NumberOfWorkers": (2, 299), "Timeout": (1, 10_080)},
}
"""Type -> property -> the least and the most."""

LONGEST = {
    # aws-ssm/lib/parameter.ts, aws-iam/lib/role.ts, aws-lambda/lib/function.ts, aws-sns/lib/topic.ts
    "AWS::SSM::Parameter": {"Description": 1_024, "Name": 2_048, "Value": 4_096},
    "AWS::IAM::Role": {"Description": 1_000, "RoleName": 64},
    "AWS::Lambda::Function": {"Description": 256, "FunctionName": 64},
    "AWS::Scheduler::Schedule": {"Name": 64},
    "AWS::SNS::Topic": {"DisplayName": 100},
}
"""Type -> property -> the most characters."""

_RESERVED_ARGUMENTS = {"--debug", "--mode", "--JOB_NAME", "--conf"}
_RESERVED_VARIABLES = re.compile(r"AWS_.*|LAMBDA_.*|_HANDLER|_X_AMZN_TRACE_ID|TZ")
_RAW_DELIVERY = {"http", "https", "sqs", "firehose"}
_EXPRESSION = re.compile(r"(at|rate|cron)\(.+\)")
_MANAGED_POLICY_CHARACTERS, _INLINE_POLICY_CHARACTERS = 6_144, 10_240
_INLINE_CODE_BYTES = 4 << 20
_DAY_SECONDS = 86_400


def values_are_within_their_ranges(template: Template) -> list[str]:
    """`RANGES` and `LONGEST`."""
    faults = []
    for name, kind, made in _made(template):
        for place, (least, most) in RANGES.get(kind, {}).items():
            value = _at(made, place)
            if value is not None and not least <= float(value) <= most:
                faults.append(f"{name}: {place} is {value}, not {least:,} to {most:,}")
        for place, characters in LONGEST.get(kind, {}).items():
            value = _at(made, place)
            if value is not None and len(value) > characters:
                faults.append(f"{name}: {place} has {len(value)} characters, {characters:,} are the most")
    return _once(faults)


def queues_have_one_encryption(template: Template) -> list[str]:
    """aws-sqs/lib/queue.ts: SQS's own keys or a KMS key; names of FIFO queues, and only theirs, end in .fifo."""
    faults = []
    for name, _, made in _made(template, "AWS::SQS::Queue"):
        if str(made.get("SqsManagedSseEnabled")).lower() == "true" and "KmsMasterKeyId" in made:
            faults.append(f"{name}: SqsManagedSseEnabled and KmsMasterKeyId exclude each other")
        if "QueueName" in made and made["QueueName"].endswith(".fifo") != bool(made.get("FifoQueue")):
            faults.append(f"{name}: FIFO queues, and no others, have names that end in .fifo")
    return _once(faults)


def jobs_keep_to_their_execution_class(template: Template) -> list[str]:
    """aws-glue-alpha/lib/jobs/*: what flex and queuing exclude, and the arguments that are Glue's own."""
    faults = []
    for name, _, made in _made(template, "AWS::Glue::Job"):
        flex = made.get("ExecutionClass") == "FLEX"
        queued = str(made.get("JobRunQueuingEnabled")).lower() == "true"
        if flex and queued:
            faults.append(f"{name}: a flex job cannot queue its runs")
        if (flex or queued) and int(made.get("MaxRetries", 0)):
            faults.append(f"{name}: a flex job, and one that queues its runs, has no retries")
        if flex and made.get("WorkerType") not in ("G.1X", "G.2X"):
            faults.append(f"{name}: flex has workers G.1X and G.2X only")
        if "MaxCapacity" in made and made.keys() & {"WorkerType", "NumberOfWorkers"}:
            faults.append(f"{name}: MaxCapacity excludes WorkerType and NumberOfWorkers")
        arguments = {**made.get("DefaultArguments", {}), **made.get("NonOverridableArguments", {})}
        faults += [f"{name}: {each} is Glue's own" for each in sorted(arguments.keys() & _RESERVED_ARGUMENTS)]
        faults += [f"{name}: {each} does not begin with --" for each in arguments if not each.startswith("--")]
        faults += [
            f"{name}: {each} can and cannot be overridden"
            for each in made.get("DefaultArguments", {}).keys() & made.get("NonOverridableArguments", {}).keys()
        ]
    return _once(faults)


def tables_have_distinct_columns(template: Template) -> list[str]:
    """aws-glue-alpha/lib/table-base.ts: one column at least, and none that is a partition key as well."""
    faults = []
    for name, _, made in _made(template, "AWS::Glue::Table"):
        table = made["TableInput"]
        columns = [each["Name"] for each in table["StorageDescriptor"].get("Columns", [])]
        names = columns + [each["Name"] for each in table.get("PartitionKeys", [])]
        faults += [] if columns else [f"{name}: no column"]
        faults += [f"{name}: {each} is there twice" for each in sorted(set(names)) if names.count(each) > 1]
        faults += [f"{name}: {each} is not in lower case" for each in names if each != each.lower()]
    return _once(faults)


def projections_are_of_partition_keys(template: Template) -> list[str]:
    """aws-glue-alpha/lib/partition-projection.ts: each key has a projection of a known type, complete and in order."""
    faults = []
    for name, _, made in _made(template, "AWS::Glue::Table"):
        table = made["TableInput"]
        parameters = table.get("Parameters", {})
        keys = [each["Name"] for each in table.get("PartitionKeys", [])]
        projected = {each.split(".")[1] for each in parameters if re.fullmatch(r"projection\.\w+\.\w.*", each)}
        if parameters.get("projection.enabled") != "true":
            faults += [f"{name}: {each} is projected, and projection is off" for each in sorted(projected)]
            continue
        faults += [f"{name}: {each} is projected and no partition key" for each in sorted(projected - set(keys))]
        for key in keys:
            given = {
                each.removeprefix(f"projection.{key}."): value
                for each, value in parameters.items()
                if each.startswith(f"projection.{key}.")
            }
            faults += [f"{name}: partition key {key}: {fault}" for fault in _projection_faults(given)]
    return _once(faults)


def _projection_faults(given: Mapping[str, str]) -> Iterator[str]:
    match given.get("type"):
        case "integer":
            bounds = re.fullmatch(r"(-?\d+),(-?\d+)", given.get("range", ""))
            if bounds is None or int(bounds[1]) > int(bounds[2]):
                yield f"range {given.get('range')} is not from one whole number to a larger one"
            for name in ("interval", "digits"):
                if name in given and not re.fullmatch(r"[1-9]\d*", given[name]):
                    yield f"{name} is {given[name]}"
        case "date":
            if len([each for each in given.get("range", "").split(",") if each.strip()]) != 2:
                yield f"range {given.get('range')} is not from one date to another"
            if not given.get("format"):
                yield "no format"
        case "enum":
            if not all(each.strip() for each in given.get("values", "").split(",")):
                yield "an empty value"
        case "injected":
            return
        case other:
            yield f"type {other}"


def functions_keep_their_environment(template: Template) -> list[str]:
    """aws-lambda/lib/function.ts, code.ts: variables that are Lambda's own; code in the template has its size."""
    faults = []
    for name, _, made in _made(template, "AWS::Lambda::Function"):
        variables = made.get("Environment", {}).get("Variables", {})
        faults += [f"{name}: {each} is Lambda's own" for each in variables if _RESERVED_VARIABLES.fullmatch(each)]
        faults += [f"{name}: {each} is no name" for each in variables if not re.fullmatch(r"[a-zA-Z]\w+", each)]
        code = made["Code"].get("ZipFile")
        if code is not None and not 0 < len(code.encode()) <= _INLINE_CODE_BYTES:
            faults.append(f"{name}: code of {len(code)} bytes in the template")
        if code is not None and not made["Handler"].startswith("index."):
            faults.append(f"{name}: code in the template is the module index")
    return _once(faults)


def schedules_can_begin(template: Template) -> list[str]:
    """aws-scheduler/lib/schedule.ts: an expression of a known kind; a flexible window has a length, no other has."""
    faults = []
    for name, _, made in _made(template, "AWS::Scheduler::Schedule"):
        if not _EXPRESSION.fullmatch(made["ScheduleExpression"]):
            faults.append(f"{name}: {made['ScheduleExpression']} is no expression")
        window = made["FlexibleTimeWindow"]
        if (window["Mode"] == "FLEXIBLE") != ("MaximumWindowInMinutes" in window):
            faults.append(f"{name}: a window has a length if it is flexible, and else none")
    return _once(faults)


def rules_have_patterns_that_can_match(template: Template) -> list[str]:
    """aws-events/lib/util.ts, rule.ts: values in lists that are not empty; five targets; one kind of input."""
    faults = []
    for name, _, made in _made(template, "AWS::Events::Rule"):
        if not made.keys() & {"EventPattern", "ScheduleExpression"}:
            faults.append(f"{name}: waits for nothing")
        faults += [f"{name}: {place} is no list of values" for place in _no_lists(made.get("EventPattern", {}), "")]
        targets = made.get("Targets", [])
        if len(targets) > 5:
            faults.append(f"{name}: {len(targets)} targets, five are the most")
        if len({each["Id"] for each in targets}) != len(targets):
            faults.append(f"{name}: two targets of one id")
        for target in targets:
            if len(target.keys() & {"Input", "InputPath", "InputTransformer"}) > 1:
                faults.append(f"{name}: {target['Id']} has two kinds of input")
            transformer = target.get("InputTransformer", {})
            used = set(re.findall(r"<([\w-]+)>", transformer.get("InputTemplate", "")))
            known = transformer.get("InputPathsMap", {}).keys()
            faults += [f"{name}: <{each}> is not in InputPathsMap" for each in sorted(used - known)]
    return _once(faults)


def _no_lists(pattern: Properties, place: str) -> Iterator[str]:
    for key, value in pattern.items():
        if isinstance(value, Mapping):
            yield from _no_lists(value, f"{place}{key}.")
        elif not isinstance(value, list) or not value:
            yield f"{place}{key}"


def alarms_can_be_evaluated(template: Template) -> list[str]:
    """aws-cloudwatch/lib/alarm.ts, metric.ts: periods, the days that they span, and ten metrics of an expression."""
    faults = []
    for name, _, made in _made(template, "AWS::CloudWatch::Alarm"):
        stats = [each["MetricStat"] for each in made.get("Metrics", []) if "MetricStat" in each]
        for period in [int(each["Period"]) for each in [made, *stats] if "Period" in each]:
            if period not in (1, 5, 10, 20, 30) and (period < 60 or period % 60):
                faults.append(f"{name}: a period of {period} seconds")
            most = _DAY_SECONDS if period < 3_600 else 7 * _DAY_SECONDS
            if period * int(made["EvaluationPeriods"]) > most:
                faults.append(f"{name}: looks back for more than {most // _DAY_SECONDS} days")
        if int(made.get("DatapointsToAlarm", 1)) > int(made["EvaluationPeriods"]):
            faults.append(f"{name}: wants more data points than periods")
        if len(stats) > 10:
            faults.append(f"{name}: {len(stats)} metrics in an expression, ten are the most")
        if "MetricName" in made and len(made.keys() & {"Statistic", "ExtendedStatistic"}) != 1:
            faults.append(f"{name}: neither, or both, of Statistic and ExtendedStatistic")
        if len(made.get("AlarmActions", [])) > 5:
            faults.append(f"{name}: more than five actions")
    return _once(faults)


def parameters_can_be_stored(template: Template) -> list[str]:
    """aws-ssm/lib/parameter.ts: names of letters, digits and .-_/; a value that its own pattern allows."""
    faults = []
    for name, _, made in _made(template, "AWS::SSM::Parameter"):
        named = made.get("Name", name)
        if not re.fullmatch(r"[/\w.-]+", named) or ("/" in named and not named.startswith("/")):
            faults.append(f"{name}: {named} is no name of a parameter")
        if not re.search(made.get("AllowedPattern", ""), made["Value"]):
            faults.append(f"{name}: {made['Value']} is not what it allows itself")
    return _once(faults)


def subscriptions_suit_their_protocol(template: Template) -> list[str]:
    """aws-sns/lib/subscription.ts: raw delivery, delivery policies and filters are not for every protocol."""
    faults = []
    for name, _, made in _made(template, "AWS::SNS::Subscription"):
        protocol = made["Protocol"]
        if str(made.get("RawMessageDelivery", "")).lower() == "true" and protocol not in _RAW_DELIVERY:
            faults.append(f"{name}: {protocol} knows no raw delivery")
        if "DeliveryPolicy" in made and protocol not in ("http", "https"):
            faults.append(f"{name}: {protocol} knows no delivery policy")
        if protocol == "firehose" and "SubscriptionRoleArn" not in made:
            faults.append(f"{name}: firehose needs a role")
        if len(made.get("FilterPolicy", {})) > 5:
            faults.append(f"{name}: more than five attributes in a filter")
    return _once(faults)


def policies_are_well_formed(template: Template) -> list[str]:
    """aws-iam/lib/policy-statement.ts, managed-policy.ts: who and what each kind of policy names, its ids and its size.

    ARNs are shortened here where only a deployment knows a name, so sizes are a little less than in an account.
    """
    faults = []
    for name, kind, made in _made(template):
        attached = [each["PolicyDocument"] for each in made.get("Policies", [])]
        attached += [made["PolicyDocument"]] if kind == "AWS::IAM::ManagedPolicy" else []
        if sum(map(_characters, attached)) > (
            _MANAGED_POLICY_CHARACTERS if kind == "AWS::IAM::ManagedPolicy" else _INLINE_POLICY_CHARACTERS
        ):
            faults.append(f"{name}: {sum(map(_characters, attached)):,} characters of policies")
        for statement in [each for document in attached for each in document["Statement"]]:
            faults += [f"{name} {statement.get('Sid')}: names a principal"] if "Principal" in statement else []
            if not statement.keys() & {"Resource", "NotResource"}:
                faults.append(f"{name} {statement.get('Sid')}: names no resource")
        resource_based = (
            [made["PolicyDocument"]] if kind.endswith(("BucketPolicy", "QueuePolicy", "TopicPolicy")) else []
        )
        trusts = [made["AssumeRolePolicyDocument"]] if "AssumeRolePolicyDocument" in made else []
        for statement in [each for document in resource_based + trusts for each in document["Statement"]]:
            if not statement.keys() & {"Principal", "NotPrincipal"}:
                faults.append(f"{name} {statement.get('Sid')}: names nobody")
        for document in attached + resource_based + trusts:
            sids = [each["Sid"] for each in document["Statement"] if "Sid" in each]
            faults += [f"{name}: {sid} is there twice" for sid in sorted(set(sids)) if sids.count(sid) > 1]
            faults += [f"{name}: {sid} is no id" for sid in sids if not re.fullmatch(r"[0-9A-Za-z]+", sid)]
    return _once(faults)


def lifecycle_rules_do_something(template: Template) -> list[str]:
    """aws-s3/lib/bucket.ts: an action in each rule, ids of their own, and one way of expiring."""
    faults = []
    actions = {"AbortIncompleteMultipartUpload", "ExpirationDate", "ExpirationInDays", "ExpiredObjectDeleteMarker"}
    actions |= {"NoncurrentVersionExpiration", "NoncurrentVersionTransitions", "Transitions"}
    for name, _, made in _made(template, "AWS::S3::Bucket"):
        rules = made.get("LifecycleConfiguration", {}).get("Rules", [])
        ids = [rule["Id"] for rule in rules if "Id" in rule]
        faults += [f"{name}: rule {each} is there twice" for each in sorted(set(ids)) if ids.count(each) > 1]
        for rule in rules:
            if not rule.keys() & actions:
                faults.append(f"{name}: rule {rule.get('Id')} does nothing")
            if len(rule.keys() & {"ExpirationDate", "ExpirationInDays", "ExpiredObjectDeleteMarker"}) > 1:
                faults.append(f"{name}: rule {rule.get('Id')} expires in two ways")
        named = made.get("BucketName", "a-bucket")
        if not re.fullmatch(r"(?!xn--|sthree-)(?!.*\.\.)[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", named):
            faults.append(f"{name}: {named} is no name of a bucket")
    return _once(faults)


CHECKS: tuple[Callable[[Template], list[str]], ...] = (
    values_are_within_their_ranges,
    queues_have_one_encryption,
    jobs_keep_to_their_execution_class,
    tables_have_distinct_columns,
    projections_are_of_partition_keys,
    functions_keep_their_environment,
    schedules_can_begin,
    rules_have_patterns_that_can_match,
    alarms_can_be_evaluated,
    parameters_can_be_stored,
    subscriptions_suit_their_protocol,
    policies_are_well_formed,
    lifecycle_rules_do_something,
)


def _made(template: Template, kind: str | None = None) -> Iterator[tuple[str, str, Properties]]:
    """Yield name, type and properties of the resources, of one type or all, in every variant."""
    for variant in VARIANTS:
        for name, properties in template.with_parameters(**variant).items():
            found = template.resources[name]["Type"]
            if kind in (None, found):
                yield name, found, properties


def _at(made: Properties, place: str) -> Any:
    value: Any = made
    for name in place.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _characters(document: Properties) -> int:
    """Return the size of a policy as IAM counts it: without white space."""
    return len(json.dumps(document, separators=(",", ":")))


def _once(faults: list[str]) -> list[str]:
    return list(dict.fromkeys(faults))
