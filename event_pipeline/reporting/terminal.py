"""Terminal output: data to stdout, progress to stderr, as a bar on a terminal and as plain lines in a log.

All text for people goes through the consoles created here, which print only visible characters: names and errors
contain untrusted text, and a terminal would execute its control sequences. One call of `print` is one line.
"""

from __future__ import annotations

import logging
import os
import shutil
import sys
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
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

PROGRAM = "event-pipeline"

GOOD = "green"
NOTE = "cyan"
WARNING = "yellow"
FAULT = "bold red"
QUIET = "dim"

READER_LEFT_EXIT_CODE = 141
"""What a shell reports for any program whose reader (`| head`) closed the pipe: 128 + SIGPIPE."""

_PIPED_WIDTH = 10_000
"""Width when output is not a terminal: a file or a pager takes lines of any length, so nothing is truncated."""


class _Console(Console):
    """A console that prints only visible characters, however its input is nested."""

    def on_broken_pipe(self) -> NoReturn:
        leave_quietly()

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(printable(text), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        if isinstance(renderable, Text):
            renderable = printable_text(renderable)
        return super().render(renderable, options)


def leave_quietly() -> NoReturn:
    """Exit silently because the reader of stdout closed the pipe, which is not an error."""
    # The interpreter flushes stdout once more at exit and would complain about the closed pipe.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    raise SystemExit(READER_LEFT_EXIT_CODE)


def output() -> Console:
    """Return the console for results; text is printed verbatim, without markup."""
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
    """Return a styled text as one line of visible characters; styles stay in place."""
    if printable(text.plain) == text.plain:
        return text
    shown = text.blank_copy()
    for part in text.divide(range(1, len(text))):
        style = part.spans[0].style if part.spans else ""
        shown.append(printable(part.plain), style=style)
    return shown


def typed_command() -> str:
    """Return how the user can type this program: by its name, or by its path if the shell would not find the name."""
    path = Path(sys.argv[0])
    if path.name != PROGRAM or shutil.which(PROGRAM):
        return PROGRAM
    return os.path.relpath(path)


def print_error(message: str, console: Console) -> None:
    """Print why a command failed; lines after the first are marked, so that none can imitate another message."""
    for number, line in enumerate(message.split("\n")):
        console.print(f"  | {line}" if number else f"error: {line}", style=FAULT, soft_wrap=True)


class PrintableFormatter(logging.Formatter):
    """Formats log records as visible characters; lines after the first are indented, so none can imitate another."""

    def format(self, record: logging.LogRecord) -> str:
        """Format one record."""
        return "\n  ".join(map(printable, super().format(record).split("\n")))


def print_only_visible_characters() -> None:
    """Restrict output that bypasses the consoles to visible characters, too: log warnings and tracebacks."""
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

    @property
    def is_drawn_over(self) -> bool:
        """Whether a step replaces the one before on the screen."""
        return self._bar is not None

    def step(self, doing: str, done: int | None = None, total: int | None = None) -> None:
        """Show the current step and, if counted, how many units of how many are finished."""
        if self._bar is not None:
            self._bar.update(self._task, description=doing, completed=done, total=total)
        elif doing != self._last_line:
            self.note(doing)
            self._last_line = doing

    def note(self, line: str | Text) -> None:
        """Print a permanent line."""
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
    """Return a context that shows progress: a bar if stderr is a terminal, one line per step otherwise."""
    return ProgressView(messages(), total)


@contextmanager
def quiet_when_reader_leaves() -> Iterator[None]:
    """Exit without a message when the reader of stdout closes it."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        leave_quietly()
