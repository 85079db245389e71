"""AWS's query protocol, both ways: a form into parameters, and a result into XML, by botocore's model."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl
from xml.sax.saxutils import escape

from event_pipeline_tests.emulator.request_parameters import service_model
from event_pipeline_tests.emulator.wire import Answer, Call


def query_operation(service: str, operation: str, work: Callable[[dict[str, Any]], Any]) -> Callable[[Call], Answer]:
    """Return an operation of the endpoint that does its `work` on parameters and answers with what that returns."""
    model = service_model(service).operation_model(operation)

    def answer(call: Call) -> Answer:
        form = dict(parse_qsl(call.body.decode(), keep_blank_values=True))
        parameters = _read(model.input_shape, form, "") if model.input_shape else {}
        result = work(parameters) or {}
        inner = ""
        if model.output_shape is not None:
            inner = f"<{operation}Result>{_write(model.output_shape, result)}</{operation}Result>"
        text = (
            f'<{operation}Response xmlns="{model.metadata["xmlNamespace"]}">{inner}'
            f"<ResponseMetadata><RequestId>emulated</RequestId></ResponseMetadata></{operation}Response>"
        )
        return Answer(200, (("Content-Type", "text/xml"),), text.encode())

    return answer


def _read(shape: Any, form: dict[str, str], place: str) -> Any:
    """Read the value at a place (`Parameters.member.1.ParameterKey`) of a form."""
    match shape.type_name:
        case "structure":
            dot = f"{place}." if place else ""
            return {
                name: _read(member, form, dot + name)
                for name, member in shape.members.items()
                if any(key == dot + name or key.startswith(f"{dot}{name}.") for key in form)
            }
        case "list":
            found: list[Any] = []
            while any(
                key == f"{place}.member.{len(found) + 1}" or key.startswith(f"{place}.member.{len(found) + 1}.")
                for key in form
            ):
                found.append(_read(shape.member, form, f"{place}.member.{len(found) + 1}"))
            return found
        case "boolean":
            return form[place] == "true"
        case "integer":
            return int(form[place])
        case "string":
            return form[place]
    raise NotImplementedError(f"{place}: a {shape.type_name} in a form")


def _write(shape: Any, value: Any) -> str:
    match shape.type_name:
        case "structure":
            unknown = value.keys() - shape.members.keys()
            if unknown:
                raise KeyError(f"{shape.name} has no member {', '.join(sorted(unknown))}")
            return "".join(
                f"<{name}>{_write(shape.members[name], inner)}</{name}>"
                for name, inner in value.items()
                if inner is not None
            )
        case "list":
            return "".join(f"<member>{_write(shape.member, inner)}</member>" for inner in value)
        case "boolean":
            return "true" if value else "false"
        case "timestamp":
            instant: datetime = value
            return instant.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return escape(str(value))
