"""One small document of a store, replaced by compare and swap."""

from __future__ import annotations

from event_pipeline.engines.store import Store


class Document:
    """A document that several processes may read and replace; who loses a race learns of it."""

    def __init__(self, store: Store, key: str) -> None:
        self.place = store.url(key)
        """Path or URL, for people."""
        self._store = store
        self._key = key

    def read(self) -> tuple[bytes, str] | None:
        """Return the content and its version; None when there is none yet.

        Raises:
            PipelineError: it cannot be read.
        """
        return self._store.read(self._key)

    def replace(self, content: bytes, version: str | None) -> bool:
        """Write the content if what is there still has the version, or, for None, if nothing is there.

        Returns False, having changed nothing, when another process was faster.

        Raises:
            PipelineError: it cannot be written.
        """
        return self._store.replace(self._key, content, version)
