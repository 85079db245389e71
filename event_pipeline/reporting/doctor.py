"""Is this machine and this data folder fit to run: one finding a subject, each fault with its remedy."""

from __future__ import annotations

import platform
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from event_pipeline.automation.dagster_storage import RunState, check_home, latest_run_states, limit_faults_of_home
from event_pipeline.engines.base import Engine, PartitionChange
from event_pipeline.engines.local.catalog import Catalog
from event_pipeline.engines.local.layout import LAYOUT_VERSION, Layout
from event_pipeline.errors import PipelineError, StorageError
from event_pipeline.reporting.findings import Finding, Level
from event_pipeline.reporting.terminal import FAULT, GOOD, WARNING, printable_text
from event_pipeline.rules.framing import wrongly_framed
from event_pipeline.rules.hour import Hour, hours_text
from event_pipeline.rules.query import load_gold_tables
from event_pipeline.settings import Environment, Settings
from event_pipeline.shipped import SHIPPED_FILES, missing_files

LOW_DISK_BYTES = 2 << 30
"""About fifteen full-size hours: raw, Silver and scratch."""
FULL_DISK_BYTES = 200 << 20
"""Less than one full-size hour needs."""


def examine(settings: Settings, engine: Engine) -> list[Finding]:
    """Look at the program, the data folder and Dagster's storage; changes nothing but a passing temporary file."""
    layout = Layout(settings.root)
    on_aws = settings.env is Environment.AWS
    # On AWS this machine keeps Dagster's runs alone.
    folder, subject = (settings.dagster_home, "folder of Dagster's runs") if on_aws else (layout.root, "data folder")
    findings = [*_program(), _writable(folder, subject), _free_disk(folder)]
    findings += _account(settings, engine) if on_aws else _data_folder(layout, engine)
    findings.append(_guarded("Dagster", lambda: _dagster(settings)))
    findings.append(_guarded("concurrency", lambda: _concurrency(settings)))
    return findings


def _data_folder(layout: Layout, engine: Engine) -> list[Finding]:
    """Look at what lies on this machine's disk."""
    findings = [_guarded("data folder layout", lambda: _layout_version(layout))]
    if findings[0].level is Level.FAIL:
        return findings
    findings.append(_guarded("raw objects", lambda: _raw_objects(engine)))
    catalog = _guarded("catalog", lambda: _catalog(layout))
    findings += [catalog, _guarded("commit records", lambda: _commit_records(engine))]
    if catalog.level is Level.OK and findings[-1].level is Level.OK:
        findings.append(_guarded("published builds", lambda: _published(engine, layout)))
    return findings


def _account(settings: Settings, engine: Engine) -> list[Finding]:
    """Look at what is deployed on AWS."""
    # boto3 and what needs it are not installed everywhere.
    from event_pipeline.reporting.aws_doctor import account_checks

    findings = [_guarded(subject, check) for subject, check in account_checks(settings, load_gold_tables())]
    findings.append(_guarded("raw objects", lambda: _raw_objects(engine)))
    findings.append(_guarded("commit records", lambda: _commit_records(engine)))
    findings.append(_guarded("published builds", lambda: _entries(engine)))
    return findings


def print_findings(findings: Sequence[Finding], console: Console) -> None:
    """Print one row a finding."""
    styles = {Level.OK: GOOD, Level.WARN: WARNING, Level.FAIL: FAULT}
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    for each in findings:
        found = printable_text(Text(each.found))
        table.add_row(Text(each.level, style=styles[each.level]), Text(each.subject, style="bold"), found)
        if each.remedy:
            table.add_row("", "", printable_text(Text(each.remedy, style=styles[each.level])))
    console.print(table)


def _guarded(subject: str, check: Callable[[], Finding]) -> Finding:
    try:
        return check()
    except (PipelineError, OSError) as error:
        return Finding(Level.FAIL, subject, str(error))


def _program() -> Iterator[Finding]:
    yield Finding(Level.OK, "Python", platform.python_version())
    runtime = [each for each in requires("event-pipeline") or () if "extra ==" not in each]
    names = [re.split(r"[^\w.-]", each, maxsplit=1)[0] for each in runtime]
    versions = {name: _version(name) for name in names}
    missing = [name for name, found in versions.items() if found is None]
    if missing:
        remedy = "`make run` installs them in a checkout, `pip install --force-reinstall event-pipeline` elsewhere"
        yield Finding(Level.FAIL, "packages", f"not installed: {', '.join(missing)}", remedy)
    else:
        yield Finding(Level.OK, "packages", ", ".join(f"{name} {found}" for name, found in versions.items()))
    dagster, webserver = versions.get("dagster"), versions.get("dagster-webserver")
    if dagster and webserver and dagster != webserver:
        found = f"dagster-webserver {webserver} beside dagster {dagster}"
        yield Finding(Level.FAIL, "Dagster UI", found, "both must be of one release: install event-pipeline again")
    if absent := missing_files():
        found = f"{len(absent)} files of the program are missing, first: {absent[0]}"
        yield Finding(Level.FAIL, "program files", found, "the installation is not whole: install event-pipeline again")
    else:
        yield Finding(Level.OK, "program files", f"{', '.join(SHIPPED_FILES)} are there")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _writable(root: Path, subject: str) -> Finding:
    place = _existing(root)
    try:
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        remedy = "check owner, mode and mount of the folder, or set EVENT_PIPELINE_ROOT to another one"
        return Finding(Level.FAIL, subject, f"{place} cannot be written: {error.strerror}", remedy)
    if place != root:
        return Finding(Level.OK, subject, f"{root} does not exist yet; it can be made in {place}")
    return Finding(Level.OK, subject, f"{root} can be written")


def _free_disk(root: Path) -> Finding:
    place = _existing(root)
    free = shutil.disk_usage(place).free
    found = f"{free / (1 << 30):,.1f} GiB free at {place}"
    if free >= LOW_DISK_BYTES:
        return Finding(Level.OK, "disk", found)
    level = Level.WARN if free >= FULL_DISK_BYTES else Level.FAIL
    return Finding(level, "disk", found, "make room, or set EVENT_PIPELINE_ROOT to a folder on another disk")


def _existing(path: Path) -> Path:
    return next(each for each in (path, *path.parents) if each.exists())


def _layout_version(layout: Layout) -> Finding:
    layout.check_version()
    return Finding(Level.OK, "data folder layout", f"version {LAYOUT_VERSION}")


def _raw_objects(engine: Engine) -> Finding:
    listings = engine.list_raw_hours().values()
    objects, size = sum(len(each.objects) for each in listings), sum(each.raw_bytes for each in listings)
    found = f"{objects:,} in {len(listings):,} hours, {size / (1 << 20):,.1f} MiB"
    if unmatched := engine.unmatched_raw_keys():
        remedy = "move or rename them: `event-pipeline status` names them by reason"
        found += f"; {len(unmatched):,} keys are not read, first: {unmatched[0]}"
        return Finding(Level.WARN, "raw objects", found, remedy)
    return Finding(Level.OK, "raw objects", found)


def _catalog(layout: Layout) -> Finding:
    if not layout.catalog.exists():
        return Finding(Level.OK, "catalog", "not made yet; the first command that needs it makes it")
    catalog = Catalog(layout.catalog)
    if not catalog.is_complete():
        remedy = "`event-pipeline repair` rebuilds it from the commit records"
        return Finding(Level.FAIL, "catalog", f"{layout.catalog}: tables are missing", remedy)
    catalog.check()
    return Finding(Level.OK, "catalog", f"{layout.catalog} is sound")


def _commit_records(engine: Engine) -> Finding:
    damaged = dict[Hour, StorageError]()
    commits = engine.hour_commits(None, damaged)
    if damaged:
        found = f"of {hours_text(sorted(damaged))} cannot be read, first: {damaged[min(damaged)]}"
        return Finding(Level.FAIL, "commit records", found, "docs/runbook.md#damaged_commit_record")
    found = f"{len(commits):,} hours are committed"
    accounts = {hour: commit.account for hour, commit in commits.items()}
    framed = [hour for hour, each in accounts.items() if wrongly_framed(each, accounts.get(hour.plus(-1)))]
    if framed:
        found += f"; records of wrongly framed objects are lost in {hours_text(framed)}"
        return Finding(Level.WARN, "commit records", found, "`event-pipeline verify` names them, and what to do")
    return Finding(Level.OK, "commit records", found)


def _published(engine: Engine, layout: Layout) -> Finding:
    subject, commits, registered = "published builds", engine.hour_commits(), engine.registered_runs()
    repair = "`event-pipeline repair` makes the catalog agree with the commit records"
    uncommitted = [hour for hour in registered if hour not in commits]
    if uncommitted:
        return Finding(Level.FAIL, subject, f"no commit record stands behind {hours_text(uncommitted)}", repair)
    gone = [
        (hour, path)
        for hour, commit in commits.items()
        for path in (layout.lake / file.path for file in commit.files)
        if not path.is_file()
    ]
    if gone:
        hours = sorted({hour for hour, _ in gone})
        remedy = "`event-pipeline run --force --from HOUR --to HOUR` builds them again from raw"
        return Finding(Level.FAIL, subject, f"files of {hours_text(hours)} are gone, first: {gone[0][1]}", remedy)
    kept = {hour: commit for hour, commit in commits.items() if commit.retired_at is None}
    unregistered = [hour for hour, commit in kept.items() if registered.get(hour) != commit.run_id]
    if unregistered:
        return Finding(Level.FAIL, subject, f"queries do not see {hours_text(unregistered)}", repair)
    if differing := engine.disagreements():
        return Finding(Level.FAIL, subject, _named(differing), repair)
    found = f"queries see all {len(kept):,} committed hours"
    if len(kept) < len(commits):
        found += f"; {len(commits) - len(kept):,} more are past their retention"
    known = {commit.run_id for commit in commits.values()}
    orphans = [run for run in layout.runs.glob("hours/*/*/*/*/*") if run.name not in known]
    if orphans:
        found += f"; {len(orphans):,} replaced or unfinished builds lie beside them (`event-pipeline housekeeping`)"
    return Finding(Level.OK, subject, found)


def _entries(engine: Engine) -> Finding:
    """Compare the catalog with the commit records, as repair does."""
    subject = "published builds"
    if differing := engine.disagreements():
        remedy = "`event-pipeline repair` makes the catalog agree with the commit records"
        return Finding(Level.FAIL, subject, _named(differing), remedy)
    return Finding(Level.OK, subject, "the catalog shows what the commit records say")


def _named(differing: Sequence[PartitionChange]) -> str:
    first = differing[0]
    return (
        f"{len(differing):,} catalog entries are not what the commit records say, first: {first.table} "
        f"{first.partition}: {first.reason}"
    )


def _dagster(settings: Settings) -> Finding:
    home = settings.dagster_home
    check_home(home)
    if not home.is_dir():
        return Finding(Level.OK, "Dagster", f"{home} does not exist yet; the first run makes it")
    failed = [hour for hour, state in latest_run_states(home).items() if state is RunState.FAILED]
    if failed:
        remedy = "`event-pipeline run` tries them again; `event-pipeline dev` shows their logs"
        return Finding(Level.WARN, "Dagster", f"the last run failed for {hours_text(failed)}", remedy)
    return Finding(Level.OK, "Dagster", f"{home} can be read, no hour's last run failed")


def _concurrency(settings: Settings) -> Finding:
    home = settings.dagster_home
    if not home.is_dir():
        return Finding(Level.OK, "concurrency", "pools get their limits when the first run makes Dagster's folder")
    if faults := limit_faults_of_home(settings):
        remedy = "`event-pipeline run` and `event-pipeline dev` set the limits and copy dagster.yaml when they start"
        return Finding(Level.FAIL, "concurrency", "; ".join(faults), remedy)
    return Finding(
        Level.OK,
        "concurrency",
        f"pool silver: {settings.silver_pool_limit}, each Gold table's pool: {settings.gold_pool_limit}",
    )
