"""EventBridge: an event reaches the targets of every rule that it fits, where a target's policy lets the service."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, cast

from moto.events.models import EventPattern
from moto.events.utils import EventMessageType

from event_pipeline_tests.emulator.inside import Inside

_PUBLISHERS = {"sns": "sns:Publish", "sqs": "sqs:SendMessage"}
"""Service of a target -> the permission that reaching it needs."""


class NotDeliveredError(Exception):
    """The target does not let the service; AWS drops the message and says nothing to anybody."""


def send_event(inside: Inside, event: Mapping[str, Any]) -> list[str]:
    """Give an event to every rule and return the names of those that it set off.

    Raises:
        NotDeliveredError: a target of such a rule does not let EventBridge.
    """
    fired = []
    for rule, targets in _rules_set_off(inside, event):
        fired.append(rule["Name"])
        for target in targets:
            deliver(inside, "events.amazonaws.com", rule["Arn"], target["Arn"], _input(target, event))
    return fired


def announce(inside: Inside, source: str, kind: str, detail: dict[str, Any]) -> None:
    """Give an event of a service to every rule; a target that does not let EventBridge goes without, silently."""
    event = {"source": source, "detail-type": kind, "detail": detail}
    for rule, targets in _rules_set_off(inside, event):
        for target in targets:
            try:
                deliver(inside, "events.amazonaws.com", rule["Arn"], target["Arn"], _input(target, event))
            except NotDeliveredError:
                continue


def deliver(inside: Inside, service: str, source: str, target: str, text: str) -> None:
    """Send a message of a service to a topic or a queue.

    Raises:
        NotDeliveredError: the target's policy does not let the service.
    """
    kind = target.split(":")[2]
    if not inside.judge.service_may(service, _PUBLISHERS[kind], target, source):
        raise NotDeliveredError(f"{target} does not let {service} send it anything")
    if kind == "sns":
        inside.sns.publish(TopicArn=target, Message=text)
    else:
        url = inside.sqs.get_queue_url(QueueName=target.rpartition(":")[2])["QueueUrl"]
        inside.sqs.send_message(QueueUrl=url, MessageBody=text)


def _rules_set_off(inside: Inside, event: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], list[Any]]]:
    for page in inside.events.get_paginator("list_rules").paginate():
        for rule in page["Rules"]:
            pattern = rule.get("EventPattern")
            message = cast(EventMessageType, dict(event))
            if rule["State"] == "ENABLED" and pattern and EventPattern.load(pattern).matches_event(message):
                yield rule, inside.events.list_targets_by_rule(Rule=rule["Name"])["Targets"]


def _input(target: Mapping[str, Any], event: Mapping[str, Any]) -> str:
    """Return what a target gets: the event, or what its transformer makes of it."""
    transformer = target.get("InputTransformer")
    if transformer is None:
        return json.dumps(event)
    text: str = transformer["InputTemplate"]
    for name, path in transformer["InputPathsMap"].items():
        value: Any = event
        for part in path.removeprefix("$.").split("."):
            value = value[part]
        text = text.replace(f"<{name}>", str(value))
    # A template of one quoted string is delivered as that string.
    return str(json.loads(text)) if text.startswith('"') else text
