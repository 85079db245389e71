"""What the sensor remembers from one look to the next, and in how many bytes.

Nothing in it is needed to find an hour: losing it costs a repeated look, never an hour.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any

from event_pipeline.rules.hour import Hour

CURSOR_FORMAT = 2
MOST_REQUESTS = 1_000
MOST_SETTLED_DAYS = 400
MOST_NOTICED_DAYS = 400
MOST_CURSOR_BYTES = 128 * 1024
"""Holds with all of the above and as many receipts as one look takes."""

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Request:
    """The last request for one hour."""

    wanted: str
    """Digest of what was asked for."""
    attempt: int
    """0 for the first request for it."""
    requested_at: datetime
    """To the second."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """What the sensor remembers between two looks."""

    sweep_before: date | None = None
    """The next look's sweep takes the older days before this one; None begins with the latest of them."""
    requests: Mapping[Hour, Request] = field(default_factory=dict)
    """Hours that were asked for and are not known to be built."""
    settled: Mapping[date, str] = field(default_factory=dict)
    """Days in which nothing was to be done -> digest of all that this was concluded from."""
    noticed: frozenset[date] = frozenset()
    """Days of which a notice told, until nothing waits in them."""
    receipts: tuple[str, ...] = ()
    """Messages whose hours are in this cursor, to be deleted when it comes back: then it is stored for good."""

    def to_json(self) -> str:
        """Write the cursor, at most MOST_CURSOR_BYTES: of each kind the entries of the newest hours or days.

        An older hour whose request is forgotten is asked for again when its turn in the sweep comes.
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
        """Read the cursor; one that is damaged or of another format is dropped with a line in the log."""
        if not text:
            return cls()
        try:
            fields = json.loads(text)
            if (found := fields["format"]) != CURSOR_FORMAT:
                raise ValueError(f"format {found!r}, this version reads {CURSOR_FORMAT}")
            return cls(
                date.fromisoformat(fields["sweep_before"]) if fields["sweep_before"] else None,
                {Hour.parse(hour): _request(*each) for hour, each in fields["requests"].items()},
                {date.fromisoformat(day): str(digest) for day, digest in fields["settled"].items()},
                frozenset(date.fromisoformat(day) for day in fields["noticed"]),
                tuple(str(receipt) for receipt in fields["receipts"]),
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            _LOG.warning("the cursor cannot be read and starts afresh (%s): %.200s", error, text)
            return cls()


def _request(wanted: Any, attempt: Any, requested_at: Any) -> Request:
    return Request(str(wanted), int(attempt), datetime.fromtimestamp(int(requested_at), UTC))
