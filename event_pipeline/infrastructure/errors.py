"""What goes wrong with the stack, in words that say what to do; boto3 is not needed to know these."""

from __future__ import annotations

from event_pipeline.engines.base import PipelineError, RefusedError


class StackError(PipelineError):
    """The stack is not as it was to be; the message names the resource, the reason and the remedy."""


class StackOptionError(ValueError):
    """A parameter, name or region that was given cannot be used."""


class DataLossRefusedError(RefusedError):
    """What was asked for would delete data, and was not asked for twice."""
