"""The report on reliability: a broken promise turns it red, and the committed page says what was kept."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from io import StringIO
from pathlib import Path
from shutil import copyfile
from types import SimpleNamespace

import pytest
from rich.console import Console

from event_pipeline_tests.reliability.__main__ import PARTS, run_part, shown
from event_pipeline_tests.reliability.page import NOT_TRIED, PAGE, heading, rendered, write_page
from event_pipeline_tests.reliability.record import RECORD, keep, kept_parts
from event_pipeline_tests.reliability.trial import Promise, Say, Trial

DOCS = RECORD.parent


def part_with(*violations: str, promise: Promise = Promise.WHOLE) -> SimpleNamespace:
    """A part that tries one thing five times."""

    def trials(scale: int, seed: int, say: Say) -> Iterator[Trial]:
        yield Trial(promise, "A reader looked | while\nsomething failed", 5, seed, violations, 1.0)

    return SimpleNamespace(trials=trials)


def broken_part() -> SimpleNamespace:
    """A part that breaks off after its first trial."""

    def trials(scale: int, seed: int, say: Say) -> Iterator[Trial]:
        yield from part_with().trials(scale, seed, say)
        raise RuntimeError("no more disk")

    return SimpleNamespace(trials=trials)


def printed(found: dict[str, list[Trial]]) -> tuple[int, str]:
    """Exit code and what a person reads."""
    console = Console(file=StringIO(), width=200)
    code = shown(found, console)
    assert isinstance(console.file, StringIO)
    return code, console.file.getvalue()


@pytest.mark.parametrize("promise", Promise)
def test_a_broken_promise_turns_the_report_red(promise: Promise, tmp_path: Path) -> None:
    copyfile(DOCS / PAGE, tmp_path / PAGE)
    said = list[str]()
    found = run_part(part_with("step 7 of [a] rebuild: 3 rows of 4", promise=promise), 1, 42, said.append)
    code, text = printed({"planted": found})
    assert code == 1
    assert "planted: step 7 of [a] rebuild: 3 rows of 4" in text
    assert "5 attempts, 1 violations" in text
    keep(tmp_path / RECORD.name, "planted", 1, 42, found)
    write_page(tmp_path)
    page = (tmp_path / PAGE).read_text(encoding="utf-8")
    section = page[page.index(f"\n### {heading(promise)}\n") :]
    assert "5 attempts, **1 violations**." in page
    assert section.index("| A reader looked \\| while something failed | 5 | **1** | 42 | `planted` |") > 0
    assert "- step 7 of [a] rebuild: 3 rows of 4" in section
    assert 'ARGUMENTS="--only planted --scale 1 --seed 42"' in page


def test_a_part_that_breaks_off_is_a_violation() -> None:
    found = run_part(broken_part(), 1, 1, lambda line: None)
    code, text = printed({"broken": found})
    assert code == 1
    assert "the part ended with RuntimeError: no more disk" in text


def test_without_violations_the_report_is_green() -> None:
    code, text = printed({"calm": run_part(part_with(), 1, 1, lambda line: None)})
    assert (code, text.splitlines()[-1]) == (0, "5 attempts, 0 violations")


def test_the_page_says_what_was_kept() -> None:
    kept = kept_parts(RECORD)
    assert rendered(DOCS, kept) == (DOCS / PAGE).read_text(encoding="utf-8")
    assert set(kept) == set(PARTS)
    tried = {each.promise for part in kept.values() for each in part.trials}
    assert len(Promise) - len(tried) == (DOCS / PAGE).read_text(encoding="utf-8").count(NOT_TRIED)
    assert tried == set(Promise)


@pytest.mark.parametrize("part", PARTS)
def test_every_part_can_be_run(part: str) -> None:
    assert callable(import_module(f"event_pipeline_tests.reliability.{part}").trials)
