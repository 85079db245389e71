"""Where text for people goes: data to stdout, progress to stderr; a bar for a person, plain lines for a log.

Everything that people read goes through the consoles made here, which print nothing but visible characters: names and
errors hold text of strangers, and a terminal obeys what it is sent. One call of `print` is one line.
"""

from __future__ import annotations

import logging
import os
import sys
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, NoReturn

from rich.console import Console, ConsoleOptions, RenderableType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.segment import Segment
from rich.text import Text

from event_pipeline.rules.printable import printable

GOOD = "green"
NOTE = "cyan"
WARNING = "yellow"
FAULT = "bold red"
QUIET = "dim"

READER_LEFT_EXIT_CODE = 141
"""What a shell reports for any program whose reader (`| head`) closed the pipe: 128 + SIGPIPE."""

_PIPED_WIDTH = 10_000
"""Columns when no terminal sets a limit: a file or a pager takes lines of any length, so nothing is cut."""


class _Console(Console):
    """A console that prints visible characters only, whatever it is given and however that is nested."""

    def on_broken_pipe(self) -> NoReturn:
        leave_quietly()

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(printable(text), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        if isinstance(renderable, Text):
            renderable = printable_text(renderable)
        return super().render(renderable, options)


def leave_quietly() -> NoReturn:
    """End the program because the reader of stdout has what it wants; not a fault worth a message."""
    # The interpreter flushes stdout once more when it ends and would complain about the closed pipe.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    raise SystemExit(READER_LEFT_EXIT_CODE)


def output() -> Console:
    """Return the console for what was asked for; text is printed as it is, without markup."""
    return _make_console(stderr=False)


def messages() -> Console:
    """Return the console for progress, warnings and errors."""
    return _make_console(stderr=True)


def _make_console(*, stderr: bool) -> Console:
    console = _Console(stderr=stderr, markup=False, highlight=False, emoji=False)
    if not console.is_terminal:
        console.width = _PIPED_WIDTH
    return console


def printable_text(text: Text) -> Text:
    """Return a styled text as one line of visible characters; styles keep their places."""
    if printable(text.plain) == text.plain:
        return text
    shown = text.blank_copy()
    for part in text.divide(range(1, len(text))):
        style = part.spans[0].style if part.spans else ""
        shown.append(printable(part.plain), style=style)
    return shown


def print_error(message: str, console: Console) -> None:
    """Print why a command ends; lines of the message after the first are marked, so that none can pass for another."""
    for number, line in enumerate(message.split("\n")):
        console.print(f"  | {line}" if number else f"error: {line}", style=FAULT, soft_wrap=True)


class PrintableFormatter(logging.Formatter):
    """Writes log records as visible characters; lines after the first are indented, so none can pass for another."""

    def format(self, record: logging.LogRecord) -> str:
        """Write one record."""
        return "\n  ".join(map(printable, super().format(record).split("\n")))


def print_only_visible_characters() -> None:
    """See that what no console prints is visible characters, too: warnings of loggers, and tracebacks."""
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(PrintableFormatter())
    sys.excepthook = _print_traceback


def _print_traceback(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    for line in "".join(traceback.format_exception(kind, error, trace)).splitlines():
        sys.stderr.write(printable(line) + "\n")


class ProgressView:
    """Progress of one long command on stderr."""

    def __init__(self, console: Console, total: int | None) -> None:
        self._console = console
        self._bar: Progress | None = None
        self._last_line = ""
        if console.is_terminal:
            self._bar = Progress(
                SpinnerColumn(),
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                console=console,
                transient=True,
            )
            self._task = self._bar.add_task("", total=total)

    def step(self, doing: str, done: int | None = None, total: int | None = None) -> None:
        """Say what is being done now and, where it is counted, how many units of how many are finished."""
        if self._bar is not None:
            self._bar.update(self._task, description=doing, completed=done, total=total)
        elif doing != self._last_line:
            self.note(doing)
            self._last_line = doing

    def note(self, line: str | Text) -> None:
        """Print a line that stays."""
        self._console.print(line)

    def __enter__(self) -> ProgressView:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()


def progress(total: int | None = None) -> ProgressView:
    """Return a context that shows progress: a bar when a person watches stderr, one line per step otherwise."""
    return ProgressView(messages(), total)


@contextmanager
def quiet_when_reader_leaves() -> Iterator[None]:
    """End without a message when stdout is closed by its reader."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        leave_quietly()
