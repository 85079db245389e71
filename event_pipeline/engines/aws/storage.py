"""Objects of one bucket: reading, listing, and the conditional put that is the pipeline's compare-and-swap."""

from __future__ import annotations

import io
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, BinaryIO, cast

from botocore.exceptions import BotoCoreError, HTTPClientError
from urllib3.exceptions import HTTPError

from event_pipeline.engines.aws.clients import Aws, ExpectedError
from event_pipeline.engines.store import StoredObject
from event_pipeline.errors import TransientError

_DELETES_PER_CALL = 1_000
_COPY_BYTES = 1 << 20
_NOT_FOUND = ("NoSuchKey", "404", "NotFound")
_CONDITION_FAILED = ("PreconditionFailed", "412")
_CONFLICT = ("ConditionalRequestConflict", "409")
"""Another request on the key was in progress: the condition was not evaluated, and S3's guide says to retry."""
_CONFLICTS = 6
_FIRST_CONFLICT_SECONDS = 0.05


class Bucket:
    """Implements `engines.store.Store` over a bucket or a prefix in it.

    Keys do not include the prefix, and versions are ETags. In S3 a put is atomic, visible to every request after its
    response, and evaluates its condition itself. S3 has no locks.
    """

    def __init__(self, aws: Aws, name: str, prefix: str = "") -> None:
        self.name = name
        self.prefix = prefix
        self._aws = aws

    def whole(self) -> Bucket:
        """Return the same bucket without a prefix."""
        return Bucket(self._aws, self.name)

    def url(self, key: str) -> str:
        """Return `s3://bucket/key`."""
        return f"s3://{self.name}/{self.prefix}{key}"

    def list(self, prefix: str) -> Iterator[StoredObject]:
        """List every object under a prefix, page after page, by key."""
        for page in self._aws.pages(
            "s3", "list_objects_v2", self.url(prefix), Bucket=self.name, Prefix=f"{self.prefix}{prefix}"
        ):
            for each in page.get("Contents", []):
                key = each["Key"].removeprefix(self.prefix)
                yield StoredObject(key, each["ETag"].strip('"'), each["Size"], each["LastModified"])

    def read(self, key: str) -> tuple[bytes, str] | None:
        """Return the stored bytes of an object and its etag; None if there is no such object."""
        try:
            answer = self._aws.call(
                "s3", "get_object", self.url(key), expected=_NOT_FOUND, Bucket=self.name, Key=f"{self.prefix}{key}"
            )
        except ExpectedError:
            return None
        return self._body(answer, key), answer["ETag"].strip('"')

    def read_range(self, key: str, first: int, size: int) -> bytes:
        """Return `size` bytes of an object from position `first`."""
        answer = self._aws.call(
            "s3",
            "get_object",
            self.url(key),
            Bucket=self.name,
            Key=f"{self.prefix}{key}",
            Range=f"bytes={first}-{first + size - 1}",
        )
        return self._body(answer, key)

    def stream(self, key: str, etag: str, first: int = 0) -> Any:
        """Open an object that still has `etag`, from position `first` on; None if it has changed or is gone.

        Returns botocore's body, which the caller must read and close.
        """
        condition: dict[str, Any] = {"Range": f"bytes={first}-"} if first else {}
        try:
            answer = self._aws.call(
                "s3",
                "get_object",
                self.url(key),
                expected=(*_NOT_FOUND, *_CONDITION_FAILED),
                Bucket=self.name,
                Key=f"{self.prefix}{key}",
                IfMatch=f'"{etag}"',
                **condition,
            )
        except ExpectedError:
            return None
        return answer["Body"]

    def download(self, key: str, path: Path) -> bool:
        """Copy an object to a file without holding it in memory; return False if there is no such object.

        Raises:
            TransientError: the response was cut off.
        """
        try:
            answer = self._aws.call(
                "s3", "get_object", self.url(key), expected=_NOT_FOUND, Bucket=self.name, Key=f"{self.prefix}{key}"
            )
        except ExpectedError:
            return False
        with path.open("wb") as file:
            while chunk := self._chunk(answer, key):
                file.write(chunk)
        return True

    def open(self, key: str, size: int) -> BinaryIO:
        """Open an object of `size` bytes to read parts of it, each with one request."""
        return cast(BinaryIO, RangeFile(self, key, size))

    def take(self, key: str, path: Path) -> None:
        """Write a file as an object without holding it in memory, overwriting any existing one."""
        with path.open("rb") as body:
            self._aws.call("s3", "put_object", self.url(key), Bucket=self.name, Key=f"{self.prefix}{key}", Body=body)

    def size(self, key: str) -> int | None:
        """Return the size of an object in bytes; None if there is no such object."""
        try:
            answer = self._aws.call(
                "s3", "head_object", self.url(key), expected=_NOT_FOUND, Bucket=self.name, Key=f"{self.prefix}{key}"
            )
        except ExpectedError:
            return None
        return int(answer["ContentLength"])

    def write(self, key: str, body: bytes) -> None:
        """Write an object, overwriting any existing one."""
        self._aws.call("s3", "put_object", self.url(key), Bucket=self.name, Key=f"{self.prefix}{key}", Body=body)

    def replace(self, key: str, body: bytes, version: str | None) -> bool:
        """Compare and swap: write an object if its current etag is `version` (None: it does not exist).

        Returns False, without changing anything, if the version differs. A put that was retried because its response
        was lost counts as done if the object has the content to be written.

        Raises:
            TransientError: other requests on the key were in progress each time.
        """
        condition: dict[str, Any] = {"IfNoneMatch": "*"} if version is None else {"IfMatch": f'"{version}"'}
        for attempt in range(_CONFLICTS):
            try:
                self._aws.call(
                    "s3",
                    "put_object",
                    self.url(key),
                    expected=(*_CONDITION_FAILED, *_CONFLICT, *_NOT_FOUND),
                    Bucket=self.name,
                    Key=f"{self.prefix}{key}",
                    Body=body,
                    **condition,
                )
            except ExpectedError as error:
                if error.code in _CONFLICT:
                    time.sleep(_FIRST_CONFLICT_SECONDS * 2**attempt)
                    continue
                present = self.read(key)
                return present is not None and present[0] == body
            return True
        raise TransientError(
            f"s3:PutObject on {self.url(key)}: other requests on it were in progress {_CONFLICTS} times: run again"
        )

    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects; those that are already gone are not an error."""
        waiting = list(keys)
        for start in range(0, len(waiting), _DELETES_PER_CALL):
            batch = waiting[start : start + _DELETES_PER_CALL]
            answer = self._aws.call(
                "s3",
                "delete_objects",
                f"{self.url(batch[0])} and {len(batch) - 1} more",
                Bucket=self.name,
                Delete={"Objects": [{"Key": f"{self.prefix}{key}"} for key in batch], "Quiet": True},
            )
            for fault in answer.get("Errors", []):
                raise TransientError(
                    f"s3:DeleteObjects on {self.whole().url(fault['Key'])}: {fault.get('Code')}: {fault.get('Message')}"
                )

    def exclusive(self, name: str) -> AbstractContextManager[None]:
        """Do nothing: S3 has no locks."""
        return nullcontext()

    def _body(self, answer: dict[str, Any], key: str) -> bytes:
        return self._chunk(answer, key, None)

    def _chunk(self, answer: dict[str, Any], key: str, size: int | None = _COPY_BYTES) -> bytes:
        try:
            return bytes(answer["Body"].read(size))
        except (BotoCoreError, HTTPClientError, HTTPError, OSError) as error:
            raise TransientError(f"s3:GetObject on {self.url(key)}: the response broke off ({error})") from error


class RangeFile(io.RawIOBase):
    """An object as a seekable file, read by ranges: for Parquet footers and single columns."""

    def __init__(self, bucket: Bucket, key: str, size: int) -> None:
        super().__init__()
        self._bucket = bucket
        self._key = key
        self._size = size
        self._position = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to a position."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = start + offset
        return self._position

    def tell(self) -> int:
        """Return the position."""
        return self._position

    def readinto(self, buffer: Any) -> int:
        """Read into a buffer from the current position."""
        size = min(len(buffer), self._size - self._position)
        if size <= 0:
            return 0
        found = self._bucket.read_range(self._key, self._position, size)
        buffer[: len(found)] = found
        self._position += len(found)
        return len(found)


def split_url(url: str) -> tuple[str, str]:
    """Split `s3://bucket/key` into bucket and key."""
    bucket, _, key = url.removeprefix("s3://").partition("/")
    return bucket, key
