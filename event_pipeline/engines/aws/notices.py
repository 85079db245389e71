"""Notices of new raw objects from an SQS queue: they say which hours to check now, never what is in them.

A message is deleted only when its receipt comes back, after its hours were stored. Otherwise it is redelivered after
its visibility timeout, and goes to the dead-letter queue after too many deliveries; so does a message that cannot be
parsed.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from urllib.parse import unquote_plus

from event_pipeline.engines.aws.clients import Aws
from event_pipeline.engines.base import RawNotices
from event_pipeline.rules.hour import Hour, elsewhere
from event_pipeline.rules.stored_json import read_json

MESSAGES_PER_CALL = 10
CALLS_AT_ONCE = 5
"""Receive requests per evaluation: 50 messages, which is four hours of objects."""
_LEAST_VISIBILITY_SECONDS = 120
_MOST_VISIBILITY_SECONDS = 12 * 3600
_LOOKS_UNTIL_VISIBLE = 4
_WAIT_SECONDS = 1
"""Long polling: a call that does not wait queries only some of SQS's servers and may miss messages."""

_LOG = logging.getLogger(__name__)


class NoticeQueue:
    """One queue, by URL."""

    def __init__(self, aws: Aws, url: str, raw_prefix: str = "") -> None:
        self._aws = aws
        self._prefix = raw_prefix
        self._url = url

    def take(self, done_with: Sequence[str]) -> RawNotices:
        """Delete the messages of some receipts, then receive at most CALLS_AT_ONCE times ten messages."""
        self._delete(done_with)
        hours, receipts = set[Hour](), list[str]()
        between_looks = self._aws.settings.sensor_interval_seconds
        visible_after = max(_LEAST_VISIBILITY_SECONDS, _LOOKS_UNTIL_VISIBLE * between_looks)
        for _ in range(CALLS_AT_ONCE):
            answer = self._aws.call(
                "sqs",
                "receive_message",
                self._url,
                QueueUrl=self._url,
                MaxNumberOfMessages=MESSAGES_PER_CALL,
                VisibilityTimeout=min(visible_after, _MOST_VISIBILITY_SECONDS),
                WaitTimeSeconds=_WAIT_SECONDS,
            )
            messages = answer.get("Messages", [])
            for message in messages:
                try:
                    keys = keys_of(message["Body"])
                except ValueError as error:
                    _LOG.warning(
                        "message %s of %s is not an object notice and is left to the dead-letter queue (%s): %.200s",
                        message.get("MessageId"),
                        self._url,
                        error,
                        message["Body"],
                    )
                    continue
                for key in keys:
                    if not key.startswith(self._prefix):
                        _LOG.warning(
                            "%s announced %.200s, which is not read: %s", self._url, key, elsewhere(self._prefix)
                        )
                    elif hour := Hour.of_raw_key(key.removeprefix(self._prefix)):
                        hours.add(hour)
                receipts.append(message["ReceiptHandle"])
            if not messages:
                break
        return RawNotices(frozenset(hours), tuple(receipts))

    def _delete(self, receipts: Sequence[str]) -> None:
        for start in range(0, len(receipts), MESSAGES_PER_CALL):
            batch = receipts[start : start + MESSAGES_PER_CALL]
            answer = self._aws.call(
                "sqs",
                "delete_message_batch",
                self._url,
                QueueUrl=self._url,
                Entries=[{"Id": str(number), "ReceiptHandle": receipt} for number, receipt in enumerate(batch)],
            )
            for fault in answer.get("Failed", []):
                # It is redelivered, and its hour checked once more.
                _LOG.info("a message of %s was not deleted: %s", self._url, fault.get("Message") or fault.get("Code"))


def keys_of(body: str) -> list[str]:
    """Return the keys of the objects in a message; none for S3's test message.

    Supports S3's own notifications, whose keys are URL-encoded, and those of EventBridge, whose keys are not, both
    plain or in the envelope of an SNS topic.

    Raises:
        ValueError: it is neither.
    """
    message = read_json(body)
    if not isinstance(message, dict):
        raise ValueError("not a JSON object")
    if message.get("Type") == "Notification" and isinstance(message.get("Message"), str):
        # An SNS topic between bucket and queue wraps the notice in an envelope, unless delivery is raw.
        return keys_of(message["Message"])
    if message.get("Event") == "s3:TestEvent":
        return []
    try:
        if "Records" in message:
            return [unquote_plus(record["s3"]["object"]["key"]) for record in message["Records"]]
        return [str(message["detail"]["object"]["key"])]
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise ValueError(f"it does not name an object: {error!r}") from error
