"""Shared by the commands: the options that name hours, the exit codes, and the usage error."""

from __future__ import annotations

import os
from enum import IntEnum, StrEnum
from pathlib import Path
from typing import Annotated

import typer

from event_pipeline.reporting.terminal import READER_LEFT_EXIT_CODE
from event_pipeline.rules.hour import Hour, HourRange
from event_pipeline.rules.query import load_gold_tables
from event_pipeline.rules.query_pack import load_questions


class UsageError(ValueError):
    """Options that do not go together."""


class ListFormat(StrEnum):
    """Output formats of a list."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"


class ExitCode(IntEnum):
    """The exit codes, as `event-pipeline --help` lists them."""

    OK = 0
    NOT_HELD = 1
    USAGE = 2
    STORAGE = 3
    REFUSED = 4
    BUSY = 5
    INTERRUPTED = 130
    READER_LEFT = READER_LEFT_EXIT_CODE


FromOption = Annotated[
    str | None, typer.Option("--from", metavar="HOUR", help="First landing hour, UTC, for example 2025-12-07T22.")
]
ToOption = Annotated[
    str | None, typer.Option("--to", metavar="HOUR", help="Landing hour after the last one: the end is exclusive.")
]


def file_to_write(path: Path, option: str) -> Path:
    """Return the file that a result replaces: the one that an option names, or that a link of this name leads to.

    Raises:
        UsageError: it is a folder, or a device or pipe: a file in the place of /dev/null would break the machine.
    """
    if path.is_dir():
        raise UsageError(f"{option} {path} is a folder: name a file")
    if path.exists() and not path.is_file():
        raise UsageError(f"{option} {path} is a device or a pipe, which cannot be replaced: name a file")
    return Path(os.path.realpath(path)) if path.is_symlink() else path


def complete_question(incomplete: str) -> list[str]:
    """Return the Gold tables and questions whose names begin so, for the shell that completes a command."""
    names = (*(table.name for table in load_gold_tables()), *(question.name for question in load_questions()))
    return [name for name in names if name.startswith(incomplete)]


def hour_range(first: str | None, end: str | None) -> HourRange | None:
    """Read `--from` and `--to`, which go together.

    Raises:
        UsageError: only one of them is given.
        InvalidHourError: one of them is not an hour, or the range is empty.
    """
    if first is None and end is None:
        return None
    if first is None or end is None:
        missing = "--to (exclusive)" if end is None else "--from"
        raise UsageError(f"--from and --to go together: {missing} is missing; --from H --to H+1 is one hour")
    return HourRange(Hour.parse(first), Hour.parse(end))
