"""Raw objects in S3: the bucket that producers write to, and the stored bytes of one object as they arrive."""

from __future__ import annotations

import hashlib
import io
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, BinaryIO, cast

from botocore.exceptions import BotoCoreError, HTTPClientError
from urllib3.exceptions import HTTPError

from event_pipeline.engines.aws.clients import Aws
from event_pipeline.engines.aws.storage import Bucket
from event_pipeline.errors import StorageError, TransientError
from event_pipeline.rules.accounting import RawObject, UnmatchedKey
from event_pipeline.settings import Settings

_READS = 3
"""Attempts to continue reading an object after a lost connection."""


class RawBucket:
    """Implements `engines.raw.RawPlace` over a bucket."""

    def __init__(self, bucket: Bucket, settings: Settings) -> None:
        self.prefix = bucket.prefix
        self._bucket = bucket
        self._settings = settings

    def check(self) -> None:
        """Do nothing: listing an unreadable bucket raises an error anyway."""

    def walk(self, prefix: str) -> Iterator[RawObject | UnmatchedKey]:
        """Yield the objects under a prefix."""
        for each in self._bucket.list(prefix):
            # Consoles create empty objects named like folders; they are not data.
            if not (each.key.endswith("/") and each.size == 0):
                yield RawObject(each.key, each.version, each.size, each.modified)

    def whole(self) -> RawBucket:
        """Return the same bucket without a prefix."""
        return RawBucket(self._bucket.whole(), self._settings)

    def beside(self) -> Iterator[str]:
        """Yield nothing: other things may be in the bucket, and listing it may be forbidden."""
        return iter(())

    def open(self, key: str) -> BinaryIO:
        """Open the stored bytes of one object of about 10 MB."""
        found = self._bucket.read(key)
        if found is None:
            raise StorageError(f"{self._bucket.url(key)}: it does not exist")
        return io.BytesIO(found[0])

    def opener(self) -> Callable[[str], BinaryIO]:
        """Return a function that opens objects with the clients of its own process."""
        return partial(_open, self._settings, self.prefix)

    def rewrite(self, listed: RawObject, content: bytes) -> bool:
        """Replace an object that still has its ETag; versions of a versioned bucket stay."""
        return self._bucket.replace(listed.key, content, listed.etag)

    def digest(self, listed: RawObject) -> str | None:
        """Return the digest of an object that still has its ETag.

        The same bytes get another ETag when copied with another part size, or encrypted with another key.
        """
        try:
            found = self._bucket.read(listed.key)
        except StorageError:
            return None  # the build that reads it reports the cause
        return hashlib.sha256(found[0]).hexdigest() if found and found[1] == listed.etag else None


@dataclass(frozen=True, slots=True)
class ObjectSource:
    """The stored bytes of a raw object in S3; implements `engines.builder.RawSource`."""

    settings: Settings
    listed: RawObject

    @contextmanager
    def reading(self) -> Iterator[BinaryIO]:
        """Open the stored bytes for a block, only if they still have the listed ETag."""
        bucket = Bucket(_aws(self.settings), self.settings.raw_bucket, self.settings.raw_prefix)
        with _ObjectStream(bucket, self.listed) as stream:
            yield cast(BinaryIO, stream)

    def has_digest(self, sha256: str) -> bool:
        """Return True, because other bytes would have another ETag."""
        return True


@lru_cache(maxsize=4)
def _aws(settings: Settings) -> Aws:
    """Return the clients of this process: creating them for each object would take longer than reading it."""
    return Aws(settings)


def _open(settings: Settings, prefix: str, key: str) -> BinaryIO:
    return RawBucket(Bucket(_aws(settings), settings.raw_bucket, prefix), settings).open(key)


class _ObjectStream(io.RawIOBase):
    """The streamed bytes of one version of an object; after a lost connection the rest is requested again."""

    def __init__(self, bucket: Bucket, listed: RawObject) -> None:
        super().__init__()
        self._bucket = bucket
        self._listed = listed
        self._position = 0
        self._broken = 0
        self._body = self._open()

    def readable(self) -> bool:
        """Return True."""
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
                        f"s3:GetObject on {self._bucket.url(self._listed.key)}: the response broke off {_READS} times "
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
