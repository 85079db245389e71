"""The template as tests read it: its text, its parts with their lines, and its resources with intrinsics worked out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from cfnlint.decode import cfn_yaml

TEMPLATE = Path(__file__).parents[2] / "infra" / "cloudformation" / "event_pipeline.yaml"
ACCOUNT, REGION = "123456789012", "eu-central-1"
DIGEST = "0" * 64
EVERYTHING_ON = {
    "GlueScriptKey": f"artifacts/{DIGEST}/silver_events.py",
    "GluePackageKey": f"artifacts/{DIGEST}/event_pipeline.zip",
    "GlueWheelKeys": f"artifacts/{DIGEST}/one.whl,artifacts/{DIGEST}/two.whl,artifacts/{DIGEST}/three.whl",
    "GeneratorCodeKey": f"artifacts/{DIGEST}/generator.zip",
    "KmsKeyArn": f"arn:aws:kms:{REGION}:{ACCOUNT}:key/1",
    "AlertEmail": "somebody@example.com",
    "EmptyBucketsOnDelete": "true",
    "GlueMetrics": "true",
}
"""Parameters with which every optional part is there."""

_NOTHING = object()
_VARIABLE = re.compile(r"\$\{([A-Za-z0-9:.]+)\}")


@dataclass(frozen=True)
class Template:
    """One template; `text` may hold a planted fault."""

    text: str

    @cached_property
    def document(self) -> dict[str, Any]:
        """The whole of it, short forms written out; its parts know their lines."""
        return dict(cfn_yaml.loads(self.text))

    @property
    def parameters(self) -> Mapping[str, Mapping[str, Any]]:
        """Name -> definition."""
        return dict(self.document["Parameters"])

    @property
    def outputs(self) -> Mapping[str, Mapping[str, Any]]:
        """Name -> definition."""
        return dict(self.document["Outputs"])

    @property
    def resources(self) -> Mapping[str, Mapping[str, Any]]:
        """Logical name -> definition, as it is written."""
        return dict(self.document["Resources"])

    def of_type(self, kind: str) -> dict[str, Mapping[str, Any]]:
        """Return the resources of one type."""
        return {name: each for name, each in self.resources.items() if each["Type"] == kind}

    @cached_property
    def deployed(self) -> dict[str, dict[str, Any]]:
        """Logical name -> properties worked out, with every optional part on."""
        return self.with_parameters(**EVERYTHING_ON)

    @cached_property
    def said(self) -> dict[str, Any]:
        """Output -> its value worked out, with every optional part on."""
        return _Resolver(self, EVERYTHING_ON).outputs()

    def with_parameters(self, **given: str) -> dict[str, dict[str, Any]]:
        """Work out the properties of the resources that given parameters make."""
        return _Resolver(self, given).resources()

    def line_of(self, node: Any) -> str:
        """Return the line of text on which a scalar stands."""
        line: int = node.start_mark.line
        return self.text.splitlines()[line]


class _Resolver:
    """Works out intrinsics; what only a deployment knows is `<Resource>` and `<Resource.Attribute>`."""

    def __init__(self, template: Template, given: Mapping[str, str]) -> None:
        self._template = template
        self._values = {name: given.get(name, each.get("Default")) for name, each in template.parameters.items()}
        pseudo = {"AccountId": ACCOUNT, "Region": REGION, "Partition": "aws", "StackName": "stack"}
        self._pseudo = {f"AWS::{name}": value for name, value in pseudo.items()}
        self._pseudo["AWS::StackId"] = f"arn:aws:cloudformation:{REGION}:{ACCOUNT}:stack/stack/1"

    def resources(self) -> dict[str, dict[str, Any]]:
        """Return what is made."""
        return {
            name: self._value(each.get("Properties", {}))
            for name, each in self._template.resources.items()
            if "Condition" not in each or self._holds({"Condition": each["Condition"]})
        }

    def outputs(self) -> dict[str, Any]:
        """Return the values of the outputs."""
        return {
            name: self._value(each["Value"])
            for name, each in self._template.outputs.items()
            if "Condition" not in each or self._holds({"Condition": each["Condition"]})
        }

    def _holds(self, condition: Any) -> bool:
        ((function, argument),) = condition.items()
        match function:
            case "Condition":
                return self._holds(self._template.document["Conditions"][argument])
            case "Fn::Equals":
                left, right = (self._value(side) for side in argument)
                return str(left) == str(right)
            case "Fn::Not":
                return not self._holds(argument[0])
            case "Fn::And":
                return all(self._holds(each) for each in argument)
            case "Fn::Or":
                return any(self._holds(each) for each in argument)
        raise LookupError(f"{function} is no condition")

    def _value(self, value: Any) -> Any:
        if isinstance(value, list):
            return [item for item in map(self._value, value) if item is not _NOTHING]
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            ((function, argument),) = value.items()
            if function == "Ref" or str(function).startswith("Fn::"):
                return self._apply(function, argument)
        worked_out = {str(key): self._value(each) for key, each in value.items()}
        return {key: each for key, each in worked_out.items() if each is not _NOTHING}

    def _apply(self, function: str, argument: Any) -> Any:
        match function:
            case "Ref":
                return self._reference(argument)
            case "Fn::GetAtt":
                return self._attribute(".".join(argument))
            case "Fn::Sub":
                text, extra = (argument, {}) if isinstance(argument, str) else argument
                inner = {name: self._value(each) for name, each in extra.items()}
                return _VARIABLE.sub(lambda found: str(self._variable(found[1], inner)), text)
            case "Fn::If":
                condition, then, otherwise = argument
                return self._value(then if self._holds({"Condition": condition}) else otherwise)
            case "Fn::Join":
                return argument[0].join(str(each) for each in self._value(argument[1]))
            case "Fn::Select":
                return self._value(argument[1])[int(argument[0])]
            case "Fn::Split":
                return str(self._value(argument[1])).split(argument[0])
        raise LookupError(f"{function} is not known here")

    def _variable(self, name: str, inner: Mapping[str, Any]) -> Any:
        if name in inner:
            return inner[name]
        return self._attribute(name) if "." in name else self._reference(name)

    def _reference(self, name: str) -> Any:
        if name == "AWS::NoValue":
            return _NOTHING
        if name in self._pseudo:
            return self._pseudo[name]
        if name in self._values:
            is_list = self._template.parameters[name]["Type"] == "CommaDelimitedList"
            return str(self._values[name]).split(",") if is_list else self._values[name]
        made = self._template.resources[name]
        match made["Type"]:
            case "AWS::S3::Bucket":
                return f"<{name}>".lower()
            case "AWS::SNS::Topic":
                return f"arn:aws:sns:{REGION}:{ACCOUNT}:<{name}>"
            case "AWS::Glue::Database":
                return self._value(made["Properties"]["DatabaseInput"]["Name"])
            case "AWS::Glue::Job" | "AWS::Athena::WorkGroup":
                return self._value(made["Properties"]["Name"])
            case "AWS::Logs::LogGroup":
                return self._value(made["Properties"]["LogGroupName"])
        return f"<{name}>"

    def _attribute(self, place: str) -> Any:
        name, _, attribute = place.partition(".")
        made = self._template.resources[name]
        if made["Type"] == "AWS::SSM::Parameter" and attribute == "Value":
            return self._value(made["Properties"]["Value"])
        if attribute == "Arn":
            return self._arn(name, made["Type"])
        return f"<{place}>"

    def _arn(self, name: str, kind: str) -> str:
        if kind == "AWS::S3::Bucket":
            return f"arn:aws:s3:::{self._reference(name)}"
        service, resource = {
            "AWS::SQS::Queue": ("sqs", ""),
            "AWS::Lambda::Function": ("lambda", "function:"),
            "AWS::Events::Rule": ("events", "rule/"),
            "AWS::IAM::Role": ("iam", "role/"),
            "AWS::Logs::LogGroup": ("logs", "log-group:"),
        }[kind]
        suffix = f"{self._reference(name)}:*" if service == "logs" else f"<{name}>"
        return f"arn:aws:{service}:{REGION}:{ACCOUNT}:{resource}{suffix}"
