"""A CloudFormation template with its parameters: which resources it makes, in which order, with which properties.

Strict where CloudFormation is: what it does not know is a failure, never ignored.
"""

from __future__ import annotations

import graphlib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from event_pipeline.infrastructure.template import parse_template
from event_pipeline_tests.emulator.wire import AwsError

NO_VALUE = object()
"""The value of `!Ref AWS::NoValue`: the property is left out."""
MOST_BODY_BYTES, MOST_URL_BYTES = 51_200, 1_000_000

_SECTIONS = {
    "AWSTemplateFormatVersion", "Description", "Metadata", "Parameters", "Conditions", "Mappings", "Resources",
    "Outputs",
}  # fmt: skip
_RESOURCE_KEYS = {
    "Type", "Properties", "Condition", "DependsOn", "DeletionPolicy", "UpdateReplacePolicy", "Metadata",
}  # fmt: skip
_POLICIES = {"Delete", "Retain", "RetainExceptOnCreate"}
_PARAMETER_KEYS = {
    "Type", "Default", "Description", "AllowedPattern", "AllowedValues", "ConstraintDescription", "MinValue",
    "MaxValue", "MinLength", "MaxLength", "NoEcho",
}  # fmt: skip
_PARAMETER_TYPES = {"String", "Number", "CommaDelimitedList", "List<Number>"}
_OUTPUT_KEYS = {"Description", "Value", "Export", "Condition"}
_VARIABLE = re.compile(r"\$\{([^!{}][^{}]*)\}")


def invalid(message: str) -> AwsError:
    """Return CloudFormation's refusal of a request."""
    return AwsError("ValidationError", message)


@dataclass
class Made:
    """A resource as the others see it."""

    reference: str
    """What `!Ref` gives."""
    attributes: Mapping[str, str] = field(default_factory=dict)
    """What `!GetAtt` gives."""


Lookup = Callable[[str], Made]
"""Gives a resource by its name in the template."""


class _Unknown(Mapping[str, str]):
    """Attributes of a resource that is not there yet: each is a text of its own."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getitem__(self, attribute: str) -> str:
        return f"<{self._name}.{attribute}>"

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


def not_made_yet(name: str) -> Made:
    """Stand in for a resource when changes are worked out."""
    return Made(f"<{name}>", _Unknown(name))


class StackTemplate:
    """One template with values for its parameters.

    Raises:
        AwsError: the template or a parameter is not valid.
    """

    def __init__(self, body: str, given: Mapping[str, str], pseudo: Mapping[str, Any]) -> None:
        self.body = body
        try:
            self._document = parse_template(body)
        except yaml.YAMLError as error:
            raise invalid(f"Template format error: {error}") from error
        _only("Template", self._document, _SECTIONS)
        self._pseudo = {**pseudo, "AWS::NoValue": NO_VALUE}
        self._definitions: dict[str, Any] = self._document.get("Parameters", {})
        self.parameters = self._parameters(given)
        self._conditions: dict[str, Any] = self._document.get("Conditions", {})
        all_resources: dict[str, Any] = self._document.get("Resources", {})
        for name, resource in all_resources.items():
            _only(f"Resource {name}", resource, _RESOURCE_KEYS)
            for key in ("DeletionPolicy", "UpdateReplacePolicy"):
                if resource.get(key, "Delete") not in _POLICIES:
                    raise invalid(f"Template error: {key} of {name} is {resource[key]!r}")
        self.resources = {
            name: resource
            for name, resource in all_resources.items()
            if "Condition" not in resource or self.condition(resource["Condition"])
        }
        if not self.resources:
            raise invalid("Template format error: At least one Resources member must be defined.")
        self._all_names = set(all_resources)

    # -- parameters

    def _parameters(self, given: Mapping[str, str]) -> dict[str, str]:
        if unknown := given.keys() - self._definitions.keys():
            raise invalid(f"Parameters: [{', '.join(sorted(unknown))}] do not exist in the template")
        values = {}
        for name, definition in self._definitions.items():
            _only(f"Parameter {name}", definition, _PARAMETER_KEYS)
            if definition["Type"] not in _PARAMETER_TYPES:
                raise invalid(f"Template format error: Unrecognized parameter type: {definition['Type']}")
            if name in given:
                values[name] = given[name]
            elif "Default" in definition:
                values[name] = _text(definition["Default"])
        if missing := self._definitions.keys() - values.keys():
            raise invalid(f"Parameters: [{', '.join(sorted(missing))}] must have values")
        for name, value in values.items():
            self._check_value(name, value, self._definitions[name])
        return values

    def _check_value(self, name: str, value: str, definition: dict[str, Any]) -> None:
        said = definition.get("ConstraintDescription")
        if "AllowedValues" in definition and value not in map(_text, definition["AllowedValues"]):
            raise invalid(said or f"Parameter '{name}' must be one of AllowedValues")
        if "AllowedPattern" in definition and not re.fullmatch(definition["AllowedPattern"], value):
            raise invalid(f"Parameter '{name}' " + (said or f"must match pattern {definition['AllowedPattern']}"))
        if definition["Type"] == "Number":
            try:
                number = float(value)
            except ValueError:
                raise invalid(f"Parameter '{name}' must be a number") from None
            if not float(definition.get("MinValue", number)) <= number <= float(definition.get("MaxValue", number)):
                least, most = definition.get("MinValue"), definition.get("MaxValue")
                raise invalid(f"Parameter '{name}' must be a number from {least} to {most}")
        if not int(definition.get("MinLength", 0)) <= len(value) <= int(definition.get("MaxLength", len(value))):
            raise invalid(f"Parameter '{name}' has a length that is not allowed")

    # -- resources

    def order(self) -> list[str]:
        """Return the resources, each after all that it needs.

        Raises:
            AwsError: resources need each other in a circle.
        """
        try:
            return list(graphlib.TopologicalSorter({name: self.needs(name) for name in self.resources}).static_order())
        except graphlib.CycleError as error:
            raise invalid(f"Circular dependency between resources: {error.args[1]}") from error

    def needs(self, name: str) -> set[str]:
        """Return the resources that must be there before one is made."""
        resource = self.resources[name]
        wanted = resource.get("DependsOn", [])
        found = {wanted} if isinstance(wanted, str) else set(wanted)
        if unknown := found - self._all_names:
            raise invalid(f"Template format error: Unresolved resource dependencies [{', '.join(unknown)}]")
        self.resolve(resource.get("Properties", {}), lambda other: found.add(other) or not_made_yet(other))  # type: ignore[func-returns-value]
        return found & self.resources.keys()

    def properties(self, name: str, lookup: Lookup) -> dict[str, Any]:
        """Return the properties of a resource with all intrinsics worked out."""
        found: dict[str, Any] = self.resolve(self.resources[name].get("Properties", {}), lookup)
        return found

    def outputs(self, lookup: Lookup) -> list[dict[str, str]]:
        """Return the outputs as DescribeStacks shows them."""
        shown = []
        for name, output in self._document.get("Outputs", {}).items():
            _only(f"Output {name}", output, _OUTPUT_KEYS)
            if "Condition" in output and not self.condition(output["Condition"]):
                continue
            value = self.resolve(output["Value"], lookup)
            if not isinstance(value, str | int | float):
                raise invalid(f"Template format error: The Value field of output {name} must evaluate to a String")
            described = {"OutputKey": name, "OutputValue": _text(value)}
            if "Description" in output:
                described["Description"] = output["Description"]
            if "Export" in output:
                described["ExportName"] = self.resolve(output["Export"], lookup)["Name"]
            shown.append(described)
        return shown

    def check(self) -> None:
        """Work everything out once, with stand-ins for resources.

        Raises:
            AwsError: something refers to what is not there.
        """
        for name in self.order():
            self.properties(name, not_made_yet)
        self.outputs(not_made_yet)

    # -- intrinsics

    def condition(self, name: str) -> bool:
        """Return whether a condition holds."""
        if name not in self._conditions:
            raise invalid(f"Template format error: Unresolved condition {name}")
        return self._holds(self._conditions[name])

    def _holds(self, value: Any) -> bool:
        if isinstance(value, dict) and len(value) == 1:
            ((function, argument),) = value.items()
            match function:
                case "Condition":
                    return self.condition(argument)
                case "Fn::Equals":
                    left, right = (self.resolve(side, _no_resource) for side in argument)
                    return _text(left) == _text(right)
                case "Fn::Not":
                    return not self._holds(argument[0])
                case "Fn::And":
                    return all([self._holds(each) for each in argument])
                case "Fn::Or":
                    return any([self._holds(each) for each in argument])
        raise invalid(f"Template error: a condition cannot be {value!r}")

    def resolve(self, value: Any, lookup: Lookup) -> Any:
        """Work out the intrinsics of a value; parts without a value are left out."""
        if isinstance(value, list):
            return [item for item in (self.resolve(each, lookup) for each in value) if item is not NO_VALUE]
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            ((function, argument),) = value.items()
            if function == "Ref" or function.startswith("Fn::"):
                return self._apply(function, argument, lookup)
        resolved = {key: self.resolve(each, lookup) for key, each in value.items()}
        return {key: each for key, each in resolved.items() if each is not NO_VALUE}

    def _apply(self, function: str, argument: Any, lookup: Lookup) -> Any:
        match function:
            case "Ref":
                return self._reference(argument, lookup)
            case "Fn::GetAtt":
                resource, attribute = argument
                return self._attribute(resource, attribute, lookup)
            case "Fn::Sub":
                return self._substitute(argument, lookup)
            case "Fn::If":
                name, then, otherwise = argument
                return self.resolve(then if self.condition(name) else otherwise, lookup)
            case "Fn::Join":
                return argument_text(self.resolve(argument[0], lookup)).join(
                    argument_text(each) for each in self.resolve(argument[1], lookup)
                )
            case "Fn::Select":
                return self.resolve(argument[1], lookup)[int(self.resolve(argument[0], lookup))]
            case "Fn::Split":
                return self.resolve(argument[1], lookup).split(self.resolve(argument[0], lookup))
            case "Fn::FindInMap":
                top, first, second = (self.resolve(each, lookup) for each in argument)
                try:
                    return self._document["Mappings"][top][first][second]
                except KeyError as error:
                    raise invalid(f"Template error: Unable to get mapping for {top}::{first}::{second}") from error
        raise invalid(f"Template error: the intrinsic {function} is not emulated")

    def _reference(self, name: str, lookup: Lookup) -> Any:
        if name in self._pseudo:
            return self._pseudo[name]
        if name in self.parameters:
            value, kind = self.parameters[name], self._definitions[name]["Type"]
            if kind == "Number":
                return int(value) if re.fullmatch(r"[+-]?\d+", value) else float(value)
            if kind == "CommaDelimitedList":
                return [each.strip() for each in value.split(",")]
            return value
        self._check_resource(name)
        return lookup(name).reference

    def _attribute(self, name: str, attribute: str, lookup: Lookup) -> str:
        self._check_resource(name)
        attributes = lookup(name).attributes
        try:
            return attributes[attribute]
        except KeyError as error:
            raise invalid(f"Template error: resource {name} has no attribute {attribute}") from error

    def _check_resource(self, name: str) -> None:
        if name not in self.resources:
            raise invalid(f"Template format error: Unresolved resource dependencies [{name}]")

    def _substitute(self, argument: Any, lookup: Lookup) -> str:
        text, extra = (argument, {}) if isinstance(argument, str) else argument

        def replace(found: re.Match[str]) -> str:
            name = found.group(1)
            if name in extra:
                return argument_text(self.resolve(extra[name], lookup))
            resource, dot, attribute = name.partition(".")
            if dot:
                return self._attribute(resource, attribute, lookup)
            return argument_text(self._reference(name, lookup))

        return _VARIABLE.sub(replace, text).replace("${!", "${")


def argument_text(value: Any) -> str:
    """Return a value as `Fn::Join` and `Fn::Sub` put it into text."""
    if not isinstance(value, str | int | float):
        raise invalid(f"Template error: every value of Fn::Join and Fn::Sub must be a string, not {value!r}")
    return _text(value)


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _no_resource(name: str) -> Made:
    raise invalid(f"Template format error: a condition depends on the resource {name}")


def _only(place: str, found: Any, known: set[str]) -> None:
    if not isinstance(found, dict):
        raise invalid(f"Template format error: {place} must be an object")
    if unknown := found.keys() - known:
        raise invalid(f"Invalid template property or properties [{', '.join(sorted(map(str, unknown)))}] in {place}")
