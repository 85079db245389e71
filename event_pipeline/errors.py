"""All errors that a person can act on, whatever room raises them.

PipelineError
├── TransientError          may work in a moment: retried with backoff
│   ├── LockTimeoutError    another process builds the same hour or day
│   └── OvertakenError      another process published the same hour or day meanwhile
├── RefusedError            would lose data: needs an explicit word from a person
│   ├── LostObjectsError    raw objects of a published hour are lost
│   └── DataLossRefusedError  a stack's buckets would go with what is in them
├── BrokenLawError          records in and out of an hour do not add up: nothing is published
├── ExhaustedError          a process ran out of memory, or was killed, over one object or hour
├── StorageError            disk full, read-only, not permitted, damaged; the message names the path
│   └── LayoutVersionError  the data folder was written by another version
├── NotPublishedError       a step needs what an earlier one has not published yet
├── LimitError              more memory, time, result or room for spilling is needed than the settings allow
├── HoursFailedError        some hours failed, each by itself; all others were worked through
├── UnexpectedError         a fault of the program in one hour; it keeps no other hour back
├── QueryError              SQL that cannot be run; the message is the engine's own
├── BlockedError            a blocking check of an hour failed
├── BackfillError           a backfill cannot be made, or changed, as asked
├── NotBuildableError       hours cannot be built as asked
├── DeliveryError           a channel did not take an alert
└── StackError              CloudFormation did not do what was asked

Wrong options and values of a command, a setting or a file are `ValueError`s of the room that reads them.
"""

from __future__ import annotations

from collections.abc import Mapping

from event_pipeline.rules.hour import Hour, hours_text


class PipelineError(Exception):
    """A fault that a person can act on; the message says what, where and what to do next."""


class TransientError(PipelineError):
    """May work in a moment: retried with backoff."""


class LockTimeoutError(TransientError):
    """Another process held the same hour or day for longer than the lock timeout."""


class RefusedError(PipelineError):
    """The step would lose data and needs an explicit word from a person."""


class LostObjectsError(RefusedError):
    """Raw objects that a published hour was built from are lost; a rebuild would lose their records."""


class BrokenLawError(PipelineError):
    """Records in and out of an hour do not add up; nothing was published."""


class ExhaustedError(PipelineError):
    """A process ran out of memory or was killed while it worked on one object or hour, also when it was tried again."""


class StorageError(PipelineError):
    """The disk is full or read-only, access is denied, or a file is damaged."""


class LayoutVersionError(StorageError):
    """The data folder was written by another version of the pipeline."""


class NotPublishedError(PipelineError):
    """A step needs what an earlier step has not published yet."""


class LimitError(PipelineError):
    """More memory, time, result or room for spilling is needed than the settings allow; the message names which."""


class UnexpectedError(PipelineError):
    """A fault of the program itself while one hour was worked on; its cause is the error that was raised."""


class HoursFailedError(PipelineError):
    """Some of several hours failed, each by itself; all the others were worked through before this is raised."""

    def __init__(self, failures: Mapping[Hour, PipelineError]) -> None:
        self.failures = dict(failures)
        """Hour -> why it failed."""
        super().__init__(failed_hours_text({hour: str(error) for hour, error in failures.items()}))


class QueryError(PipelineError):
    """SQL that cannot be run."""


class OvertakenError(TransientError):
    """Another process published the same hour or day since its record was read; nothing was changed."""


class BlockedError(PipelineError):
    """A blocking check failed in an hour: the steps that follow leave it out."""


class BackfillError(PipelineError):
    """A backfill is not known, or not in a state in which that can be done to it."""


class NotBuildableError(PipelineError):
    """Hours cannot be built as asked: before the first partition, not over yet, or by a builder that is not there."""


class DeliveryError(PipelineError):
    """A channel did not take a message; it is tried again later. The message never holds the webhook's address."""

    def __init__(self, message: str, retry_after_seconds: float = 0) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds
        """What the receiver asked for."""


class StackError(PipelineError):
    """The stack is not as it was to be; the message names the resource, the reason and the remedy."""


class DataLossRefusedError(RefusedError):
    """What was asked for would delete data, and was not asked for twice."""


def failed_hours_text(reasons: Mapping[Hour, str]) -> str:
    """Return one message that names every hour that failed with its reason; equal reasons are said once."""
    hours_of: dict[str, list[Hour]] = {}
    for hour, reason in sorted(reasons.items()):
        hours_of.setdefault(reason.removeprefix(f"{hour}: "), []).append(hour)
    named = ((str(hours[0]) if len(hours) == 1 else hours_text(hours), reason) for reason, hours in hours_of.items())
    return "; ".join(f"{which}: {reason}" for which, reason in named)
