"""Limits of AWS that its service models do not say, each with the page that does; moto takes whatever comes.

Before a request gets here, `request_validation.py` has held it to its model: batches of at most 100 partitions and
lengths of names are there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from event_pipeline_tests.emulator.wire import AwsError

ARGUMENT_BYTES = 260_000
"""AWS Glue: the arguments of a run, its job's defaults not among them, may have 260 kB."""
MESSAGE_BYTES = 262_144
"""Amazon SNS, Publish: a message may have 262,144 bytes."""
DELETED_KEYS, KEY_BYTES = 1_000, 1_024
"""Amazon S3, DeleteObjects, and the naming of objects."""
_SUBJECT = re.compile(r"[!-~][ -~]{0,99}")
_BATCH = 10


def check_limits(name: str, given: Mapping[str, Any]) -> None:
    """Refuse parameters of an operation (`sns.Publish`) that are over its service's limits.

    Raises:
        AwsError: worded as the service does.
    """
    if name.startswith("s3.") and len(given.get("Key", "").encode()) > KEY_BYTES:
        raise AwsError("KeyTooLongError", "Your key is too long")
    # RFC 9110, 13.1.1: an entity tag is quoted. A service may take another or not: this one does not.
    for header in ("IfMatch", "IfNoneMatch"):
        tag = given.get(header, "*") if name.startswith("s3.") else "*"
        if tag != "*" and not (tag.startswith('"') and tag.endswith('"')):
            raise AwsError("InvalidArgument", f"{header} is no quoted entity tag: {tag}")
    if check := _LIMITS.get(name):
        check(given)


def _arguments(given: Mapping[str, Any]) -> None:
    arguments: Mapping[str, str] = given.get("Arguments") or {}
    size = sum(len(name.encode()) + len(value.encode()) for name, value in arguments.items())
    if size > ARGUMENT_BYTES:
        raise AwsError("InvalidInputException", f"The arguments have {size} bytes, {ARGUMENT_BYTES} are the most")


def _message(given: Mapping[str, Any]) -> None:
    """SNS API reference, Publish: the sizes of Message and Subject.

    The subject is ASCII text that begins with a letter, number or punctuation mark, without line breaks or control
    characters, of at most 100 characters.
    """
    if "Subject" in given and not _SUBJECT.fullmatch(given["Subject"]):
        raise AwsError("InvalidParameter", "Invalid parameter: Subject")
    if not given["Message"]:
        raise AwsError("InvalidParameter", "Invalid parameter: Empty message")
    if len(given["Message"].encode()) > MESSAGE_BYTES:
        raise AwsError("InvalidParameter", "Invalid parameter: Message too long")


def _received(given: Mapping[str, Any]) -> None:
    """SQS API reference, ReceiveMessage: 1 to 10 messages, a wait of 0 to 20 seconds, hidden for 12 hours at most."""
    for name, least, most in (
        ("MaxNumberOfMessages", 1, 10),
        ("WaitTimeSeconds", 0, 20),
        ("VisibilityTimeout", 0, 43_200),
    ):
        value = given.get(name)
        if value is not None and not least <= value <= most:
            reason = f"Must be between {least} and {most}, if provided."
            raise AwsError("InvalidParameterValue", f"Value {value} for parameter {name} is invalid. Reason: {reason}")


def _entries(given: Mapping[str, Any]) -> None:
    """SQS API reference, errors of the batch operations: 1 to 10 entries with ids of their own."""
    entries: list[dict[str, Any]] = given["Entries"]
    if not entries:
        raise AwsError("AWS.SimpleQueueService.EmptyBatchRequest", "There should be at least one entry in the request.")
    if len(entries) > _BATCH:
        message = f"Maximum number of entries per request are {_BATCH}. You have sent {len(entries)}."
        raise AwsError("AWS.SimpleQueueService.TooManyEntriesInBatchRequest", message)
    ids = [entry["Id"] for entry in entries]
    if len(set(ids)) != len(ids):
        raise AwsError("AWS.SimpleQueueService.BatchEntryIdsNotDistinct", "Two entries have the same Id.")


def _sent(given: Mapping[str, Any]) -> None:
    """SQS API reference, SendMessage: one byte at least."""
    if not given["MessageBody"]:
        raise AwsError("InvalidParameterValue", "One or more parameters are invalid: MessageBody must not be empty")


def _deleted(given: Mapping[str, Any]) -> None:
    """S3 API reference, DeleteObjects: at most 1,000 keys."""
    if len(given["Delete"]["Objects"]) > DELETED_KEYS:
        message = "The XML you provided was not well-formed or did not validate against our published schema"
        raise AwsError("MalformedXML", message)


_LIMITS: dict[str, Callable[[Mapping[str, Any]], None]] = {
    "glue.StartJobRun": _arguments,
    "s3.DeleteObjects": _deleted,
    "sns.Publish": _message,
    "sqs.ReceiveMessage": _received,
    "sqs.DeleteMessageBatch": _entries,
    "sqs.SendMessageBatch": _entries,
    "sqs.ChangeMessageVisibilityBatch": _entries,
    "sqs.SendMessage": _sent,
}
