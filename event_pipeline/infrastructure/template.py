"""The CloudFormation template of this version: its text and parameters."""

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
"""CloudFormation's limit; templates of more than 51,200 bytes must come from a bucket, so all do."""


@dataclass(frozen=True, slots=True)
class Template:
    """One template."""

    body: str
    """Its text, including comments: what was reviewed is what is deployed."""
    parameters: Mapping[str, Mapping[str, Any]]
    """Name -> its definition."""


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc] # ten times as fast if available
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
    """Parse a template's YAML or JSON, expanding short forms: `!Ref x` becomes `{"Ref": "x"}`.

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
        StackError: it does not exist, is not YAML, or exceeds CloudFormation's limit.
    """
    if not path.is_file():
        raise StackError(f"{path} does not exist: the installation is incomplete, reinstall event-pipeline")
    text = path.read_text(encoding="utf-8")
    try:
        document = parse_template(text)
    except yaml.YAMLError as error:
        raise StackError(f"{path} is not a template: {error}") from error
    if len(text.encode()) > MOST_BYTES:
        raise StackError(f"{path} has {len(text.encode()):,} bytes; CloudFormation accepts {MOST_BYTES:,}")
    return Template(text, document.get("Parameters", {}))
