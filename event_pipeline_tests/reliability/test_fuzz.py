"""Fuzz at the scale of CI, and planted faults that it sees."""

from __future__ import annotations

import json

import pytest

from event_pipeline.engines import commit
from event_pipeline.engines.host import lake_files, layout
from event_pipeline.engines.local.catalog import SqliteCatalog
from event_pipeline.rules.validation import Rejection, Verdict
from event_pipeline_tests.hostile import HOSTILE_LINES, SILVER
from event_pipeline_tests.reliability import fuzz
from event_pipeline_tests.reliability.fuzz import CORPUS, KINDS, as_line, corpus, fuzzed, judged, verdicts


@pytest.mark.parametrize("name", KINDS)
def test_whatever_is_damaged_gets_one_verdict_or_one_clear_error(name: str) -> None:
    trial = fuzzed(name)
    assert trial.violations == ()
    assert trial.times == KINDS[name].times + len(corpus(name))
    # The damage must reach every rule to prove anything.
    assert name != "lines" or verdicts() >= {each.verdict for each in HOSTILE_LINES} - {SILVER, "too_long"}


def _take_guard_away(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    match name:
        case "lines":
            refused = Verdict(Rejection("not_json"))
            monkeypatch.setattr(fuzz, "validate_record", lambda record, hour, limits: refused)
        case "gzip":
            monkeypatch.setattr(lake_files, "_begins", lambda members: iter((0,) * (len(members) // 2)))
        case "commits":
            monkeypatch.setattr(commit, "read_dataclass", lambda cls, members: cls(**members))
        case "folders":
            monkeypatch.setattr(layout, "read_json", json.loads)
        case "catalog":
            monkeypatch.setattr(SqliteCatalog, "check", lambda self: None)


@pytest.mark.parametrize("name", ["lines", "gzip", "commits", "folders", "catalog"])
def test_a_guard_that_is_taken_away_is_missed(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    _take_guard_away(monkeypatch, name)
    # Scale 0: what the corpus keeps.
    (violation, *_) = fuzzed(name, 0).violations
    assert f"{name}, seed {fuzz.SEED}, input " in violation


def test_a_hang_is_a_violation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzz, "MOST_SECONDS", 0.05)

    def hang(given: bytes) -> str | None:
        while True:
            pass

    assert judged(hang, b"x") == "_HungError: it was not done after 0.05 s"


def test_the_corpus_is_small_text_that_reads_back() -> None:
    kept = sorted(CORPUS.glob("*.txt"))
    assert {path.stem for path in kept} <= set(KINDS)
    assert sum(path.stat().st_size for path in kept) < 100_000
    for path in kept:
        assert [as_line(each) for each in corpus(path.stem)] == path.read_text(encoding="utf-8").splitlines()
