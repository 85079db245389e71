"""How a statement ends: rows and what they cost, or a failure in Athena's words."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

SYSTEM, USER = 1, 2
"""Athena's error categories."""


class QueryFailedError(Exception):
    """A statement cannot be run; the message is the execution's StateChangeReason.

    Error types are those of https://docs.aws.amazon.com/athena/latest/ug/error-reference.html: 1000 is a user error.
    """

    def __init__(
        self,
        reason: str,
        *,
        category: int = USER,
        error_type: int = 1000,
        retryable: bool = False,
        cancelled: bool = False,
        scanned: int = 0,
    ) -> None:
        super().__init__(reason)
        self.category = category
        self.error_type = error_type
        self.retryable = retryable
        self.cancelled = cancelled
        """Whether the execution ends as CANCELLED instead of FAILED."""
        self.scanned = scanned


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a statement has done."""

    table: pa.Table
    """Result rows, with Athena's types in Arrow form."""
    header: bool = False
    """Whether results begin with a row of column names, as only those of a SELECT do."""
    scanned: int = 0
    """Bytes read from S3."""
    update_count: int | None = None
    """Rows that UNLOAD wrote."""
    files: tuple[str, ...] | None = None
    """Objects that UNLOAD wrote."""


def lines(name: str, texts: list[str]) -> Outcome:
    """Return the outcome of a statement that answers with lines of text."""
    return Outcome(pa.table({name: pa.array(texts, pa.string())}))
