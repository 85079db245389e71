"""The status: what every hour is shown as, and that gaps and faults leap to the eye."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from event_pipeline.dagster_instance.storage import RunState
from event_pipeline.engines.local import LocalEngine
from event_pipeline.engines.open import open_pipeline
from event_pipeline.engines.state import HourState
from event_pipeline.inspection.status import Status, read_status
from event_pipeline.reporting.status import print_status, status_as_json
from event_pipeline.reporting.terminal import output
from event_pipeline.rules.hour import RAW_LAYOUT, Hour, HourRange, hours_text
from event_pipeline.settings import Settings
from event_pipeline_tests.pipeline import HOUR, build, event, write_object

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def status_of(
    settings: Settings, hours: HourRange | None = None, now: datetime = NOW, runs: dict[Hour, RunState] | None = None
) -> Status:
    return read_status(open_pipeline(settings), now, hours, runs or {})


def printed(status: Status, capsys: pytest.CaptureFixture[str], width: int = 100) -> str:
    console = output()
    console.width = width
    print_status(status, console)
    return capsys.readouterr().out


def test_an_empty_folder_says_how_to_fill_it(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    assert "event-pipeline generate" in printed(status_of(settings), capsys)


def test_every_state_has_its_own_symbol(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    engine = LocalEngine(settings)
    ready, changed, lost, all_lost, behind, unregistered, new, failed, running = (HOUR.plus(n) for n in range(9))
    for hour in (ready, changed, lost, all_lost, behind, unregistered, new, failed, running):
        write_object(settings.root, hour, 0, [event(hour)])
        write_object(settings.root, hour, 5, [event(hour, 300)])
    build(engine, [ready, changed, lost, all_lost])
    list(engine.build_silver([behind, unregistered], progress=lambda _: None))
    engine.register_hours([behind])
    write_object(settings.root, changed, 10, [event(changed, 600)])
    raw = settings.root / "raw"
    (raw / lost.raw_key(lost.start)).unlink()
    for path in (raw / all_lost.raw_prefix).rglob("*.gz"):
        path.unlink()

    status = status_of(settings, runs={failed: RunState.FAILED, running: RunState.IN_PROGRESS})

    assert {each.hour: each.state for each in status.hours} == {
        ready: HourState.READY,
        changed: HourState.CHANGED,
        lost: HourState.LOST_OBJECTS,
        all_lost: HourState.LOST_OBJECTS,
        behind: HourState.GOLD_BEHIND,
        unregistered: HourState.UNREGISTERED,
        new: HourState.NEW,
        failed: HourState.NEW,
        running: HourState.NEW,
    }
    lines = printed(status, capsys).splitlines()
    assert lines[1].split()[1] == "■C"
    assert lines[2].split()[1:3] == ["S▪GUNF", "R"]
    assert "Due: 6 hours (2025-12-07T23, 2025-12-08T02 to 2025-12-08T07)" in "\n".join(lines)
    assert "Lost objects: 1 hour (2025-12-08T00): restore the objects" in "\n".join(lines)
    assert "Dagster's last run failed: 1 hour (2025-12-08T05)" in "\n".join(lines)


def test_a_gap_between_hours_with_raw_objects_is_marked_built_or_not(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    for hour in (HOUR, HOUR.plus(3)):
        write_object(settings.root, hour, 0, [event(hour)])
    build(LocalEngine(settings), [HOUR.plus(1)])

    status = status_of(settings, HourRange(HOUR.plus(-1), HOUR.plus(5)))

    assert [(each.gap, each.records) for each in status.hours] == [
        (False, None), (False, None), (True, 0), (True, None), (False, None), (False, None),
    ]  # fmt: skip
    text = printed(status, capsys)
    assert text.splitlines()[1].split()[1] == "·N□"
    assert text.splitlines()[2].split()[1] == "×N·"
    assert "Gaps: 2 hours (2025-12-07T23 to 2025-12-08T01): nothing landed" in text


def test_an_hour_that_is_not_over_is_open(settings: Settings) -> None:
    write_object(settings.root, HOUR, 0, [event()])
    now = datetime(2025, 12, 7, 22, 30, tzinfo=UTC)
    assert [each.state for each in status_of(settings, now=now).hours] == [HourState.OPEN]


def test_days_count_objects_records_and_the_quarantined_share(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    write_object(settings.root, HOUR, 0, [event(), event(second=1), event(second=2), b"not json"])
    build(LocalEngine(settings), [HOUR])
    assert printed(status_of(settings), capsys).splitlines()[1].split()[2:] == ["1/1", "1", "4", "25.00%"]


def test_unmatched_keys_are_listed(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    write_object(settings.root, HOUR, 0, [event()])
    stray = settings.root / "raw" / HOUR.raw_prefix / "notes.txt"
    stray.write_text("hello")
    status = status_of(settings)
    (unmatched,) = status.unmatched
    assert (unmatched.key, unmatched.reason) == (f"{HOUR.raw_prefix}notes.txt", f"not named {RAW_LAYOUT}")
    assert unmatched.key in printed(status, capsys)


def test_the_json_document_says_the_same(settings: Settings) -> None:
    write_object(settings.root, HOUR, 0, [event(), event(), b"{}"])
    build(LocalEngine(settings), [HOUR])
    assert status_as_json(status_of(settings, runs={HOUR: RunState.FAILED})) == {
        "hours": [
            {
                "hour": "2025-12-07T22",
                "state": "ready",
                "gap": False,
                "objects": 1,
                "records": 3,
                "quarantined": 1,
                "duplicates": 1,
                "erased": 0,
                "unknown_fields": 0,
                "wrongly_framed": 0,
                "last_run": "failed",
            }
        ],
        "schema_drift": [],
        "unmatched_keys": 0,
        "first_unmatched_keys": [],
    }


def test_fields_outside_the_contract_are_named_with_counts_and_an_example(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    write_object(settings.root, HOUR, 0, [event(referrer="mail"), event(second=1, referrer="ad", size=[1, 2])])
    write_object(settings.root, HOUR.plus(2), 0, [event(HOUR.plus(2), referrer="ad") | {"a\x1b[2Jb": None}])
    build(LocalEngine(settings), [HOUR, HOUR.plus(1), HOUR.plus(2)])

    status = status_of(settings)
    text = " ".join(printed(status, capsys).split())

    assert (
        "Schema drift: 2 hours (2025-12-07T22, 2025-12-08T00): new fields "
        'referrer (3 records, for example "mail"), a\\x1b[2Jb (1 record, for example null), '
        "size (1 record, for example [1, 2]) silver.events keeps them in the column rescued; "
        "docs/runbook.md#schema_drift says what to do"
    ) in text
    assert [each["unknown_fields"] for each in status_as_json(status)["hours"]] == [2, 0, 2]
    assert status_as_json(status)["schema_drift"][0] == {"field": "referrer", "records": 3, "example": '"mail"'}


def test_the_grid_fits_a_narrow_terminal(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(30):
        write_object(settings.root, HOUR.plus(number), 0, [event(HOUR.plus(number))])
    assert all(len(line) <= 80 for line in printed(status_of(settings), capsys, width=80).splitlines())


def test_hours_are_named_as_ranges() -> None:
    hours = [HOUR, HOUR.plus(1), HOUR.plus(5)]
    assert hours_text(hours) == "3 hours (2025-12-07T22 to 2025-12-08T00, 2025-12-08T03)"
    assert hours_text([HOUR]) == "1 hour (2025-12-07T22)"
    assert hours_text([HOUR.plus(2 * n) for n in range(9)]).endswith("and 3 more)")


def test_days_without_anything_are_one_row(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    write_object(settings.root, HOUR, 0, [event()])
    build(LocalEngine(settings), [HOUR])
    lines = printed(status_of(settings, HourRange(HOUR.plus(-22 - 5 * 24), HOUR.plus(2 + 2 * 24))), capsys).splitlines()
    rows = [" ".join(line.split()) for line in lines[1:6]]
    # A range without raw objects begins at the first partition; what is left of it is folded, two days are not.
    assert rows[0] == "2025-12-02 to 2025-12-06 · nothing landed 0/120"
    assert rows[1].startswith("2025-12-07 ······ ······ ······ ····■· 1/24 1 1")
    assert [row[:10] for row in rows[2:4]] == ["2025-12-08", "2025-12-09"]
    assert all("······" in row for row in rows[2:4])
