"""What the template must be like: each check returns the faults it finds, and `CHECKS` lists them all.

IAM actions and the ARNs they take are compared with AWS's service authorization reference as cfn-lint ships it. That
has no condition keys besides those of tags, so `CONDITION_KEYS` names the ones that may be used.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from importlib.resources import files
from typing import Any, NamedTuple

from cfnlint.api import lint
from cfnlint.config import ManualArgs

from event_pipeline.engines.aws.metrics import QUARANTINED_SHARE
from event_pipeline.engines.dialect import parse_query, rename_databases, render, with_star_named
from event_pipeline.generator.options import MAX_EVENTS_PER_FILE
from event_pipeline.reporting.answers import named_query
from event_pipeline.rules.contract import EVENT_FIELDS, HOUR_TABLES
from event_pipeline.rules.hour import RAW_ROOT
from event_pipeline.rules.query import load_gold_tables
from event_pipeline.rules.query_pack import load_questions
from event_pipeline.settings import Settings, WorkerType
from event_pipeline_tests.infra.template import ACCOUNT, EVERYTHING_ON, REGION, Template

MOST_BYTES = 1_000_000
"""What CloudFormation takes from a bucket; `stack deploy` makes one for a moment where there is none."""

DECIDED_BY_THE_ORCHESTRATOR = {
    "aws_account": "named by every ARN of the outputs",
    "builder": "who computes, at any time",
    "sql": "who computes, at any time",
    "glue_wait_minutes": "how long a process waits",
    "athena_queries_at_once": "how many queries a process starts",
    "athena_timeout_seconds": "how long a process waits",
    "build_grace_days": "what a process deletes",
    "prices": "a price list",
    "price_glue_dpu_hour": "a price list",
    "price_glue_flex_dpu_hour": "a price list",
    "price_athena_tb": "a price list",
    "price_s3_1000_writes": "a price list",
    "price_s3_1000_reads": "a price list",
}
"""Settings of the AWS path that name nothing in the account, and why a stack has no say in them."""

CONDITION_KEYS = {"aws:SecureTransport", "aws:SourceAccount", "aws:SourceArn", "cloudwatch:namespace"}
TRUSTED = {
    "GlueJobRole": {"Service": "glue.amazonaws.com"},
    "OrchestratorRole": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"},
    "AnalystRole": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"},
    "GeneratorRole": {"Service": "lambda.amazonaws.com"},
    "GeneratorScheduleRole": {"Service": "scheduler.amazonaws.com"},
    "BucketCleanerRole": {"Service": "lambda.amazonaws.com"},
}
"""Who may take each role; one role an actor."""

WRITABLE = {
    "GlueJobRole": ("<lakebucket>/runs/hours/", "<lakebucket>/decoded/", "<artifactsbucket>/pipes/"),
    "OrchestratorRole": (
        "<lakebucket>/runs/",
        "<lakebucket>/commits/",
        "<lakebucket>/costs/",
        "<lakebucket>/decoded/",
        "<lakebucket>/alerts.json",
        "<artifactsbucket>/plans/",
        "<artifactsbucket>/pipes/",
        "<artifactsbucket>/athena-results/",
    ),
    "AnalystRole": ("<artifactsbucket>/analyst-results/",),
    "GeneratorRole": (f"<rawbucket>/{RAW_ROOT}",),
    "GeneratorScheduleRole": (),
    "BucketCleanerRole": ("<rawbucket>", "<lakebucket>", "<artifactsbucket>"),
}
"""Where in S3 each role may write or delete."""

CODE_ARGUMENTS = {
    "--job-bookmark-option",
    "--extra-py-files",
    "--additional-python-modules",
    "--python-modules-installer-option",
}
"""Arguments of the job that no run may replace: what decides which code runs, and on what."""

ROLES_THAT_EXIST = {
    "ExistingGlueJobRoleArn": {"GlueJobRole"},
    "ExistingOrchestratorRoleArn": {"OrchestratorRole"},
    "ExistingAnalystRoleArn": {"AnalystRole"},
    "ExistingFunctionRoleArn": {"GeneratorRole", "GeneratorScheduleRole", "BucketCleanerRole"},
}
"""Parameter -> the roles that are not made when it names one."""

METRICS = {
    "AWS/Events": {"TriggeredRules": {"RuleName"}, "FailedInvocations": {"RuleName"}},
    "AWS/SQS": {"NumberOfMessagesSent": {"QueueName"}, "ApproximateNumberOfMessagesVisible": {"QueueName"}},
    "AWS/Athena": {"ProcessedBytes": {"WorkGroup", "QueryType", "QueryState"}},
}
"""Metrics that AWS publishes by itself, with their dimensions; the others are put by the orchestrator."""

HIVE_TYPE = re.compile(
    r"string|int|bigint|double|boolean|date|timestamp|decimal\(([1-9]|[12]\d|3[0-8]),\d+\)|map<string,bigint>"
)
SERDES = {
    "parquet": "org.apache.hadoop.hive.ql.io.parquet.serde.ParquetHiveSerDe",
    "json": "org.openx.data.jsonserde.JsonSerDe",
}
DATABASES = ("bronze", "silver", "gold", "gold_partials", "ops")
QUESTIONS = {
    *("category_performance", "conversion_funnel", "hourly_revenue", "top_products", "user_activity"),
    *(question.name for question in load_questions()),
}
"""The named queries; a further Gold table needs none."""
LONGEST_LAMBDA_SECONDS = 900


class Statement(NamedTuple):
    """One statement of a policy that is worked out."""

    resource: str
    sid: str
    effect: str
    actions: tuple[str, ...]
    resources: tuple[str, ...]
    conditions: Mapping[str, str]
    """Key -> value."""
    principal: Any


def statements(template: Template) -> Iterator[Statement]:
    """Yield every statement of every policy; those of trust policies have no resources."""
    for name, properties in template.deployed.items():
        for policy in _policies(properties):
            for each in policy["Statement"]:
                conditions = {
                    key: value for operator in each.get("Condition", {}).values() for key, value in operator.items()
                }
                yield Statement(
                    name,
                    each.get("Sid", ""),
                    each["Effect"],
                    tuple(_list(each["Action"])),
                    tuple(_list(each.get("Resource", []))),
                    conditions,
                    each.get("Principal"),
                )


# -- the template as a whole


def linted(template: Template) -> list[str]:
    """cfn-lint: types, properties, references, formats."""
    found = lint(template.text, config=ManualArgs(regions=["us-east-1"]))
    return [f"{each.rule.id} {each.message}" for each in found]


def size_fits_a_request(template: Template) -> list[str]:
    """CloudFormation fetches the template, comments and all, from a bucket."""
    size = len(template.text.encode())
    return [f"{size:,} bytes, {MOST_BYTES:,} are the most"] if size > MOST_BYTES else []


def names_are_given_by_parameters(template: Template) -> list[str]:
    """Two stacks in one account do not take each other's names, and no account or region is written down."""
    faults = [f"{found}: an account" for found in re.findall(r"\b\d{12}\b", template.text)]
    faults += [f"{found}: a region" for found in re.findall(r"\b(?:us|eu|ap|sa|ca)-[a-z]+-\d\b", template.text)]
    named = {"BucketName", "QueueName", "TopicName", "RoleName", "FunctionName", "LogGroupName", "AlarmName"}
    for name, each in template.resources.items():
        properties = each.get("Properties", {})
        if properties.keys() & named - {"FunctionName"} and "NamePrefix" not in json.dumps(properties):
            faults.append(f"{name}: its name does not follow from NamePrefix")
        if each["Type"] == "AWS::Glue::Database" and "${DatabasePrefix}" not in json.dumps(properties):
            faults.append(f"{name}: its name does not follow from DatabasePrefix")
    for name, kind in (("SilverJob", "AWS::Glue::Job"), ("Workgroup", "AWS::Athena::WorkGroup")):
        if "NamePrefix" not in json.dumps(template.of_type(kind)[name]["Properties"]["Name"]):
            faults.append(f"{name}: its name does not follow from NamePrefix")
    return faults


def parameters_are_documented_and_bounded(template: Template) -> list[str]:
    """Every parameter says what it is, and only the two keys that deploy sets have no default."""
    faults = []
    for name, each in template.parameters.items():
        bounded = each.keys() & {"AllowedValues", "AllowedPattern", "MinValue"} or each["Type"] != "String"
        faults += [] if each.get("Description") else [f"{name}: no description"]
        faults += [] if bounded else [f"{name}: takes anything"]
    without = {name for name, each in template.parameters.items() if "Default" not in each}
    if without != {"GlueScriptKey", "GluePackageKey"}:
        faults.append(f"without a default: {sorted(without)}")
    for name, default in (("GeneratorCodeKey", ""), ("EmptyBucketsOnDelete", "false"), ("Alarms", "on")):
        if template.parameters[name].get("Default") != default:
            faults.append(f"{name}: the default must be {default!r}")
    return faults


def settings_are_parameters_or_outputs(template: Template) -> list[str]:
    """Every setting that names something in the account comes out of the stack, with the default of the code."""
    names = {_pascal(field): field for field in Settings.model_fields}
    said = template.parameters.keys() | template.outputs.keys()
    faults = []
    for name, field in names.items():
        info = Settings.model_fields[field]
        aws = str(info.description).startswith("AWS:")
        if aws and name not in said and field not in DECIDED_BY_THE_ORCHESTRATOR:
            faults.append(f"{field}: neither a parameter nor an output {name}")
        if name in template.parameters and name not in template.outputs:
            wanted = "".join(str(info.get_default(call_default_factory=True)).split())
            default = str(template.parameters[name].get("Default"))
            if default.lower() != wanted.lower():
                faults.append(f"{name}: the default is {default!r}, the setting's is {wanted!r}")
    for name in ("AwsRegion", "RawBucket", "LakeBucket", "ArtifactsBucket", "GlueJob", "AthenaWorkgroup"):
        faults += [] if name in template.outputs else [f"no output {name}"]
    for name in ("RawQueueUrl", "AlertTopicArn"):
        faults += [] if name in template.outputs else [f"no output {name}"]
    if template.parameters["GlueWorkerType"]["AllowedValues"] != [each.value for each in WorkerType]:
        faults.append("GlueWorkerType: other values than the setting's")
    least, most = _bounds("glue_workers")
    workers = template.parameters["GlueWorkers"]
    if (workers.get("MinValue"), workers.get("MaxValue")) != (least, most):
        faults.append(f"GlueWorkers: the bounds are not {least} to {most}, as the setting's")
    return faults


def outputs_are_exported(template: Template) -> list[str]:
    """Other stacks can import every output."""
    wanted = {name: {"Name": {"Fn::Sub": f"${{AWS::StackName}}-{name}"}} for name in template.outputs}
    return [f"{name}: no export" for name, each in template.outputs.items() if each.get("Export") != wanted[name]]


# -- access


def actions_exist(template: Template) -> list[str]:
    """Every action is one that AWS knows."""
    faults = []
    for each in statements(template):
        for action in each.actions:
            service, _, name = action.partition(":")
            if name != "*" and name.lower() not in _reference().get(service, {}).get("Actions", {}):
                faults.append(f"{each.resource} {each.sid}: there is no action {action}")
    return faults


def resources_fit_actions(template: Template) -> list[str]:
    """Every action gets a resource of a kind that it takes, and every resource an action that takes it."""
    faults = []
    for each in statements(template):
        if each.effect == "Deny" or each.actions == ("sts:AssumeRole",):
            continue
        kinds = {action: _arn_patterns(action) for action in each.actions}
        for action, patterns in kinds.items():
            if patterns and not any(re.fullmatch(p, r) for p in patterns for r in each.resources if r != "*"):
                if "*" not in each.resources:
                    faults.append(f"{each.resource} {each.sid}: {action} takes none of {list(each.resources)}")
            elif not patterns and each.resources != ("*",):
                faults.append(f"{each.resource} {each.sid}: {action} knows no resources")
        every = [pattern for patterns in kinds.values() for pattern in patterns]
        faults += [
            f"{each.resource} {each.sid}: no action takes {resource}"
            for resource in each.resources
            if resource != "*" and every and not any(re.fullmatch(pattern, resource) for pattern in every)
        ]
    return faults


def condition_keys_are_known(template: Template) -> list[str]:
    """A condition on a key that does not exist never holds, or always."""
    return [
        f"{each.resource} {each.sid}: condition key {key}"
        for each in statements(template)
        for key in each.conditions
        if key not in CONDITION_KEYS
    ]


def wildcards_have_a_reason(template: Template) -> list[str]:
    """`*` as a principal, action or whole resource stands on a line that says why."""
    faults = []
    for name, resource in template.resources.items():
        for policy in _policies(resource.get("Properties", {})):
            for statement in _statements(policy):
                for key in ("Principal", "Action", "Resource"):
                    for value in _scalars(statement.get(key, [])):
                        wild = value == "*" or (key == "Action" and "*" in value)
                        reason = template.line_of(value).partition("# wildcard:")[2].strip() if wild else ""
                        if wild and len(reason) < 20:
                            faults.append(f"{name} {statement.get('Sid')}: {key} {value} without a reason")
    return faults


def nothing_is_open_to_everybody(template: Template) -> list[str]:
    """Everybody is only ever named in a prohibition, and services are bound to this account or one resource."""
    faults = []
    for each in statements(template):
        if each.effect == "Allow" and each.principal is not None and each.resources:
            if "*" in json.dumps(each.principal):
                faults.append(f"{each.resource} {each.sid}: allowed to everybody")
            bound = each.conditions.keys() & {"aws:SourceArn", "aws:SourceAccount"}
            # EventBridge ignores statements with conditions in the policy of a topic: its messages would be dropped.
            must_be_free = each.principal == {"Service": "events.amazonaws.com"} and each.actions == ("sns:Publish",)
            if must_be_free and each.conditions:
                faults.append(f"{each.resource} {each.sid}: EventBridge takes no condition here")
            elif not bound and not must_be_free:
                faults.append(f"{each.resource} {each.sid}: a service of any account may do it")
    return faults


def services_act_for_this_account(template: Template) -> list[str]:
    """A service takes a role for this account's own resources only."""
    return [
        f"{each.resource}: {each.principal['Service']} may take it for another account"
        for each in statements(template)
        if each.actions == ("sts:AssumeRole",)
        and "Service" in each.principal
        and each.conditions.get("aws:SourceAccount") != ACCOUNT
    ]


def queues_and_topics_want_tls(template: Template) -> list[str]:
    """Each has a policy that refuses what is not encrypted on its way."""
    refused = {
        resource
        for each in statements(template)
        if each.effect == "Deny" and each.principal == "*" and each.conditions == {"aws:SecureTransport": "false"}
        for resource in each.resources
    }
    arns = {name: f"arn:aws:sqs:{REGION}:{ACCOUNT}:<{name}>" for name in template.of_type("AWS::SQS::Queue")}
    arns |= {name: f"arn:aws:sns:{REGION}:{ACCOUNT}:<{name}>" for name in template.of_type("AWS::SNS::Topic")}
    return [f"{name}: takes what is not encrypted" for name, arn in arns.items() if arn not in refused]


def analysts_have_a_workgroup_of_their_own(template: Template) -> list[str]:
    """Analysts neither read nor change results that the pipeline goes on with, nor run queries in its name."""
    made = {name: template.deployed[name] for name in template.of_type("AWS::Athena::WorkGroup")}
    places = {
        name: each["WorkGroupConfiguration"]["ResultConfiguration"]["OutputLocation"].removeprefix("s3://")
        for name, each in made.items()
    }
    if len(set(places.values())) != len(places) or "AnalystWorkgroup" not in places:
        return [f"results at {places}"]
    faults, own = [], f":workgroup/{template.deployed['AnalystWorkgroup']['Name']}"
    for each in statements(template):
        if each.resource == "AnalystRole":
            for resource in each.resources:
                place = resource.removeprefix("arn:aws:s3:::")
                if place.startswith("<artifactsbucket>/") and not place.startswith(places["AnalystWorkgroup"]):
                    faults.append(f"AnalystRole {each.sid}: {place}")
                if ":workgroup/" in resource and not resource.endswith(own):
                    faults.append(f"AnalystRole {each.sid}: {resource}")
    return faults


def roles_trust_their_actor(template: Template) -> list[str]:
    """Each role can be taken by its actor alone."""
    roles = {name: template.deployed[name] for name in template.of_type("AWS::IAM::Role")}
    trusts = {
        name: [each.get("Principal") for each in role["AssumeRolePolicyDocument"]["Statement"]]
        for name, role in roles.items()
    }
    return [
        f"{name}: trusts {trusts.get(name)}, not {TRUSTED.get(name)}"
        for name in sorted(TRUSTED.keys() | trusts.keys())
        if trusts.get(name) != [TRUSTED.get(name)]
    ]


def roles_that_exist_are_used(template: Template) -> list[str]:
    """A role that is given is taken instead of its own; with all given, the stack makes nothing of IAM."""
    given = {parameter: f"arn:aws:iam::{ACCOUNT}:role/{parameter}" for parameter in ROLES_THAT_EXIST}
    faults = []
    for parameter, roles in ROLES_THAT_EXIST.items():
        made = template.with_parameters(**EVERYTHING_ON, **{parameter: given[parameter]})
        faults += [f"{parameter}: {name} is made all the same" for name in sorted(roles & made.keys())]
        others = set(TRUSTED) - roles - made.keys()
        faults += [f"{parameter}: {name} is not made" for name in sorted(others)]
    all_given = template.with_parameters(**EVERYTHING_ON, **given)
    faults += [f"{name}: made by a stack that may make no roles" for name in all_given if _is_of_iam(template, name)]
    users = {
        "SilverJob": (all_given["SilverJob"]["Role"], "ExistingGlueJobRoleArn"),
        "Generator": (all_given["Generator"]["Role"], "ExistingFunctionRoleArn"),
        "GeneratorSchedule": (all_given["GeneratorSchedule"]["Target"]["RoleArn"], "ExistingFunctionRoleArn"),
        "BucketCleanerFunction": (all_given["BucketCleanerFunction"]["Role"], "ExistingFunctionRoleArn"),
    }
    return faults + [f"{name}: works as {role}" for name, (role, wanted) in users.items() if role != given[wanted]]


def _is_of_iam(template: Template, name: str) -> bool:
    return str(template.resources[name]["Type"]).startswith("AWS::IAM::")


def roles_write_where_they_must(template: Template) -> list[str]:
    """Nobody changes raw objects but their producer, nobody but the orchestrator a commit record."""
    faults = []
    for each in statements(template):
        writes = [action for action in each.actions if re.match(r"s3:(Put|Delete|Abort|Restore|Replicate|\*)", action)]
        if each.effect == "Allow" and writes:
            for resource in each.resources:
                place = resource.removeprefix("arn:aws:s3:::")
                if not place.startswith(WRITABLE.get(each.resource, ())):
                    faults.append(f"{each.resource} {each.sid}: {', '.join(writes)} on {place}")
        if each.resource == "AnalystRole":
            changes = [a for a in each.actions if re.match(r"glue:(?!Get|BatchGet)|athena:(Create|Update|Delete)", a)]
            faults += [f"AnalystRole {each.sid}: {action}" for action in changes]
            if any("gold_partials" in resource for resource in each.resources):
                faults.append(f"AnalystRole {each.sid}: partials are nobody's to query")
    return faults


def the_key_is_optional(template: Template) -> list[str]:
    """Without a key no policy speaks of one; with one every role that touches a bucket may use it."""
    without = template.with_parameters(**{**EVERYTHING_ON, "KmsKeyArn": ""})
    faults = ["kms in a stack without a key"] if "kms" in json.dumps(without) else []
    roles = template.deployed["KeyUse"].get("Roles", [])
    users = ("GlueJobRole", "OrchestratorRole", "AnalystRole", "GeneratorRole")
    return faults + [f"{name} cannot use the key" for name in users if f"<{name}>" not in roles]


# -- buckets and queue


def buckets_are_safe(template: Template) -> list[str]:
    """Versioned, encrypted, private, TLS only, kept when the stack goes."""
    faults = []
    plain = template.with_parameters(**{**EVERYTHING_ON, "KmsKeyArn": ""})
    for name, resource in template.of_type("AWS::S3::Bucket").items():
        made = template.deployed[name]
        if made.get("VersioningConfiguration") != {"Status": "Enabled"}:
            faults.append(f"{name}: not versioned")
        for properties, algorithm in ((made, "aws:kms"), (plain[name], "AES256")):
            rules = properties.get("BucketEncryption", {}).get("ServerSideEncryptionConfiguration", [{}])
            if rules[0].get("ServerSideEncryptionByDefault", {}).get("SSEAlgorithm") != algorithm:
                faults.append(f"{name}: not encrypted by {algorithm}")
        block = made.get("PublicAccessBlockConfiguration", {})
        if sorted(block) != sorted(_PUBLIC_ACCESS) or not all(value is True for value in block.values()):
            faults.append(f"{name}: public access is not blocked")
        if resource.get("DeletionPolicy") != "RetainExceptOnCreate" or resource.get("UpdateReplacePolicy") != "Retain":
            faults.append(f"{name}: goes with the stack")
        prohibitions = [
            each
            for each in statements(template)
            if each.effect == "Deny"
            and each.conditions == {"aws:SecureTransport": "false"}
            and each.actions == ("s3:*",)
        ]
        arn = f"arn:aws:s3:::<{name}>".lower()
        if not any({arn, f"{arn}/*"} <= set(each.resources) for each in prohibitions):
            faults.append(f"{name}: takes requests without TLS")
    return faults


def lifecycles_are_complete(template: Template) -> list[str]:
    """Replaced versions and broken uploads go; of what is published nothing goes by age."""
    faults = []
    expiring = {"RawBucket": {RAW_ROOT}, "LakeBucket": {"decoded/"}, "ArtifactsBucket": _PASSING_PREFIXES}
    for name, prefixes in expiring.items():
        rules = template.deployed[name].get("LifecycleConfiguration", {}).get("Rules", [])
        rules = [rule for rule in rules if rule["Status"] == "Enabled"]
        if {rule.get("Prefix", "") for rule in rules if "ExpirationInDays" in rule} != prefixes:
            faults.append(f"{name}: by age must go {sorted(prefixes)} and nothing else")
        for what in ("NoncurrentVersionExpiration", "AbortIncompleteMultipartUpload"):
            if not any(what in rule and not rule.get("Prefix") for rule in rules):
                faults.append(f"{name}: no {what} for everything")
    return faults


def raw_outlives_what_is_looked_for(template: Template) -> list[str]:
    """Whatever the settings allow, an hour is found and built long before its raw objects expire."""
    longest = max(
        _bounds("sensor_recent_hours")[1] / 24,
        _bounds("catch_up_days")[1] if "catch_up_days" in Settings.model_fields else 0,
        Settings.model_fields["event_max_age_days"].default,
    )
    least = template.parameters["RawRetentionDays"].get("MinValue", 0)
    return [] if least > longest else [f"raw may expire after {least} days, the sensor may look back {longest:g}"]


def new_objects_reach_the_queue(template: Template) -> list[str]:
    """EventBridge sends each new object below events/ to the queue, of a bucket made here or there before."""
    faults = []
    pattern = template.deployed["NewRawObjects"]["EventPattern"]
    if pattern.get("source") != ["aws.s3"] or pattern.get("detail-type") != ["Object Created"]:
        faults.append("NewRawObjects: not the events of new objects")
    if pattern["detail"]["object"] != {"key": [{"prefix": RAW_ROOT}]}:
        faults.append(f"NewRawObjects: not the objects below {RAW_ROOT}")
    if pattern["detail"]["bucket"] != {"name": ["<rawbucket>"]}:
        faults.append("NewRawObjects: not the raw bucket")
    brought = template.with_parameters(**{**EVERYTHING_ON, "ExistingRawBucket": "producers"})
    if (
        brought["NewRawObjects"]["EventPattern"]["detail"]["bucket"] != {"name": ["producers"]}
        or "RawBucket" in brought
    ):
        faults.append("ExistingRawBucket: a bucket is made, or another one is listened to")
    bridge = template.deployed["RawBucket"].get("NotificationConfiguration", {}).get("EventBridgeConfiguration", {})
    if bridge.get("EventBridgeEnabled") is not True:
        faults.append("RawBucket: tells EventBridge nothing")
    queue = template.deployed["RawQueue"]
    if queue.get("RedrivePolicy", {}).get("deadLetterTargetArn") != f"arn:aws:sqs:{REGION}:{ACCOUNT}:<DeadLetters>":
        faults.append("RawQueue: no dead letters")
    for name in ("RawQueue", "DeadLetters"):
        if template.deployed[name].get("SqsManagedSseEnabled") is not True:
            faults.append(f"{name}: not encrypted")
    allowed = [each for each in statements(template) if each.resource == "RawQueuePolicy" and each.effect == "Allow"]
    rule = {"aws:SourceArn": f"arn:aws:events:{REGION}:{ACCOUNT}:rule/<NewRawObjects>"}
    if [(each.principal, each.conditions) for each in allowed] != [({"Service": "events.amazonaws.com"}, rule)]:
        faults.append("RawQueuePolicy: not the rule alone may send")
    return faults


# -- catalog, job, workgroup


def tables_follow_the_contract(template: Template) -> list[str]:
    """Columns, types, partition keys and formats are those of the contract; bronze takes every line as text."""
    found = {
        f"{each['DatabaseName']}.{each['TableInput']['Name']}": each["TableInput"]
        for name, each in template.deployed.items()
        if template.resources[name]["Type"] == "AWS::Glue::Table"
    }
    wanted = {table.full_name for table in HOUR_TABLES} | {"bronze.events"}
    faults = [f"tables {sorted(found)}, not {sorted(wanted)}"] if found.keys() != wanted else []
    for table in HOUR_TABLES:
        present = found.get(table.full_name, {})
        storage = present.get("StorageDescriptor", {})
        for what, columns, described in (
            ("columns", table.columns, storage.get("Columns", [])),
            ("partition keys", table.partition_columns, present.get("PartitionKeys", [])),
        ):
            if [(c.name, c.type) for c in columns] != [(each["Name"], each["Type"]) for each in described]:
                faults.append(f"{table.full_name}: the {what} are not the contract's")
    bronze = found.get("bronze.events", {})
    storage = bronze.get("StorageDescriptor", {})
    serde = storage.get("SerdeInfo", {}).get("Parameters", {})
    types = {each["Name"]: each["Type"] for each in storage.get("Columns", [])}
    fields = [serde.get(f"mapping.{column}", column) for column in types]
    if fields != list(EVENT_FIELDS):
        faults.append(f"bronze.events: shows {fields}, not the fields of a record")
    if set(types.values()) != {"string"} or serde.get("ignore.malformed.json") != "true":
        faults.append("bronze.events: a malformed line fails the query")
    if "timestamp" in types:
        faults.append("bronze.events: `timestamp` is a reserved word")
    for name, each in found.items():
        classification = each["Parameters"]["classification"]
        if each["StorageDescriptor"]["SerdeInfo"]["SerializationLibrary"] != SERDES[classification]:
            faults.append(f"{name}: not the SerDe of {classification}")
        shown = [c["Type"] for c in (*each["StorageDescriptor"]["Columns"], *each["PartitionKeys"])]
        faults += [f"{name}: {type_} is no type" for type_ in shown if not HIVE_TYPE.fullmatch(type_)]
    return faults


def databases_are_there(template: Template) -> list[str]:
    """One database for each name that the code uses, with the prefix."""
    names = {
        each["DatabaseInput"]["Name"]
        for name, each in template.with_parameters(**{**EVERYTHING_ON, "DatabasePrefix": "two_"}).items()
        if template.resources[name]["Type"] == "AWS::Glue::Database"
    }
    wanted = {f"two_{name}" for name in DATABASES}
    return [] if names == wanted else [f"databases {sorted(names)}, not {sorted(wanted)}"]


def the_job_is_as_the_code_starts_it(template: Template) -> list[str]:
    """Command, version, arguments, bounds and logs of the Glue job."""
    made = template.deployed["SilverJob"]
    fixed = made.get("NonOverridableArguments", {})
    arguments = made.get("DefaultArguments", {}) | fixed
    prefix = "/aws-glue/jobs/event-pipeline-silver"
    artifacts = "s3://<artifactsbucket>/"
    wheels = EVERYTHING_ON["GlueWheelKeys"].split(",")
    expected = {
        "Name": (made.get("Name"), Settings.model_fields["glue_job"].default),
        "Command.Name": (made["Command"].get("Name"), "glueetl"),
        "Command.PythonVersion": (made["Command"].get("PythonVersion"), "3"),
        "ScriptLocation": (made["Command"].get("ScriptLocation"), artifacts + EVERYTHING_ON["GlueScriptKey"]),
        "GlueVersion": (made.get("GlueVersion"), "5.1"),
        "MaxRetries": (made.get("MaxRetries"), 0),
        "Timeout": (made.get("Timeout"), Settings.model_fields["glue_timeout_minutes"].default),
        "MaxConcurrentRuns": (
            made.get("ExecutionProperty", {}).get("MaxConcurrentRuns"),
            Settings.model_fields["silver_pool_limit"].default,
        ),
        "JobRunQueuingEnabled": (made.get("JobRunQueuingEnabled"), True),
        "bookmarks": (arguments.get("--job-bookmark-option"), "job-bookmark-disable"),
        "package": (arguments.get("--extra-py-files"), artifacts + EVERYTHING_ON["GluePackageKey"]),
        "wheels": (arguments.get("--additional-python-modules"), ",".join(artifacts + key for key in wheels)),
        "package index": (arguments.get("--python-modules-installer-option"), "--no-index --no-deps"),
        "region": (arguments.get("--region"), REGION),
        "metrics": (arguments.get("--enable-metrics"), "true"),
        "fixed arguments": (fixed.keys(), CODE_ARGUMENTS),
        "logs": (arguments.get("--custom-logGroup-prefix"), prefix),
    }
    faults = [f"SilverJob: {what} is {is_!r}, not {must!r}" for what, (is_, must) in expected.items() if is_ != must]
    for name, suffix in (("GlueOutputLog", "output"), ("GlueErrorLog", "error")):
        log = template.deployed.get(name, {})
        if log.get("LogGroupName") != f"{prefix}/{suffix}" or not log.get("RetentionInDays"):
            faults.append(f"{name}: not the log group {prefix}/{suffix} with a retention")
    bare = template.with_parameters(**{**EVERYTHING_ON, "GlueWheelKeys": ""})["SilverJob"]["NonOverridableArguments"]
    if {"--additional-python-modules", "--python-modules-installer-option"} & bare.keys():
        faults.append("SilverJob: without wheels it still installs some")
    plain = template.with_parameters(**{**EVERYTHING_ON, "GlueMetrics": "false"})["SilverJob"]["DefaultArguments"]
    if {"--enable-metrics", "--enable-observability-metrics"} & plain.keys():
        faults.append("SilverJob: it has metrics, which cost more than its runs, without being asked to")
    if template.parameters["GlueMetrics"]["Default"] != "false":
        faults.append("GlueMetrics: on by default, and it costs more than the runs")
    return faults


def logs_are_deleted_some_day(template: Template) -> list[str]:
    """No log group grows for ever."""
    groups = template.of_type("AWS::Logs::LogGroup")
    return [f"{name}: no retention" for name in groups if not template.deployed[name].get("RetentionInDays")]


def the_workgroup_bounds_queries(template: Template) -> list[str]:
    """Queries cannot write elsewhere, scan without limit, or leave results unencrypted."""
    made = template.deployed["Workgroup"]["WorkGroupConfiguration"]
    result = made.get("ResultConfiguration", {})
    wanted = {
        "EnforceWorkGroupConfiguration": (made.get("EnforceWorkGroupConfiguration"), True),
        "PublishCloudWatchMetricsEnabled": (made.get("PublishCloudWatchMetricsEnabled"), True),
        "OutputLocation": (result.get("OutputLocation"), "s3://<artifactsbucket>/athena-results/"),
        "encryption": (result.get("EncryptionConfiguration", {}).get("EncryptionOption"), "SSE_KMS"),
    }
    faults = [f"Workgroup: {what} is {is_!r}, not {must!r}" for what, (is_, must) in wanted.items() if is_ != must]
    cutoff = made.get("BytesScannedCutoffPerQuery")
    return faults if cutoff else [*faults, "Workgroup: a query may scan without limit"]


def named_queries_are_those_of_the_code(template: Template) -> list[str]:
    """Each named query is what `query --name` asks, rendered for Athena."""
    tables = load_gold_tables()
    columns = {
        table.table.full_name: [column.name for column in (*table.table.partition_columns, *table.columns)]
        for table in tables
    }
    prefixed = template.with_parameters(**{**EVERYTHING_ON, "DatabasePrefix": "two_"})
    found = {
        each["Name"]: " ".join(each["QueryString"].split())
        for name, each in prefixed.items()
        if template.resources[name]["Type"] == "AWS::Athena::NamedQuery"
    }
    faults = [f"no named query {name}" for name in sorted(QUESTIONS - found.keys())]
    asked_by_name = {table.name: named_query(table.name, tables) for table in tables}
    asked_by_name |= {question.name: question.sql for question in load_questions()}
    for name, asked in found.items():
        if name not in asked_by_name:
            faults.append(f"{name}: there is no such Gold table or question")
            continue
        query = with_star_named(parse_query(asked_by_name[name]), columns)
        rendered = " ".join(render(rename_databases(query, lambda database: f"two_{database}"), "athena").split())
        if asked != rendered:
            faults.append(f"{name}: its named query is not {rendered}")
    return faults


# -- generator and alarms


def the_generator_keeps_its_bounds(template: Template) -> list[str]:
    """One object a tick, ticks never side by side, none lost in silence."""
    made, schedule = template.deployed["Generator"], template.deployed["GeneratorSchedule"]
    target, letters = schedule["Target"], f"arn:aws:sqs:{REGION}:{ACCOUNT}:<DeadLetters>"
    events = template.parameters["GeneratorEventsPerFile"]
    faults = []
    if made.get("ReservedConcurrentExecutions") != 1:
        faults.append("Generator: ticks may overlap")
    if made.get("DeadLetterConfig", {}).get("TargetArn") != letters or target.get("DeadLetterConfig", {}) != {
        "Arn": letters
    }:
        faults.append("Generator: a lost tick leaves no dead letter")
    if schedule["ScheduleExpression"] != "cron(0/5 * * * ? *)" or schedule["FlexibleTimeWindow"]["Mode"] != "OFF":
        faults.append("GeneratorSchedule: not every five minutes by the clock")
    if "<aws.scheduler.scheduled-time>" not in target.get("Input", ""):
        faults.append("GeneratorSchedule: does not say for which tick it is")
    if (events["MinValue"], events["MaxValue"]) != (500_000, 750_000) or events["MaxValue"] > MAX_EVENTS_PER_FILE:
        faults.append("GeneratorEventsPerFile: not from 500,000 to 750,000")
    if made.get("Handler") != "event_pipeline.generator.lambda_handler.handler":
        faults.append("Generator: there is no such handler")
    if not 60 <= made.get("Timeout", 0) <= LONGEST_LAMBDA_SECONDS or made.get("MemorySize", 0) < 256:
        faults.append("Generator: too little time or memory")
    if "BucketCleaner" not in json.dumps(template.resources["Generator"]):
        faults.append("Generator: the buckets may be emptied while it still writes")
    off = template.with_parameters(**{**EVERYTHING_ON, "GeneratorCodeKey": ""})
    return faults + [f"{name}: there without a generator" for name in off if name.startswith("Generator")]


def alarms_watch_what_is_published(template: Template) -> list[str]:
    """Each alarm tells the topic, and its metric is published by AWS or put by the orchestrator, who may put it."""
    own = template.said["MetricNamespace"]
    allowed = {
        each.conditions.get("cloudwatch:namespace")
        for each in statements(template)
        if each.resource == "OrchestratorRole" and "cloudwatch:PutMetricData" in each.actions
    }
    put = {(own, QUARANTINED_SHARE)} if allowed == {own} else set()
    topic = f"arn:aws:sns:{REGION}:{ACCOUNT}:<AlertTopic>"
    faults, seen = [], set()
    for name in template.of_type("AWS::CloudWatch::Alarm"):
        made = template.deployed[name]
        metric = made if "MetricName" in made else made["Metrics"][0]["MetricStat"]["Metric"]
        place = metric["Namespace"], metric["MetricName"]
        seen.add(place[1])
        dimensions = {each["Name"] for each in metric.get("Dimensions", [])}
        if METRICS.get(place[0], {}).get(place[1]) != dimensions and not (place in put and not dimensions):
            faults.append(f"{name}: nobody publishes {place[0]} {place[1]} by {sorted(dimensions)}")
        if made.get("AlarmActions") != [topic]:
            faults.append(f"{name}: tells nobody")
        if name == "NoNewObjectsAlarm":
            minutes = made["Period"] * made["EvaluationPeriods"] / 60
            if minutes != 15 or made.get("TreatMissingData") != "breaching":
                faults.append(f"{name}: not after 15 minutes of silence")
    wanted = {"TriggeredRules", "NumberOfMessagesSent", QUARANTINED_SHARE, "ProcessedBytes"}
    wanted |= {"ApproximateNumberOfMessagesVisible", "FailedInvocations"}
    faults += [f"no alarm on {name}" for name in sorted(wanted - seen)]
    states = template.deployed["FailedGlueRuns"]["EventPattern"]["detail"]["state"]
    if not {"FAILED", "TIMEOUT", "ERROR"} <= set(states):
        faults.append("FailedGlueRuns: not every failure")
    off = template.with_parameters(**{**EVERYTHING_ON, "Alarms": "off"})
    return faults + [f"{name}: there without alarms" for name in off if name.endswith("Alarm")]


def what_costs_is_tagged(template: Template) -> list[str]:
    """Buckets, queues, functions, the job and the workgroup can be told apart on a bill."""
    kinds = ("AWS::S3::Bucket", "AWS::SQS::Queue", "AWS::Lambda::Function", "AWS::Glue::Job", "AWS::Athena::WorkGroup")
    names = [name for kind in kinds for name in template.of_type(kind)]
    return [f"{name}: no tag" for name in names if "pipeline" not in json.dumps(template.deployed[name].get("Tags"))]


CHECKS: tuple[Callable[[Template], list[str]], ...] = (
    linted,
    size_fits_a_request,
    names_are_given_by_parameters,
    parameters_are_documented_and_bounded,
    settings_are_parameters_or_outputs,
    outputs_are_exported,
    actions_exist,
    resources_fit_actions,
    condition_keys_are_known,
    wildcards_have_a_reason,
    nothing_is_open_to_everybody,
    services_act_for_this_account,
    queues_and_topics_want_tls,
    analysts_have_a_workgroup_of_their_own,
    roles_trust_their_actor,
    roles_that_exist_are_used,
    roles_write_where_they_must,
    the_key_is_optional,
    buckets_are_safe,
    lifecycles_are_complete,
    raw_outlives_what_is_looked_for,
    new_objects_reach_the_queue,
    tables_follow_the_contract,
    databases_are_there,
    the_job_is_as_the_code_starts_it,
    logs_are_deleted_some_day,
    the_workgroup_bounds_queries,
    named_queries_are_those_of_the_code,
    the_generator_keeps_its_bounds,
    alarms_watch_what_is_published,
    what_costs_is_tagged,
)

_PUBLIC_ACCESS = ("BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets")
_PASSING_PREFIXES = {"athena-results/", "analyst-results/", "plans/", "pipes/"}
_AUTHORIZATION = json.loads(files("cfnlint.data.AdditionalSpecs").joinpath("Policies.json").read_text(encoding="utf-8"))


def _reference() -> Mapping[str, Any]:
    return dict(_AUTHORIZATION)


def service_actions(service: str) -> list[str]:
    """Return the names of a service's actions, in lower case."""
    return list(_reference()[service]["Actions"])


def _arn_patterns(action: str) -> list[str]:
    """Return patterns of the ARNs that an action takes; none for one without resources."""
    service, _, name = action.partition(":")
    known = _AUTHORIZATION.get(service, {})
    if name == "PutMetricData":
        return []  # the reference names a kind of resource that only data sets of telemetry have
    patterns = []
    for kind in known.get("Actions", {}).get(name.lower(), {}).get("Resources", []):
        for form in known["Resources"].get(kind, {}).get("ARNFormats", []):
            pattern = form.replace("${Partition}", "aws").replace("${Region}", REGION).replace("${Account}", ACCOUNT)
            if service == "s3":
                # The reference does not tell objects from buckets.
                pattern = pattern.replace(":::.*", ":::[^/]+/.*" if kind == "object" else ":::[^/]+")
            patterns.append(pattern)
    return patterns


def _list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list) else [value]


def _policies(properties: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for key in ("PolicyDocument", "AssumeRolePolicyDocument"):
        if key in properties:
            yield properties[key]
    for each in properties.get("Policies", []):
        yield each["PolicyDocument"]


def _statements(policy: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for each in policy["Statement"]:
        yield from [each] if "Effect" in each else [branch for branch in each["Fn::If"] if "Effect" in branch]


def _scalars(value: Any) -> Iterator[Any]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for each in value:
            yield from _scalars(each)
    elif isinstance(value, dict) and not any(str(key).startswith(("Fn::", "Ref")) for key in value):
        for each in value.values():
            yield from _scalars(each)


def _pascal(field: str) -> str:
    return "".join(part.capitalize() for part in field.split("_"))


def _bounds(field: str) -> tuple[Any, Any]:
    """Return what a setting takes at least and at most; without a bound its default stands for it."""
    info = Settings.model_fields[field]
    least = [each.ge for each in info.metadata if hasattr(each, "ge")]
    most = [each.le for each in info.metadata if hasattr(each, "le")]
    return (least or [info.default])[0], (most or [info.default])[0]
