"""The kept results, `docs/reliability.json`: every trial of every part, with date, scale, seed and machine."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from event_pipeline_tests.benchmark.record import machine, versions
from event_pipeline_tests.reliability.trial import Promise, Trial

RECORD = Path(__file__).parents[2] / "docs" / "reliability.json"


@dataclass(frozen=True, slots=True)
class KeptPart:
    """The trials of a part, with how they came about."""

    trials: tuple[Trial, ...]
    date: str
    scale: int
    seed: int
    machine: str
    versions: Mapping[str, str]


def keep(path: Path, part: str, scale: int, seed: int, trials: Sequence[Trial]) -> None:
    """Replace the results of one part."""
    kept = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    kept[part] = {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "scale": scale,
        "seed": seed,
        "machine": machine(),
        "versions": versions(),
        "trials": [_stored(each) for each in trials],
    }
    path.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


def kept_parts(path: Path) -> dict[str, KeptPart]:
    """Return what was kept, by part."""
    return {part: _part(**kept) for part, kept in json.loads(path.read_text(encoding="utf-8")).items()}


def _part(trials: Sequence[Mapping[str, Any]], **how: Any) -> KeptPart:
    return KeptPart(tuple(_trial(**each) for each in trials), **how)


def _stored(trial: Trial) -> dict[str, Any]:
    return {**asdict(trial), "promise": trial.promise.name, "seconds": round(trial.seconds, 1)}


def _trial(promise: str, violations: Sequence[str], **tried: Any) -> Trial:
    return Trial(Promise[promise], violations=tuple(violations), **tried)
