"""Messages on their way: over real HTTP to a receiver that fails, answers late, drop by drop, or not at all."""

from __future__ import annotations

import logging
import stat
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from event_pipeline.alerts.channels import WebhookChannel, channels_of
from event_pipeline.alerts.conditions import AlertFinding, AlertKind, Severity
from event_pipeline.alerts.delivery import ALERTS_DOCUMENT, Told, load_state, tell
from event_pipeline.alerts.messages import AlertEvent, alert_message, as_slack, as_text
from event_pipeline.alerts.state import AlertState, Seen
from event_pipeline.engines.open import open_document
from event_pipeline.errors import DeliveryError, PipelineError
from event_pipeline.rules.hour import Hour
from event_pipeline.settings import load_settings
from event_pipeline_tests.alerts.facts import NOW
from event_pipeline_tests.receiver import DRIP, DROP, ECHO, SILENT, Receiver

HOUR = Hour.parse("2025-12-07T22")
FINDING = AlertFinding(
    AlertKind.QUARANTINE_SHARE,
    Severity.CRITICAL,
    "More than 5.00% of the records quarantined in 1 hour (2025-12-07T22)",
    {"2025-12-07T22": "9.00%: 9 of 100 records, most <not_json> & co (9)"},
    "look at `silver.quarantine`",
    AlertKind.QUARANTINE_SHARE,
    hour="2025-12-07T22",
    run_id="1234",
)
LOG = logging.getLogger("test.alerts")


class Desk:
    """One data folder whose alerts go to a receiver."""

    def __init__(self, root: Path, receiver: Receiver, **settings: object) -> None:
        # A busy machine answers late: only where no answer ever comes is the time limit short.
        self.settings = load_settings(
            root=root, **{"alert_webhook_url": receiver.url, "alert_webhook_timeout_seconds": 20, **settings}
        )
        self.document = open_document(self.settings, ALERTS_DOCUMENT)
        self.now = NOW

    def look(self, *findings: AlertFinding, after: timedelta = timedelta(0)) -> Told:
        self.now += after
        channels = channels_of(self.settings, LOG)
        return tell(
            self.document, lambda state: state, Seen(self.now, findings), self.settings, channels, lambda: self.now
        )


@pytest.fixture
def desk(root: Path, receiver: Receiver) -> Desk:
    """Alerts of the test's data folder."""
    return Desk(root, receiver)


def test_an_alert_reaches_log_and_webhook_once(
    desk: Desk, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        desk.look(FINDING)
        desk.look(FINDING, after=timedelta(minutes=1))

    assert receiver.acknowledged == ["quarantine_share-20251208T023000Z/1"]
    assert [record.levelname for record in caplog.records if record.name == LOG.name] == ["ERROR"]
    assert receiver.received[0]["text"].startswith("[critical, raised] More than 5.00% of the records")
    assert load_state(desk.document).outbox == ()


@pytest.mark.parametrize("fault", [500, 404, 302, DROP, SILENT, DRIP])
def test_a_webhook_that_fails_loses_nothing_and_is_tried_again_later(
    desk: Desk, root: Path, receiver: Receiver, fault: str | int
) -> None:
    receiver.answers.append(fault)
    impatient = Desk(root, receiver, alert_webhook_timeout_seconds=1.5)
    told = (impatient if fault in (SILENT, DRIP) else desk).look(FINDING)
    assert [channel for channel, _ in told.delivered.failed] == ["webhook"]
    assert "s3cr3t" not in str(told.delivered) + desk.document.read()[0].decode()  # type: ignore[index]
    assert desk.look(FINDING, after=timedelta(seconds=29)).delivered.sent == ()
    assert desk.look(FINDING, after=timedelta(seconds=1)).delivered.sent == (
        ("webhook", "quarantine_share-20251208T023000Z/1"),
    )
    assert (len(receiver.ids), len(set(receiver.ids)), len(receiver.acknowledged)) == (2, 1, 1)


@pytest.mark.parametrize(
    "secret",
    [
        "/services/T000HUSHED/B000HUSHED/s3cr3tTOKENs3cr3t",
        "/hook?token=s3cr3tTOKENs3cr3t&channel=HUSHEDROOM",
        "/a%2Fb%20HUSHEDs3cr3t/x?y=%3Cs3cr3tTOKEN%3E",
    ],
)
def test_an_answer_that_quotes_the_address_keeps_its_secret(
    root: Path, receiver: Receiver, secret: str, caplog: pytest.LogCaptureFixture
) -> None:
    desk = Desk(root, receiver, alert_webhook_url=receiver.url.split("/services")[0] + secret)
    receiver.answers += [ECHO, DROP]
    told = desk.look(FINDING)
    again = desk.look(FINDING, after=timedelta(minutes=1))
    assert "answered 404 No ***" in str(told.delivered)
    everything = [told.delivered, again.delivered, desk.settings, channels_of(desk.settings, LOG), caplog.text]
    state = (root / ALERTS_DOCUMENT).read_text()
    for text in [*map(repr, everything), *map(str, everything), state]:
        assert "hushed" not in text.lower()
        assert "s3cr3t" not in text.lower()


def test_the_state_of_alerts_is_its_owners_alone(desk: Desk, root: Path) -> None:
    (root / "raw").mkdir(parents=True)
    (root / ALERTS_DOCUMENT).write_text("{}")
    (root / ALERTS_DOCUMENT).chmod(0o644)
    desk.look(FINDING)
    assert stat.S_IMODE((root / ALERTS_DOCUMENT).stat().st_mode) == 0o600


def test_links_in_alerts_hold_no_password(root: Path, receiver: Receiver) -> None:
    desk = Desk(
        root,
        receiver,
        dagster_url="https://anna:s3cr3t@dagster.example:8443/ui",
        runbook_url="https://bob:s3cr3t@docs.example/runbook",
    )
    desk.look(FINDING)
    told = str(receiver.received) + (root / ALERTS_DOCUMENT).read_text() + repr(desk.settings)
    assert "https://dagster.example:8443/ui/runs/1234" in told
    assert "https://docs.example/runbook#" in told
    assert "s3cr3t" not in told
    assert "anna" not in told


def test_a_webhook_that_is_down_for_a_day_gets_few_attempts_and_then_one_message(
    desk: Desk, receiver: Receiver
) -> None:
    receiver.answers.extend([503] * 1_000)
    for _ in range(24 * 4):
        desk.look(FINDING, after=timedelta(minutes=15))
    attempts = len(receiver.ids)
    receiver.answers.clear()
    desk.look(FINDING, after=timedelta(minutes=30))

    assert attempts <= 52
    assert receiver.acknowledged == ["quarantine_share-20251208T024500Z/1"]


def test_a_receiver_that_asks_for_time_gets_it(desk: Desk, receiver: Receiver) -> None:
    receiver.answers.append(429)
    desk.look(FINDING)
    desk.look(FINDING, after=timedelta(seconds=599))
    assert receiver.acknowledged == []
    desk.look(FINDING, after=timedelta(seconds=1))
    assert len(receiver.acknowledged) == 1


def test_the_log_does_not_wait_for_a_webhook_that_is_down(
    desk: Desk, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.answers.append(500)
    with caplog.at_level(logging.INFO, LOG.name):
        assert desk.look(FINDING).delivered.sent == (("log", "quarantine_share-20251208T023000Z/1"),)


def test_an_alert_that_another_process_raised_meanwhile_is_kept(desk: Desk, root: Path, receiver: Receiver) -> None:
    other, waiting = Desk(root, receiver), [True]
    drift = replace(FINDING, kind=AlertKind.SCHEMA_DRIFT, title="Schema drift")

    def learn(state: AlertState) -> AlertState:
        # The state is read by now, and not yet written.
        if waiting:
            waiting.clear()
            other.look(drift)
        return replace(state, records={str(HOUR): 7})

    tell(desk.document, learn, Seen(NOW, [FINDING, drift]), desk.settings, channels_of(desk.settings, LOG), lambda: NOW)
    state = load_state(desk.document)
    assert (set(state.alerts), state.records) == ({FINDING.kind, drift.kind}, {str(HOUR): 7})
    assert sorted(receiver.ids) == [f"{kind}-20251208T023000Z/1" for kind in sorted((FINDING.kind, drift.kind))]


def test_two_processes_do_not_tell_the_same_twice(desk: Desk, root: Path, receiver: Receiver) -> None:
    other = Desk(root, receiver)
    channels = channels_of(desk.settings, LOG)

    class Slow:
        """A channel in whose delivery the other process looks, too."""

        name = "webhook"

        def send(self, message: object) -> None:
            other.look(FINDING)
            channels[1].send(message)  # type: ignore[arg-type]

    tell(desk.document, lambda state: state, Seen(NOW, [FINDING]), desk.settings, [channels[0], Slow()], lambda: NOW)
    assert receiver.ids == ["quarantine_share-20251208T023000Z/1"]
    assert load_state(desk.document).outbox == ()


def test_a_process_that_dies_while_it_delivers_costs_one_repeat_under_the_same_id(
    desk: Desk, receiver: Receiver
) -> None:
    class Deadly:
        """A channel in which the process dies after the message is out."""

        name = "webhook"

        def send(self, message: object) -> None:
            channels_of(desk.settings, LOG)[1].send(message)  # type: ignore[arg-type]
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tell(desk.document, lambda state: state, Seen(NOW, [FINDING]), desk.settings, [Deadly()], lambda: NOW)
    desk.look(FINDING, after=timedelta(minutes=4))
    assert len(receiver.ids) == 1
    desk.look(FINDING, after=timedelta(minutes=1))
    assert receiver.ids == ["quarantine_share-20251208T023000Z/1"] * 2


def test_nobody_listening_is_an_error_without_the_address(receiver: Receiver) -> None:
    address = urlsplit("http://127.0.0.1:1/services/s3cr3t")
    message = alert_message("id/1", AlertEvent.RAISED, FINDING, (), load_settings(), NOW)
    with pytest.raises(DeliveryError) as refused:
        WebhookChannel(address, 1).send(message)
    assert "ConnectionRefusedError" in str(refused.value)
    assert "s3cr3t" not in str(refused.value)


def test_a_topic_that_cannot_be_reached_is_tried_again_like_any_channel(
    root: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = {"AWS_ENDPOINT_URL": "http://127.0.0.1:1", "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "s"}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    desk = Desk(root, receiver, alert_topic_arn="arn:aws:sns:eu-central-1:123456789012:alerts")
    told = desk.look(FINDING)
    assert [channel for channel, _ in told.delivered.sent] == ["log", "webhook"]
    assert told.delivered.failed[0][0] == "sns"
    assert "sns:Publish" in told.delivered.failed[0][1]


def test_slack_gets_blocks_with_escaped_text_and_links() -> None:
    settings = load_settings(dagster_url="https://dagster.example/", runbook_url="https://docs.example/runbook")
    slack = as_slack(alert_message("q/1", AlertEvent.RAISED, FINDING, (), settings, NOW))

    header, section, context = slack["blocks"]
    assert header["text"]["text"].startswith(":red_circle: Raised: More than 5.00% of the records quarantined")
    assert len(header["text"]["text"]) <= 150
    assert section["text"]["text"] == (
        "• 2025-12-07T22: 9.00%: 9 of 100 records, most &lt;not_json&gt; &amp; co (9)\n"
        "*Do first:* look at `silver.quarantine`"
    )
    assert context["elements"][0]["text"].split("  ·  ") == [
        "<https://docs.example/runbook#quarantine_share|runbook>",
        "<https://dagster.example/runs/1234|run>",
        "<https://dagster.example/assets/silver_events?view=partitions&amp;partition=2025-12-07-22:00|hour>",
        "2025-12-08 02:30 UTC",
        "id q/1",
    ]


def test_a_message_as_text_says_it_all_in_its_first_line() -> None:
    message = alert_message("q/1", AlertEvent.RAISED, FINDING, (), load_settings(), NOW)
    assert as_text(message).splitlines() == [
        "[critical, raised] More than 5.00% of the records quarantined in 1 hour (2025-12-07T22)",
        "  2025-12-07T22: 9.00%: 9 of 100 records, most <not_json> & co (9)",
        "  Do first: look at `silver.quarantine`",
        "  runbook: docs/runbook.md#quarantine_share",
    ]


def test_a_document_is_replaced_only_where_the_version_is_the_one_that_was_read(root: Path) -> None:
    document = open_document(load_settings(root=root), "some.json")
    assert document.read() is None
    assert document.replace(b"one", None)
    assert not document.replace(b"two", None)
    content, version = document.read() or (b"", "")
    assert content == b"one"
    assert document.replace(b"two", version)
    assert not document.replace(b"three", version)
    assert (document.read() or (b"", ""))[0] == b"two"


def test_a_state_that_cannot_be_written_is_an_error_that_names_the_file(root: Path, receiver: Receiver) -> None:
    root.mkdir()
    (root / ALERTS_DOCUMENT).mkdir()
    with pytest.raises(PipelineError, match=ALERTS_DOCUMENT):
        Desk(root, receiver).look(FINDING)
