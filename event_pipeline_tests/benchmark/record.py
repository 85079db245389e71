"""The kept results, `docs/performance.json`: every round of every group, with size, date, machine and versions."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from event_pipeline_tests.benchmark.bench import FULL, Size
from event_pipeline_tests.benchmark.measurements import Group, Results, groups
from event_pipeline_tests.benchmark.measuring import Measured

RECORD = Path(__file__).parents[2] / "docs" / "performance.json"
_PACKAGES = ("dagster", "duckdb", "isal", "pyarrow", "pyspark")


@dataclass(frozen=True, slots=True)
class KeptGroup:
    """The results of a group, with how they came about."""

    group: Group
    results: Results
    size: Size
    date: str
    machine: str
    versions: Mapping[str, str]


def keep(path: Path, name: str, size: Size, results: Results) -> None:
    """Replace the results of one group."""
    kept = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    kept[name] = {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "machine": machine(),
        "versions": versions(),
        "size": asdict(size),
        "rounds": {name: [_rounded(each) for each in rounds] for name, rounds in results.rounds.items()},
    }
    path.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


def versions() -> dict[str, str]:
    """Return the versions of Python and of what the results depend on."""
    return {"Python": platform.python_version()} | {name: version(name) for name in _PACKAGES}


def kept_groups(path: Path) -> dict[str, KeptGroup]:
    """Return what was kept, by group."""
    found = {}
    stored = json.loads(path.read_text(encoding="utf-8"))
    for name in (name for name in groups(FULL) if name in stored):
        kept = stored[name]
        size = Size(**{**kept["size"], "history": tuple(kept["size"]["history"])})
        results = Results({name: [Measured(**each) for each in rounds] for name, rounds in kept["rounds"].items()})
        found[name] = KeptGroup(groups(size)[name], results, size, kept["date"], kept["machine"], kept["versions"])
    return found


def machine() -> str:
    """Return the processor and memory of this machine, in words."""
    models = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        if line.startswith("model name")
    ]
    model = models[0] if models else platform.machine()
    return f"{model}, {os.cpu_count()} cores, {psutil.virtual_memory().total / 1e9:.0f} GB of memory"


def _rounded(measured: Measured) -> dict[str, Any]:
    return {
        "wall": round(measured.wall, 3),
        "cpu": round(measured.cpu, 3),
        "peak_mb": round(measured.peak_mb, 1),
        "facts": {name: round(value, 4) for name, value in measured.facts.items()},
    }
