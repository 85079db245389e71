"""Runs `event-pipeline` in the process of a test, and keeps how it ended."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from event_pipeline.cli import main


@dataclass(frozen=True)
class Ended:
    """How one command ended."""

    code: int
    out: str
    err: str


Run = Callable[..., Ended]
"""Takes the command's arguments."""


def run_command(arguments: tuple[str, ...], printed: pytest.CaptureFixture[bytes]) -> Ended:
    """Run one command; what was printed before it is dropped."""
    printed.readouterr()
    with pytest.raises(SystemExit) as end:
        main(arguments)
    # Bytes, because text that is captured as text has its line ends changed.
    captured = printed.readouterr()
    return Ended(int(end.value.code or 0), captured.out.decode(), captured.err.decode())
