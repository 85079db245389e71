"""Error handling of steps: a transient error is retried, any other error fails the step with a readable message."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import dagster as dg

from event_pipeline.engines.isolation import PASSING_ERRNOS
from event_pipeline.errors import LockTimeoutError, PipelineError, TransientError, failed_hours_text
from event_pipeline.rules.hour import Hour
from event_pipeline.rules.printable import printable, printable_lines

BACKOFF = dg.RetryPolicy(max_retries=3, delay=5, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.PLUS_MINUS)
"""The backoff for transient errors: retries after about 5, 15 and 35 seconds.

Not set as the assets' retry policy, because Dagster would then also retry a cancelled step.
"""

FAULT_CLASS = "fault"
"""Metadata key of a failure: the class of the pipeline error, which is also its entry in docs/runbook.md."""


@contextmanager
def faults_explained(context: dg.AssetExecutionContext | dg.OpExecutionContext) -> Iterator[None]:
    """Turn engine errors inside the block into retries and failures that Dagster shows clearly.

    Raises:
        dagster.RetryRequested: the error is transient and there are attempts left.
        dagster.Failure: any other error of the pipeline or the file system; it is not retried.
    """
    try:
        yield
    except TransientError as fault:
        raise _retry_or_failure(context, printable(str(fault)), {FAULT_CLASS: type(fault).__name__}) from _shown(fault)
    except PipelineError as fault:
        raise dg.Failure(printable(str(fault)), {FAULT_CLASS: type(fault).__name__}, allow_retries=False) from None
    except OSError as fault:
        if fault.errno in PASSING_ERRNOS:
            raise _retry_or_failure(context, printable(str(fault))) from _shown(fault)
        raise dg.Failure(printable(str(fault)), allow_retries=False) from _shown(fault)


def _shown(fault: Exception) -> Exception | None:
    """Return an error as the cause of a failure, or None if Dagster's pages cannot show its text."""
    return fault if printable_lines(str(fault)) == str(fault) else None


def retry_passing(
    context: dg.AssetExecutionContext | dg.OpExecutionContext, failures: Mapping[Hour, PipelineError], *, healthy: bool
) -> None:
    """Request a retry of the step if some hour has a transient error; finished hours are then found unchanged.

    An hour that another process holds does not cause a retry if there are healthy hours to continue with.

    Raises:
        dagster.RetryRequested: an error is transient and there are attempts left.
    """
    passing = {
        hour: str(error)
        for hour, error in failures.items()
        if isinstance(error, TransientError) and not (healthy and isinstance(error, LockTimeoutError))
    }
    if passing and context.retry_number < BACKOFF.max_retries:
        retry = _retry_or_failure(context, printable(failed_hours_text(passing)))
        raise retry


def _retry_or_failure(
    context: dg.AssetExecutionContext | dg.OpExecutionContext, message: str, metadata: Mapping[str, str] | None = None
) -> dg.RetryRequested | dg.Failure:
    attempts = context.retry_number + 1
    if attempts > BACKOFF.max_retries:
        return dg.Failure(f"{message} (given up after {attempts} attempts)", metadata, allow_retries=False)
    seconds = BACKOFF.calculate_delay(attempts)
    context.log.warning(f"{message}; attempt {attempts + 1} of {BACKOFF.max_retries + 1} in {seconds:.0f} s")
    return dg.RetryRequested(max_retries=BACKOFF.max_retries, seconds_to_wait=seconds)
