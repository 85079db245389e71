"""Prints every setting with its value, default, source and allowed values."""

from __future__ import annotations

import os
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from pydantic.fields import FieldInfo
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from event_pipeline.reporting.terminal import NOTE, QUIET
from event_pipeline.rules.hour import Hour
from event_pipeline.settings import Settings, variable_names

WIDE_TABLE = 190
"""Terminal width from which the meanings fit as a column of the table."""

_KINDS: dict[Any, str] = {
    Path: "folder",
    Hour: "YYYY-MM-DDTHH",
    int: "whole number",
    float: "number",
    Decimal: "number",
    str: "text",
    SecretStr: "text, never shown",
    bool: "true or false",
}


@dataclass(frozen=True, slots=True)
class SettingRow:
    """One environment variable."""

    variable: str
    value: str
    default: str
    source: str
    """`environment` or `default`."""
    allowed: str
    meaning: str


def setting_rows(settings: Settings) -> list[SettingRow]:
    """Return every variable, in the order in which the settings declare them."""
    return [
        SettingRow(
            variable=variable,
            value=_text(getattr(settings, name)),
            default=_text(Settings.model_fields[name].get_default(call_default_factory=True)),
            source="environment" if os.environ.get(variable) else "default",
            allowed=_allowed(Settings.model_fields[name]),
            meaning=Settings.model_fields[name].description or "",
        )
        for variable, name in variable_names().items()
    ]


def _text(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def print_settings(settings: Settings, console: Console) -> None:
    """Print one table row per variable if the terminal is wide enough, else a block of three lines."""
    rows = setting_rows(settings)
    if console.width >= WIDE_TABLE:
        table = Table("variable", "value", "default", "set by", "allowed", "meaning", header_style=QUIET)
        for row in rows:
            cells = (row.variable, row.value, row.default, row.source, row.allowed, row.meaning)
            table.add_row(*cells, style=_style(row))
        console.print(table)
        return
    for row in rows:
        console.print(Text.assemble((row.variable, "bold"), " = ", (row.value, _style(row))), soft_wrap=True)
        source = f"set in the environment, default {row.default}" if row.source == "environment" else "default"
        for detail in (row.meaning, f"{row.allowed}; {source}"):
            console.print(Padding(Text(detail, style=QUIET), (0, 0, 0, 4)))


def _style(row: SettingRow) -> str:
    return NOTE if row.source == "environment" else ""


def _allowed(field: FieldInfo) -> str:
    if isinstance(field.annotation, type) and issubclass(field.annotation, StrEnum):
        return " or ".join(field.annotation)
    kind = _KINDS[field.annotation]
    least, most = _bound(field, "ge"), _bound(field, "le")
    if most is not None:
        more_than = _bound(field, "gt")
        return f"{kind}, {least} to {most}" if more_than is None else f"{kind}, more than {more_than}, up to {most}"
    return f"{kind}, {least} or more" if least is not None else kind


def _bound(field: FieldInfo, name: str) -> Any:
    return next((getattr(each, name) for each in field.metadata if hasattr(each, name)), None)
