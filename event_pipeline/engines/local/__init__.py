"""The embedded engine: local files, pyarrow, DuckDB and a small SQLite catalog; no account, no server."""

from event_pipeline.engines.local.engine import LocalEngine

__all__ = ["LocalEngine"]
