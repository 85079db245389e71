"""Renders `docs/reliability.md` from the kept results: what was tried to break each promise, and what came of it.

What is between `<!-- tried: NAME -->` and `<!-- /tried -->` is written; the rest of the page is written by hand.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from event_pipeline_tests.reliability.record import RECORD, KeptPart, kept_parts
from event_pipeline_tests.reliability.trial import Promise, Trial

PAGE = "reliability.md"
VIOLATIONS_SHOWN = 5
NOT_TRIED = "No part tries this one yet: the table above says what CI proves of it."
_HEAD = ("| what was tried | times | violations | seed | part |", "| --- | --: | --: | --: | --- |")
_BLOCK = re.compile(r"(<!-- tried: (\S+) -->\n\n).*?(<!-- /tried -->)", re.DOTALL)


def write_page(docs: Path) -> None:
    """Write the page anew."""
    (docs / PAGE).write_text(rendered(docs, kept_parts(docs / RECORD.name)), encoding="utf-8")


def rendered(docs: Path, kept: Mapping[str, KeptPart]) -> str:
    """Return the page as it must be."""
    text = (docs / PAGE).read_text(encoding="utf-8")
    blocks = {"promises": promises, "how": how}
    return _BLOCK.sub(lambda block: f"{block[1]}{blocks[block[2]](kept)}\n{block[3]}", text)


def promises(kept: Mapping[str, KeptPart]) -> str:
    """Return one section for each promise: the verdict, and a row for each kind of attempt."""
    every = [each for part in kept.values() for each in part.trials]
    broken = sum(len(each.violations) for each in every)
    lines = [f"{sum(each.times for each in every):,} attempts, {_violations(broken)}.", ""]
    for promise in Promise:
        lines += [f"### {heading(promise)}", "", *([promise.value, ""] if ":" in promise.value else [])]
        rows = [_row(name, trial) for name, part in kept.items() for trial in part.trials if trial.promise is promise]
        lines += [*_HEAD, *rows, ""] if rows else [NOT_TRIED, ""]
        lines += _listed([text for part in kept.values() for text in _violated(part, promise)])
    return "\n".join(lines)


def _row(part: str, trial: Trial) -> str:
    found = f"**{len(trial.violations)}**" if trial.violations else "0"
    seed = "every one" if trial.seed is None else str(trial.seed)
    return f"| {_cell(trial.tried)} | {trial.times:,} | {found} | {seed} | `{part}` |"


def heading(promise: Promise) -> str:
    """Return the heading of a promise: its sentence, or what is before a colon in it."""
    return promise.value.split(":")[0].removesuffix(".")


def how(kept: Mapping[str, KeptPart]) -> str:
    """Return when and on what each part was run, and how to run it again."""
    lines = ["| part | run on | scale | seconds | machine | again |", "| --- | --- | --: | --: | --- | --- |"]
    for name, part in kept.items():
        again = f'`make reliability ARGUMENTS="--only {name} --scale {part.scale} --seed {part.seed}"`'
        seconds = sum(each.seconds for each in part.trials)
        lines.append(f"| `{name}` | {part.date} | {part.scale} | {seconds:,.0f} | {part.machine} | {again} |")
    return "\n".join(lines) + "\n"


def _violations(number: int) -> str:
    return "0 violations" if number == 0 else f"**{number:,} violations**"


def _violated(part: KeptPart, promise: Promise) -> list[str]:
    return [text for each in part.trials if each.promise is promise for text in each.violations]


def _listed(violations: list[str]) -> list[str]:
    if not violations:
        return []
    shown = [f"- {_cell(text)}" for text in violations[:VIOLATIONS_SHOWN]]
    more = len(violations) - len(shown)
    return ["**Violations:**", "", *shown, *([f"- and {more:,} more, in `{RECORD.name}`"] if more else []), ""]


def _cell(text: str) -> str:
    """Return a text for a cell of a table: one line, and no mark of the table."""
    return " ".join(text.split()).replace("|", "\\|")
