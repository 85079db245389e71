"""`event-pipeline query` stays within its limits, and ends at once when it is told to."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from event_pipeline.commands.options import ExitCode

pytestmark = pytest.mark.long

ENDLESS = "SELECT count(*) AS n FROM range(100000000000000) AS t(i) WHERE hash(i) = 3"
SPILLING = "SELECT i, random() AS r, repeat('z', 200) AS z FROM range(100000000) AS t(i) ORDER BY r"


def _start(root: Path, sql: str, *options: str, **settings: str) -> subprocess.Popen[str]:
    environment = os.environ | {"EVENT_PIPELINE_ROOT": str(root), "EVENT_PIPELINE_WORKERS": "1"}
    environment |= {f"EVENT_PIPELINE_{name}": value for name, value in settings.items()}
    command = [sys.executable, "-m", "event_pipeline.cli", "query", sql, *options]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def _wait_until(found: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 600
    while not found():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("sql", "settings", "said"),
    [
        (ENDLESS, {"QUERY_TIMEOUT_SECONDS": "1"}, "EVENT_PIPELINE_QUERY_TIMEOUT_SECONDS"),
        ("SELECT repeat('a', 100) AS a FROM range(100000)", {"QUERY_RESULT_MB": "1"}, "EVENT_PIPELINE_QUERY_RESULT_MB"),
        (SPILLING, {"QUERY_SPILL_MB": "16", "DUCKDB_MEMORY_MB": "128"}, "EVENT_PIPELINE_QUERY_SPILL_MB"),
        ("SELECT list(i) AS l FROM range(300000000) AS t(i)", {}, "EVENT_PIPELINE_DUCKDB_MEMORY_MB"),
        ("SELECT repeat('a', 4000000000) AS a", {}, "EVENT_PIPELINE_DUCKDB_MEMORY_MB"),
        ("SELECT repeat(repeat('a', 1000000), 1000) || i AS a FROM range(9) AS t(i)", {}, "DUCKDB_MEMORY_MB"),
    ],
)
def test_a_query_beyond_a_limit_ends_with_1_and_names_the_setting(
    root: Path, sql: str, settings: dict[str, str], said: str
) -> None:
    process = _start(root, sql, "--format", "csv", **settings)
    _, err = process.communicate(timeout=600)
    assert process.returncode == ExitCode.NOT_HELD, err
    assert said in err
    assert "Traceback" not in err
    assert not (root / "scratch" / "duckdb").exists()


_MEASURED = """
import re, sys
from pathlib import Path
from event_pipeline.cli import main
try:
    main(["query", sys.argv[1], "--format", sys.argv[2]])
except SystemExit as end:
    assert not end.code
# Not ru_maxrss, which begins at what the parent process had.
print(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1], file=sys.stderr)
"""


@pytest.mark.parametrize("result_format", ["csv", "json", "table"])
def test_a_large_result_passes_through_without_being_gathered(root: Path, result_format: str) -> None:
    sql = "SELECT i, repeat('y', 2000) AS y FROM range(300000) AS t(i)"
    environment = os.environ | {"EVENT_PIPELINE_ROOT": str(root), "EVENT_PIPELINE_WORKERS": "1"}
    with subprocess.Popen(
        [sys.executable, "-c", _MEASURED, sql, result_format],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout
        assert process.stderr
        size = 0
        while block := process.stdout.read(1 << 20):
            size += len(block)
        kilobytes = int(process.stderr.read().splitlines()[-1])
    assert process.returncode == 0
    assert size > (600_000_000 if result_format != "table" else 2_000_000)
    assert kilobytes < 500_000


@pytest.mark.parametrize("sql", [ENDLESS, SPILLING, "SELECT i FROM range(100000000000) AS t(i)"])
def test_ctrl_c_ends_a_query_with_130_and_one_line(root: Path, sql: str) -> None:
    process = _start(root, sql, "--format", "csv", DUCKDB_MEMORY_MB="128")
    if sql.startswith("SELECT i FROM"):
        assert process.stdout
        assert process.stdout.readline() == "i\n"
    else:
        _wait_until(lambda: any((root / "scratch" / "duckdb").glob("*.lock")))
        if sql is SPILLING:
            _wait_until(lambda: any((root / "scratch" / "duckdb").glob("*/*")))
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=600)
    assert (process.returncode, err) == (ExitCode.INTERRUPTED, "interrupted; nothing is left half done\n")
    assert not (root / "scratch" / "duckdb").exists()


def test_what_a_killed_query_spilled_is_removed_by_the_next_one(root: Path) -> None:
    process = _start(root, SPILLING, "--format", "csv", DUCKDB_MEMORY_MB="128")
    _wait_until(lambda: any((root / "scratch" / "duckdb").glob("*/*")))
    process.kill()
    process.communicate(timeout=600)
    # The files themselves come and go while DuckDB sorts.
    (left,) = (root / "scratch" / "duckdb").glob("*.lock")
    living = _start(root, SPILLING, "--format", "csv", DUCKDB_MEMORY_MB="128")
    _wait_until(lambda: not left.exists() and any((root / "scratch" / "duckdb").glob("*/*")))
    (held,) = (root / "scratch" / "duckdb").glob("*.lock")
    beside = _start(root, "SELECT 1 AS one", "--format", "csv")
    out, err = beside.communicate(timeout=600)
    assert (out, err.partition(" s, ")[2]) == ("one\n1\n", "0 B read\n")
    assert held.exists()
    living.send_signal(signal.SIGINT)
    living.communicate(timeout=600)
    assert not (root / "scratch" / "duckdb").exists()
