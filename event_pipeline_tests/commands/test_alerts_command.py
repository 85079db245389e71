"""`event-pipeline alerts`: what it shows, what it tells, and how it ends."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from event_pipeline.cli import main
from event_pipeline.rules.hour import Hour
from event_pipeline_tests.pipeline import event, write_object
from event_pipeline_tests.receiver import webhook_receiver

WAITING = Hour.containing(datetime.now(UTC)).plus(-5)


@pytest.fixture(autouse=True)
def _over_the_data_folder(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVENT_PIPELINE_ROOT", str(root))
    monkeypatch.setenv("EVENT_PIPELINE_WORKERS", "1")
    monkeypatch.setenv("EVENT_PIPELINE_ALERT_DIGEST_HOUR", "23")


def ended(*arguments: str) -> int | str | None:
    """Run one command in this process and return how it ended."""
    with pytest.raises(SystemExit) as end:
        main(arguments)
    return end.value.code


def test_an_empty_data_folder_has_nothing_wrong_and_stays_empty(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ended("alerts") == 0
    assert capsys.readouterr().out == "Nothing is wrong in the last 48 hours.\n"
    assert not (root / "alerts.json").exists()


def test_what_is_wrong_is_shown_and_ends_with_1_and_nobody_is_told(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_object(root, WAITING, 0, [event(WAITING)])
    assert ended("alerts") == 1
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].startswith("critical  No hour published for ")
    assert shown[0].endswith("(not sent yet)")
    assert shown[2] == f"          cause: raw objects of 1 hour ({WAITING}) are waiting to be built"
    assert shown[4] == "          docs/runbook.md#freshness"
    assert not (root / "alerts.json").exists()


def test_send_tells_once_and_shows_what_waits(
    root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_object(root, WAITING, 0, [event(WAITING)])
    with webhook_receiver() as receiver:
        monkeypatch.setenv("EVENT_PIPELINE_ALERT_WEBHOOK_URL", receiver.url)
        receiver.answers.append(500)
        assert ended("alerts", "--send") == 1
        printed = capsys.readouterr()
        assert "failed  webhook: the webhook answered 500" in printed.err
        assert "Waiting for webhook: No hour published for" in printed.out
        assert "webhook failed 1 times, next attempt" in printed.out
        assert ended("alerts", "--send") == 1
        assert "sent 20" in capsys.readouterr().out
        assert len(receiver.ids) == 1


def test_the_test_message_names_the_channels_that_took_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ended("alerts", "test") == 0
    assert "Only the log is configured" in capsys.readouterr().err
    with webhook_receiver() as receiver:
        monkeypatch.setenv("EVENT_PIPELINE_ALERT_WEBHOOK_URL", receiver.url)
        assert ended("alerts", "test") == 0
        printed = capsys.readouterr().out
        assert [line.split(":")[0] for line in printed.splitlines()] == ["sent    log", "sent    webhook"]
        receiver.answers.append(403)
        assert ended("alerts", "test") == 1
        assert "failed  webhook: the webhook answered 403 Forbidden" in capsys.readouterr().out
