"""A memory limit for this process while it runs a user's SQL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from event_pipeline.errors import LimitError

_HEADROOM_MB = 1_024
"""Memory for everything but DuckDB: Python, pyarrow, and rows on their way to the output."""

_STATUS = Path("/proc/self/status")


@contextmanager
def memory_bounded(duckdb_memory_mb: int) -> Iterator[None]:
    """Limit the growth of this process to DuckDB's memory plus some headroom.

    DuckDB's own limit covers what it buffers, not what one expression allocates: `repeat('a', 2000000000)` took 10 GB
    under a limit of 768 MB. Systems without Linux's /proc have no such limit.

    Raises:
        LimitError: the query needs more.
    """
    if not _STATUS.exists():
        yield
        return
    import resource

    (kilobytes,) = [
        line.split()[1] for line in _STATUS.read_text(encoding="ascii", errors="replace").splitlines()
        if line.startswith("VmData:")
    ]  # fmt: skip
    before = resource.getrlimit(resource.RLIMIT_DATA)
    bound = (int(kilobytes) << 10) + ((duckdb_memory_mb + _HEADROOM_MB) << 20)
    lower = [limit for limit in (bound, *before) if limit != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_DATA, (min(lower), before[1]))
    try:
        yield
    except MemoryError as error:
        raise LimitError(
            f"the query needs more memory than DuckDB's {duckdb_memory_mb:,} MB and {_HEADROOM_MB:,} MB of headroom: "
            "narrow it, or raise EVENT_PIPELINE_DUCKDB_MEMORY_MB"
        ) from error
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)
