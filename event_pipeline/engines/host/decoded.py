"""Cache of decoded raw objects of an open hour, so that only a new object must be decoded.

An entry is identified by everything that determines its content: key, etag and size of the object, the rules with
their limits, the landing hour, and the people whose records are left out. It also has the digest of the object's bytes,
which is checked before it is used. So an entry is either right or absent; losing the cache only costs decoding again.
"""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import asdict, astuple, dataclass, replace
from pathlib import Path
from typing import Any

from event_pipeline.engines.builder import RawSource
from event_pipeline.engines.durability import make_folder, sync_file, sync_folder
from event_pipeline.engines.host.layout import Layout
from event_pipeline.rules.accounting import DayTotals, ObjectAccount, RawObject, decoded_name
from event_pipeline.rules.contract import Limits
from event_pipeline.rules.duplicates import InstantOrder
from event_pipeline.rules.erasure import NOBODY, Erasures
from event_pipeline.rules.hour import Hour
from event_pipeline.rules.stored_json import read_dataclass, read_json

_ROWS = "rows.arrow"
_QUARANTINE = "quarantine.arrow"
_REPORT = "report.json"


@dataclass(frozen=True, slots=True)
class ObjectTask:
    """One raw object to validate, and the scratch files for the result."""

    source: RawSource
    hour: Hour
    limits: Limits
    rows: Path
    """SCRATCH_SCHEMA."""
    quarantine: Path
    """QUARANTINE_SCHEMA; the file is missing if there are no such records."""
    erasures: Erasures = NOBODY
    """People whose records are left out."""

    @property
    def listed(self) -> RawObject:
        """The object as listed."""
        return self.source.listed


@dataclass(frozen=True, slots=True)
class ObjectReport:
    """The result of validating one raw object; its rows are in the task's scratch files."""

    task: ObjectTask
    account: ObjectAccount
    order: InstantOrder | None
    days: Mapping[str, DayTotals]
    """Control totals of all accepted records, including duplicates."""
    kept: bool = False
    """Whether later builds of the hour can use the scratch files."""


class DecodedObjects:
    """The decoded objects of one data folder, by landing hour; accessed only under the hour's lock."""

    def __init__(self, layout: Layout, rules_version: str) -> None:
        self._layout = layout
        self._rules_version = rules_version

    def find(self, task: ObjectTask) -> ObjectReport | None:
        """Return the report of an object that is already decoded; None if there is no complete entry."""
        entry = self._entry(task.hour, task.listed, task.erasures)
        try:
            fields = read_json((entry / _REPORT).read_bytes())
            if any((entry / name).stat().st_size != size for name, size in fields["sizes"].items()):
                return None
            if not task.source.has_digest(fields["account"]["sha256"]):
                return None
            return _report(replace(task, rows=entry / _ROWS, quarantine=entry / _QUARANTINE), fields)
        except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def keep(self, report: ObjectReport) -> ObjectReport:
        """Store the files of a report atomically for later builds, and return the report with their new paths."""
        task = report.task
        entry = self._entry(task.hour, task.listed, task.erasures)
        draft = entry.with_name(f".{entry.name}.{uuid.uuid4().hex}")
        make_folder(draft)
        moved = {name: path for name, path in ((_ROWS, task.rows), (_QUARANTINE, task.quarantine)) if path.exists()}
        for name, path in moved.items():
            path.rename(draft / name)
            sync_file(draft / name)
        sizes = {name: (draft / name).stat().st_size for name in moved}
        (draft / _REPORT).write_text(json.dumps(_fields(report, sizes)), encoding="utf-8")
        sync_file(draft / _REPORT)
        shutil.rmtree(entry, ignore_errors=True)  # an incomplete one
        draft.rename(entry)
        sync_folder(entry.parent)
        return replace(report, task=replace(task, rows=entry / _ROWS, quarantine=entry / _QUARANTINE), kept=True)

    def keep_only(self, hour: Hour, objects: Iterable[RawObject], erasures: Erasures = NOBODY) -> None:
        """Drop the entries of an hour except for some objects, and what a killed build left."""
        folder = self._layout.decoded(hour)
        if not folder.exists():
            return
        needed = {self._entry(hour, each, erasures).name for each in objects}
        for entry in list(folder.iterdir()):
            if entry.name not in needed:
                shutil.rmtree(entry)
        if not needed:
            folder.rmdir()

    def _entry(self, hour: Hour, listed: RawObject, erasures: Erasures) -> Path:
        name = decoded_name(hour, self._rules_version, erasures.version, listed.key, listed.etag, listed.size)
        return self._layout.decoded(hour) / name


def _fields(report: ObjectReport, sizes: Mapping[str, int]) -> dict[str, Any]:
    return {
        "sizes": sizes,
        "account": asdict(report.account),
        "order": astuple(report.order) if report.order else None,
        "days": {day: totals.stored for day, totals in report.days.items()},
    }


def _report(task: ObjectTask, fields: Mapping[str, Any]) -> ObjectReport:
    return ObjectReport(
        task,
        read_dataclass(ObjectAccount, fields["account"]),
        InstantOrder(*fields["order"]) if fields["order"] else None,
        {day: DayTotals.of_measures(totals) for day, totals in fields["days"].items()},
        kept=True,
    )
