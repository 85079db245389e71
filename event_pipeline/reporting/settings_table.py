"""Every setting with its value, its default, where the value comes from and what is allowed."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo
from rich.console import Console
from rich.table import Table
from rich.text import Text

from event_pipeline.reporting.terminal import NOTE, QUIET
from event_pipeline.rules.hour import Hour
from event_pipeline.settings import Settings, variable_names

WIDE_TABLE = 190
"""Columns from which a column of meanings fits beside the others."""

_KINDS: dict[Any, str] = {Path: "folder", Hour: "YYYY-MM-DDTHH", int: "whole number", float: "number"}


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
    """Describe every variable, in the order in which the settings declare them."""
    return [
        SettingRow(
            variable=variable,
            value=str(getattr(settings, name)),
            default=str(Settings.model_fields[name].get_default(call_default_factory=True)),
            source="environment" if os.environ.get(variable) else "default",
            allowed=_allowed(Settings.model_fields[name]),
            meaning=Settings.model_fields[name].description or "",
        )
        for variable, name in variable_names().items()
    ]


def print_settings(settings: Settings, console: Console) -> None:
    """Print one row a variable; where there is no room for a column of meanings, they stand below the names."""
    wide = console.width >= WIDE_TABLE
    table = Table(header_style=QUIET, show_lines=not wide)
    for name in ("variable", "value", "default", "set by", "allowed"):
        table.add_column(name, overflow="fold")
    if wide:
        table.add_column("meaning")
    for row in setting_rows(settings):
        style = NOTE if row.source == "environment" else ""
        variable = Text(row.variable, style="bold")
        if not wide:
            variable.append(f"\n{row.meaning}", style=f"not bold {QUIET}")
        cells = [
            variable,
            *(Text(each, style=style) for each in (row.value, row.default, row.source)),
            Text(row.allowed),
        ]
        table.add_row(*cells, *([Text(row.meaning)] if wide else []))
    console.print(table)


def _allowed(field: FieldInfo) -> str:
    kind = _KINDS[field.annotation]
    least, most = _bound(field, "ge"), _bound(field, "le")
    if most is not None:
        return f"{kind}, {least} to {most}"
    return f"{kind}, {least} or more" if least is not None else kind


def _bound(field: FieldInfo, name: str) -> Any:
    return next((getattr(each, name) for each in field.metadata if hasattr(each, name)), None)
