"""The template passes every check, and each check catches the fault that is planted for it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest

from event_pipeline.settings import SettingsError, load_settings
from event_pipeline_tests.infra import checks
from event_pipeline_tests.infra.checks import CHECKS
from event_pipeline_tests.infra.template import EVERYTHING_ON, TEMPLATE, Template

TEXT = TEMPLATE.read_text(encoding="utf-8")
Check = Callable[[Template], list[str]]


@pytest.fixture(scope="module")
def template() -> Template:
    """The template of this checkout."""
    return Template(TEXT)


@pytest.mark.parametrize(
    "check",
    [
        pytest.param(check, id=check.__name__, marks=[pytest.mark.long] if check is checks.linted else [])
        for check in CHECKS
    ],
)
def test_the_template_passes(check: Check, template: Template) -> None:
    assert check(template) == []


PLANTED = [
    # the template as a whole
    (
        "a longer template",
        "Description: Prefix of all names",
        f"Description: {'x' * 1_000_000}",
        checks.size_fits_a_request,
    ),
    (
        "an account",
        "arn:${AWS::Partition}:iam::${AWS::AccountId}:root",
        "arn:aws:iam::123456789012:root",
        checks.names_are_given_by_parameters,
    ),
    ("a name of its own", "Name: !Sub ${DatabasePrefix}gold\n", "Name: gold\n", checks.names_are_given_by_parameters),
    (
        "a job of a fixed name",
        "Name: !Sub ${NamePrefix}-silver\n",
        "Name: event-pipeline-silver\n",
        checks.names_are_given_by_parameters,
    ),
    (
        "buckets emptied by default",
        "Default: 'false'\n    AllowedValues: ['true', 'false']\n    Description: Whether del",
        "Default: 'true'\n    AllowedValues: ['true', 'false']\n    Description: Whether del",
        checks.parameters_are_documented_and_bounded,
    ),
    ("another default than the code", "Default: G.1X", "Default: G.2X", checks.settings_are_parameters_or_outputs),
    (
        "one worker",
        "Default: 3\n    MinValue: 2",
        "Default: 3\n    MinValue: 1",
        checks.settings_are_parameters_or_outputs,
    ),
    ("an output of another name", "  RawQueueUrl:", "  RawQueueAddress:", checks.settings_are_parameters_or_outputs),
    ("an export of another name", "${AWS::StackName}-GlueJob'", "${AWS::StackName}-Job'", checks.outputs_are_exported),
    # access
    ("an action that is none", "glue:BatchGetPartition", "glue:BatchGetPartitions", checks.actions_exist),
    ("an action of another service", "athena:StopQueryExecution", "glue:StopQueryExecution", checks.actions_exist),
    (
        "objects listed instead of the bucket",
        "arn:${AWS::Partition}:s3:::${RawBucketName.Value}\n",
        "arn:${AWS::Partition}:s3:::${RawBucketName.Value}/*\n",
        checks.resources_fit_actions,
    ),
    ("a workgroup that is a job", ":workgroup/${Workgroup}", ":job/${Workgroup}", checks.resources_fit_actions),
    ("a condition key that is none", "aws:SourceAccount", "aws:SourceAccountId", checks.condition_keys_are_known),
    (
        "a wildcard without a reason",
        "Resource: '*'  # wildcard: these three list what there is and know no resources",
        "Resource: '*'",
        checks.wildcards_have_a_reason,
    ),
    ("a wildcard action", "Action: [glue:GetJob, ", "Action: ['glue:*', ", checks.wildcards_have_a_reason),
    (
        "everybody may send",
        "Principal: {Service: events.amazonaws.com}",
        "Principal: '*'",
        checks.nothing_is_open_to_everybody,
    ),
    (
        "alerts of any account",
        "            Condition: {StringEquals: {aws:SourceAccount: !Ref AWS::AccountId}}\n\n",
        "\n",
        checks.nothing_is_open_to_everybody,
    ),
    (
        "a topic that drops EventBridge's messages",
        "            Principal: {Service: events.amazonaws.com}\n            Action: sns:Publish\n",
        "            Principal: {Service: events.amazonaws.com}\n            Action: sns:Publish\n"
        "            Condition: {StringEquals: {aws:SourceAccount: !Ref AWS::AccountId}}\n",
        checks.nothing_is_open_to_everybody,
    ),
    (
        "a role that a service takes for another account",
        "            Principal: {Service: glue.amazonaws.com}\n            Action: sts:AssumeRole\n"
        "            Condition: {StringEquals: {aws:SourceAccount: !Ref AWS::AccountId}}\n",
        "            Principal: {Service: glue.amazonaws.com}\n            Action: sts:AssumeRole\n",
        checks.services_act_for_this_account,
    ),
    (
        "dead letters without TLS",
        "Resource: !GetAtt DeadLetters.Arn\n            Condition: {Bool: {aws:SecureTransport: 'false'}}\n",
        "Resource: !GetAtt DeadLetters.Arn\n            Condition: {Bool: {aws:SecureTransport: 'true'}}\n",
        checks.queues_and_topics_want_tls,
    ),
    (
        "alerts without TLS",
        "            Resource: !Ref AlertTopic\n            Condition: {Bool: {aws:SecureTransport: 'false'}}\n",
        "            Resource: !Ref AlertTopic\n            Condition: {Bool: {aws:SecureTransport: 'true'}}\n",
        checks.queues_and_topics_want_tls,
    ),
    (
        "analysts that read the pipeline's results",
        "/analyst-results/*",
        "/athena-results/*",
        checks.analysts_have_a_workgroup_of_their_own,
    ),
    (
        "analysts in the pipeline's workgroup",
        "workgroup/${AnalystWorkgroup}",
        "workgroup/${Workgroup}",
        checks.analysts_have_a_workgroup_of_their_own,
    ),
    (
        "one place for all results",
        "/analyst-results/\n",
        "/athena-results/\n",
        checks.analysts_have_a_workgroup_of_their_own,
    ),
    (
        "a role for another service",
        "Principal: {Service: glue.amazonaws.com}",
        "Principal: {Service: ec2.amazonaws.com}",
        checks.roles_trust_their_actor,
    ),
    (
        "a job that changes commit records",
        "/runs/hours/*\n                  - !Sub arn:${AWS::Partition}:s3:::${LakeBucketName.Value}/decoded/*",
        "/commits/*\n                  - !Sub arn:${AWS::Partition}:s3:::${LakeBucketName.Value}/decoded/*",
        checks.roles_write_where_they_must,
    ),
    (
        "an orchestrator that deletes raw",
        "Sid: ReadRaw\n                Effect: Allow\n                Action: s3:GetObject",
        "Sid: ReadRaw\n                Effect: Allow\n                Action: [s3:GetObject, s3:DeleteObject]",
        checks.roles_write_where_they_must,
    ),
    (
        "analysts that change tables",
        "                  - glue:GetDatabases\n",
        "                  - glue:GetDatabases\n                  - glue:UpdateTable\n",
        checks.roles_write_where_they_must,
    ),
    (
        "a role without the key",
        "        - !If [MakeAnalystRole, !Ref AnalystRole, !Ref AWS::NoValue]\n",
        "",
        checks.the_key_is_optional,
    ),
    (
        "a role made beside the one that exists",
        "    Type: AWS::IAM::Role\n    Condition: MakeAnalystRole\n",
        "    Type: AWS::IAM::Role\n",
        checks.roles_that_exist_are_used,
    ),
    (
        "a policy for roles that are not made",
        "    Condition: GrantKeyUse\n",
        "    Condition: UseKms\n",
        checks.roles_that_exist_are_used,
    ),
    (
        "a schedule that works as nobody",
        "RoleArn: !If [MakeFunctionRoles, !GetAtt GeneratorScheduleRole.Arn, !Ref ExistingFunctionRoleArn]",
        "RoleArn: !If [MakeFunctionRoles, !GetAtt GeneratorScheduleRole.Arn, !Ref ExistingAnalystRoleArn]",
        checks.roles_that_exist_are_used,
    ),
    # buckets and queue
    ("no versions", "      VersioningConfiguration: {Status: Enabled}\n", "", checks.buckets_are_safe),
    (
        "public access",
        "        RestrictPublicBuckets: true\n",
        "        RestrictPublicBuckets: false\n",
        checks.buckets_are_safe,
    ),
    (
        "data that goes with the stack",
        "DeletionPolicy: RetainExceptOnCreate",
        "DeletionPolicy: Delete",
        checks.buckets_are_safe,
    ),
    (
        "requests without TLS",
        "Condition: {Bool: {aws:SecureTransport: 'false'}}",
        "Condition: {Bool: {aws:SecureTransport: 'true'}}",
        checks.buckets_are_safe,
    ),
    (
        "published files that expire",
        "      LifecycleConfiguration:\n        Rules:\n          # What is published",
        "      LifecycleConfiguration:\n        Rules:\n          - {Id: old, Status: Enabled, Prefix: runs/, "
        "ExpirationInDays: 9}\n          # What is published",
        checks.lifecycles_are_complete,
    ),
    (
        "versions that stay",
        "            NoncurrentVersionExpiration: {NoncurrentDays: !Ref ReplacedRetentionDays}\n",
        "",
        checks.lifecycles_are_complete,
    ),
    ("raw that expires unseen", "MinValue: 35", "MinValue: 1", checks.raw_outlives_what_is_looked_for),
    (
        "another prefix",
        'object: {key: [prefix: !Sub "${RawPrefix}events/"]}',
        "object: {key: [prefix: event/]}",
        checks.new_objects_reach_the_queue,
    ),
    (
        "a bucket that tells nothing",
        "EventBridgeConfiguration: {EventBridgeEnabled: true}",
        "EventBridgeConfiguration: {EventBridgeEnabled: false}",
        checks.new_objects_reach_the_queue,
    ),
    # catalog, job, workgroup
    (
        "a column of another type",
        "Name: price, Type: 'decimal(10,2)'",
        "Name: price, Type: 'decimal(18,2)'",
        checks.tables_follow_the_contract,
    ),
    (
        "a type that Hive lacks",
        "Name: quantity, Type: int,",
        "Name: quantity, Type: integer,",
        checks.tables_follow_the_contract,
    ),
    (
        "columns out of order",
        "Name: user_id, Type: string, ",
        "Name: session_id, Type: string, ",
        checks.tables_follow_the_contract,
    ),
    (
        "a SerDe that is none",
        "org.openx.data.jsonserde.JsonSerDe",
        "org.openx.data.jsonserde.JsonSerde",
        checks.tables_follow_the_contract,
    ),
    (
        "the timestamp unmapped",
        "mapping.event_timestamp: 'timestamp'",
        "mapping.event_timestamp: 'ts'",
        checks.tables_follow_the_contract,
    ),
    (
        "malformed lines that fail queries",
        "ignore.malformed.json: 'true'",
        "ignore.malformed.json: 'false'",
        checks.tables_follow_the_contract,
    ),
    ("no database of partials", "gold_partials\n", "partials\n", checks.databases_are_there),
    ("a job of another kind", "Name: glueetl", "Name: pythonshell", checks.the_job_is_as_the_code_starts_it),
    ("bookmarks", "job-bookmark-disable", "job-bookmark-enable", checks.the_job_is_as_the_code_starts_it),
    (
        "code that a run may replace",
        "NonOverridableArguments:\n        --job-bookmark-option",
        "NonOverridableArguments: {}\n      Replaceable:\n        --job-bookmark-option",
        checks.the_job_is_as_the_code_starts_it,
    ),
    (
        "metrics of each run by default",
        "--enable-metrics: !If [WithGlueMetrics, 'true', !Ref AWS::NoValue]",
        "--enable-metrics: 'true'",
        checks.the_job_is_as_the_code_starts_it,
    ),
    ("the newest Glue", "GlueVersion: !Ref GlueVersion", "GlueVersion: '6.0'", checks.the_job_is_as_the_code_starts_it),
    ("packages from an index", "--no-index --no-deps", "--no-deps", checks.the_job_is_as_the_code_starts_it),
    ("no region", "        --region: !Ref AWS::Region\n", "", checks.the_job_is_as_the_code_starts_it),
    (
        "logs elsewhere",
        "LogGroupName: !Sub /aws-glue/jobs/${NamePrefix}-silver/output",
        "LogGroupName: !Sub /aws-glue/jobs/${NamePrefix}/output",
        checks.the_job_is_as_the_code_starts_it,
    ),
    (
        "logs for ever",
        "/${NamePrefix}-generator\n      RetentionInDays: !Ref LogRetentionDays\n",
        "/${NamePrefix}-generator\n",
        checks.logs_are_deleted_some_day,
    ),
    (
        "results anywhere",
        "EnforceWorkGroupConfiguration: true",
        "EnforceWorkGroupConfiguration: false",
        checks.the_workgroup_bounds_queries,
    ),
    (
        "scans without limit",
        "        BytesScannedCutoffPerQuery: !Ref AthenaScanLimitBytes\n",
        "",
        checks.the_workgroup_bounds_queries,
    ),
    (
        "a question of its own",
        "gold.user_activity ORDER",
        "gold.user_activity WHERE TRUE ORDER",
        checks.named_queries_are_those_of_the_code,
    ),
    # generator and alarms
    (
        "ticks side by side",
        "      ReservedConcurrentExecutions: 1\n      DeadLetterConfig",
        "      ReservedConcurrentExecutions: 2\n      DeadLetterConfig",
        checks.the_generator_keeps_its_bounds,
    ),
    (
        "ticks lost in silence",
        "      DeadLetterConfig: {TargetArn: !GetAtt DeadLetters.Arn}\n",
        "",
        checks.the_generator_keeps_its_bounds,
    ),
    ("every five minutes of an hour", "cron(0/5 * * * ? *)", "rate(5 minutes)", checks.the_generator_keeps_its_bounds),
    (
        "a generator that is always on",
        "Type: AWS::Scheduler::Schedule\n    Condition: MakeGenerator\n",
        "Type: AWS::Scheduler::Schedule\n    Condition: MakeAlarms\n",
        checks.the_generator_keeps_its_bounds,
    ),
    (
        "a metric that nobody publishes",
        "MetricName: QuarantinedShare",
        "MetricName: QuarantineShare",
        checks.alarms_watch_what_is_published,
    ),
    (
        "a metric that nobody may publish",
        "cloudwatch:namespace: !Ref NamePrefix",
        "cloudwatch:namespace: Glue",
        checks.alarms_watch_what_is_published,
    ),
    (
        "an alarm on another namespace",
        "Namespace: !Ref NamePrefix\n      MetricName",
        "Namespace: !Ref DatabasePrefix\n      MetricName",
        checks.alarms_watch_what_is_published,
    ),
    (
        "silence that is fine",
        "TreatMissingData: breaching",
        "TreatMissingData: notBreaching",
        checks.alarms_watch_what_is_published,
    ),
    (
        "an alarm that tells nobody",
        "      AlarmActions: [!Ref AlertTopic]\n",
        "",
        checks.alarms_watch_what_is_published,
    ),
    (
        "timeouts that are no failures",
        "state: [FAILED, TIMEOUT, ERROR]",
        "state: [FAILED, ERROR]",
        checks.alarms_watch_what_is_published,
    ),
    (
        "a queue without a tag",
        "        maxReceiveCount: 5\n      Tags:\n        - {Key: pipeline, Value: !Ref NamePrefix}\n",
        "        maxReceiveCount: 5\n",
        checks.what_costs_is_tagged,
    ),
]
"""(what is wrong, what the text says, what it says instead, the check that must catch it)."""


@pytest.mark.parametrize(("old", "new", "check"), [fault[1:] for fault in PLANTED], ids=[fault[0] for fault in PLANTED])
def test_a_planted_fault_is_caught(old: str, new: str, check: Check) -> None:
    assert old in TEXT
    assert check(Template(TEXT.replace(old, new, 1))) != []


@pytest.mark.long
def test_cfn_lint_catches_what_it_is_there_for() -> None:
    """One run for many faults: each takes seconds."""
    faults = {
        "VisibilityTimeout: 120": "VisibilityTimeout: soon",
        "Handler: index.handler": "Handlers: index.handler",
        "Value: !Ref RawQueue\n": "Value: !Ref RawQueues\n",
        "  UseFlex: !Equals": "  UseFlexes: !Equals",
        "Runtime: python3.13": "Runtime: python2.7",
    }
    text = TEXT
    for old, new in faults.items():
        assert old in text
        text = text.replace(old, new, 1)
    found = "\n".join(checks.linted(Template(text)))
    for named in ("'soon' is not of type", "'Handlers'", "'RawQueues'", "'UseFlex'", "'python2.7'"):
        assert named in found


def test_every_check_has_a_fault_that_it_catches() -> None:
    assert {fault[3] for fault in PLANTED} | {checks.linted} == set(CHECKS)


@pytest.mark.parametrize(
    ("prefix", "is_taken"),
    [
        ("", True), ("raw/", True), ("capstone/raw/", True), ("Team-1_a/v1.2/raw/", True), ("x" * 199 + "/", True),
        ("raw", False), ("/raw/", False), ("/", False), ("a//b/", False), ("../", False), ("a/../b/", False),
        ("./", False), (".raw/", False), ("a./", False), ("a..b/", False), ("a b/", False), ("a*/", False),
        ("a?/", False), ("${x}/", False), ("'/", False), ("year=2025/", False), ("\u00e9/", False), ("a\n/", False),
        ("raw/\n", False), ("%2e/", False), ("a\\b/", False), ("x" * 200 + "/", False),
    ],
)  # fmt: skip
def test_a_prefix_of_raw_is_folder_names_in_the_template_and_in_the_settings(
    template: Template, prefix: str, is_taken: bool
) -> None:
    parameter = template.parameters["RawPrefix"]
    matches = re.fullmatch(parameter["AllowedPattern"], prefix) is not None and len(prefix) <= parameter["MaxLength"]
    assert matches is is_taken
    if is_taken:
        assert load_settings(raw_prefix=prefix).raw_prefix == prefix
    else:
        with pytest.raises(SettingsError, match="EVENT_PIPELINE_RAW_PREFIX"):
            load_settings(raw_prefix=prefix)


def test_everything_of_raw_is_below_its_prefix(template: Template) -> None:
    given = {**EVERYTHING_ON, "RawPrefix": "capstone/raw/"}
    plain = json.dumps(template.with_parameters(**EVERYTHING_ON), sort_keys=True)
    below = json.dumps(template.with_parameters(**given), sort_keys=True)
    # The bucket's lifecycle, the filter of notices, Bronze, the roles of job, orchestrator and generator, the function.
    for place in ('"Prefix": "', '"prefix": "', "s3://<rawbucket>/", "arn:aws:s3:::<rawbucket>/"):
        count = plain.count(f"{place}events/")
        assert count > 0, place
        assert (below.count(f"{place}events/"), below.count(f"{place}capstone/raw/events/")) == (0, count), place
    assert '"RAW_PREFIX": "capstone/raw/"' in below
