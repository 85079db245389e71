"""The port that builds Silver: from the raw objects of landing hours to unpublished files."""

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
from event_pipeline.rules.erasure import NOBODY, Erasures
from event_pipeline.rules.hour import Hour


@dataclass(frozen=True, slots=True)
class HourInput:
    """The input of the build of one landing hour."""

    listing: RawListing
    open_at: datetime | None
    """A time at which the hour was not over yet, for its commit record; None if it is over."""
    erasures: Erasures = NOBODY
    """People whose records are left out."""


class RawSource(Protocol):
    """The stored bytes of one listed raw object; picklable, for the process that reads them."""

    @property
    def listed(self) -> RawObject:
        """The object as listed."""

    def reading(self) -> AbstractContextManager[BinaryIO]:
        """Open the stored bytes for a block.

        Raises:
            TransientError: the object differs from the listing, at the start or at the end of the block.
            StorageError: it cannot be read.
        """

    def has_digest(self, sha256: str) -> bool:
        """Return whether the object's stored bytes still have this digest, without reading if its version is enough.

        Raises:
            OSError: it cannot be read.
        """


@dataclass(frozen=True, slots=True)
class Built:
    """The result of building some hours."""

    commits: Mapping[Hour, HourCommit]
    """Commit records that would publish the hours, with the files of Silver and quarantine but without the ledger."""
    failures: Mapping[Hour, PipelineError]
    build_id: str
    """Identifies this build in the cost records."""
    dpu_seconds: Decimal = Decimal(0)
    """Glue usage as billed."""
    details: Mapping[str, str] = field(default_factory=dict)
    """Further details of the build, for example a link to the logs: name -> text or URL."""


class Builder(Protocol):
    """Builds Silver and quarantine of landing hours.

    It may be killed at any moment, and several may build the same hour at once: every build has its own prefix in the
    lake, and one that is never published is an abandoned build for housekeeping.
    """

    @property
    def hours_at_once(self) -> int | None:
        """Maximum number of hours per call; None for any number."""

    def build(self, inputs: Sequence[HourInput], *, force: bool, progress: Progress) -> Built:
        """Build hours that have objects; a failed one does not block the others."""

    def published(self, hour: Hour) -> None:
        """Drop what was kept of an hour's objects while it was open, because the complete hour is published."""

    def close(self) -> None:
        """Release what calls share, for example processes."""
