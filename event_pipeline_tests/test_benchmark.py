"""The benchmark measures, keeps and renders; the committed pages say what the committed results say."""

from __future__ import annotations

import re
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from shutil import copyfile
from xml.etree import ElementTree

import pytest

from event_pipeline_tests.benchmark.bench import FULL, QUICK, TINY, Bench, Size
from event_pipeline_tests.benchmark.history import make_history
from event_pipeline_tests.benchmark.inputs import FIRST_HOUR, generated_hour
from event_pipeline_tests.benchmark.measurements import Goal, Results, groups, run_group
from event_pipeline_tests.benchmark.measuring import BenchmarkError, Measured, measure
from event_pipeline_tests.benchmark.pages import BLOCKS, CHARTS, PAGES, rendered, write_pages
from event_pipeline_tests.benchmark.profile import profile_object
from event_pipeline_tests.benchmark.record import RECORD, keep, kept_groups

DOCS = RECORD.parent
_BLOCKS = re.compile(r"<!-- measured: .+? -->.*?<!-- /measured -->", re.DOTALL)
_NAMES = re.compile(r"```.*?```|`[^`]*`|\]\([^)]*\)|\b[A-Za-z]+-?\d+\b", re.DOTALL)
"""Code, targets of links, and names like S3 and UTF-8."""


def copied_pages(tmp_path: Path) -> Path:
    """A folder with the pages, whose charts are drawn anew."""
    (tmp_path / "images").mkdir()
    for name in PAGES:
        copyfile(DOCS / name, tmp_path / name)
    return tmp_path


def measured(wall: float, **facts: float) -> Measured:
    """One run that took so long."""
    return Measured(wall, 2 * wall, 100, facts)


def invented(name: str, size: Size = FULL, seconds: float = 1.5) -> Results:
    """Results of a group, the same for each of its measurements."""
    facts = {"inflated_bytes": 1e9, "catalog_mb": 4.25, "reader DuckDB": 0.5, "bare read": 0.5} | {
        f"stage {stage}": 0.25 for stage in ("reading JSON", "certificates", "the rest of judging")
    }
    return Results({each: [measured(seconds, **facts)] * 3 for each in groups(size)[name].measurements})


def test_pages_and_charts_are_what_the_committed_results_say() -> None:
    for path, text in rendered(DOCS, kept_groups(RECORD)).items():
        assert path.read_text(encoding="utf-8") == text, (
            f"{path.name}: python -m event_pipeline_tests.benchmark --render writes it again"
        )


def test_no_number_of_the_performance_page_is_written_by_hand() -> None:
    page = (DOCS / "performance.md").read_text(encoding="utf-8")
    by_hand = _NAMES.sub("", _BLOCKS.sub("", page))
    assert re.findall(r".*\d.*", by_hand) == []


def test_every_table_is_on_a_page_and_every_chart_is_shown() -> None:
    pages = "".join((DOCS / name).read_text(encoding="utf-8") for name in PAGES)
    assert sorted(re.findall(r"<!-- measured: (.+) -->", pages)) == sorted(BLOCKS)
    assert set(re.findall(r"images/performance-(\w+)\.svg", pages)) == set(CHARTS)


def test_every_group_that_is_measured_is_kept() -> None:
    assert set(kept_groups(RECORD)) == set(groups(FULL))


def test_other_results_change_the_pages_and_only_their_tables(tmp_path: Path) -> None:
    docs = copied_pages(tmp_path)
    for name in groups(FULL):
        keep(docs / RECORD.name, name, FULL, invented(name))
    write_pages(docs)
    before = (docs / "performance.md").read_text(encoding="utf-8")
    keep(docs / RECORD.name, "gold", FULL, invented("gold", seconds=7.25))
    write_pages(docs)
    after = (docs / "performance.md").read_text(encoding="utf-8")

    assert "| The wide day | 7.25 s | at most 5 s | **no** |" in after
    assert _BLOCKS.sub("", before) == _BLOCKS.sub("", after) == _BLOCKS.sub("", (DOCS / "performance.md").read_text())
    tables = (zip(*map(_BLOCKS.findall, (before, after)), strict=True),)
    assert [one[:24] for one, other in tables[0] if one != other] == ["<!-- measured: gold -->\n"]
    for chart in (docs / "images").iterdir():
        ElementTree.fromstring(chart.read_text(encoding="utf-8"))  # noqa: S314 - drawn here


def test_a_ratio_is_taken_within_a_round() -> None:
    found = Results({"a": [measured(2), measured(30), measured(4)], "ruler": [measured(1), measured(10), measured(4)]})
    assert found.ratio("a", "ruler") == 2
    assert found.median("a") == 4
    goal = Goal("a, relative to the ruler", lambda results: results.ratio("a", "ruler"), 1.9)
    assert not goal.is_met(found)
    assert replace(goal, at_least=True).is_met(found)


def test_the_quick_size_measures_the_same_groups_but_those_that_take_long() -> None:
    assert {name for name, group in groups(QUICK).items() if not group.is_quick} == {"growth", "service"}
    assert set(groups(QUICK)["hour"].measurements) == set(groups(FULL)["hour"].measurements)


def test_a_command_that_fails_is_named_with_what_it_said() -> None:
    with pytest.raises(BenchmarkError, match=r"ended with 3:\n.*no such thing"):
        measure(["sh", "-c", "echo no such thing >&2; exit 3"], {})


def test_cpu_seconds_are_those_of_all_processes() -> None:
    work = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'sum(range(10**7))'], check=True)"
    found = measure(["python3", "-c", work], {})
    assert 0.05 < found.cpu
    assert found.peak_mb > 1


def test_the_profile_of_an_object_has_all_stages_and_the_installed_readers(tmp_path: Path) -> None:
    generated_hour(tmp_path, 1, 2_000)
    used = profile_object(min((tmp_path / "raw").rglob("*.gz")), FIRST_HOUR)
    stages = {"reading JSON", "certificates", "sampler", "the rest of judging", "Silver rows", "Parquet", "inflating"}
    assert {f"stage {stage}" for stage in stages} < set(used)
    assert {"reader pyarrow", "reader DuckDB"} <= set(used)
    assert used["stage reading JSON"] > 0


@pytest.mark.long
def test_copied_days_count_as_built(tmp_path: Path) -> None:
    history = make_history(tmp_path / "data", 25, 5)
    assert len(history) == 48
    assert (tmp_path / "data" / "raw" / history.first.raw_prefix).is_dir()


def test_an_hour_is_measured_on_tiny_data_and_the_results_are_kept(tmp_path: Path) -> None:
    table = groups(TINY)["hour"]
    names = ("inflate", "bare_read", "silver")
    group = replace(table, measurements={name: table.measurements[name] for name in names})
    said = list[str]()
    with closing(Bench(tmp_path, TINY)) as bench:
        results = run_group(group, bench, said.append)
    assert len(said) == len(names)
    assert results.fact("silver", "records") == results.fact("silver", "silver_rows") == TINY.objects * TINY.events
    assert all(results.median(name) > 0 and results.median(name, "peak_mb") > 10 for name in names)

    keep(tmp_path / RECORD.name, "hour", TINY, results)
    kept = kept_groups(tmp_path / RECORD.name)["hour"]
    assert kept.size == TINY
    assert kept.results.ratio("silver", "bare_read") == pytest.approx(results.ratio("silver", "bare_read"), rel=0.1)


@pytest.mark.slow
def test_groups_measure_on_tiny_data(tmp_path: Path) -> None:
    """Those that start neither Spark nor Dagster, which take minutes even on tiny data."""
    docs, names = copied_pages(tmp_path), ("changes", "gold")
    copyfile(RECORD, docs / RECORD.name)
    with closing(Bench(tmp_path, TINY)) as bench:
        for name in names:
            keep(docs / RECORD.name, name, TINY, run_group(groups(TINY)[name], bench, lambda line: None))
    write_pages(docs)
    kept = kept_groups(docs / RECORD.name)
    assert [kept[name].size for name in names] == [TINY, TINY]
