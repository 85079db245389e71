"""Refuses what AWS's own service models refuse; boto3 checks required members, types and minimums, and nothing more.

The models are botocore's: `required`, types, `min`, `max`, `pattern` and `enum` of every member of every request. AWS's
services answer `1 validation error detected: Value '...' at 'table.storageDescriptor' failed to satisfy constraint:
...`, under a code of their own. What the models cannot say is in `service_limits.py`.

AWS drops members that it does not know without a word. Here they are refused: nothing may be sent without effect.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any

import botocore.exceptions
from botocore.model import OperationModel, Shape, StructureShape
from botocore.utils import parse_timestamp

from event_pipeline_tests.emulator.java_patterns import translate
from event_pipeline_tests.emulator.request_parameters import operation_model, read_parameters
from event_pipeline_tests.emulator.service_limits import check_limits
from event_pipeline_tests.emulator.wire import AwsError, Call

Check = Callable[[Any, str, list[str]], None]
"""Looks at the value at a place, and appends what is wrong with it."""

_CODES = {
    "athena": "InvalidRequestException",
    "logs": "InvalidParameterException",
    "sqs": "InvalidParameterValue",
    "sns": "InvalidParameter",
    "s3": "InvalidArgument",
    "cloudformation": "ValidationError",
    "iam": "ValidationError",
    "sts": "ValidationError",
    "cloudwatch": "ValidationError",
}
"""What a service calls a request that its model forbids; the others say ValidationException."""
_LONGEST_SHOWN = 300


def validate(call: Call, environ: dict[str, Any]) -> None:
    """Let a request through if its service's model and limits do.

    Raises:
        AwsError: there is no such operation, or the model or a limit forbids the request; worded as the service does.
        UntranslatablePatternError: the model holds a pattern that cannot be checked here.
    """
    try:
        model = operation_model(call.service, call.operation)
    except botocore.exceptions.UnknownServiceError as error:
        raise AwsError("UnknownServiceException", f"there is no service {call.service}", 404) from error
    if model is None:
        code, status = ("MethodNotAllowed", 405) if call.service == "s3" else ("UnknownOperationException", 400)
        raise AwsError(code, f"{call.service} has no operation {call.operation}", status)
    given = read_parameters(model, call, environ)
    found = [_failed("Value", place, "There is no such member") for place in given.unknown]
    in_json, in_text, required = _checks(call.service, call.operation)
    in_json(given.as_json, "", found)
    in_text(given.as_text, "", found)
    for name, wire_name in required.items():
        if given.as_json.get(wire_name) is None and given.as_text.get(name) is None:
            found.append(_failed("Value null", _inside("", name), "Member must not be null"))
    if found:
        errors = "error" if len(found) == 1 else "errors"
        message = f"{len(found)} validation {errors} detected: {'; '.join(found)}"
        raise AwsError(_CODES.get(call.service, "ValidationException"), message)
    check_limits(call.name, {**given.as_json, **given.as_text})


def patterns(model: OperationModel) -> Iterator[str]:
    """Yield every pattern that a request of an operation is held to."""
    seen: set[str] = set()
    waiting = [model.input_shape] if model.input_shape else []
    while waiting:
        shape = waiting.pop()
        if shape.name not in seen:
            seen.add(shape.name)
            if "pattern" in shape.metadata:
                yield shape.metadata["pattern"]
            match shape.type_name:
                case "structure":
                    waiting += shape.members.values()
                case "list":
                    waiting.append(shape.member)
                case "map":
                    waiting += (shape.key, shape.value)


@cache
def _checks(service: str, operation: str) -> tuple[_Members, _Members, Mapping[str, str]]:
    """Return what checks members in JSON, what those in text, and the required ones with their names in JSON."""
    model = operation_model(service, operation)
    assert model is not None
    if model.input_shape is None:
        return _Members({}, text=False), _Members({}, text=True), {}
    members = {
        name: member for name, member in model.input_shape.members.items() if _is_looked_at(model.input_shape, name)
    }
    in_body = {name: member for name, member in members.items() if "location" not in member.serialization}
    required = {name: _wire_name(name, members[name]) for name in model.input_shape.required_members if name in members}
    return (
        _Members({_wire_name(name, member): member for name, member in in_body.items()}, text=False),
        _Members(members, text=True),
        required,
    )


def _is_looked_at(shape: StructureShape, name: str) -> bool:
    """Return whether a member is checked: not the bytes of an object or a function's event, not user metadata."""
    member = shape.members[name]
    is_data = name == shape.serialization.get("payload") and member.type_name == "blob"
    is_several = member.type_name in ("list", "map") and "location" in member.serialization
    return not is_data and not is_several


class _Members:
    """Checks the members of a structure that are given, each compiled when a request has it first."""

    def __init__(self, members: Mapping[str, Shape], required: tuple[str, ...] = (), *, text: bool) -> None:
        self._members = members
        self._required = required
        self._text = text
        self._compiled: dict[str, Check] = {}

    def __call__(self, value: Any, place: str, found: list[str]) -> None:
        """Check one structure."""
        if not isinstance(value, dict):
            found.append(_wrong_type(value, place, "a structure"))
            return
        for name, inner in value.items():
            check = self._compiled.get(name)
            if check is None and name in self._members:
                check = self._compiled[name] = _check_of(self._members[name], text=self._text)
            if check is None:
                found.append(_failed("Value", _inside(place, name), "There is no such member"))
            elif inner is not None:
                check(inner, _inside(place, name), found)
        for name in self._required:
            if value.get(name) is None:
                found.append(_failed("Value null", _inside(place, name), "Member must not be null"))


def _check_of(shape: Shape, *, text: bool) -> Check:
    """Compile the check of a shape, for values of JSON or for text."""
    metadata = shape.metadata
    match shape.type_name:
        case "structure":
            if shape.is_document_type:
                return _anything
            names = {name: name if text else _wire_name(name, member) for name, member in shape.members.items()}
            members = {names[name]: member for name, member in shape.members.items()}
            return _Members(members, tuple(names[name] for name in shape.required_members), text=text)
        case "list":
            return _list(_later(shape.member, text=text), metadata)
        case "map":
            return _map(_check_of(shape.key, text=text), _later(shape.value, text=text), metadata)
        case "string" | "character":
            return _string(metadata)
        case "integer" | "long" | "short" | "byte" | "float" | "double" | "bigdecimal":
            whole = shape.type_name in ("integer", "long", "short", "byte")
            return _number(metadata, whole=whole, text=text)
        case "boolean":
            return _boolean(text=text)
        case "timestamp":
            return _timestamp
        case "blob":
            return _blob(metadata)
    raise NotImplementedError(f"{shape.name} is a {shape.type_name}")


def _later(shape: Shape, *, text: bool) -> Check:
    """Return a check that is compiled when it is asked for: shapes may hold themselves."""
    compiled: list[Check] = []

    def check(value: Any, place: str, found: list[str]) -> None:
        if not compiled:
            compiled.append(_check_of(shape, text=text))
        compiled[0](value, place, found)

    return check


def _anything(value: Any, place: str, found: list[str]) -> None:
    """Documents hold what they like."""


def _list(item: Check, metadata: Mapping[str, Any]) -> Check:
    size = _size(metadata, "length")

    def check(value: Any, place: str, found: list[str]) -> None:
        if not isinstance(value, list):
            found.append(_wrong_type(value, place, "a list"))
            return
        size(len(value), value, place, found)
        for number, inner in enumerate(value, 1):
            item(inner, f"{place}.{number}.member", found)

    return check


def _map(key: Check, item: Check, metadata: Mapping[str, Any]) -> Check:
    size = _size(metadata, "length")

    def check(value: Any, place: str, found: list[str]) -> None:
        if not isinstance(value, dict):
            found.append(_wrong_type(value, place, "a map"))
            return
        size(len(value), value, place, found)
        for name, inner in value.items():
            key(name, f"{place}.key", found)
            item(inner, f"{place}.{name}.member", found)

    return check


def _string(metadata: Mapping[str, Any]) -> Check:
    size = _size(metadata, "length")
    pattern = translate(metadata["pattern"]) if "pattern" in metadata else None
    allowed = frozenset(metadata.get("enum", ()))

    def check(value: Any, place: str, found: list[str]) -> None:
        if not isinstance(value, str):
            found.append(_wrong_type(value, place, "a string"))
            return
        # Java counts a character beyond the first 65,536 twice.
        size(len(value) if value.isascii() else len(value.encode("utf-16-le")) // 2, value, place, found)
        if pattern is not None and not pattern.fullmatch(value):
            said = f"Member must satisfy regular expression pattern: {metadata['pattern']}"
            found.append(_failed(_shown(value), place, said))
        if allowed and value not in allowed:
            found.append(_failed(_shown(value), place, f"Member must satisfy enum value set: {sorted(allowed)}"))

    return check


def _number(metadata: Mapping[str, Any], *, whole: bool, text: bool) -> Check:
    size = _size(metadata, "value")
    kind = "a whole number" if whole else "a number"

    def check(value: Any, place: str, found: list[str]) -> None:
        if text:
            try:
                value = int(value) if whole else float(value)
            except ValueError:
                found.append(_wrong_type(value, place, kind))
                return
        elif isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
            found.append(_wrong_type(value, place, kind))
            return
        size(value, value, place, found)

    return check


def _boolean(*, text: bool) -> Check:
    def check(value: Any, place: str, found: list[str]) -> None:
        is_one = value in ("true", "false") if text else isinstance(value, bool)
        if not is_one:
            found.append(_wrong_type(value, place, "true or false"))

    return check


def _timestamp(value: Any, place: str, found: list[str]) -> None:
    try:
        parse_timestamp(value)
    except (TypeError, ValueError):
        found.append(_wrong_type(value, place, "an instant"))


def _blob(metadata: Mapping[str, Any]) -> Check:
    size = _size(metadata, "length")

    def check(value: Any, place: str, found: list[str]) -> None:
        try:
            content = base64.b64decode(value, validate=True)
        except (TypeError, binascii.Error):
            found.append(_wrong_type(value, place, "bytes in base64"))
            return
        size(len(content), value, place, found)

    return check


def _size(metadata: Mapping[str, Any], what: str) -> Callable[[float, Any, str, list[str]], None]:
    least, most = metadata.get("min"), metadata.get("max")

    def check(size: float, value: Any, place: str, found: list[str]) -> None:
        if least is not None and size < least:
            said = f"Member must have {what} greater than or equal to {least}"
            found.append(_failed(_shown(value), place, said))
        if most is not None and size > most:
            found.append(_failed(_shown(value), place, f"Member must have {what} less than or equal to {most}"))

    return check


def _wire_name(name: str, member: Shape) -> str:
    return str(member.serialization.get("name", name))


def _inside(place: str, name: str) -> str:
    name = name[:1].lower() + name[1:]
    return f"{place}.{name}" if place else name


def _failed(value: str, place: str, constraint: str) -> str:
    return f"{value} at '{place}' failed to satisfy constraint: {constraint}"


def _wrong_type(value: Any, place: str, wanted: str) -> str:
    return _failed(_shown(value), place, f"Member must be {wanted}")


def _shown(value: Any) -> str:
    text = str(value)
    return f"Value '{text if len(text) <= _LONGEST_SHOWN else text[:_LONGEST_SHOWN] + '...'}'"
