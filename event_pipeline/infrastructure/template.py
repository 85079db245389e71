"""The CloudFormation template of this version: its text, and the parameters that it has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from event_pipeline import shipped
from event_pipeline.errors import StackError
from event_pipeline.shipped import shipped_file

TEMPLATE = shipped_file(shipped.TEMPLATE)
MOST_BYTES = 1_000_000
"""What CloudFormation takes; it fetches templates of more than 51,200 bytes from a bucket, so all go that way."""


@dataclass(frozen=True, slots=True)
class Template:
    """One template."""

    body: str
    """Its text, comments and all: what was reviewed is what is deployed."""
    parameters: Mapping[str, Mapping[str, Any]]
    """Name -> its definition."""


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc] # ten times as fast where it is
    """YAML with CloudFormation's short forms, `!Ref` and the like."""


def _intrinsic(loader: yaml.SafeLoader, suffix: str, node: yaml.Node) -> dict[str, Any]:
    value: Any
    match node:
        case yaml.ScalarNode():
            value = loader.construct_scalar(node)
        case yaml.SequenceNode():
            value = loader.construct_sequence(node, deep=True)
        case _:
            value = loader.construct_mapping(node, deep=True)
    if suffix == "GetAtt" and isinstance(value, str):
        value = value.split(".", 1)
    return {suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}": value}


_Loader.add_multi_constructor("!", _intrinsic)
# CloudFormation has no dates: a policy's Version is text.
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in _Loader.yaml_implicit_resolvers.items()
}


def parse_template(text: str) -> dict[str, Any]:
    """Read a template's YAML or JSON, short forms written out: `!Ref x` becomes `{"Ref": "x"}`.

    Raises:
        yaml.YAMLError: it is neither.
    """
    document = yaml.load(text, _Loader)  # noqa: S506 - derived from the safe loader
    if not isinstance(document, dict):
        raise yaml.YAMLError("a template is a mapping with Resources")
    return document


def load_template(path: Path = TEMPLATE) -> Template:
    """Read the template of this version.

    Raises:
        StackError: it is not there, is no YAML, or is longer than CloudFormation takes.
    """
    if not path.is_file():
        raise StackError(f"{path} is not there: the installation is not whole, install event-pipeline again")
    text = path.read_text(encoding="utf-8")
    try:
        document = parse_template(text)
    except yaml.YAMLError as error:
        raise StackError(f"{path} is no template: {error}") from error
    if len(text.encode()) > MOST_BYTES:
        raise StackError(f"{path} has {len(text.encode()):,} bytes; CloudFormation takes {MOST_BYTES:,}")
    return Template(text, document.get("Parameters", {}))
