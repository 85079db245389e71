"""A bound for the memory of this process while it answers a person's SQL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from event_pipeline.errors import LimitError

_HEADROOM_MB = 1_024
"""What the process may take beside DuckDB: Python, pyarrow, and rows on their way to the output."""

_STATUS = Path("/proc/self/status")


@contextmanager
def memory_bounded(duckdb_memory_mb: int) -> Iterator[None]:
    """Let the process grow by DuckDB's memory and some headroom, no further.

    DuckDB counts what it keeps, not what one expression makes: `repeat('a', 2000000000)` took 10 GB under a limit of
    768 MB. Systems without Linux's /proc have no such bound.

    Raises:
        LimitError: more was needed.
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
            f"the query needs more memory than DuckDB's {duckdb_memory_mb:,} MB and {_HEADROOM_MB:,} MB beside it: "
            "narrow it, or raise EVENT_PIPELINE_DUCKDB_MEMORY_MB"
        ) from error
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)
