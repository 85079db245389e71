"""A small document in the lake bucket, replaced by S3's conditional put."""

from __future__ import annotations

from event_pipeline.engines.aws.storage import Bucket


class BucketDocument:
    """Speaks `engines.document.Document` over one object; its version is the etag."""

    def __init__(self, bucket: Bucket, key: str) -> None:
        self.place = bucket.url(key)
        self._bucket = bucket
        self._key = key

    def read(self) -> tuple[bytes, str] | None:
        """Return the content and its version; None when there is none yet."""
        return self._bucket.read(self._key)

    def replace(self, content: bytes, version: str | None) -> bool:
        """Write the content if what stands there still has the version."""
        return self._bucket.replace(self._key, content, version)
