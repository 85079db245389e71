"""EventBridge, CloudWatch and the Scheduler at work: what a rule, an alarm or a schedule of the account sets off.

moto keeps their definitions and does nothing with them. Each is read here as the account has it, set off by an event,
by data points or by a tick, and delivered to its target where the target's policy lets the service.
"""

from __future__ import annotations

import json
import operator
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from moto.events.models import EventPattern

from event_pipeline_tests.emulator.server import EmulatedAws

_COMPARISONS: Mapping[str, Callable[[float, float], bool]] = {
    "GreaterThanOrEqualToThreshold": operator.ge,
    "GreaterThanThreshold": operator.gt,
    "LessThanThreshold": operator.lt,
    "LessThanOrEqualToThreshold": operator.le,
    "GreaterThanUpperThreshold": operator.gt,
}


class NotDeliveredError(Exception):
    """The target does not let the service; AWS drops the message and says nothing to anybody."""


def send_event(aws: EmulatedAws, event: Mapping[str, Any]) -> list[str]:
    """Give an event to every rule and return the names of those that it set off.

    Raises:
        NotDeliveredError: a target of such a rule does not let EventBridge.
    """
    events, fired = aws.client("events"), []
    for rule in events.list_rules()["Rules"]:
        if rule["State"] != "ENABLED" or not EventPattern.load(rule["EventPattern"]).matches_event(dict(event)):
            continue
        fired.append(rule["Name"])
        for target in events.list_targets_by_rule(Rule=rule["Name"])["Targets"]:
            _deliver(aws, "events.amazonaws.com", rule["Arn"], target["Arn"], _input(target, event))
    return fired


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


def put_points(aws: EmulatedAws, alarm: Mapping[str, Any], points: Sequence[float], usual: Sequence[float] = ()) -> str:
    """Let an alarm see one point for each of its last periods and return its state; ALARM tells its actions.

    `usual` is what the metric was before, which a band of anomaly detection is worked out from.

    Raises:
        NotDeliveredError: an action's topic does not let CloudWatch.
    """
    if "ThresholdMetricId" in alarm:
        band = next(each for each in alarm["Metrics"] if each["Id"] == alarm["ThresholdMetricId"])["Expression"]
        width = float(band.removeprefix("ANOMALY_DETECTION_BAND(").rstrip(")").split(",")[1])
        threshold = statistics.mean(usual) + width * statistics.stdev(usual)
    else:
        threshold = alarm["Threshold"]
    compare = _COMPARISONS[alarm["ComparisonOperator"]]
    breaching = [compare(point, threshold) for point in points]
    missing = alarm["EvaluationPeriods"] - len(breaching)
    breaching += [alarm["TreatMissingData"] == "breaching"] * missing
    state = "ALARM" if all(breaching) else "OK"
    if state == "ALARM":
        message = json.dumps({"AlarmName": alarm["AlarmName"], "NewStateValue": state})
        for action in alarm["AlarmActions"]:
            _deliver(aws, "cloudwatch.amazonaws.com", alarm["AlarmArn"], action, message)
    return state


def tick(aws: EmulatedAws, schedule: Mapping[str, Any], instant: str) -> dict[str, Any]:
    """Let a schedule come due and return what its function answered.

    Raises:
        NotDeliveredError: the schedule's role is not the Scheduler's to take, or may not invoke the function.
    """
    target, iam = schedule["Target"], aws.client("iam")
    name = target["RoleArn"].rpartition("/")[2]
    trust = iam.get_role(RoleName=name)["Role"]["AssumeRolePolicyDocument"]
    if not _allows(trust, "scheduler.amazonaws.com", "sts:AssumeRole", None, _context(target["RoleArn"], "")):
        raise NotDeliveredError(f"{target['RoleArn']} does not trust the Scheduler")
    policies = [
        iam.get_role_policy(RoleName=name, PolicyName=each)["PolicyDocument"]
        for each in iam.list_role_policies(RoleName=name)["PolicyNames"]
    ]
    if not any(_allows(each, None, "lambda:InvokeFunction", target["Arn"], {}) for each in policies):
        raise NotDeliveredError(f"{target['RoleArn']} may not invoke {target['Arn']}")
    payload = target["Input"].replace("<aws.scheduler.scheduled-time>", instant)
    answer = aws.client("lambda").invoke(FunctionName=target["Arn"], Payload=payload)
    found: dict[str, Any] = json.loads(answer["Payload"].read())
    return found


def _deliver(aws: EmulatedAws, service: str, source: str, target: str, text: str) -> None:
    if ":sns:" in target:
        policy = json.loads(aws.client("sns").get_topic_attributes(TopicArn=target)["Attributes"]["Policy"])
        # https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-use-resource-based.html: EventBridge does not
        # support Condition blocks in the policy of a topic, so a statement with one lets it do nothing.
        context = {} if service == "events.amazonaws.com" else _context(target, source)
        if not _allows(policy, service, "sns:Publish", target, context):
            raise NotDeliveredError(f"{target} lets {service} publish nothing")
        aws.client("sns").publish(TopicArn=target, Message=text)
        return
    sqs = aws.client("sqs")
    url = sqs.get_queue_url(QueueName=target.rpartition(":")[2])["QueueUrl"]
    attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["Policy"])["Attributes"]
    if not _allows(json.loads(attributes["Policy"]), service, "sqs:SendMessage", target, _context(target, source)):
        raise NotDeliveredError(f"{target} lets {service} send nothing")
    sqs.send_message(QueueUrl=url, MessageBody=text)


def _context(arn: str, source: str) -> dict[str, str]:
    """Return the condition keys of a service's request on something of the account."""
    return {"aws:SourceAccount": arn.split(":")[4], "aws:SourceArn": source}


def _allows(
    policy: Mapping[str, Any], service: str | None, action: str, resource: str | None, context: Mapping[str, str]
) -> bool:
    return any(
        each["Effect"] == "Allow"
        and (service is None or each.get("Principal") == {"Service": service})
        and action in _list(each["Action"])
        and (resource is None or resource in _list(each["Resource"]))
        and all(context.get(key) == value for test in each.get("Condition", {}).values() for key, value in test.items())
        for each in policy["Statement"]
    )


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
