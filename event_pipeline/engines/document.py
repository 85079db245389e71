"""One small document in the data folder or the lake bucket, replaced by compare-and-swap."""

from __future__ import annotations

from typing import Protocol


class Document(Protocol):
    """A document that several processes may read and replace; who loses a race learns of it."""

    place: str
    """Path or URL, for people."""

    def read(self) -> tuple[bytes, str] | None:
        """Return the content and its version; None when there is none yet.

        Raises:
            PipelineError: it cannot be read.
        """

    def replace(self, content: bytes, version: str | None) -> bool:
        """Write the content if what stands there still has the version, or, for None, if nothing does.

        Returns False, having changed nothing, when another process was faster.

        Raises:
            PipelineError: it cannot be written.
        """
