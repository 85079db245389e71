"""Checks that the data folder is sound: its layout, its catalog, and the files behind what queries see."""

from __future__ import annotations

from collections.abc import Iterator

from event_pipeline.engines.base import Engine
from event_pipeline.engines.finding import Finding, Level, guarded
from event_pipeline.engines.host.layout import LAYOUT_VERSION, Layout
from event_pipeline.engines.local.catalog import SqliteCatalog
from event_pipeline.engines.repair import REPAIR, entries_finding
from event_pipeline.rules.hour import hours_text


def examine(engine: Engine, layout: Layout) -> Iterator[Finding]:
    """Examine the data folder; checks that an earlier finding makes impossible are left out."""
    version = guarded("data folder layout", lambda: _layout_version(layout))
    yield version
    if version.level is Level.FAIL:
        return
    catalog = guarded("catalog", lambda: _catalog(layout))
    yield catalog
    if catalog.level is Level.OK:
        yield guarded("published builds", lambda: _published(engine, layout))


def _layout_version(layout: Layout) -> Finding:
    layout.check_version()
    return Finding(Level.OK, "data folder layout", f"version {LAYOUT_VERSION}")


def _catalog(layout: Layout) -> Finding:
    if not layout.catalog.exists():
        return Finding(Level.OK, "catalog", "does not exist yet; the first command that needs it creates it")
    catalog = SqliteCatalog(layout.catalog)
    if not catalog.is_complete():
        remedy = "`event-pipeline repair` rebuilds it from the commit records"
        return Finding(Level.FAIL, "catalog", f"{layout.catalog}: tables are missing", remedy)
    catalog.check()
    return Finding(Level.OK, "catalog", f"{layout.catalog} is sound")


def _published(engine: Engine, layout: Layout) -> Finding:
    subject, commits, registered = "published builds", engine.hour_commits(), engine.registered_builds()
    uncommitted = [hour for hour in registered if hour not in commits]
    if uncommitted:
        return Finding(Level.FAIL, subject, f"there is no commit record for {hours_text(uncommitted)}", REPAIR)
    gone = [
        (hour, path)
        for hour, commit in commits.items()
        for path in (layout.lake / file.path for file in commit.files)
        if not path.is_file()
    ]
    if gone:
        hours = sorted({hour for hour, _ in gone})
        remedy = "`event-pipeline run --force --from HOUR --to HOUR` rebuilds them from raw"
        return Finding(Level.FAIL, subject, f"files of {hours_text(hours)} are gone, first: {gone[0][1]}", remedy)
    kept = {hour: commit for hour, commit in commits.items() if commit.retired_at is None}
    unregistered = [hour for hour, commit in kept.items() if registered.get(hour) != commit.build_id]
    if unregistered:
        return Finding(Level.FAIL, subject, f"queries do not see {hours_text(unregistered)}", REPAIR)
    if differing := engine.disagreements():
        return entries_finding(differing)
    found = f"queries see all {len(kept):,} committed hours"
    if len(kept) < len(commits):
        found += f"; {len(commits) - len(kept):,} more are past their retention"
    known = {commit.build_id for commit in commits.values()}
    orphans = [run for run in layout.runs.glob("hours/*/*/*/*/*") if run.name not in known]
    if orphans:
        found += f"; {len(orphans):,} replaced or unfinished builds are left over (`event-pipeline housekeeping`)"
    return Finding(Level.OK, subject, found)
