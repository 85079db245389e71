"""Alerts on AWS: SNS takes the messages, the lake bucket holds the state, and the digest knows the cost."""

from __future__ import annotations

import json
import logging
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from event_pipeline.alerts.channels import channels_of
from event_pipeline.alerts.conditions import AlertFinding, AlertKind, Severity
from event_pipeline.alerts.delivery import ALERTS_DOCUMENT, load_state, tell
from event_pipeline.alerts.look import look
from event_pipeline.alerts.state import AlertState, Seen
from event_pipeline.engines.aws import AwsEngine
from event_pipeline.engines.aws.clients import Aws
from event_pipeline.engines.aws.costs import CostStore
from event_pipeline.engines.aws.storage import Bucket
from event_pipeline.engines.base import Cost, StepCost
from event_pipeline.engines.open import open_document, publish_to_topic
from event_pipeline.engines.pipeline import Pipeline
from event_pipeline.errors import PipelineError
from event_pipeline.rules.hour import Hour
from event_pipeline.settings import Settings
from event_pipeline_tests.emulator import EmulatedAws

NOW = datetime(2025, 12, 8, 2, 30, tzinfo=UTC)
FINDING = AlertFinding(
    AlertKind.LOST_OBJECTS,
    Severity.WARNING,
    "Raw objects of published hours are lost in 1 hour — “2025-12-07T22”\nand more",
    {"2025-12-07T22": "11 objects now, built from 12"},
    "put them back",
    AlertKind.LOST_OBJECTS,
    "2025-12-07T22",
)


def subscribed_topic(aws: EmulatedAws) -> tuple[str, str]:
    """Make a topic with a queue that gets what is published; return the topic's ARN and the queue's URL."""
    topic = aws.client("sns").create_topic(Name="alerts")["TopicArn"]
    queue = aws.client("sqs").create_queue(QueueName="phone")["QueueUrl"]
    arn = aws.client("sqs").get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    aws.client("sns").subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
    return topic, queue


def test_an_alert_reaches_the_subscribers_of_the_topic_once_and_its_state_lies_in_the_lake(
    aws: EmulatedAws, settings: Settings
) -> None:
    topic, queue = subscribed_topic(aws)
    settings = settings.model_copy(update={"alert_topic_arn": topic})
    document = open_document(settings, ALERTS_DOCUMENT)
    channels = channels_of(settings, logging.getLogger("test.alerts"))
    for minute in range(3):
        now = NOW + timedelta(minutes=minute)
        told = tell(document, lambda state: state, Seen(now, [FINDING]), settings, channels, lambda: now)  # noqa: B023
        assert told.delivered.failed == ()

    messages = aws.client("sqs").receive_message(QueueUrl=queue, MaxNumberOfMessages=10, WaitTimeSeconds=1)["Messages"]
    (body,) = [json.loads(message["Body"]) for message in messages]
    assert body["Subject"].startswith("[raised] Raw objects of published hours are lost in 1 hour ? ?2025")
    assert "2025-12-07T22: 11 objects now, built from 12" in body["Message"]
    assert body["MessageAttributes"]["message_id"]["Value"] == "lost_objects-20251208T023000Z/1"
    assert document.place == f"s3://{settings.lake_bucket}/alerts.json"
    assert set(load_state(document).alerts) == {AlertKind.LOST_OBJECTS}


def test_the_digest_knows_what_the_day_cost(settings: Settings, engine: AwsEngine) -> None:
    costs = CostStore(Bucket(Aws(settings), settings.lake_bucket))
    for number in range(2):
        costs.write(StepCost(Hour.parse("2025-12-07T22"), "silver.events", f"run-{number}", Cost(usd=Decimal("0.25"))))
    costs.write(StepCost(Hour.parse("2025-12-06T22"), "silver.events", "run", Cost(usd=Decimal("7.00"))))
    state = AlertState(newest_published="2025-12-08T01")
    seen = look(Pipeline(engine, (), settings), nullcontext, state, NOW.replace(hour=6)).seen

    (digest,) = seen.reports
    assert digest.report_id == "digest-2025-12-07"
    assert "cost: 0.50 USD (estimate)" in digest.lines


def test_a_document_in_the_lake_is_replaced_only_where_nobody_was_faster(settings: Settings) -> None:
    document = open_document(settings, "some.json")
    assert document.read() is None
    assert document.replace(b"one", None)
    assert not document.replace(b"two", None)
    _, version = document.read() or (b"", "")
    assert document.replace(b"two", version)
    assert not document.replace(b"three", version)
    assert (document.read() or (b"", ""))[0] == b"two"


def test_a_topic_that_does_not_exist_is_an_error_that_names_it(settings: Settings) -> None:
    arn = f"arn:aws:sns:{settings.aws_region}:123456789012:nowhere"
    with pytest.raises(PipelineError, match="sns:Publish on .*nowhere"):
        publish_to_topic(settings.model_copy(update={"alert_topic_arn": arn}), "subject", "text", "id/1")
