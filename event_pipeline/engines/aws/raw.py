"""Raw objects in S3: the bucket that producers write to, and the stored bytes of one object as they arrive."""

from __future__ import annotations

import hashlib
import io
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, BinaryIO, cast

from botocore.exceptions import BotoCoreError, HTTPClientError
from urllib3.exceptions import HTTPError

from event_pipeline.engines.aws.clients import Aws
from event_pipeline.engines.aws.storage import Bucket
from event_pipeline.errors import StorageError, TransientError
from event_pipeline.rules.accounting import RawObject, UnmatchedKey
from event_pipeline.settings import Settings

_READS = 3
"""Attempts to go on with an object whose connection broke."""


class RawBucket:
    """Speaks `engines.raw.RawPlace` over a bucket."""

    def __init__(self, bucket: Bucket) -> None:
        self.prefix = bucket.prefix
        self._bucket = bucket

    def check(self) -> None:
        """Do nothing: a bucket that cannot be read refuses to be listed."""

    def walk(self, prefix: str) -> Iterator[RawObject | UnmatchedKey]:
        """Yield the objects below a prefix."""
        for each in self._bucket.list(prefix):
            # Consoles leave empty objects named like folders behind; they are nobody's data.
            if not (each.key.endswith("/") and each.size == 0):
                yield RawObject(each.key, each.version, each.size, each.modified)

    def whole(self) -> RawBucket:
        """Return the same bucket without a prefix."""
        return RawBucket(self._bucket.whole())

    def open(self, key: str) -> BinaryIO:
        """Open the stored bytes of one object, which is some 10 MB."""
        found = self._bucket.read(key)
        if found is None:
            raise StorageError(f"{self._bucket.url(key)}: it does not exist")
        return io.BytesIO(found[0])

    def digest(self, listed: RawObject) -> str | None:
        """Return the digest of an object that still has its ETag.

        The same bytes have another ETag when they were copied in parts of another size, or encrypted with another key.
        """
        try:
            found = self._bucket.read(listed.key)
        except StorageError:
            return None  # the build that reads it names the cause
        return hashlib.sha256(found[0]).hexdigest() if found and found[1] == listed.etag else None


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
