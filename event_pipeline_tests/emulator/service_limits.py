"""Limits of AWS that its service models do not say, each with the page that does; moto takes whatever comes.

Before a request gets here, `request_validation.py` has held it to its model: batches of at most 100 partitions and
lengths of names are there.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs

from event_pipeline_tests.emulator.wire import AwsError, Call

ARGUMENT_BYTES = 260_000
"""AWS Glue: the arguments of a run, its job's defaults not among them, may have 260 kB."""
MESSAGE_BYTES = 262_144
"""Amazon SNS, Publish: a message may have 262,144 bytes; SQS's is as long."""
_SUBJECT = re.compile(r"[!-~][ -~]{0,99}")
_BATCH = 10


def limit_checks() -> dict[str, Callable[[Call], None]]:
    """Return what to check of a request before its operation gets it, by operation."""
    return {
        "glue.StartJobRun": _arguments,
        "sns.Publish": _message,
        "sqs.ReceiveMessage": _received,
        "sqs.DeleteMessageBatch": _entries,
        "sqs.SendMessageBatch": _entries,
        "sqs.ChangeMessageVisibilityBatch": _entries,
        "sqs.SendMessage": _sent,
    }


def _arguments(call: Call) -> None:
    given: dict[str, str] = call.parameters.get("Arguments", {})
    size = sum(len(name.encode()) + len(value.encode()) for name, value in given.items())
    if size > ARGUMENT_BYTES:
        raise AwsError("InvalidInputException", f"The arguments have {size} bytes, {ARGUMENT_BYTES} are the most")


def _message(call: Call) -> None:
    """SNS API reference, Publish: the sizes of Message and Subject.

    The subject is ASCII text that begins with a letter, number or punctuation mark, without line breaks or control
    characters, of at most 100 characters.
    """
    form = parse_qs(call.body.decode(), keep_blank_values=True)
    subject = form.get("Subject")
    if subject is not None and not _SUBJECT.fullmatch(subject[0]):
        raise AwsError("InvalidParameter", "Invalid parameter: Subject")
    message = form.get("Message", [""])[0]
    if not message:
        raise AwsError("InvalidParameter", "Invalid parameter: Empty message")
    if len(message.encode()) > MESSAGE_BYTES:
        raise AwsError("InvalidParameter", "Invalid parameter: Message too long")


def _received(call: Call) -> None:
    """SQS API reference, ReceiveMessage: 1 to 10 messages, a wait of 0 to 20 seconds, hidden for 12 hours at most."""
    for name, least, most in (
        ("MaxNumberOfMessages", 1, 10),
        ("WaitTimeSeconds", 0, 20),
        ("VisibilityTimeout", 0, 43_200),
    ):
        value = call.parameters.get(name)
        if value is not None and not least <= value <= most:
            reason = f"Must be between {least} and {most}, if provided."
            raise AwsError("InvalidParameterValue", f"Value {value} for parameter {name} is invalid. Reason: {reason}")


def _entries(call: Call) -> None:
    """SQS API reference, errors of the batch operations: 1 to 10 entries with ids of their own."""
    entries: list[dict[str, Any]] = call.parameters["Entries"]
    if not entries:
        raise AwsError("AWS.SimpleQueueService.EmptyBatchRequest", "There should be at least one entry in the request.")
    if len(entries) > _BATCH:
        message = f"Maximum number of entries per request are {_BATCH}. You have sent {len(entries)}."
        raise AwsError("AWS.SimpleQueueService.TooManyEntriesInBatchRequest", message)
    ids = [entry["Id"] for entry in entries]
    if len(set(ids)) != len(ids):
        raise AwsError("AWS.SimpleQueueService.BatchEntryIdsNotDistinct", "Two entries have the same Id.")


def _sent(call: Call) -> None:
    """SQS API reference, SendMessage: one byte at least."""
    if not call.parameters["MessageBody"]:
        raise AwsError("InvalidParameterValue", "One or more parameters are invalid: MessageBody must not be empty")
