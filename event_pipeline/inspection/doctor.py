"""Checks whether this machine and data folder are fit to run: one finding per subject, each fault with its remedy."""

from __future__ import annotations

import platform
import re
import shutil
import tempfile
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from event_pipeline.dagster_instance.storage import RunState, check_home, latest_run_states, limit_faults_of_home
from event_pipeline.engines.base import Engine
from event_pipeline.engines.finding import Finding, Level, guarded
from event_pipeline.errors import StorageError
from event_pipeline.rules.framing import wrongly_framed
from event_pipeline.rules.hour import Hour, hours_text
from event_pipeline.rules.query import load_gold_tables
from event_pipeline.settings import Settings
from event_pipeline.shipped import SHIPPED_FILES, missing_files

LOW_DISK_BYTES = 2 << 30
"""Room for about fifteen full-size hours: raw, Silver and scratch."""
FULL_DISK_BYTES = 200 << 20
"""Less than what one full-size hour needs."""


def examine(settings: Settings, engine: Engine) -> list[Finding]:
    """Check the program, the data and Dagster's storage; changes nothing apart from a short-lived temporary file."""
    place = engine.place
    findings = [*_program(), _writable(place.folder, place.folder_name), _free_disk(place.folder)]
    if place.deployed:
        findings += _account(settings)
    findings.append(guarded("raw objects", lambda: _raw_objects(engine)))
    findings.append(guarded("commit records", lambda: _commit_records(engine)))
    findings += engine.examine()
    findings.append(guarded("Dagster", lambda: _dagster(settings)))
    findings.append(guarded("concurrency", lambda: _concurrency(settings)))
    return findings


def _account(settings: Settings) -> list[Finding]:
    # boto3 takes longer to load than all other findings together.
    from event_pipeline.infrastructure.account import account_checks

    return [guarded(subject, check) for subject, check in account_checks(settings, load_gold_tables())]


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
        found = f"dagster-webserver {webserver} with dagster {dagster}"
        yield Finding(Level.FAIL, "Dagster UI", found, "both must be of the same release: reinstall event-pipeline")
    if absent := missing_files():
        found = f"{len(absent)} files of the program are missing, first: {absent[0]}"
        yield Finding(Level.FAIL, "program files", found, "the installation is incomplete: reinstall event-pipeline")
    else:
        yield Finding(Level.OK, "program files", f"{', '.join(SHIPPED_FILES)} exist")


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
        return Finding(Level.FAIL, subject, f"{place} is not writable: {error.strerror}", remedy)
    if place != root:
        return Finding(Level.OK, subject, f"{root} does not exist yet; it can be created in {place}")
    return Finding(Level.OK, subject, f"{root} is writable")


def _free_disk(root: Path) -> Finding:
    place = _existing(root)
    free = shutil.disk_usage(place).free
    found = f"{free / (1 << 30):,.1f} GiB free at {place}"
    if free >= LOW_DISK_BYTES:
        return Finding(Level.OK, "disk", found)
    level = Level.WARN if free >= FULL_DISK_BYTES else Level.FAIL
    return Finding(level, "disk", found, "free some space, or set EVENT_PIPELINE_ROOT to a folder on another disk")


def _existing(path: Path) -> Path:
    return next(each for each in (path, *path.parents) if each.exists())


def _raw_objects(engine: Engine) -> Finding:
    listings = engine.list_raw_hours().values()
    objects, size = sum(len(each.objects) for each in listings), sum(each.raw_bytes for each in listings)
    found = f"{objects:,} in {len(listings):,} hours, {size / (1 << 20):,.1f} MiB"
    if unmatched := engine.unmatched_raw_keys():
        remedy = "move or rename them: `event-pipeline status` lists them by reason"
        found += f"; {len(unmatched):,} keys are not read, first: {unmatched[0]}"
        return Finding(Level.WARN, "raw objects", found, remedy)
    return Finding(Level.OK, "raw objects", found)


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
        return Finding(Level.WARN, "commit records", found, "`event-pipeline verify` lists them, and what to do")
    return Finding(Level.OK, "commit records", found)


def _dagster(settings: Settings) -> Finding:
    home = settings.dagster_home
    check_home(home)
    if not home.is_dir():
        return Finding(Level.OK, "Dagster", f"{home} does not exist yet; the first run creates it")
    failed = [hour for hour, state in latest_run_states(home).items() if state is RunState.FAILED]
    if failed:
        remedy = "`event-pipeline run` retries them; `event-pipeline dev` shows their logs"
        return Finding(Level.WARN, "Dagster", f"the last run failed for {hours_text(failed)}", remedy)
    return Finding(Level.OK, "Dagster", f"{home} is readable, no hour's last run failed")


def _concurrency(settings: Settings) -> Finding:
    home = settings.dagster_home
    if not home.is_dir():
        return Finding(Level.OK, "concurrency", "pools get their limits when the first run creates Dagster's folder")
    if faults := limit_faults_of_home(settings):
        remedy = "`event-pipeline run` and `event-pipeline dev` set the limits and copy dagster.yaml when they start"
        return Finding(Level.FAIL, "concurrency", "; ".join(faults), remedy)
    return Finding(
        Level.OK,
        "concurrency",
        f"pool silver: {settings.silver_pool_limit}, each Gold table's pool: {settings.gold_pool_limit}",
    )
