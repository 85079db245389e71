"""A small document in the data folder, replaced by compare-and-swap under a lock."""

from __future__ import annotations

import hashlib

from event_pipeline.engines.local.layout import Layout, publish, storage_faults


class LocalDocument:
    """Speaks `engines.document.Document` over one file; its version is the digest of its bytes."""

    def __init__(self, layout: Layout, name: str, lock_timeout_seconds: float) -> None:
        self.place = str(layout.root / name)
        self._layout = layout
        self._name = name
        self._path = layout.root / name
        self._lock_timeout_seconds = lock_timeout_seconds

    def read(self) -> tuple[bytes, str] | None:
        """Return the content and its version; None when there is none yet."""
        with storage_faults(self._path):
            try:
                content = self._path.read_bytes()
            except FileNotFoundError:
                return None
        return content, hashlib.sha256(content).hexdigest()

    def replace(self, content: bytes, version: str | None) -> bool:
        """Write the content if what stands there still has the version."""
        self._layout.claim()
        with self._layout.lock(f"documents/{self._name}", self._lock_timeout_seconds):
            present = self.read()
            if (present[1] if present else None) != version:
                return False
            # It holds what people are told, and what the receivers of messages answered.
            publish(self._path, content.decode(), private=True)
            return True
