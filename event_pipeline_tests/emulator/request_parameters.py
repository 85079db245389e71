"""What a request asks for, taken from body, path, query and headers by botocore's model, whatever protocol it speaks.

Members keep the names they have on the wire in JSON, and get the model's names where they come from a form, XML, path,
query or header; values of these are text.
"""

from __future__ import annotations

import io
import json
import re
from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.parse import parse_qs, parse_qsl
from xml.etree import ElementTree

import botocore.session
from botocore.model import OperationModel, ServiceModel, Shape, StructureShape

from event_pipeline_tests.emulator.wire import AwsError, Call, drain, request_uri

_ABOUT_THE_FORM = {"Action", "Version"}
_TREE_END = ""
"""Key of a form's value whose name is also the prefix of other names."""


@dataclass(frozen=True, slots=True)
class Parameters:
    """The members of a request."""

    as_json: dict[str, Any]
    """Members of a JSON body, as they came."""
    as_text: dict[str, Any]
    """Those that come as text, under the names of the model."""
    unknown: tuple[str, ...]
    """Places in a form or an XML body of which the model knows nothing."""


@cache
def operation_model(service: str, operation: str) -> OperationModel | None:
    """Return botocore's model of an operation; None for one that it does not know.

    Raises:
        UnknownServiceError: botocore knows no such service.
    """
    model = service_model(service)
    return model.operation_model(operation) if operation in model.operation_names else None


@cache
def service_model(service: str) -> ServiceModel:
    """Return botocore's model of a service.

    Raises:
        UnknownServiceError: there is none.
    """
    return botocore.session.Session().get_service_model(service)


def read_parameters(model: OperationModel, call: Call, environ: dict[str, Any]) -> Parameters:
    """Take the members of a request apart.

    Raises:
        AwsError: its body is not written in the protocol.
    """
    shape = model.input_shape
    if shape is None:
        return Parameters({}, {}, ())
    if call.protocol == "query":
        reader = _Reader()
        return Parameters({}, reader.form(shape, call.body.decode()), tuple(reader.unknown))
    protocol = model.service_model.protocol
    outside = _outside_the_body(model, call, environ) if protocol.startswith("rest-") else {}
    if protocol == "rest-xml":
        reader = _Reader()
        return Parameters({}, outside | reader.xml_payload(shape, environ), tuple(reader.unknown))
    if shape.serialization.get("payload"):
        return Parameters({}, outside, ())
    return Parameters(_json_object(call.body or _body(environ)), outside, ())


def _body(environ: dict[str, Any]) -> bytes:
    """Read a body and put it back."""
    body = drain(environ)
    environ["wsgi.input"] = io.BytesIO(body)
    return body


def _json_object(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body or b"{}")
    except ValueError as error:
        raise AwsError("SerializationException", f"The body is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise AwsError("SerializationException", "The body is no JSON object")
    return found


# -- path, query and headers


@dataclass(frozen=True, slots=True)
class _Places:
    """Where the members of a REST operation that are not in its body come from: name -> place."""

    path: re.Pattern[str]
    query: tuple[tuple[str, str], ...]
    headers: tuple[tuple[str, str], ...]


@cache
def _places(service: str, operation: str) -> _Places:
    model = service_model(service).operation_model(operation)
    path = re.escape(request_uri(model)[0])
    names: dict[str, dict[str, str]] = {"uri": {}, "querystring": {}, "header": {}}
    for member, shape in model.input_shape.members.items():
        location = shape.serialization.get("location")
        if location in names and shape.type_name not in ("list", "map"):
            names[location][member] = shape.serialization.get("name", member)
    for member, label in names["uri"].items():
        path = path.replace(rf"\{{{label}\}}", f"(?P<{member}>[^/]+)").replace(rf"\{{{label}\+\}}", f"(?P<{member}>.+)")
    headers = tuple((member, _variable(name)) for member, name in names["header"].items())
    return _Places(re.compile(path + "/?", re.DOTALL), tuple(names["querystring"].items()), headers)


def _variable(header: str) -> str:
    name = header.upper().replace("-", "_")
    return name if name in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{name}"


def _outside_the_body(model: OperationModel, call: Call, environ: dict[str, Any]) -> dict[str, Any]:
    places = _places(call.service, call.operation)
    found = places.path.fullmatch(call.path)
    members = dict(found.groupdict()) if found else {}
    query = parse_qs(environ.get("QUERY_STRING", ""), keep_blank_values=True)
    members |= {member: query[name][0] for member, name in places.query if name in query}
    # WSGI hands over an empty content type where there is none.
    members |= {member: environ[name] for member, name in places.headers if environ.get(name)}
    return members


# -- forms and XML


class _Reader:
    """Reads by the shapes of a model, and notes what no shape has."""

    def __init__(self) -> None:
        self.unknown: list[str] = []

    def form(self, shape: StructureShape, text: str) -> dict[str, Any]:
        """Return the members of a form."""
        tree: dict[str, Any] = {}
        for key, value in parse_qsl(text, keep_blank_values=True):
            if key not in _ABOUT_THE_FORM:
                node = tree
                for part in key.split("."):
                    node = node.setdefault(part, {})
                node[_TREE_END] = value
        found: dict[str, Any] = self._branch(shape, tree, "")
        return found

    def _branch(self, shape: Shape, tree: dict[str, Any], place: str) -> Any:
        match shape.type_name:
            case "structure":
                names = {_name_in_form(member, name): (name, member) for name, member in shape.members.items()}
                self._note_unknown(place, tree.keys() - names.keys() - {_TREE_END})
                return {
                    name: self._branch(member, tree[key], f"{place}{key}.")
                    for key, (name, member) in names.items()
                    if key in tree
                }
            case "list":
                items = tree
                if not shape.serialization.get("flattened"):
                    items, place = tree.get(_item_name(shape), {}), f"{place}{_item_name(shape)}."
                return [self._branch(shape.member, items[key], f"{place}{key}.") for key in _numbers(items)]
            case "map":
                entries = tree if shape.serialization.get("flattened") else tree.get("entry", {})
                key_name = shape.key.serialization.get("name", "key")
                value_name = shape.value.serialization.get("name", "value")
                return {
                    entries[number][key_name][_TREE_END]: self._branch(
                        shape.value, entries[number].get(value_name, {}), f"{place}{number}."
                    )
                    for number in _numbers(entries)
                }
        return tree.get(_TREE_END)

    def xml_payload(self, shape: StructureShape, environ: dict[str, Any]) -> dict[str, Any]:
        """Return what an XML body says; a body that is data of an object stays unread."""
        payload = shape.serialization.get("payload")
        member = shape.members[payload] if payload else None
        if member is None or member.type_name == "blob":
            return {}
        body = _body(environ)
        if not body:
            return {}
        if member.type_name == "string":
            return {str(payload): body.decode("utf-8", "replace")}
        try:
            root = ElementTree.fromstring(body)  # noqa: S314 - this process's own client sent it
        except ElementTree.ParseError as error:
            raise AwsError("MalformedXML", f"The XML you provided was not well-formed: {error}") from error
        return {str(payload): self._element(member, [root], "")}

    def _element(self, shape: Shape, elements: list[ElementTree.Element], place: str) -> Any:
        """Read one element, or all of a name for a flattened list."""
        match shape.type_name:
            case "structure":
                by_name: dict[str, list[ElementTree.Element]] = {}
                for child in elements[0]:
                    by_name.setdefault(_tag(child), []).append(child)
                names = {
                    member.serialization.get("name", name): (name, member)
                    for name, member in shape.members.items()
                    if not member.serialization.get("xmlAttribute")
                }
                self._note_unknown(place, by_name.keys() - names.keys())
                return {
                    name: self._element(member, by_name[tag], f"{place}{tag}.")
                    for tag, (name, member) in names.items()
                    if tag in by_name
                }
            case "list":
                items = elements if shape.serialization.get("flattened") else list(elements[0])
                return [self._element(shape.member, [item], f"{place}{at}.") for at, item in enumerate(items, 1)]
            case "map":
                raise NotImplementedError(f"{place}: a map in XML")
        return elements[0].text or ""

    def _note_unknown(self, place: str, names: set[str]) -> None:
        self.unknown += [f"{place}{name}" for name in sorted(names)]


def _name_in_form(member: Shape, name: str) -> str:
    if member.type_name == "list" and member.serialization.get("flattened"):
        return str(member.member.serialization.get("name") or member.serialization.get("name", name))
    return str(member.serialization.get("name", name))


def _item_name(shape: Shape) -> str:
    return str(shape.member.serialization.get("name", "member"))


def _numbers(items: dict[str, Any]) -> list[str]:
    return sorted((key for key in items if key.isdecimal()), key=int)


def _tag(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]
