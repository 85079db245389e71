"""Try to break every promise, print what came of it, and fail if one is broken (`make reliability`)."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Mapping
from importlib import import_module

from rich.console import Console
from rich.table import Table

from event_pipeline_tests.reliability.page import write_page
from event_pipeline_tests.reliability.record import RECORD, keep
from event_pipeline_tests.reliability.trial import Part, Promise, Say, Trial

PARTS = ("faults", "kills", "system_calls", "histories", "same_tables", "fuzz", "soak", "mutants")
LONG = 10
"""The scale of the long run: random choices are made ten times as often as in CI."""


def main() -> int:
    """Run the parts; exit code 1 if a promise was broken or a part could not be run."""
    parser = argparse.ArgumentParser(prog="python -m event_pipeline_tests.reliability", description=__doc__)
    parser.add_argument("--only", choices=PARTS, nargs="+", help="run these parts only")
    parser.add_argument("--scale", type=int, default=LONG, help="1: what CI runs; 10: the long run (default)")
    parser.add_argument("--seed", type=int, default=1, help="seed of all random choices (default: 1)")
    parser.add_argument("--write", action="store_true", help="keep the results and write docs/reliability.md from them")
    parser.add_argument("--render", action="store_true", help="run nothing, write the page from the kept results")
    options = parser.parse_args()
    if options.render:
        write_page(RECORD.parent)
        return 0
    console = Console()
    found = dict[str, list[Trial]]()
    for name in options.only or PARTS:
        console.print(f"{name} ...")
        part: Part = import_module(f"event_pipeline_tests.reliability.{name}")
        say = _saying(console)
        found[name] = run_part(part, options.scale, options.seed, say)
        if options.write:
            keep(RECORD, name, options.scale, options.seed, found[name])
            write_page(RECORD.parent)
    return shown(found, console)


def run_part(part: Part, scale: int, seed: int, say: Say) -> list[Trial]:
    """Run one part to its end; one that cannot be run breaks the promise that proofs can see."""
    found, began = list[Trial](), time.monotonic()
    try:
        for trial in part.trials(scale, seed, say):
            found.append(trial)
            say(f"{trial.tried}: {trial.times:,}, {len(trial.violations)} violations")
    except Exception as error:
        fault = f"the part ended with {type(error).__name__}: {error}"
        seconds = time.monotonic() - began
        found.append(Trial(Promise.GUARDED, "The part was run to its end", 1, None, (fault,), seconds))
    return found


def shown(found: Mapping[str, list[Trial]], console: Console) -> int:
    """Print a row for each trial, then every violation; return the exit code."""
    table = Table("part", "what was tried", "times", "violations", "seconds", title="Promises", title_justify="left")
    for name, trials in found.items():
        for each in trials:
            wrong = f"[red]{len(each.violations)}[/]" if each.violations else "0"
            table.add_row(name, each.tried, f"{each.times:,}", wrong, f"{each.seconds:,.0f}")
    console.print(table)
    violations = [(name, text) for name, trials in found.items() for each in trials for text in each.violations]
    for name, text in violations:
        console.print(f"{name}: {text}", style="red", markup=False, highlight=False)
    attempts = sum(each.times for trials in found.values() for each in trials)
    console.print(f"{attempts:,} attempts, {len(violations):,} violations", highlight=False)
    return 1 if violations else 0


def _saying(console: Console) -> Callable[[str], None]:
    return lambda line: console.print(f"  {line}", markup=False, highlight=False)


if __name__ == "__main__":
    sys.exit(main())
