"""Commit records: the small JSON documents whose atomic replacement publishes data.

Commit records are the only source of truth about what is published: data files that are in no record are not part of
the data, and the catalog can be rebuilt from the records alone. Both engines write the same documents.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from event_pipeline.rules.accounting import DayTotals, HourAccount, ObjectAccount
from event_pipeline.rules.hour import Hour
from event_pipeline.rules.stored_json import read_dataclass, read_instant, read_json, read_value

FORMAT = 2

_USUAL = {
    name: value for name, value in asdict(ObjectAccount("", "", 0)).items() if name not in ("key", "etag", "size")
}
"""Fields of an object's account -> their defaults, which are not written."""

_NAME = re.compile(r"(?!\.)[A-Za-z0-9_.=+-]+")
"""Name of a run, a folder or a file: no separator, no parent folder, not hidden."""


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file, as commit records have it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class CommitRecordError(ValueError):
    """A commit record is damaged, or was written by another version."""


@dataclass(frozen=True, slots=True)
class DataFile:
    """One immutable Parquet file that a commit publishes."""

    table: str
    """Full table name, for example `silver.events`."""
    path: str
    """Path relative to the lake."""
    rows: int
    size: int
    """Bytes."""
    sha256: str

    @classmethod
    def of_file(cls, table: str, key: str, rows: int, path: Path) -> DataFile:
        """Describe a finished file of this machine that is to be stored under a key."""
        return cls(table, key, rows, path.stat().st_size, file_digest(path))


@dataclass(frozen=True, slots=True)
class HourCommit:
    """The published build of one landing hour: Silver, quarantine and ledger together."""

    hour: Hour
    build_id: str
    committed_at: datetime
    rules_version: str
    account: HourAccount
    files: tuple[DataFile, ...]
    retired_at: datetime | None = None
    """When the hour was retired: only the ledger file is left, the account stays complete."""

    @property
    def fingerprint(self) -> str:
        """Digest of the raw input that it was built from."""
        return self.account.fingerprint

    def files_of(self, table: str) -> tuple[DataFile, ...]:
        """Return the files of one table, by full name."""
        return tuple(file for file in self.files if file.table == table)

    def to_json(self) -> str:
        """Write the document."""
        document = {"kind": "hour", **asdict(self), "hour": str(self.hour)}
        # An hour may have thousands of objects: default values are omitted.
        document["account"]["objects"] = [
            {name: value for name, value in each.items() if name not in _USUAL or value != _USUAL[name]}
            for each in document["account"]["objects"]
        ]
        if not self.account.unknown_examples:
            del document["account"]["unknown_examples"]
        document["account"]["days"] = {day: totals.recorded for day, totals in self.account.days.items()}
        return _dump(document)

    @classmethod
    def from_json(cls, text: str) -> HourCommit:
        """Read the document.

        Raises:
            CommitRecordError: it is damaged or of another format.
        """
        fields = _load(text, "hour")
        try:
            account = fields["account"]
            return cls(
                hour=Hour.parse(fields["hour"]),
                build_id=fields["build_id"],
                committed_at=read_instant(fields["committed_at"]),
                rules_version=read_value(str, fields["rules_version"], "rules_version"),
                account=_hour_account(account),
                files=_files(fields, f"runs/hours/{Hour.parse(fields['hour']).hive_path}/"),
                # Records written before retention was introduced do not have the field.
                retired_at=read_instant(fields["retired_at"]) if fields.get("retired_at") else None,
            )
        except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
            raise CommitRecordError(f"damaged commit record: {error!r:.300}") from error


@dataclass(frozen=True, slots=True)
class PartialCommit:
    """The published partial of one Gold table for one landing hour."""

    table: str
    hour: Hour
    build_id: str
    committed_at: datetime
    silver_build_id: str
    """The Silver build that it aggregates."""
    sql_version: str
    """Digest of the SQL that built it."""
    days: Mapping[str, int]
    """Event day (ISO) -> partial rows of that day.

    0 is a day that an earlier partial had rows of: until it is folded again, it shows them.
    """
    files: tuple[DataFile, ...]

    @property
    def days_with_rows(self) -> list[str]:
        """Return the event days (ISO) that are folded from it."""
        return [day for day, rows in self.days.items() if rows]

    def to_json(self) -> str:
        """Write the document."""
        return _dump({"kind": "partial", **asdict(self), "hour": str(self.hour)})

    @classmethod
    def from_json(cls, text: str) -> PartialCommit:
        """Read the document.

        Raises:
            CommitRecordError: it is damaged or of another format.
        """
        fields = _load(text, "partial")
        try:
            fields["hour"] = Hour.parse(fields["hour"])
            fields["committed_at"] = read_instant(fields["committed_at"])
            fields["files"] = _files(fields, f"runs/partials/{_table(fields)}/{fields['hour'].hive_path}/")
            for day in read_value(Mapping[str, int | str], fields["days"], "days"):
                date.fromisoformat(day)
            return cls(**_with_texts(fields, "silver_build_id", "sql_version"))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise CommitRecordError(f"damaged commit record: {error!r:.300}") from error


@dataclass(frozen=True, slots=True)
class DayCommit:
    """The published rows of one Gold table for one event day."""

    table: str
    day: date
    build_id: str
    committed_at: datetime
    sql_version: str
    partials: Mapping[str, str]
    """Landing hour -> build id of the partial that was folded in."""
    files: tuple[DataFile, ...]

    def to_json(self) -> str:
        """Write the document."""
        return _dump({"kind": "day", **asdict(self)})

    @classmethod
    def from_json(cls, text: str) -> DayCommit:
        """Read the document.

        Raises:
            CommitRecordError: it is damaged or of another format.
        """
        fields = _load(text, "day")
        try:
            fields["day"] = date.fromisoformat(fields["day"])
            fields["committed_at"] = read_instant(fields["committed_at"])
            fields["files"] = _files(fields, f"runs/days/{_table(fields)}/event_date={fields['day']}/")
            for hour in read_value(Mapping[str, str], fields["partials"], "partials"):
                Hour.of_hive_path(hour)
            return cls(**_with_texts(fields, "sql_version"))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise CommitRecordError(f"damaged commit record: {error!r:.300}") from error


Commit = HourCommit | PartialCommit | DayCommit


def _hour_account(fields: dict[str, Any]) -> HourAccount:
    objects = tuple(read_dataclass(ObjectAccount, each) for each in fields["objects"])
    days = {str(date.fromisoformat(day)): DayTotals.of_measures(totals) for day, totals in fields["days"].items()}
    if "unknown_fields" in fields:
        unknown = read_value(Mapping[str, int], fields["unknown_fields"], "unknown_fields")
        examples = read_value(Mapping[str, str], fields.get("unknown_examples", {}), "unknown_examples")
        return HourAccount(objects, days, unknown, examples)
    return HourAccount.of(objects, days)  # an older record: names are stored per object


def _files(fields: dict[str, Any], folder: str) -> tuple[DataFile, ...]:
    """Parse the files of a record; a file outside the lake's folder of that hour or day means damage.

    Names of runs and files become paths that are read, registered and deleted.
    """
    if not isinstance(fields["build_id"], str) or not _NAME.fullmatch(fields["build_id"]):
        raise ValueError(f"build_id {fields['build_id']!r} is not the name of a build")
    files = tuple(read_dataclass(DataFile, each) for each in fields["files"])
    if len({(file.table, file.path) for file in files}) < len(files):
        raise ValueError("a file is listed twice")
    for file in files:
        names = file.path.removeprefix(folder).split("/")
        if not file.path.startswith(folder) or not all(_NAME.fullmatch(name) for name in names):
            raise ValueError(f"path {file.path!r} is not a file under {folder} of the lake")
    return files


def _table(fields: dict[str, Any]) -> str:
    if not isinstance(fields["table"], str) or not _NAME.fullmatch(fields["table"]):
        raise ValueError(f"table {fields['table']!r:.100} is not the name of a table")
    return fields["table"]


def _with_texts(fields: dict[str, Any], *names: str) -> dict[str, Any]:
    for name in names:
        read_value(str, fields[name], name)
    return fields


def _dump(fields: dict[str, Any]) -> str:
    def plain(value: Any) -> str:
        if isinstance(value, datetime | date):
            return value.isoformat()
        if isinstance(value, Decimal):
            return str(value)
        raise TypeError(f"{value!r} cannot be stored in a commit record")

    return json.dumps({"format": FORMAT, **fields}, default=plain) + "\n"


def _load(text: str, kind: str) -> dict[str, Any]:
    try:
        fields = read_json(text)
    except ValueError as error:
        raise CommitRecordError(f"not JSON: {error!s:.300}") from error
    if not isinstance(fields, dict) or fields.pop("kind", None) != kind:
        raise CommitRecordError(f"not a commit record of kind {kind!r}")
    if (found := fields.pop("format", None)) != FORMAT:
        raise CommitRecordError(f"format {found!r:.40}: this version reads and writes format {FORMAT}")
    return fields
