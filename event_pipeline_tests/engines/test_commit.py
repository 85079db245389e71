"""Commit records survive the way to JSON and back, and a damaged one is never half understood."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from event_pipeline.engines.commit import CommitRecordError, DataFile, DayCommit, HourCommit, PartialCommit
from event_pipeline.rules.accounting import DayTotals, HourAccount, ObjectAccount
from event_pipeline.rules.hour import Hour

HOUR = Hour.parse("2025-12-07T22")
AT = datetime(2025, 12, 8, 1, 2, 3, 4000, tzinfo=UTC)
SILVER_FILE = DataFile("silver.events", f"runs/hours/{HOUR.hive_path}/run-1/x.parquet", 3, 100, "ab")
PARTIAL_FILE = DataFile("gold", f"runs/partials/top_products/{HOUR.hive_path}/run-2.parquet", 3, 100, "ab")
DAY_FILE = DataFile("gold", "runs/days/top_products/event_date=2025-12-07/run-3.parquet", 3, 100, "ab")
COMMITS = [
    HourCommit(
        HOUR,
        "run-1",
        AT,
        "1:2s:3s",
        HourAccount(
            (
                ObjectAccount("a", "e1", 10, 5, 3, 1, {"not_json": 1}, None, {"extra": 2}),
                ObjectAccount("b", "e2", 0, unreadable="zero_bytes"),
            ),
            {"2025-12-07": DayTotals({"page_view": 1, "purchase": 2}, 4, Decimal("10.10"))},
            {"extra": 2, "more": 1},
            {"extra": '"one"'},
        ),
        (SILVER_FILE,),
    ),
    PartialCommit("top_products", HOUR, "run-2", AT, "run-1", "v", {"2025-12-07": 3}, (PARTIAL_FILE,)),
    DayCommit("top_products", date(2025, 12, 7), "run-3", AT, "v", {HOUR.hive_path: "run-2"}, (DAY_FILE,)),
]


@pytest.mark.parametrize("commit", COMMITS, ids=lambda commit: type(commit).__name__)
def test_a_commit_record_comes_back_equal(commit: HourCommit | PartialCommit | DayCommit) -> None:
    assert type(commit).from_json(commit.to_json()) == commit


def test_a_record_from_before_examples_were_kept_has_none() -> None:
    (commit, *_) = COMMITS
    assert isinstance(commit, HourCommit)
    document = json.loads(commit.to_json())
    del document["account"]["unknown_examples"]
    older = HourCommit.from_json(json.dumps(document))
    assert older.account == replace(commit.account, unknown_examples={})
    assert "unknown_examples" not in older.to_json()


@pytest.mark.parametrize("commit", COMMITS, ids=lambda commit: type(commit).__name__)
def test_damaged_and_foreign_records_are_refused(commit: HourCommit | PartialCommit | DayCommit) -> None:
    text = commit.to_json()
    kind = type(commit)
    for damaged in (
        text[:-20],
        "",
        "[]",
        "null",
        text.replace('"build_id"', '"run"'),
        text.replace('"kind": "', '"kind": "x'),
    ):
        with pytest.raises(CommitRecordError):
            kind.from_json(damaged)
    with pytest.raises(CommitRecordError, match="format 1: this version reads and writes format 2"):
        kind.from_json(text.replace('"format": 2', '"format": 1'))


@pytest.mark.parametrize(
    "path",
    [
        "../{}",
        "/{}",
        "{}/../x.parquet",
        "{}/./x.parquet",
        "{}//x.parquet",
        "{}/",
        "{}/.x.parquet",
        "{}\\x",
        "{}\n",
        "x/{}",
        "s3://other/{}",
        "runs/hours/year=2025/month=12/day=07/hour=21/run-1/x.parquet",
        "commits/hours/x.json",
        "",
        None,
        7,
    ],
)
@pytest.mark.parametrize("commit", COMMITS, ids=lambda commit: type(commit).__name__)
def test_a_record_names_files_of_its_own_builds_alone(
    commit: HourCommit | PartialCommit | DayCommit, path: str | int | None
) -> None:
    fields = json.loads(commit.to_json())
    fields["files"][0]["path"] = path.format(commit.files[0].path) if isinstance(path, str) else path
    with pytest.raises(CommitRecordError, match="damaged commit record"):
        type(commit).from_json(json.dumps(fields))


@pytest.mark.parametrize("build_id", ["../x", "", ".", "..", "a/b", "a\n", None, 7])
@pytest.mark.parametrize("commit", COMMITS, ids=lambda commit: type(commit).__name__)
def test_the_name_of_a_build_leads_nowhere(commit: HourCommit | PartialCommit | DayCommit, build_id: str | int) -> None:
    fields = {**json.loads(commit.to_json()), "build_id": build_id}
    with pytest.raises(CommitRecordError, match="damaged commit record"):
        type(commit).from_json(json.dumps(fields))


def test_the_fingerprint_follows_keys_etags_and_sizes() -> None:
    first = COMMITS[0]
    assert isinstance(first, HourCommit)
    objects = first.account.objects
    same = HourAccount(tuple(reversed(objects)), {})
    assert same.fingerprint == first.fingerprint
    for other in (ObjectAccount("c", "e2", 0), ObjectAccount("b", "e3", 0), ObjectAccount("b", "e2", 1)):
        assert HourAccount((objects[0], other), {}).fingerprint != first.fingerprint
