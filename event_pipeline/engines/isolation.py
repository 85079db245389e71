"""One hour must not keep the others back: its fault is noted, and raised at the end."""

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
"""Errors of the operating system that may be gone in a moment."""


def failure_of(error: Exception) -> PipelineError:
    """Return any error that was raised over one hour as an error of the pipeline, the original as its cause."""
    if isinstance(error, PipelineError):
        return error
    failure: PipelineError
    if isinstance(error, OSError):
        failure = TransientError(str(error)) if error.errno in PASSING_ERRNOS else StorageError(str(error))
    elif isinstance(error, MemoryError):
        failure = ExhaustedError(f"out of memory{f' ({error})' if str(error) else ''}: give the process more memory")
    else:
        failure = UnexpectedError(f"{type(error).__name__}: {error} (a fault of the program; its log has the details)")
    failure.__cause__ = error
    return failure


@contextmanager
def isolated(hours: Collection[Hour], hour: Hour, failures: dict[Hour, PipelineError]) -> Iterator[None]:
    """Note the fault of one of several hours, so that it keeps no other one back; raise it when it is the only one."""
    try:
        yield
    except Exception as error:
        if len(hours) == 1:
            raise
        failures[hour] = failure_of(error)


def raise_failures(failures: Mapping[Hour, PipelineError]) -> None:
    """Say at the end which of several hours failed.

    Raises:
        HoursFailedError: at least one did.
    """
    if failures:
        raise HoursFailedError(failures)


def attempt(work: Callable[[], int | None]) -> int | None | Exception:
    """Return what a piece of work returned, or the fault that it raised: others go on meanwhile."""
    try:
        return work()
    except Exception as error:
        return error
