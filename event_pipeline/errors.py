"""All errors that a user can act on, whichever room raises them.

PipelineError
├── TransientError          a retry may succeed: retried with backoff
│   ├── LockTimeoutError    another process builds the same hour or day
│   └── OvertakenError      another process published the same hour or day meanwhile
├── RefusedError            would lose data: needs explicit permission
│   ├── LostObjectsError    raw objects of a published hour are lost
│   └── DataLossRefusedError  a stack's buckets would be deleted with their content
├── BrokenLawError          records in and out of an hour do not add up: nothing is published
├── ExhaustedError          a process ran out of memory, or was killed, over one object or hour
├── StorageError            disk full, read-only, not permitted, damaged; the message names the path
│   └── LayoutVersionError  the data folder was written by another version
├── NotPublishedError       a step needs what an earlier one has not published yet
├── LimitError              the settings' limits of memory, time, result size or spill space are exceeded
├── HoursFailedError        some hours failed, each on its own; all others were processed
├── UnexpectedError         a bug that failed one hour without affecting others
├── QueryError              SQL that cannot be run; the message is the engine's own
├── BlockedError            a blocking check of an hour failed
├── BackfillError           a backfill cannot be created or changed as requested
├── NotBuildableError       hours cannot be built as requested
├── DeliveryError           a channel did not accept an alert
└── StackError              CloudFormation did not do what was requested

Invalid options and values of a command, a setting or a file are `ValueError`s of the room that reads them.
"""

from __future__ import annotations

from collections.abc import Mapping

from event_pipeline.rules.hour import Hour, hours_text


class PipelineError(Exception):
    """An error that a user can act on; the message says what, where and what to do next."""


class TransientError(PipelineError):
    """A retry may succeed: retried with backoff."""


class LockTimeoutError(TransientError):
    """Another process held the same hour or day for longer than the lock timeout."""


class RefusedError(PipelineError):
    """The step would lose data and needs explicit permission."""


class LostObjectsError(RefusedError):
    """Raw objects that a published hour was built from are lost; a rebuild would lose their records."""


class BrokenLawError(PipelineError):
    """Records in and out of an hour do not add up; nothing was published."""


class ExhaustedError(PipelineError):
    """A process ran out of memory or was killed while it worked on one object or hour, even in a retry."""


class StorageError(PipelineError):
    """The disk is full or read-only, access is denied, or a file is damaged."""


class LayoutVersionError(StorageError):
    """The data folder was written by another version of the pipeline."""


class NotPublishedError(PipelineError):
    """A step needs what an earlier step has not published yet."""


class LimitError(PipelineError):
    """A limit in the settings is exceeded: memory, time, result size or spill space; the message names it."""


class UnexpectedError(PipelineError):
    """A bug in the program that failed one hour; its cause is the original error."""


class HoursFailedError(PipelineError):
    """Some of several hours failed, each on its own; all the others were processed before this is raised."""

    def __init__(self, failures: Mapping[Hour, PipelineError]) -> None:
        self.failures = dict(failures)
        """Hour -> why it failed."""
        super().__init__(failed_hours_text({hour: str(error) for hour, error in failures.items()}))


class QueryError(PipelineError):
    """SQL that cannot be run."""


class OvertakenError(TransientError):
    """Another process published the same hour or day since its record was read; nothing was changed."""


class BlockedError(PipelineError):
    """A blocking check failed for an hour: later steps skip it."""


class BackfillError(PipelineError):
    """A backfill is unknown, or its state does not allow the operation."""


class NotBuildableError(PipelineError):
    """Hours cannot be built as requested: before the first partition, not over yet, or with an unavailable builder."""


class DeliveryError(PipelineError):
    """A channel did not accept a message, which is retried later. The error never contains the webhook's address."""

    def __init__(self, message: str, retry_after_seconds: float = 0) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds
        """Delay requested by the receiver."""


class StackError(PipelineError):
    """The stack did not reach the wanted state; the message names resource, reason and remedy."""


class DataLossRefusedError(RefusedError):
    """The operation would delete data, and was not confirmed twice."""


def failed_hours_text(reasons: Mapping[Hour, str]) -> str:
    """Return one message with every failed hour and its reason; equal reasons are merged."""
    hours_of: dict[str, list[Hour]] = {}
    for hour, reason in sorted(reasons.items()):
        hours_of.setdefault(reason.removeprefix(f"{hour}: "), []).append(hour)
    named = ((str(hours[0]) if len(hours) == 1 else hours_text(hours), reason) for reason, hours in hours_of.items())
    return "; ".join(f"{which}: {reason}" for which, reason in named)
