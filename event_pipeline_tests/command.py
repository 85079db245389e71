"""Runs `event-pipeline` in the process of a test, and keeps how it ended."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
    """Run one command; what was printed before it is dropped.

    Raises:
        KeyboardInterrupt: the process was told to end meanwhile; the command does, but the tests were meant.
    """
    printed.readouterr()
    with pytest.raises(SystemExit) as end, interrupts_of_the_tests():
        main(arguments)
    # Bytes, because text that is captured as text has its line ends changed.
    captured = printed.readouterr()
    return Ended(int(end.value.code or 0), captured.out.decode(), captured.err.decode())


@contextmanager
def interrupts_of_the_tests() -> Iterator[None]:
    """Raise KeyboardInterrupt after the block when SIGINT or SIGTERM came in it, whoever handled it there.

    Else a run of the tests that is told to end goes on, and blames the test that it met, whose command ends with 130:
    Dagster lets SIGTERM be SIGINT from its first run in a process on.
    """
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    os.set_blocking(writing, False)
    before = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        os.close(writing)
        with os.fdopen(reading, "rb") as signals:
            came = set(signals.read())
        if came & {signal.SIGINT, signal.SIGTERM}:
            raise KeyboardInterrupt
