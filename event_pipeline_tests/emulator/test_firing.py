"""Every rule, alarm and schedule of the deployed template fires, and what it says arrives."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from event_pipeline.engines.aws.clients import Aws
from event_pipeline.infrastructure.deployment import Hooks, Wanted, deploy
from event_pipeline.infrastructure.stack import Stack, StackState
from event_pipeline.infrastructure.template import load_template
from event_pipeline.settings import load_settings
from event_pipeline_tests.emulator import EmulatedAws
from event_pipeline_tests.emulator.deployed import put_stand_in_wheels
from event_pipeline_tests.emulator.event_bridge import NotDeliveredError, send_event
from event_pipeline_tests.emulator.firing import put_points, tick

HEALTHY_AND_NOT: dict[str, tuple[list[float], list[float]]] = {
    "GlueRunFailedAlarm": ([], [1]),
    "UntoldFailuresAlarm": ([], [1]),
    "UntoldObjectsAlarm": ([], [1]),
    "NoNewObjectsAlarm": ([0, 0, 1], []),
    "QuarantinedShareAlarm": ([0.05], [0.051]),
    "DeadLettersAlarm": ([0], [1]),
    "BytesScannedAlarm": ([12], [100]),
}
"""Data points of the last periods with which an alarm is quiet, and with which it goes off; none are missing ones."""
USUAL = (10, 12, 11, 12)


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmulatedAws]:
    """An account in which the stack is deployed with its generator; one for all tests of this module."""
    with EmulatedAws() as aws, pytest.MonkeyPatch.context() as patch:
        for name, value in aws.environment().items():
            patch.setenv(name, value)
        yield aws


@pytest.fixture(scope="module")
def stack(account: EmulatedAws, tmp_path_factory: pytest.TempPathFactory) -> StackState:
    """The deployed stack."""
    wheels: Path = tmp_path_factory.mktemp("wheels")
    put_stand_in_wheels(wheels)
    found = Stack(Aws(load_settings(aws_region=account.region)), "event-pipeline", 5)
    hooks = Hooks(say=lambda _: None, show=lambda _: None)
    return deploy(found, load_template(), Wanted({}, True, wheels), lambda _: None, hooks)


@pytest.fixture(scope="module")
def inbox(account: EmulatedAws, stack: StackState) -> str:
    """A queue that is subscribed to the topic of alerts."""
    sqs = account.client("sqs")
    url: str = sqs.create_queue(QueueName="inbox")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    account.client("sns").subscribe(TopicArn=stack.outputs["AlertTopicArn"], Protocol="sqs", Endpoint=arn)
    return url


def received(account: EmulatedAws, url: str) -> list[str]:
    """Take the messages of a queue."""
    sqs, found = account.client("sqs"), list[str]()
    count = "ApproximateNumberOfMessages"
    # A poll may come back empty though messages wait.
    while int(sqs.get_queue_attributes(QueueUrl=url, AttributeNames=[count])["Attributes"][count]):
        for message in sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", []):
            found.append(message["Body"])
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    return found


def failed_run(job: str) -> dict[str, Any]:
    """Return the event of a failed run, as Glue sends it."""
    detail = {"jobName": job, "jobRunId": "jr_1", "state": "FAILED", "severity": "ERROR", "message": "out of disk"}
    return {"source": "aws.glue", "detail-type": "Glue Job State Change", "detail": detail}


def new_object(bucket: str, key: str) -> dict[str, Any]:
    """Return the event of a new object, as S3 sends it."""
    detail = {"bucket": {"name": bucket}, "object": {"key": key, "size": 1}}
    return {"source": "aws.s3", "detail-type": "Object Created", "detail": detail}


def test_every_rule_fires_and_its_message_arrives(account: EmulatedAws, stack: StackState, inbox: str) -> None:
    fired = send_event(account.inside, failed_run(stack.outputs["GlueJob"]))
    told = [json.loads(each)["Message"] for each in received(account, inbox)]
    assert told == ["Glue job event-pipeline-silver: run jr_1 ended FAILED: out of disk"]
    raw, queue = stack.outputs["RawBucket"], stack.outputs["RawQueueUrl"]
    fired += send_event(account.inside, new_object(raw, "events/x"))
    assert [json.loads(each)["detail"]["object"]["key"] for each in received(account, queue)] == ["events/x"]
    assert sorted(fired) == sorted(each["Name"] for each in account.client("events").list_rules()["Rules"])
    for quiet in (failed_run("another-job"), new_object(raw, "other/x"), new_object("another-bucket", "events/x")):
        assert send_event(account.inside, quiet) == []


def test_every_alarm_goes_off_when_it_should_and_only_then(account: EmulatedAws, stack: StackState, inbox: str) -> None:
    resources = account.client("cloudformation").describe_stack_resources(StackName=stack.name)["StackResources"]
    names = {
        each["PhysicalResourceId"]: each["LogicalResourceId"]
        for each in resources
        if each["ResourceType"] == "AWS::CloudWatch::Alarm"
    }
    alarms = account.client("cloudwatch").describe_alarms()["MetricAlarms"]
    assert {names[each["AlarmName"]] for each in alarms} == HEALTHY_AND_NOT.keys()
    for alarm in alarms:
        healthy, broken = HEALTHY_AND_NOT[names[alarm["AlarmName"]]]
        assert put_points(account, alarm, healthy, USUAL) == "OK", alarm["AlarmName"]
        assert received(account, inbox) == []
        assert put_points(account, alarm, broken, USUAL) == "ALARM", alarm["AlarmName"]
        (told,) = received(account, inbox)
        assert json.loads(json.loads(told)["Message"])["AlarmName"] == alarm["AlarmName"]


def test_every_schedule_comes_due_and_its_object_lands(account: EmulatedAws, stack: StackState) -> None:
    functions, function = account.client("lambda"), stack.outputs["GeneratorFunction"]
    variables = functions.get_function_configuration(FunctionName=function)["Environment"]["Variables"]
    functions.update_function_configuration(
        FunctionName=function, Environment={"Variables": {**variables, "EVENTS_PER_FILE": "20"}}
    )
    scheduler = account.client("scheduler")
    listed = scheduler.list_schedules()["Schedules"]
    assert len(listed) == 1
    schedule = scheduler.get_schedule(Name=listed[0]["Name"])
    answer = tick(account, schedule, "2025-12-07T22:05:00Z")
    assert answer["records"] == 20
    account.client("s3").head_object(Bucket=stack.outputs["RawBucket"], Key=answer["key"])


def test_a_topic_whose_policy_has_a_condition_gets_nothing_of_eventbridge(
    account: EmulatedAws, stack: StackState, inbox: str
) -> None:
    sns, topic = account.client("sns"), stack.outputs["AlertTopicArn"]
    policy = sns.get_topic_attributes(TopicArn=topic)["Attributes"]["Policy"]
    bound = json.loads(policy)
    for each in bound["Statement"]:
        if each["Principal"] == {"Service": "events.amazonaws.com"}:
            each["Condition"] = {"StringEquals": {"aws:SourceAccount": topic.split(":")[4]}}
    sns.set_topic_attributes(TopicArn=topic, AttributeName="Policy", AttributeValue=json.dumps(bound))
    with pytest.raises(NotDeliveredError):
        send_event(account.inside, failed_run(stack.outputs["GlueJob"]))
    sns.set_topic_attributes(TopicArn=topic, AttributeName="Policy", AttributeValue=policy)
    assert received(account, inbox) == []
