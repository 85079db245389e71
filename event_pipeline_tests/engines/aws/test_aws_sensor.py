"""The sensor on AWS: what a look asks of S3 and Glue, and what a queue of notices adds to it."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count

import dagster as dg
import pytest

from event_pipeline.assets.pipeline import hourly_pipeline_job, pipeline_assets
from event_pipeline.automation.sensor_cursor import Cursor
from event_pipeline.automation.sensors import new_raw_objects_sensor
from event_pipeline.engines.aws import AwsEngine
from event_pipeline.engines.aws.notices import CALLS_AT_ONCE, MESSAGES_PER_CALL, keys_of
from event_pipeline.errors import StorageError
from event_pipeline.rules.hour import Hour
from event_pipeline.rules.query import load_gold_tables
from event_pipeline.settings import Settings
from event_pipeline_tests.emulator import EmulatedAws, Fault
from event_pipeline_tests.engines.aws.pipeline import land
from event_pipeline_tests.pipeline import build, event

TODAY = Hour.containing(datetime.now(UTC)).start.replace(hour=0)
"""Objects of the emulator bear the real time, so the hours are of these days."""
OLD = Hour(TODAY).plus(-24 * 20)


class Watch:
    """The sensor over the account, its cursor kept from look to look."""

    def __init__(self, engine: AwsEngine, settings: Settings, instance: dg.DagsterInstance) -> None:
        self.engine = engine
        self.settings = settings
        self.instance = instance
        self.cursor: str | None = None
        self.now = TODAY + timedelta(days=1, hours=1)  # long after all objects, none of which is of this day
        self.sensor = new_raw_objects_sensor(
            hourly_pipeline_job(pipeline_assets(settings)), load_gold_tables(), settings, lambda: self.now
        )

    def asks_for(self) -> list[str]:
        """The hours that the next look requests."""
        result = self.evaluate()
        self.cursor = result.cursor
        asked = result.run_requests or []
        return [str(Hour.parse(each.partition_key)) for each in asked if each.partition_key]

    def evaluate(self) -> dg.SensorResult:
        """One look whose cursor is lost."""
        self.now += timedelta(seconds=30)
        context = dg.build_sensor_context(
            self.instance, cursor=self.cursor, resources={"engine": self.engine}, sensor_name="new_raw_objects"
        )
        result = self.sensor(context)
        assert isinstance(result, dg.SensorResult)
        return result

    def requests_of_a_look(self) -> Counter[str]:
        """What a look asks of AWS, attempts counted each."""
        before = self.engine._aws.requests.copy()
        self.asks_for()
        return self.engine._aws.requests - before


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture
def queue_url(aws: EmulatedAws) -> str:
    """A queue with a dead-letter queue behind it."""
    sqs = aws.client("sqs")
    dead = sqs.create_queue(QueueName="dead")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    policy = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": 2})
    return str(sqs.create_queue(QueueName="raw", Attributes={"RedrivePolicy": policy})["QueueUrl"])


@pytest.fixture
def settings(settings: Settings, queue_url: str) -> Settings:
    return settings.model_copy(update={"raw_queue_url": queue_url, "first_partition": OLD.plus(-24 * 20)})


@pytest.fixture
def watch(settings: Settings, instance: dg.DagsterInstance) -> Watch:
    return Watch(AwsEngine(settings), settings, instance)


def s3_event(*keys: str) -> str:
    return json.dumps({"Records": [{"s3": {"object": {"key": key.replace("=", "%3D")}}} for key in keys]})


def tell(aws: EmulatedAws, settings: Settings, *bodies: str) -> None:
    for body in bodies:
        aws.client("sqs").send_message(QueueUrl=settings.raw_queue_url, MessageBody=body)


def left_in_queue(aws: EmulatedAws, url: str) -> int:
    """Messages of a queue, those that are invisible for a while counted as well."""
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    found = aws.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
    return sum(int(found[name]) for name in names)


def test_a_look_at_settled_days_is_one_listing_a_day(aws: EmulatedAws, watch: Watch, settings: Settings) -> None:
    # Over by the real clock, too, by which they are committed: else they would be provisional.
    hours = [Hour(TODAY - timedelta(days=1)), Hour(TODAY - timedelta(days=1)).plus(1)]
    for hour in hours:
        land(aws, settings, hour, 0, [event(hour)])
    build(watch.engine, hours)
    first = watch.requests_of_a_look()
    # Three recent days (the present one has one closed hour) and one older day, each compared in full.
    assert first["s3.ListObjectsV2"] == 4
    assert first["s3.GetObject"] == 1 + 24 + 24 + 24
    assert first["glue.GetPartitions"] == 4 * (1 + 3 * len(load_gold_tables()))
    assert first["sqs.ReceiveMessage"] == 1

    watch.cursor = replace(Cursor.from_json(watch.cursor), sweep_before=None).to_json()
    assert watch.requests_of_a_look() == Counter({"s3.ListObjectsV2": 4, "sqs.ReceiveMessage": 1})


def test_a_listing_that_fails_half_way_moves_nothing_and_loses_nothing(
    watch: Watch, settings: Settings, aws: EmulatedAws
) -> None:
    hour = Hour(TODAY)
    land(aws, settings, hour, 0, [event(hour)])
    listings = count(1)

    def deny_third(**_: object) -> None:
        if next(listings) == 3:
            aws.fail_next("s3.ListObjectsV2", Fault.ACCESS_DENIED)

    watch.engine._aws.client("s3").meta.events.register("before-send.s3.ListObjectsV2", deny_third)
    with pytest.raises(StorageError, match="s3:ListObjectsV2 on .* denied"):
        watch.asks_for()
    assert watch.cursor is None

    assert watch.asks_for() == [str(hour)]


def test_a_notice_makes_an_old_hour_asked_for_and_is_deleted_when_the_cursor_came_back(
    aws: EmulatedAws, watch: Watch, settings: Settings
) -> None:
    key = land(aws, settings, OLD, 0, [event(OLD)])
    tell(aws, settings, s3_event(key))

    assert watch.asks_for() == [str(OLD)]
    assert left_in_queue(aws, settings.raw_queue_url) == 1
    assert len(Cursor.from_json(watch.cursor).receipts) == 1
    assert watch.asks_for() == []
    assert left_in_queue(aws, settings.raw_queue_url) == 0
    assert Cursor.from_json(watch.cursor).receipts == ()


def test_a_look_whose_cursor_is_lost_loses_no_notice(aws: EmulatedAws, watch: Watch, settings: Settings) -> None:
    key = land(aws, settings, OLD, 0, [event(OLD)])
    tell(aws, settings, s3_event(key))
    lost = watch.evaluate()
    assert len(lost.run_requests or []) == 1
    for receipt in Cursor.from_json(lost.cursor).receipts:  # the visibility timeout is over
        aws.client("sqs").change_message_visibility(
            QueueUrl=settings.raw_queue_url, ReceiptHandle=receipt, VisibilityTimeout=0
        )
    again = watch.evaluate()

    assert [each.run_key for each in again.run_requests or []] == [each.run_key for each in lost.run_requests or []]


def test_notifications_that_s3_sends_itself_are_understood(aws: EmulatedAws, watch: Watch, settings: Settings) -> None:
    sqs = aws.client("sqs")
    arn = sqs.get_queue_attributes(QueueUrl=settings.raw_queue_url, AttributeNames=["QueueArn"])
    aws.client("s3").put_bucket_notification_configuration(
        Bucket=settings.raw_bucket,
        NotificationConfiguration={
            "QueueConfigurations": [
                {"QueueArn": arn["Attributes"]["QueueArn"], "Events": ["s3:ObjectCreated:*"]},
            ]
        },
    )
    told = left_in_queue(aws, settings.raw_queue_url)
    land(aws, settings, OLD, 0, [event(OLD)])
    land(aws, settings, OLD, 0, [event(OLD)])
    assert left_in_queue(aws, settings.raw_queue_url) == told + 2

    assert watch.asks_for() == [str(OLD)]
    watch.asks_for()
    assert left_in_queue(aws, settings.raw_queue_url) == 0


def test_a_message_that_is_no_notice_is_logged_and_left_to_the_dead_letters(
    aws: EmulatedAws, watch: Watch, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    key = land(aws, settings, OLD, 0, [event(OLD)])
    tell(aws, settings, "poison", s3_event(key))
    with caplog.at_level(logging.WARNING):
        assert watch.asks_for() == [str(OLD)]
    assert "is left to the dead-letter queue" in caplog.text
    assert "poison" in caplog.text
    watch.asks_for()

    assert left_in_queue(aws, settings.raw_queue_url) == 1


def test_a_look_takes_no_more_messages_than_the_cursor_can_hold(
    aws: EmulatedAws, watch: Watch, settings: Settings
) -> None:
    most = CALLS_AT_ONCE * MESSAGES_PER_CALL
    tell(aws, settings, *[s3_event("nothing/of/ours")] * (most + 5))
    watch.asks_for()
    assert len(Cursor.from_json(watch.cursor).receipts) == most
    watch.asks_for()
    watch.asks_for()

    assert left_in_queue(aws, settings.raw_queue_url) == 0


def test_a_queue_that_is_gone_delays_and_stops_nothing(aws: EmulatedAws, watch: Watch, settings: Settings) -> None:
    hour = Hour(TODAY)
    land(aws, settings, hour, 0, [event(hour)])
    aws.client("sqs").delete_queue(QueueUrl=settings.raw_queue_url)

    assert watch.asks_for() == [str(hour)]


def test_without_a_queue_nothing_is_asked_of_sqs(aws: EmulatedAws, settings: Settings) -> None:
    engine = AwsEngine(settings.model_copy(update={"raw_queue_url": ""}))

    assert engine.take_notices(["receipt"]).hours == frozenset()
    assert aws.requests.of("sqs.ReceiveMessage") == []


def in_envelope(message: str) -> str:
    """What a queue gets when a topic is between it and the bucket, and raw delivery is off."""
    return json.dumps(
        {
            "Type": "Notification",
            "MessageId": "m",
            "TopicArn": "arn:aws:sns:us-east-1:123456789012:t",
            "Message": message,
        }
    )


KEY = "events/year=2025/month=12/day=07/hour=22/minute=05/events-20251207-220500.jsonl.gz"


@pytest.mark.parametrize(
    ("body", "keys"),
    [
        (s3_event(KEY, KEY), [KEY, KEY]),
        (s3_event("a+b"), ["a b"]),
        (json.dumps({"detail-type": "Object Created", "detail": {"object": {"key": "a+b=c"}}}), ["a+b=c"]),
        (json.dumps({"Service": "Amazon S3", "Event": "s3:TestEvent"}), []),
        ('{"Records": []}', []),
        (in_envelope(s3_event("a+b")), ["a b"]),
        (in_envelope(json.dumps({"detail": {"object": {"key": "a+b=c"}}})), ["a+b=c"]),
        (in_envelope(json.dumps({"Service": "Amazon S3", "Event": "s3:TestEvent"})), []),
    ],
)
def test_notices_of_s3_and_of_eventbridge_name_their_objects(body: str, keys: list[str]) -> None:
    assert keys_of(body) == keys


@pytest.mark.parametrize(
    "body",
    [
        "",
        "no json",
        "[]",
        "null",
        "{}",
        '{"Records": [{}]}',
        '{"Records": 5}',
        '{"detail": {"object": null}}',
        '{"Type": "Notification"}',
    ]
    + [in_envelope("no json"), in_envelope("{}"), in_envelope("[]"), "[" * 100_000],
)
def test_a_message_that_names_no_object_is_refused(body: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        keys_of(body)
