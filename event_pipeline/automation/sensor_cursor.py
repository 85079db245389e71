"""The sensor's cursor: what it remembers between evaluations, within a size limit.

No hour depends on it: losing the cursor costs a repeated comparison, never an hour.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any

from event_pipeline.rules.hour import Hour
from event_pipeline.rules.stored_json import read_json, read_value

CURSOR_FORMAT = 2
MOST_REQUESTS = 1_000
MOST_SETTLED_DAYS = 400
MOST_NOTICED_DAYS = 400
MOST_CURSOR_BYTES = 128 * 1024
"""Enough for all of the above and as many receipts as one evaluation takes."""

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Request:
    """The last request for one hour."""

    wanted: str
    """Digest of what was requested."""
    attempt: int
    """0 for the first request."""
    requested_at: datetime
    """Precise to the second."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """What the sensor remembers between two evaluations."""

    sweep_before: date | None = None
    """The next sweep takes the older days before this one; None starts with the latest."""
    requests: Mapping[Hour, Request] = field(default_factory=dict)
    """Hours that were requested and are not known to be built."""
    settled: Mapping[date, str] = field(default_factory=dict)
    """Days with nothing to do -> digest of everything that this follows from."""
    noticed: frozenset[date] = frozenset()
    """Days named by a notice, until nothing in them is waiting."""
    receipts: tuple[str, ...] = ()
    """Messages whose hours are in this cursor. They are deleted when it comes back, because then it was stored."""

    def to_json(self) -> str:
        """Serialize the cursor in at most MOST_CURSOR_BYTES, keeping the newest hours or days of each kind.

        An older hour whose request is dropped is requested again when the sweep reaches it.
        """
        return json.dumps(
            {
                "format": CURSOR_FORMAT,
                "sweep_before": str(self.sweep_before) if self.sweep_before else None,
                "requests": {
                    str(hour): [request.wanted, request.attempt, int(request.requested_at.timestamp())]
                    for hour, request in sorted(self.requests.items())[-MOST_REQUESTS:]
                },
                "settled": {str(day): digest for day, digest in sorted(self.settled.items())[-MOST_SETTLED_DAYS:]},
                "noticed": [str(day) for day in sorted(self.noticed)[-MOST_NOTICED_DAYS:]],
                "receipts": list(self.receipts),
            },
            separators=(",", ":"),
        )

    @classmethod
    def from_json(cls, text: str | None) -> Cursor:
        """Parse the cursor; one that is damaged or of another format is discarded with a log message."""
        if not text:
            return cls()
        try:
            fields = read_json(text)
            if (found := fields["format"]) != CURSOR_FORMAT:
                raise ValueError(f"format {found!r}, this version reads {CURSOR_FORMAT}")
            return cls(
                date.fromisoformat(fields["sweep_before"]) if fields["sweep_before"] else None,
                {Hour.parse(hour): _request(*each) for hour, each in fields["requests"].items()},
                {date.fromisoformat(day): str(digest) for day, digest in fields["settled"].items()},
                frozenset(date.fromisoformat(day) for day in fields["noticed"]),
                tuple(read_value(list[str], fields["receipts"], "receipts")),
            )
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
            _LOG.warning("the cursor cannot be read and starts afresh (%s): %.200s", error, text)
            return cls()


def _request(wanted: Any, attempt: Any, requested_at: Any) -> Request:
    return Request(str(wanted), int(attempt), datetime.fromtimestamp(int(requested_at), UTC))
