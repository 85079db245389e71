"""The template against the service specification that aws-cdk is made from, a second source beside cfn-lint's schemas.

`service_spec.json` is an extract of it (`extract_service_spec.py`). Besides properties and attributes it knows the
events that services send, field by field, and their metrics with the dimensions: of these cfn-lint knows nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from event_pipeline_tests.infra.extract_service_spec import SPECIFICATION
from event_pipeline_tests.infra.template import EVERYTHING_ON, Template

_SPEC = json.loads(SPECIFICATION.read_text(encoding="utf-8"))
_TAG = {"Key", "Value"}
_EVENT_FIELDS = {"version", "id", "detail-type", "source", "account", "time", "region", "resources", "detail"}
_ATTRIBUTE = re.compile(r"\$\{([A-Za-z0-9]+)\.([A-Za-z0-9.]+)\}")
_EXTRACT = "`event_pipeline_tests/infra/extract_service_spec.py` says how to add it"
_ANY_ATTRIBUTES = ("AWS::CloudFormation::CustomResource", "Custom::")


def properties_are_those_of_the_specification(template: Template) -> list[str]:
    """Names, types, required properties and allowed values, with every optional part and with none."""
    faults = []
    for made in (template.deployed, template.with_parameters(**dict.fromkeys(EVERYTHING_ON, ""))):
        for name, properties in made.items():
            kind = template.resources[name]["Type"]
            known = _SPEC["resources"].get(kind)
            if known is None:
                faults.append(f"{name}: the specification has no {kind}; {_EXTRACT}")
            elif not kind.startswith(_ANY_ATTRIBUTES):
                faults += _members(known["properties"], properties, name)
    return list(dict.fromkeys(faults))


def attributes_are_those_of_the_specification(template: Template) -> list[str]:
    """Whatever is asked of a resource (`GetAtt`, `${Name.Attribute}`) is something that it has."""
    faults = []
    for name, attribute in _attributes(template.document):
        resource = template.resources.get(name)
        kind = resource["Type"] if resource else ""
        if not kind:
            faults.append(f"{name}.{attribute}: there is no such resource")
        elif (
            not kind.startswith(_ANY_ATTRIBUTES) and attribute not in _SPEC["resources"].get(kind, _NONE)["attributes"]
        ):
            faults.append(f"{name}: {kind} has no attribute {attribute}")
    return faults


def rules_wait_for_events_that_are_sent(template: Template) -> list[str]:
    """Source, detail type and every field of a rule's pattern are of an event that its service sends."""
    faults = []
    for name in template.of_type("AWS::Events::Rule"):
        pattern = template.deployed[name].get("EventPattern", {})
        faults += [f"{name}: events have no field {field}" for field in sorted(pattern.keys() - _EVENT_FIELDS)]
        for source in pattern.get("source", []):
            events = _SPEC["events"].get(source, {})
            for detail_type in pattern.get("detail-type", []):
                if detail_type not in events:
                    faults.append(f"{name}: {source} sends no {detail_type!r}, or the extract lacks it; {_EXTRACT}")
                else:
                    faults += _unknown_fields(pattern.get("detail", {}), events[detail_type], f"{name}: detail")
    return faults


def alarms_watch_metrics_that_are_published(template: Template) -> list[str]:
    """An alarm on a metric, or by dimensions, that a service does not publish waits for ever."""
    faults = []
    for name in template.of_type("AWS::CloudWatch::Alarm"):
        made = template.deployed[name]
        for metric in _metrics(made):
            known = _SPEC["metrics"].get(metric["Namespace"])
            dimensions = sorted(each["Name"] for each in metric.get("Dimensions", []))
            if known is None:
                continue  # a namespace of our own, or one that the specification does not describe
            if metric["MetricName"] not in known:
                faults.append(f"{name}: {metric['Namespace']} has no {metric['MetricName']}")
            elif dimensions not in known[metric["MetricName"]]:
                faults.append(f"{name}: {metric['MetricName']} has no dimensions {dimensions}")
    return faults


CHECKS: tuple[Callable[[Template], list[str]], ...] = (
    properties_are_those_of_the_specification,
    attributes_are_those_of_the_specification,
    rules_wait_for_events_that_are_sent,
    alarms_watch_metrics_that_are_published,
)

_NONE: Mapping[str, Any] = {"attributes": ()}


def _members(known: Mapping[str, Any], given: Mapping[str, Any], place: str) -> Iterator[str]:
    for name, value in given.items():
        if name not in known:
            yield f"{place}: there is no property {name}"
        else:
            yield from _value(known[name]["type"], value, f"{place}.{name}")
    for name, each in known.items():
        if each.get("required") and name not in given:
            yield f"{place}: {name} is required"


def _value(type_: Mapping[str, Any], value: Any, place: str) -> list[str]:
    """Return what is wrong with a value; CloudFormation takes numbers and truths as text as well."""
    match type_["type"]:
        case "ref" if isinstance(value, dict):
            return list(_members(_SPEC["types"][type_["to"]], value, place))
        case "array" if isinstance(value, list):
            return [
                fault for at, each in enumerate(value) for fault in _value(type_["element"], each, f"{place}[{at}]")
            ]
        case "map" if isinstance(value, dict):
            return [fault for key, each in value.items() for fault in _value(type_["element"], each, f"{place}.{key}")]
        case "tag" if isinstance(value, dict) and value.keys() == _TAG:
            return []
        case "union":
            tried = [_value(each, value, place) for each in type_["types"]]
            return min(tried, key=len)
        case "json" if isinstance(value, dict | list | str):
            return []
        case "string" | "date-time" if isinstance(value, str | int | float):
            allowed = type_.get("allowed")
            return [f"{place}: {value!r} is not among {allowed}"] if allowed and str(value) not in allowed else []
        case "integer" if re.fullmatch(r"-?\d+", str(value)) and not isinstance(value, bool):
            return []
        case "number" if re.fullmatch(r"-?\d+(\.\d+)?", str(value)) and not isinstance(value, bool):
            return []
        case "boolean" if str(value).lower() in ("true", "false"):
            return []
    return [f"{place}: {value!r} is no {type_['type']}"]


def _attributes(value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, list):
        for each in value:
            yield from _attributes(each)
    elif isinstance(value, dict):
        for key, each in value.items():
            if key == "Fn::GetAtt":
                name, _, attribute = (each if isinstance(each, str) else ".".join(each)).partition(".")
                yield name, attribute
            elif key == "Fn::Sub":
                yield from _ATTRIBUTE.findall(each if isinstance(each, str) else each[0])
                yield from _attributes(each)
            else:
                yield from _attributes(each)


def _unknown_fields(pattern: Mapping[str, Any], known: Mapping[str, Any], place: str) -> Iterator[str]:
    for name, wanted in pattern.items():
        if name not in known:
            yield f"{place} has no field {name}"
        elif isinstance(wanted, dict):
            yield from _unknown_fields(wanted, known[name], f"{place}.{name}")


def _metrics(alarm: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    if "MetricName" in alarm:
        yield alarm
    for each in alarm.get("Metrics", []):
        if "MetricStat" in each:
            yield each["MetricStat"]["Metric"]
