"""What follows from findings: told once, told again when it grows, over when it has settled; after restarts, too."""

from __future__ import annotations

from datetime import timedelta

import pytest

from event_pipeline.alerts.conditions import AlertFinding, AlertKind, Report, Severity, cannot_look
from event_pipeline.alerts.messages import AlertEvent, Message
from event_pipeline.alerts.state import AlertState, Seen, advance
from event_pipeline.errors import StorageError
from event_pipeline.rules.hour import Hour, HourRange
from event_pipeline.settings import load_settings
from event_pipeline_tests.alerts.facts import NOW

HOUR = Hour.parse("2025-12-07T22")
SETTINGS = load_settings(alert_settle_minutes=10, alert_update_minutes=60, alert_hours=48)


class Watch:
    """Look after look; the state goes through its document every time, as after a restart."""

    def __init__(self) -> None:
        self.now = NOW
        self.state = AlertState()

    def look(self, *hours: Hour, minutes: float = 1, complete: bool = True) -> list[Message]:
        """Return the messages that follow when these hours have unreadable objects, or nothing is wrong."""
        findings = [unreadable(hours)] if hours else []
        return self.see(Seen(self.now, findings, complete=complete), minutes)

    def see(self, seen: Seen, minutes: float = 1) -> list[Message]:
        before = {each.message.message_id for each in self.state.outbox}
        self.state = advance(AlertState.from_json(self.state.to_json()), seen, SETTINGS, ["webhook"])
        self.now += timedelta(minutes=minutes)
        return [each.message for each in self.state.outbox if each.message.message_id not in before]


def unreadable(hours: tuple[Hour, ...]) -> AlertFinding:
    """A finding about some hours."""
    subjects = {str(hour): "1 object" for hour in hours}
    kind = AlertKind.UNREADABLE_OBJECTS
    return AlertFinding(kind, Severity.WARNING, f"{len(hours)} hours", subjects, "ask", kind, str(hours[-1]))


def test_an_alert_is_told_once_while_it_stays_as_it_is() -> None:
    watch = Watch()
    assert [each.event for each in watch.look(HOUR)] == [AlertEvent.RAISED]
    assert [watch.look(HOUR, minutes=60) for _ in range(48)] == [[]] * 48


def test_a_new_field_is_told_once_however_many_hours_hold_it() -> None:
    def drift(hour: int, *names: str) -> Seen:
        kind, subjects = AlertKind.SCHEMA_DRIFT, {name: f"{hour} records" for name in names}
        return Seen(watch.now, [AlertFinding(kind, Severity.WARNING, f"{hour} hours", subjects, "ask", kind)])

    watch = Watch()
    assert [each.event for each in watch.see(drift(0, "referrer"))] == [AlertEvent.RAISED]
    assert [watch.see(drift(hour, "referrer"), minutes=60) for hour in range(1, 200)] == [[]] * 199
    (grown,) = watch.see(drift(200, "referrer", "device"), minutes=60)
    assert (grown.event, grown.lines[:2]) == (AlertEvent.GROWN, ("referrer: 200 records", "device: 200 records"))


def test_an_alert_is_resolved_when_its_cause_has_been_gone_for_a_while() -> None:
    watch = Watch()
    (raised,) = watch.look(HOUR)
    assert watch.look(minutes=9) == []
    assert watch.look(minutes=1) == []
    (resolved,) = watch.look()
    assert (resolved.event, resolved.severity, resolved.advice) == (AlertEvent.RESOLVED, Severity.INFO, "")
    assert resolved.lines[-1] == "open from 2025-12-08 02:30 to 2025-12-08 02:31 UTC"
    assert (raised.message_id, resolved.message_id) == (
        "unreadable_objects-20251208T023000Z/1",
        "unreadable_objects-20251208T023000Z/2",
    )
    assert watch.state.alerts == {}


def test_an_alert_that_grows_is_told_again_after_waits_that_double() -> None:
    watch = Watch()
    events = []
    for count in range(1, 201):
        events += watch.look(*HourRange(HOUR, HOUR.plus(count)), minutes=60)
    # Raised; an hour later; 2, 4, 8, 16 and then 24 hours after the last one.
    assert [each.event for each in events] == [AlertEvent.RAISED] + [AlertEvent.GROWN] * 12
    assert events[1].lines[-1] == "1 more since the last message, open since 2025-12-08 02:30 UTC"
    assert "and 195 more" not in events[1].lines
    watch.look(*HourRange(HOUR, HOUR.plus(200)), minutes=60 * 48)
    assert watch.look(*HourRange(HOUR, HOUR.plus(200)), minutes=60 * 48) == []


def test_two_hundred_hours_at_once_are_one_message() -> None:
    (message,) = Watch().look(*HourRange(HOUR, HOUR.plus(200)))
    assert len(message.lines) == 7
    assert message.lines[-1] == "and 194 more"


def test_a_cause_that_comes_and_goes_makes_few_messages() -> None:
    watch = Watch()
    told = []
    for minute in range(24 * 60):
        told += watch.look(*[HOUR] if minute % 12 == 0 else [])
    # Settling takes 10 minutes once, then 20: what comes back every 12 minutes stays open.
    assert [each.event for each in told] == [AlertEvent.RAISED, AlertEvent.RESOLVED, AlertEvent.RAISED]


def test_hours_too_old_to_be_looked_at_are_not_called_healed() -> None:
    watch = Watch()
    watch.look(HOUR.plus(-46), minutes=120)
    watch.look(minutes=10)
    (resolved,) = watch.look()
    assert resolved.lines[-1] == "not healed, but older than the 48 hours that alerts are about"


def test_what_cannot_be_read_is_raised_and_leaves_other_alerts_as_they_are() -> None:
    watch = Watch()
    watch.look(HOUR)
    blind = Seen(watch.now, [cannot_look(StorageError("catalog.sqlite is damaged"))], complete=False)
    (message,) = watch.see(blind, minutes=60)
    assert message.kind is AlertKind.CANNOT_LOOK
    assert message.links == {"runbook": "docs/runbook.md#StorageError"}
    watch.see(blind, minutes=60)
    # Faults that may pass are no finding of their own, and nothing can be seen through them either.
    assert [watch.look(complete=False, minutes=60) for _ in range(3)] == [[]] * 3
    assert set(watch.state.alerts) == {AlertKind.UNREADABLE_OBJECTS, AlertKind.CANNOT_LOOK}
    watch.look(HOUR, minutes=10)
    (resolved,) = watch.look(HOUR)
    assert (resolved.kind, resolved.event) == (AlertKind.CANNOT_LOOK, AlertEvent.RESOLVED)


def test_a_message_that_was_not_delivered_is_replaced_by_the_newer_one_about_the_same_alert() -> None:
    watch = Watch()
    watch.look(HOUR)
    watch.look(minutes=10)
    watch.look()
    (waiting,) = watch.state.outbox
    assert waiting.message.event is AlertEvent.RESOLVED
    assert waiting.message.lines[0] == "2025-12-07T22: 1 object"


def test_a_report_is_made_once_and_a_newer_digest_replaces_an_undelivered_one() -> None:
    watch = Watch()
    first = Report(AlertKind.DAILY_DIGEST, "digest-1", "one", ("a",), supersedes="digest")
    second = Report(AlertKind.DAILY_DIGEST, "digest-2", "two", ("b",), supersedes="digest")
    assert [each.title for each in watch.see(Seen(watch.now, [], [first]))] == ["one"]
    assert watch.see(Seen(watch.now, [], [first])) == []
    assert [each.title for each in watch.see(Seen(watch.now, [], [first, second]))] == ["two"]
    assert [each.message.title for each in watch.state.outbox] == ["two"]


def test_losing_the_state_costs_one_repeat() -> None:
    watch = Watch()
    watch.look(HOUR)
    watch.state = AlertState()
    assert [each.event for each in watch.look(HOUR)] == [AlertEvent.RAISED]
    assert watch.look(HOUR) == []


@pytest.mark.parametrize("text", [b"", b"no json", b"[]", b'{"format": 99}', b'{"alerts": {"nonsense": 1}}'])
def test_a_damaged_state_starts_afresh_and_says_so(text: bytes, caplog: pytest.LogCaptureFixture) -> None:
    assert AlertState.from_json(text) == AlertState()
    assert "starts afresh" in caplog.text


def test_a_channel_that_is_no_longer_set_is_not_waited_for() -> None:
    state = advance(AlertState(), Seen(NOW, [unreadable((HOUR,))]), SETTINGS, ["log", "webhook"])
    assert [each.pending for each in state.outbox] == [("log", "webhook")]
    state = advance(state, Seen(NOW, [unreadable((HOUR,))]), SETTINGS, ["log"])
    assert [each.pending for each in state.outbox] == [("log",)]
