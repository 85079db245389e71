"""The command: `python -m event_pipeline_tests.reliability.mutants` (`make mutants`)."""

from __future__ import annotations

import argparse
import sys
from collections import Counter

from rich.console import Console
from rich.table import Table

from event_pipeline_tests.reliability.mutants import possible
from event_pipeline_tests.reliability.mutants.run import SECONDS, Outcome, Result, run_mutants


def main() -> int:
    """Try mutants in copies of the checkout; print what came of them. 1: some were not killed, or only late."""
    console = Console()
    lists = possible(lambda line: console.print(line, highlight=False, markup=False))
    parser = argparse.ArgumentParser(
        prog="python -m event_pipeline_tests.reliability.mutants",
        description="Plant each defect in a copy of the checkout and run the test that must fail because of it.",
    )
    parser.add_argument("--room", choices=lists, nargs="+", help="the mutants of these modules only")
    parser.add_argument("--only", metavar="TEXT", help="mutants with this text in defect, file or test only")
    parser.add_argument("--jobs", type=int, default=2, help="mutants that are tried at the same time (default: 2)")
    parser.add_argument(
        "--timeout", type=float, default=SECONDS, metavar="SECONDS", help=f"for each test (default: {SECONDS:.0f})"
    )
    options = parser.parse_args()
    chosen = {
        room: [each for each in mutants if (options.only or "") in f"{each.defect}\n{each.path}\n{each.killed_by}"]
        for room, mutants in lists.items()
        if room in (options.room or lists)
    }
    mutants = [each for of_room in chosen.values() for each in of_room]
    if not mutants:
        parser.error(f"no mutant has {options.only!r} in its defect, file or test")
    results = run_mutants(
        mutants, options.jobs, lambda line: console.print(line, highlight=False, markup=False), options.timeout
    )
    print_results(console, {room: [results[each] for each in of_room] for room, of_room in chosen.items() if of_room})
    return 0 if all(each.is_killed and not each.is_late for each in results.values()) else 1


def print_results(console: Console, results: dict[str, list[Result]]) -> None:
    """Print how many mutants of each room were killed, and every other one and late one."""
    table = Table(title="Mutants of the product", title_justify="left")
    table.add_column("room")
    for outcome in Outcome:
        table.add_column(outcome, justify="right")
    for room, of_room in results.items():
        counts = Counter(each.outcome for each in of_room)
        table.add_row(room, *(str(counts[outcome]) for outcome in Outcome))
    console.print(table)
    for of_room in results.values():
        for each in of_room:
            if not each.is_killed or each.is_late:
                console.print(f"{each}\n{each.output}", highlight=False, markup=False)


if __name__ == "__main__":
    sys.exit(main())
