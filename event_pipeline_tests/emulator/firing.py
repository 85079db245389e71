"""CloudWatch and the Scheduler at work: what an alarm or a schedule of the account sets off.

moto keeps their definitions and does nothing with them. Each is read here as the account has it, set off by data points
or by a tick, and what it says is delivered where the policies let the service.
"""

from __future__ import annotations

import json
import operator
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from event_pipeline_tests.emulator.event_bridge import deliver
from event_pipeline_tests.emulator.permissions import service_key
from event_pipeline_tests.emulator.policies import Need
from event_pipeline_tests.emulator.server import EmulatedAws

_COMPARISONS: Mapping[str, Callable[[float, float], bool]] = {
    "GreaterThanOrEqualToThreshold": operator.ge,
    "GreaterThanThreshold": operator.gt,
    "LessThanThreshold": operator.lt,
    "LessThanOrEqualToThreshold": operator.le,
    "GreaterThanUpperThreshold": operator.gt,
}


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
            deliver(aws.inside, "cloudwatch.amazonaws.com", alarm["AlarmArn"], action, message)
    return state


def tick(aws: EmulatedAws, schedule: Mapping[str, Any], instant: str) -> dict[str, Any]:
    """Let a schedule come due and return what its function answered.

    Raises:
        AwsError: the schedule's role is not the Scheduler's to take, or may not invoke the function.
    """
    target = schedule["Target"]
    session = aws.judge.hand_out(target["RoleArn"], "scheduler.amazonaws.com", "tick", service_key())
    assert session, f"{target['RoleArn']} is a role that nobody judges"
    aws.judge.require(session, Need("lambda:InvokeFunction", target["Arn"]))
    payload = target["Input"].replace("<aws.scheduler.scheduled-time>", instant)
    answer = aws.client("lambda").invoke(FunctionName=target["Arn"], Payload=payload)
    found: dict[str, Any] = json.loads(answer["Payload"].read())
    return found
