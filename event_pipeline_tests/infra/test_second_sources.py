"""The template passes what aws-cdk knows of AWS, and each check catches the faults that are planted for it."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from event_pipeline_tests.infra import construct_rules as rules
from event_pipeline_tests.infra import service_spec as spec
from event_pipeline_tests.infra.extract_service_spec import SPECIFICATION
from event_pipeline_tests.infra.template import TEMPLATE, Template

TEXT = TEMPLATE.read_text(encoding="utf-8")
CHECKS = (*spec.CHECKS, *rules.CHECKS)
Check = Callable[[Template], list[str]]


@pytest.fixture(scope="module")
def template() -> Template:
    """The template of this checkout."""
    return Template(TEXT)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_the_template_passes(check: Check, template: Template) -> None:
    assert check(template) == []


FAULTS: dict[Check, tuple[tuple[str, str, str], ...]] = {
    spec.properties_are_those_of_the_specification: (
        ("VisibilityTimeout: 120", "VisibilityTimeOut: 120", "RawQueue: there is no property VisibilityTimeOut"),
        ("VisibilityTimeout: 120", "VisibilityTimeout: soon", "RawQueue.VisibilityTimeout: 'soon' is no integer"),
        ("      Protocol: email\n", "", "AlertSubscription: Protocol is required"),
        ("MaximumRetryAttempts: 3,", "MaximumRetries: 3,", "RetryPolicy: there is no property MaximumRetries"),
        ("        Name: glueetl\n", "        Names: glueetl\n", "SilverJob.Command: there is no property Names"),
        ("SqsManagedSseEnabled: true", "SqsManagedSseEnabled: often", "'often' is no boolean"),
        ("      Architectures: [arm64]", "      Architectures: arm64", "Architectures: 'arm64' is no array"),
        ("- {Key: pipeline, Value: !Ref", "- {Name: pipeline, Value: !Ref", "is no tag"),
        ("WorkerType: !Ref GlueWorkerType", "WorkerType: G.3X", "SilverJob.WorkerType: 'G.3X' is not among"),
        ("Type: AWS::SNS::Topic\n", "Type: AWS::SNS::Channel\n", "the specification has no AWS::SNS::Channel"),
    ),
    spec.attributes_are_those_of_the_specification: (
        ("!GetAtt DeadLetters.QueueName", "!GetAtt DeadLetters.Name", "AWS::SQS::Queue has no attribute Name"),
        ("${RawBucket.Arn}/*", "${RawBucket.ARN}/*", "AWS::S3::Bucket has no attribute ARN"),
        ("!GetAtt RawQueue.Arn", "!GetAtt RawQueues.Arn", "RawQueues.Arn: there is no such resource"),
    ),
    spec.rules_wait_for_events_that_are_sent: (
        ("detail-type: [Object Created]", "detail-type: [Object created]", "aws.s3 sends no 'Object created'"),
        ("source: [aws.glue]", "source: [aws.etl]", "aws.etl sends no 'Glue Job State Change'"),
        ("jobName: [!Ref SilverJob]", "job-name: [!Ref SilverJob]", "detail has no field job-name"),
        ("object: {key: [prefix", "object: {name: [prefix", "detail.object has no field name"),
        ("        detail-type: [Object Created]", "        type: [Object Created]", "events have no field type"),
    ),
    spec.alarms_watch_metrics_that_are_published: (
        ("MetricName: NumberOfMessagesSent", "MetricName: MessagesSent", "AWS/SQS has no MessagesSent"),
        ("Name: RuleName, Value", "Name: Rule, Value", "TriggeredRules has no dimensions ['Rule']"),
    ),
    rules.values_are_within_their_ranges: (
        ("MessageRetentionPeriod: 345600", "MessageRetentionPeriod: 1209601", "not 60 to 1,209,600"),
        ("maxReceiveCount: 5", "maxReceiveCount: 0", "RedrivePolicy.maxReceiveCount is 0"),
        ("MaximumEventAgeInSeconds: 3600\n", "MaximumEventAgeInSeconds: 21601\n", "GeneratorInvocation"),
        ("MaximumRetryAttempts: 3,", "MaximumRetryAttempts: 186,", "not 0 to 185"),
        ("MemorySize: 512", "MemorySize: 64", "Generator: MemorySize is 64"),
        ("${NamePrefix} alerts", f"{'x' * 101}", "DisplayName has 101 characters"),
    ),
    rules.queues_have_one_encryption: (
        (
            "SqsManagedSseEnabled: true",
            "SqsManagedSseEnabled: true\n      KmsMasterKeyId: alias/k",
            "exclude each other",
        ),
        ("VisibilityTimeout: 120", "QueueName: raw.fifo", "names that end in .fifo"),
    ),
    rules.jobs_keep_to_their_execution_class: (
        ("JobRunQueuingEnabled: !If [UseFlex, false, true]", "JobRunQueuingEnabled: true", "cannot queue its runs"),
        ("      MaxRetries: 0\n", "      MaxRetries: 1\n", "has no retries"),
        ("        --region: !Ref", "        --debug: !Ref", "--debug is Glue's own"),
        ("        --region: !Ref", "        region: !Ref", "region does not begin with --"),
    ),
    rules.tables_have_distinct_columns: (
        ("- {Name: event_timestamp, Type: string}", "- {Name: hour, Type: string}", "hour is there twice"),
        ("- {Name: event_timestamp, Type: string}", "- {Name: eventTime, Type: string}", "not in lower case"),
    ),
    rules.projections_are_of_partition_keys: (
        ("projection.minute.type: 'integer'", "projection.minutes.type: 'integer'", "minutes is projected and no"),
        ("projection.month.type: 'integer'", "projection.month.type: 'int'", "partition key month: type int"),
        ("projection.month.range: '1,12'", "projection.month.range: '12,1'", "range 12,1 is not from"),
        ("projection.month.digits: '2'", "projection.month.digits: '0'", "partition key month: digits is 0"),
        ("projection.enabled: 'true'", "projection.enabled: 'yes'", "is projected, and projection is off"),
    ),
    rules.functions_keep_their_environment: (
        ("          SEED: !Ref", "          AWS_REGION: !Ref", "AWS_REGION is Lambda's own"),
        ("Handler: index.handler", "Handler: main.handler", "code in the template is the module index"),
    ),
    rules.schedules_can_begin: (
        ("cron(0/5 * * * ? *)", "every(5 minutes)", "every(5 minutes) is no expression"),
        ("{Mode: 'OFF'}", "{Mode: FLEXIBLE}", "a window has a length if it is flexible"),
    ),
    rules.rules_have_patterns_that_can_match: (
        ("state: [FAILED, TIMEOUT, ERROR]", "state: FAILED", "detail.state is no list of values"),
        ("state: [FAILED, TIMEOUT, ERROR]", "state: []", "detail.state is no list of values"),
        ("              said: $.detail.message\n", "", "<said> is not in InputPathsMap"),
        (
            "          InputTransformer:",
            "          InputPath: $.detail\n          InputTransformer:",
            "two kinds of input",
        ),
    ),
    rules.alarms_can_be_evaluated: (
        ("Period: 300", "Period: 90", "a period of 90 seconds"),
        ("EvaluationPeriods: 3", "EvaluationPeriods: 300", "looks back for more than 1 days"),
        ("EvaluationPeriods: 3", "EvaluationPeriods: 3\n      DatapointsToAlarm: 4", "more data points than periods"),
        ("      Statistic: Sum\n", "", "neither, or both"),
    ),
    rules.parameters_can_be_stored: (
        ("Name: !Sub /${NamePrefix}/raw-bucket", "Name: !Sub ${NamePrefix}/raw-bucket", "is no name of a parameter"),
        (
            "/raw-bucket\n      Type: String",
            "/raw-bucket\n      AllowedPattern: ^$\n      Type: String",
            "not what it allows",
        ),
    ),
    rules.subscriptions_suit_their_protocol: (
        ("Protocol: email\n", "Protocol: email\n      RawMessageDelivery: true\n", "email knows no raw delivery"),
        ("Protocol: email\n", "Protocol: firehose\n", "firehose needs a role"),
    ),
    rules.policies_are_well_formed: (
        ("              - Sid: DeadLetters\n", "              - Sid: Logs\n", "Logs is there twice"),
        ("Sid: NewRawObjects", "Sid: new-objects", "new-objects is no id"),
        ("            Principal: {Service: glue.amazonaws.com}\n", "", "GlueJobRole None: names nobody"),
        ("            Resource: !Ref KmsKeyArn\n", "", "KeyUse Key: names no resource"),
        ("            Resource: !Ref KmsKeyArn\n", f"            Resource: {'k' * 6_200}\n", "characters of policies"),
    ),
    rules.lifecycle_rules_do_something: (
        (
            "            NoncurrentVersionExpiration: {NoncurrentDays: !Ref ReplacedRetentionDays}\n",
            "            ExpirationInDays: 1\n",
            "expires in two ways",
        ),
        ("            ExpirationInDays: !Ref RawRetentionDays\n", "", "does nothing"),
    ),
}
"""Check -> what the text says, what it says instead, and what the check must say of that."""
PLANTED = [(check, *fault) for check, faults in FAULTS.items() for fault in faults]


@pytest.mark.parametrize(("check", "old", "new", "said"), PLANTED, ids=[fault[3] for fault in PLANTED])
def test_a_planted_fault_is_caught(check: Check, old: str, new: str, said: str) -> None:
    assert old in TEXT
    found = check(Template(TEXT.replace(old, new, 1)))
    assert any(said in fault for fault in found), found


def test_every_check_has_a_fault_that_it_catches() -> None:
    assert FAULTS.keys() == set(CHECKS)


def test_the_extract_names_its_source_and_licence() -> None:
    about = json.loads(SPECIFICATION.read_text(encoding="utf-8"))
    assert about["source"].startswith("@aws-cdk/aws-service-spec ")
    assert about["licence"].startswith("Apache-2.0")
