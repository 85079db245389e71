"""From a stream of raw e-commerce events to an analytics dataset people can trust."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from event_pipeline.lake import open_lake

__all__ = ["open_lake"]

__version__ = "0.1.0"
"""Written out because the package also runs from a zip file inside the Glue job, where no metadata is installed."""


def __getattr__(name: str) -> Any:
    """Import `open_lake` when it is asked for: rules and the Glue job import this package without engines."""
    if name == "open_lake":
        from event_pipeline.lake import open_lake

        return open_lake
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
