"""One raw object as a gzip stream: the records of an interval, with the faults in the options."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import BinaryIO

from event_pipeline.generator.faults import RecordFaults, encode_lines
from event_pipeline.generator.options import (
    SECONDS_PER_HOUR,
    GeneratorOptions,
    GeneratorOptionsError,
    Shape,
    check_interval,
    random_stream,
)
from event_pipeline.generator.original import original_batches
from event_pipeline.generator.realistic import realistic_batches, session_stream
from event_pipeline.rules.hour import Hour

GZIP_LEVEL = 6
_GZIP_FRAMING = 16 + zlib.MAX_WBITS


@dataclass(frozen=True, slots=True)
class RecordCounts:
    """The content of one object; `records` includes the faults."""

    records: int = 0
    bad_by_reason: Mapping[str, int] = field(default_factory=dict)
    """Quarantine reason -> records, for the default event time limits."""
    duplicates: int = 0
    late: int = 0
    """Accepted records with a timestamp outside their landing hour, made by `late_share`."""

    @property
    def bad(self) -> int:
        """Records that break a rule of the contract."""
        return sum(self.bad_by_reason.values())


def write_object(
    stream: BinaryIO,
    landed: datetime,
    options: GeneratorOptions,
    *,
    interval_seconds: int | None = None,
    previous: datetime | None = None,
) -> RecordCounts:
    """Write the stored (gzip) bytes of the raw object that lands at an instant to a stream, without closing it.

    Its key is `Hour.containing(landed).raw_key(landed)`. Its events are in the `interval_seconds` (default: an hour
    divided by `files_per_hour`) before `landed`, truncated to the second. Equal arguments give equal bytes.
    `previous` names an earlier object of the same hour: `duplicate_share` may send some of its records again.
    `broken_objects` is ignored here.

    Raises:
        GeneratorOptionsError: `landed` has no time zone, or the interval is not from 1 to 3600 seconds.
    """
    return ObjectWriter(options, interval_seconds).write(stream, landed, previous)


class ObjectWriter:
    """Writes objects one after the other; its cache saves work and never changes the output."""

    def __init__(self, options: GeneratorOptions, interval_seconds: int | None = None) -> None:
        if interval_seconds is None:
            interval_seconds = SECONDS_PER_HOUR // options.files_per_hour
        check_interval(interval_seconds)
        self.interval_seconds = interval_seconds
        self._options = options
        self._sessions = session_stream(options, interval_seconds)
        self._resendable: tuple[datetime, list[str]] | None = None

    def write(self, stream: BinaryIO, landed: datetime, previous: datetime | None = None) -> RecordCounts:
        """Write one object; see `write_object`."""
        landed = _whole_second(landed)
        resent = self._lines_to_resend(_whole_second(previous)) if previous else []
        faults = self._faults(landed)
        compressor = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, _GZIP_FRAMING)
        records = 0
        for batch in self._batches(landed):
            lines = batch
            if self._options.has_record_faults:
                if not records:
                    self._resendable = (landed, self._faults(landed).plain_lines(batch))
                lines = faults.apply(batch, resent)
            if records:
                stream.write(compressor.compress(b"\n"))
            stream.write(compressor.compress(encode_lines(lines)))
            records += len(lines)
        stream.write(compressor.flush())
        return RecordCounts(records, dict(sorted(faults.bad_by_reason.items())), faults.duplicates, faults.late)

    def _batches(self, landed: datetime) -> Iterator[list[str]]:
        if self._options.shape is Shape.ORIGINAL:
            return original_batches(self._options, landed, self.interval_seconds)
        return realistic_batches(self._sessions, landed, self.interval_seconds)

    def _faults(self, landed: datetime) -> RecordFaults:
        hour = Hour.containing(landed)
        return RecordFaults(self._options, hour, random_stream(self._options.seed, hour.raw_key(landed), "faults"))

    def _lines_to_resend(self, previous: datetime) -> list[str]:
        """Return accepted records from the start of an earlier object, recreating them if they are not cached."""
        if not self._options.duplicate_share:
            return []
        if self._resendable is None or self._resendable[0] != previous:
            first_batch = next(self._batches(previous), [])
            self._resendable = (previous, self._faults(previous).plain_lines(first_batch))
        return self._resendable[1]


def _whole_second(instant: datetime) -> datetime:
    if instant.utcoffset() is None:
        raise GeneratorOptionsError(f"landed={instant.isoformat()}: must be an instant with a time zone")
    return instant.astimezone(UTC).replace(microsecond=0)
