"""Isolation of failed hours: one hour must not block the others, so its error is collected and raised at the end."""

from __future__ import annotations

import errno
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager

from event_pipeline.errors import (
    ExhaustedError,
    HoursFailedError,
    PipelineError,
    StorageError,
    TransientError,
    UnexpectedError,
)
from event_pipeline.rules.hour import Hour

PASSING_ERRNOS = frozenset((errno.EIO, errno.EAGAIN, errno.EBUSY, errno.ESTALE, errno.ETIMEDOUT))
"""Transient errors of the operating system."""


def failure_of(error: Exception) -> PipelineError:
    """Return any error of one hour as a pipeline error, with the original as its cause."""
    if isinstance(error, PipelineError):
        return error
    failure: PipelineError
    if isinstance(error, OSError):
        failure = TransientError(str(error)) if error.errno in PASSING_ERRNOS else StorageError(str(error))
    elif isinstance(error, MemoryError):
        failure = ExhaustedError(f"out of memory{f' ({error})' if str(error) else ''}: give the process more memory")
    else:
        failure = UnexpectedError(f"{type(error).__name__}: {error} (a bug; the log has the details)")
    failure.__cause__ = error
    return failure


@contextmanager
def isolated(hours: Collection[Hour], hour: Hour, failures: dict[Hour, PipelineError]) -> Iterator[None]:
    """Collect the error of one of several hours so that it does not block the others; raise it for a single hour."""
    try:
        yield
    except Exception as error:
        if len(hours) == 1:
            raise
        failures[hour] = failure_of(error)


def raise_failures(failures: Mapping[Hour, PipelineError]) -> None:
    """Raise the collected errors of several hours.

    Raises:
        HoursFailedError: at least one hour failed.
    """
    if failures:
        raise HoursFailedError(failures)


def attempt(work: Callable[[], int | None]) -> int | None | Exception:
    """Return the result of a task, or the exception that it raised, so that other tasks continue."""
    try:
        return work()
    except Exception as error:
        return error
