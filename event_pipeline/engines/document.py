"""A small document in a store, replaced by compare and swap."""

from __future__ import annotations

from event_pipeline.engines.store import Store


class Document:
    """A document that several processes may read and replace; the loser of a race is notified."""

    def __init__(self, store: Store, key: str) -> None:
        self.place = store.url(key)
        """Readable path or URL."""
        self._store = store
        self._key = key

    def read(self) -> tuple[bytes, str] | None:
        """Return the content and its version; None if the document does not exist yet.

        Raises:
            PipelineError: it cannot be read.
        """
        return self._store.read(self._key)

    def replace(self, content: bytes, version: str | None) -> bool:
        """Write the content if the document still has this version (None: does not exist yet).

        Returns False, without changing anything, if another process was faster.

        Raises:
            PipelineError: it cannot be written.
        """
        return self._store.replace(self._key, content, version)
