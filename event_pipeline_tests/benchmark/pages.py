"""Renders `docs/performance.md`, `docs/scale.md` and their charts from the kept results.

What is between `<!-- measured: NAME -->` and `<!-- /measured -->` is written; the rest of a page is written by hand,
and names no measured number.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from event_pipeline_tests.benchmark import charts
from event_pipeline_tests.benchmark.charts import shown
from event_pipeline_tests.benchmark.measurements import GROWTH, Goal, Results, title_of
from event_pipeline_tests.benchmark.record import RECORD, KeptGroup, kept_groups

PAGES = ("performance.md", "scale.md")
_BLOCK = re.compile(r"(<!-- measured: (\S+) -->\n\n).*?(<!-- /measured -->)", re.DOTALL)

FULL_HOUR_EVENTS = 7_500_000
FIELD_FIGURE_EVENTS = 94_400_000
FIELD_FIGURE_SECONDS = 1_964
"""A public figure of this field: so many events by Glue on two workers."""

Kept = Mapping[str, KeptGroup]


def write_pages(docs: Path) -> None:
    """Write both pages and the charts anew."""
    for path, text in rendered(docs, kept_groups(docs / RECORD.name)).items():
        path.write_text(text, encoding="utf-8")


def rendered(docs: Path, kept: Kept) -> dict[Path, str]:
    """Return the pages and charts as they must be."""
    found = {docs / "images" / f"performance-{name}.svg": draw(kept) for name, draw in CHARTS.items()}
    for name in PAGES:
        text = (docs / name).read_text(encoding="utf-8")
        found[docs / name] = _BLOCK.sub(lambda block: f"{block[1]}{BLOCKS[block[2]](kept)}\n{block[3]}", text)
    return found


# -- tables


def _markdown(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = list(head)
    marks = ["---", *("--:" for _ in head[1:])]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in (head, marks, *rows))


def how_measured(kept: Kept) -> str:
    """Return what each group was measured on."""
    rows = []
    for each in kept.values():
        versions = ", ".join(f"{name} {number}" for name, number in each.versions.items())
        rows.append((each.group.title, each.date, each.size.name, str(each.size.rounds), each.machine, versions))
    return _markdown(("group", "measured on", "size", "rounds", "machine", "versions"), rows)


def _group(name: str, what: Callable[[KeptGroup], str]) -> Callable[[Kept], str]:
    def render(kept: Kept) -> str:
        each = kept[name]
        return f"{what(each)}\n\n{_medians(each)}{_goals(each)}"

    return render


def _medians(kept: KeptGroup) -> str:
    ruler, found = kept.group.ruler, kept.results
    ruled = ("wall, relative", "CPU, relative") if ruler else ()
    rows = []
    for name, take in kept.group.measurements.items():
        cells = [title_of(take), *(shown(found.median(name, value)) for value in ("wall", "cpu"))]
        cells.append(f"{found.median(name, 'peak_mb'):,.0f}")
        if ruler:
            ratios = (shown(found.ratio(name, ruler, value)) for value in ("wall", "cpu"))
            cells += ratios if found.is_paired(name, ruler) else ("", "")
        rows.append(cells)
    return _markdown(("what", "wall s", "CPU s", "peak MB", *ruled), rows)


def _goals(kept: KeptGroup) -> str:
    if not kept.group.goals:
        return ""
    rows = (
        (goal.text, f"{shown(goal.value(kept.results))} {goal.unit}", _bound(goal), _met(goal, kept.results))
        for goal in kept.group.goals
    )
    return "\n" + _markdown(("goal", "measured", "bound", "met"), rows)


def _bound(goal: Goal) -> str:
    return f"{'at least' if goal.at_least else 'at most'} {goal.bound:,} {goal.unit}"


def _met(goal: Goal, found: Results) -> str:
    return "yes" if goal.is_met(found) else "**no**"


def growth(kept: Kept) -> str:
    """Return a row for each length of history."""
    each = kept["growth"]
    rows = []
    for hours in each.size.history:
        following, look, query = (f"{name} {hours}" for name in ("next hour", "sensor look", "query"))
        values = (
            each.results.median(following),
            each.results.median(following, "cpu"),
            each.results.median(following, "peak_mb"),
            each.results.fact(query, "catalog_mb"),
            each.results.median(look),
            each.results.median(query),
        )
        rows.append((f"{hours:,}", *map(shown, values)))
    head = ("hours of history", "next hour, wall s", "CPU s", "peak MB", "catalog MB", "sensor look s", "query s")
    size = f"Hours of {each.size.history_events:,} events in one object."
    return f"{size}\n\n{_markdown(head, rows)}{_goals(each)}"


def profile(kept: Kept) -> str:
    """Return the stages and readers, in CPU seconds."""
    stages, readers = _stages(kept), _readers(kept)
    total = sum(stages.values())
    by_stage = _markdown(
        ("stage", "CPU s", "share"),
        [
            *((name, shown(used), f"{used / total:.0%}") for name, used in stages.items()),
            ("all", shown(total), ""),
        ],
    )
    by_reader = _markdown(
        ("reader, same bytes, same columns, in memory", "CPU s"),
        ((name, shown(used)) for name, used in readers.items()),
    )
    return f"One object of {kept['profile'].size.profiled_events:,} events.\n\n{by_stage}\n{by_reader}"


def floor(kept: Kept) -> str:
    """Return what other readers and a native kernel would make of the stages, worked out."""
    stages, readers = _stages(kept), _readers(kept)
    (bare,) = _cpu(kept["profile"], "bare read").values()
    total, reading, fastest = sum(stages.values()), stages["reading JSON"], min(readers.values())
    judging = reading + stages["certificates"] + stages["the rest of judging"]
    rows = [
        ("bare DuckDB read, measured", bare),
        ("stages of Silver, measured", total),
        ("with the fastest reader instead of pyarrow's, worked out", total - reading + fastest),
        (
            "with a native kernel that reads and judges at the fastest reader's cost, worked out",
            total - judging + fastest,
        ),
    ]
    return _markdown(
        ("one object", "CPU s", "x bare read"),
        ((name, shown(used), shown(used / bare)) for name, used in rows),
    )


def _stages(kept: Kept) -> dict[str, float]:
    return _cpu(kept["profile"], "stage ")


def _readers(kept: Kept) -> dict[str, float]:
    return _cpu(kept["profile"], "reader ")


def _cpu(kept: KeptGroup, kind: str) -> dict[str, float]:
    names = [name for name in kept.results.rounds["profile"][0].facts if name.startswith(kind)]
    return {name.removeprefix(kind): kept.results.fact("profile", name) for name in names}


# -- the page about scale


def volumes(kept: Kept) -> str:
    """Return what an hour of more events takes on the measured machine, in proportion."""
    hour = kept["hour"]
    events = hour.size.objects * hour.size.events
    rows = []
    for times in (1, 10, 100):
        scale = FULL_HOUR_EVENTS * times / events
        inflated = hour.results.fact("inflate", "inflated_bytes") * scale / 1e9
        seconds = {name: hour.results.median(name) * scale for name in ("run_hour", "glue_job", "verify")}
        machines = seconds["run_hour"] / 3600
        rows.append(
            (
                f"{times} x",
                f"{FULL_HOUR_EVENTS * times:,}",
                shown(inflated),
                *(shown(seconds[name]) for name in ("run_hour", "glue_job", "verify")),
                f"{machines:.1%}" if machines < 1 else f"{machines:.1f} machines",
            )
        )
    head = ("volume", "events an hour", "GB inflated", "`run` s", "Glue script s", "`verify` s", "of an hour")
    return f"Worked out in proportion to one hour of {events:,} events.{_overstated(events)}\n\n{_markdown(head, rows)}"


def _overstated(events: int) -> str:
    if events >= FULL_HOUR_EVENTS:
        return ""
    return " The fixed costs of so small an hour are scaled with it, so this overstates: a full run replaces it."


def replay(kept: Kept) -> str:
    """Return the public figure beside what this machine would take for as many events."""
    hour = kept["hour"]
    events = hour.size.objects * hour.size.events
    scale = FIELD_FIGURE_EVENTS / events
    rows = [("the public figure, two Glue workers", float(FIELD_FIGURE_SECONDS))]
    for name, text in (
        ("run_hour", "`run`, raw to Gold, checks included"),
        ("glue_job", "the Glue job's script, Spark of two threads"),
        ("plain_spark", "a plain PySpark job without verdicts, Spark of two threads"),
        ("bare_read", "a bare DuckDB read without verdicts"),
    ):
        rows.append((text, hour.results.median(name) * scale))
    return (
        f"{FIELD_FIGURE_EVENTS:,} events, measured on one hour of {events:,} events and scaled; {hour.machine}."
        f"{_overstated(events)}\n\n"
        + _markdown(
            ("what", "seconds", "events a second"),
            ((text, f"{used:,.0f}", f"{FIELD_FIGURE_EVENTS / used:,.0f}") for text, used in rows),
        )
    )


def _hour_size(kept: KeptGroup) -> str:
    size = kept.size
    inflated = kept.results.fact("inflate", "inflated_bytes") / 1e9
    return (
        f"{size.objects} objects of {size.events:,} events, {size.objects * size.events:,} in all, "
        f"{shown(inflated)} GB inflated."
    )


BLOCKS: dict[str, Callable[[Kept], str]] = {
    "how": how_measured,
    "hour": _group("hour", _hour_size),
    "changes": _group("changes", lambda kept: f"{kept.size.changed_objects} objects of {kept.size.events:,} events."),
    "small": _group("small", lambda kept: f"Hours with one object of {kept.size.tiny_events:,} events."),
    "gold": _group(
        "gold",
        lambda kept: (
            f"A day of {kept.size.day_events:,} events an hour; the wide day has {kept.size.users:,} users in "
            f"{kept.size.sessions:,} sessions."
        ),
    ),
    "service": _group(
        "service",
        lambda kept: f"{kept.size.backfilled_hours:,} hours of 12 objects of {kept.size.tiny_events:,} events.",
    ),
    "growth": growth,
    "profile": profile,
    "floor": floor,
    "volumes": volumes,
    "replay": replay,
}


# -- charts


def _ratios(name: str, value: str, title: str) -> Callable[[Kept], str]:
    def draw(kept: Kept) -> str:
        group, found = kept[name].group, kept[name].results
        ruler = group.ruler
        assert ruler
        paired = {key: take for key, take in group.measurements.items() if found.is_paired(key, ruler)}
        ratios = {_plain(title_of(take)): found.ratio(key, ruler, value) for key, take in paired.items()}
        return charts.bars(title, ratios, "x")

    return draw


def _plain(text: str) -> str:
    return text.replace("`", "")


def _growth_chart(kept: Kept) -> str:
    each = kept["growth"]
    series = {name: [each.results.median(f"{name} {hours}") for hours in each.size.history] for name in GROWTH}
    return charts.lines("Seconds after so many hours of history", each.size.history, series, "seconds")


CHARTS: dict[str, Callable[[Kept], str]] = {
    "hour": _ratios("hour", "wall", "One hour: wall time relative to a bare DuckDB read"),
    "changes": _ratios("changes", "cpu", "What producers change: CPU time relative to clean events"),
    "growth": _growth_chart,
    "profile": lambda kept: charts.bars("CPU seconds of Silver, one object on one thread", _stages(kept), "s"),
}
