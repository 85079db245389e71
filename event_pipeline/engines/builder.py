"""The port that builds Silver: from the raw objects of landing hours to files that nothing publishes yet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import BinaryIO, Protocol

from event_pipeline.engines.base import Progress
from event_pipeline.engines.commit import HourCommit
from event_pipeline.errors import PipelineError
from event_pipeline.rules.accounting import RawListing, RawObject
from event_pipeline.rules.hour import Hour


@dataclass(frozen=True, slots=True)
class HourInput:
    """What one landing hour is built from."""

    listing: RawListing
    open_at: datetime | None
    """An instant at which the hour was not over yet, which its commit record will bear; None when it is over."""


class RawSource(Protocol):
    """The stored bytes of one listed raw object; sent to the process that reads them."""

    @property
    def listed(self) -> RawObject:
        """The object as it was listed."""

    def reading(self) -> AbstractContextManager[BinaryIO]:
        """Open the stored bytes for a block.

        Raises:
            TransientError: the object is not, or no longer at the end of the block, what was listed.
            StorageError: it cannot be read.
        """

    def has_digest(self, sha256: str) -> bool:
        """Tell whether the object still has the stored bytes of a digest; without reading where its version says so.

        Raises:
            OSError: it cannot be read.
        """


@dataclass(frozen=True, slots=True)
class Built:
    """What a builder made of some hours."""

    commits: Mapping[Hour, HourCommit]
    """Commit records that would publish the hours, with the files of Silver and quarantine and without the ledger."""
    failures: Mapping[Hour, PipelineError]
    build_id: str
    """Names this piece of work among the cost records."""
    dpu_seconds: Decimal = Decimal(0)
    """Of Glue, as billed."""
    details: Mapping[str, str] = field(default_factory=dict)
    """What else people want to see of it, for example a link to the logs: name -> text or URL."""


class Builder(Protocol):
    """Builds Silver and quarantine of landing hours.

    It may be killed at any moment and may work beside itself on the same hour: every build has a prefix of its own in
    the lake, and what is never published is an abandoned build for housekeeping.
    """

    @property
    def hours_at_once(self) -> int | None:
        """How many hours one call builds; None for any number of them."""

    def build(self, inputs: Sequence[HourInput], *, force: bool, progress: Progress) -> Built:
        """Build hours that have objects; one that fails keeps no other one back."""

    def published(self, hour: Hour) -> None:
        """Drop what was kept of the objects of an hour while it was open: it is published whole."""

    def close(self) -> None:
        """Let go of what calls share, for example processes."""
