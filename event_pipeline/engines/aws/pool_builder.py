"""Builds landing hours on the host of Dagster: raw objects are read from S3, what is built goes back to S3.

The same processes, files and rules as on one machine (`engines/local/silver.py`); only where the bytes come from and
go to differs. Below the data folder is what an hour takes while it is built, and what is decoded of open hours.
"""

from __future__ import annotations

import io
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO, cast

from botocore.exceptions import BotoCoreError, HTTPClientError
from urllib3.exceptions import HTTPError

from event_pipeline.engines.aws import layout
from event_pipeline.engines.aws.clients import Aws
from event_pipeline.engines.aws.storage import Bucket
from event_pipeline.engines.base import Progress
from event_pipeline.engines.builder import Built, HourInput
from event_pipeline.engines.commit import DataFile, HourCommit
from event_pipeline.engines.decisions import failure_of, new_run_id
from event_pipeline.engines.local.decoded import DecodedObjects
from event_pipeline.engines.local.layout import Layout, storage_faults
from event_pipeline.engines.local.silver import SilverBuilder, Validate
from event_pipeline.errors import PipelineError, TransientError
from event_pipeline.rules.accounting import RawObject
from event_pipeline.rules.contract import HOUR_LEDGER
from event_pipeline.rules.hour import Hour
from event_pipeline.settings import Settings

HOST_FOLDER = "pool"
"""Below the data folder: what hours take while they are built on this host; nothing of it is published."""
_READS = 3
"""Attempts to go on with an object whose connection broke."""


@dataclass(frozen=True, slots=True)
class ObjectSource:
    """The stored bytes of a raw object in S3; `engines.builder.RawSource`."""

    settings: Settings
    listed: RawObject

    @contextmanager
    def reading(self) -> Iterator[BinaryIO]:
        """Open the stored bytes for a block: those of the listed ETag or none."""
        bucket = Bucket(_aws(self.settings), self.settings.raw_bucket, self.settings.raw_prefix)
        with _ObjectStream(bucket, self.listed) as stream:
            yield cast(BinaryIO, stream)

    def has_digest(self, sha256: str) -> bool:
        """Tell that it has: other bytes would have another ETag."""
        return True


@lru_cache(maxsize=4)
def _aws(settings: Settings) -> Aws:
    """Return the clients of this process: making them for each object would take longer than reading it."""
    return Aws(settings)


class _ObjectStream(io.RawIOBase):
    """The stored bytes of one version of an object as they arrive; the rest is asked for when the connection breaks."""

    def __init__(self, bucket: Bucket, listed: RawObject) -> None:
        super().__init__()
        self._bucket = bucket
        self._listed = listed
        self._position = 0
        self._broken = 0
        self._body = self._open()

    def readable(self) -> bool:
        """Tell that it can be read."""
        return True

    def read(self, size: int = -1) -> bytes:
        """Read up to `size` bytes."""
        while True:
            try:
                found = bytes(self._body.read(size if size >= 0 else None))
            except (BotoCoreError, HTTPClientError, HTTPError, OSError) as error:
                self._broken += 1
                if self._broken == _READS:
                    raise TransientError(
                        f"s3:GetObject on {self._bucket.url(self._listed.key)}: the answer broke off {_READS} times "
                        f"({error})"
                    ) from error
                time.sleep(self._broken)
                self._body = self._open()
            else:
                self._position += len(found)
                return found

    def close(self) -> None:
        """End the request."""
        self._body.close()
        super().close()

    def _open(self) -> Any:
        body = self._bucket.stream(self._listed.key, self._listed.etag, self._position)
        if body is None:
            raise TransientError(f"{self._listed.key} was replaced or removed while it was read: list the hour again")
        return body


class PoolBuilder:
    """`engines.builder.Builder` by processes of this host."""

    def __init__(self, aws: Aws, settings: Settings, lake: Bucket) -> None:
        self._aws = aws
        self._settings = settings
        self._lake = lake
        self._layout = Layout(settings.root / HOST_FOLDER)
        self._decoded = DecodedObjects(self._layout, settings.event_time_limits.rules_version)
        self._files = SilverBuilder(
            self._layout,
            lambda listed: ObjectSource(settings, listed),
            self._decoded,
            settings.event_time_limits,
            settings.workers,
            settings.duckdb_memory_mb,
        )

    def build(self, inputs: Sequence[HourInput], *, force: bool, progress: Progress) -> Built:
        """Build hours one after the other, the objects of each side by side."""
        commits, failures = dict[Hour, HourCommit](), dict[Hour, PipelineError]()
        with self._files.validators(sum(each.listing.raw_bytes for each in inputs)) as validate:
            for each in inputs:
                hour = each.listing.hour
                try:
                    with self._layout.lock(f"hours/{hour}", self._settings.lock_timeout_seconds):
                        commits[hour] = self._build_hour(each, validate, progress)
                except Exception as error:
                    failures[hour] = failure_of(error)
        return Built(commits, failures, new_run_id())

    def published(self, hour: Hour) -> None:
        """Remove what was decoded of an hour while it was open."""
        with self._layout.lock(f"hours/{hour}", self._settings.lock_timeout_seconds):
            self._decoded.keep_only(hour, ())

    def _build_hour(self, hour_input: HourInput, validate: Validate, progress: Progress) -> HourCommit:
        listing = hour_input.listing
        # Under the lock of the hour: what is there was left by a process that was killed.
        self._remove_files(listing.hour)
        if hour_input.open_at:
            self._decoded.keep_only(listing.hour, listing.objects)
        try:
            made = self._files.build(listing, validate, progress, hour_input.open_at)
            self._aws.note("s3.GetObject", len(listing.objects))
            files = (file for file in made.files if file.table != HOUR_LEDGER.full_name)
            return replace(made, files=tuple(self._uploaded(made, file) for file in files))
        finally:
            self._remove_files(listing.hour)

    def _uploaded(self, commit: HourCommit, file: DataFile) -> DataFile:
        local = self._layout.lake / file.path
        key = f"{layout.run_prefix(commit)}{layout.HOUR_FOLDERS[file.table]}{local.name}"
        with storage_faults(local):
            self._lake.upload(key, local)
        return replace(file, path=key)

    def _remove_files(self, hour: Hour) -> None:
        for place in (self._layout.hour_run(hour, "x").parent, *self._scratch(hour)):
            shutil.rmtree(place, ignore_errors=True)

    def _scratch(self, hour: Hour) -> list[Path]:
        return list(self._layout.scratch.glob(f"{hour}-*"))
