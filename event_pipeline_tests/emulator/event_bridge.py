"""EventBridge from an ended Glue run to a topic: patterns, input transformers and the policies of topics.

EventBridge's guide ("Amazon SNS permissions"): the policy of a topic may have no `Condition` for
`events.amazonaws.com`; the message is dropped then, silently.
"""

from __future__ import annotations

import json
from typing import Any

from event_pipeline_tests.emulator.inside import Inside


def announce(inside: Inside, source: str, kind: str, detail: dict[str, Any]) -> None:
    """Give an event to every topic that a rule of the account names for it."""
    event = {"source": source, "detail-type": kind, "detail": detail}
    for page in inside.events.get_paginator("list_rules").paginate():
        for rule in page["Rules"]:
            if rule["State"] == "ENABLED" and _fits(json.loads(rule.get("EventPattern") or "null"), event):
                for target in inside.events.list_targets_by_rule(Rule=rule["Name"])["Targets"]:
                    _tell(inside, target, event)


def _fits(pattern: Any, event: Any) -> bool:
    """Tell whether an event has one of the values that a pattern allows, wherever it names some."""
    if isinstance(pattern, dict):
        return isinstance(event, dict) and all(_fits(each, event.get(name)) for name, each in pattern.items())
    return isinstance(pattern, list) and event in pattern


def _tell(inside: Inside, target: dict[str, Any], event: dict[str, Any]) -> None:
    topic = target["Arn"]
    if ":sns:" not in topic or not _may_publish(inside, topic):
        return
    inside.sns.publish(TopicArn=topic, Message=_message(target, event))


def _may_publish(inside: Inside, topic: str) -> bool:
    policy = json.loads(inside.sns.get_topic_attributes(TopicArn=topic)["Attributes"]["Policy"])
    return any(
        each["Effect"] == "Allow"
        and each["Principal"] == {"Service": "events.amazonaws.com"}
        and "sns:Publish" in each["Action"]
        and "Condition" not in each
        for each in policy["Statement"]
    )


def _message(target: dict[str, Any], event: dict[str, Any]) -> str:
    transformer = target.get("InputTransformer")
    if transformer is None:
        return json.dumps(event)
    text: str = transformer["InputTemplate"]
    for name, path in transformer["InputPathsMap"].items():
        value: Any = event
        for part in path.removeprefix("$.").split("."):
            value = value[part]
        text = text.replace(f"<{name}>", str(value))
    return text
