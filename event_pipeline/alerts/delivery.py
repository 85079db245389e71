"""Delivery of alerts: advances the state, hands messages to the channels, and records what they accepted.

A message stays in the outbox until every channel has acknowledged it. Only the process that holds the lease in the
state delivers, so two daemons do not send everything twice; one that dies between a delivery and its record causes
one repeat.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from event_pipeline.alerts.channels import Channel, names_of
from event_pipeline.alerts.state import AlertState, ChannelTrouble, Outgoing, Seen, advance
from event_pipeline.engines.document import Document
from event_pipeline.errors import DeliveryError, PipelineError, TransientError
from event_pipeline.settings import Settings

ALERTS_DOCUMENT = "alerts.json"

_ATTEMPTS = 10
"""Attempts to replace the state while other processes do the same."""
_LEASE = timedelta(minutes=5)
"""Longer than one delivery can take: its budget plus one message that times out."""
_DELIVERY_SECONDS = 30.0
"""No further message is started after this; the next evaluation continues."""
_FIRST_WAIT = timedelta(seconds=30)
_LONGEST_WAIT = timedelta(minutes=30)

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Delivered:
    """The result of one round of deliveries."""

    sent: tuple[tuple[str, str], ...] = ()
    """Channel and message id."""
    failed: tuple[tuple[str, str], ...] = ()
    """Channel and reason."""


@dataclass(frozen=True, slots=True)
class Told:
    """The state after an evaluation, and the result of the deliveries."""

    state: AlertState
    delivered: Delivered


def load_state(document: Document) -> AlertState:
    """Read the state of alerts.

    Raises:
        PipelineError: the document cannot be read.
    """
    present = document.read()
    return AlertState.from_json(present[0] if present else None)


def tell(
    document: Document,
    learn: Callable[[AlertState], AlertState],
    seen: Seen,
    settings: Settings,
    channels: Sequence[Channel],
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Told:
    """Advance the state by the evaluation, deliver what is due, and record what the channels accepted.

    `learn` stores in the state what else the evaluation learned, such as the records of hours.

    Raises:
        PipelineError: the state cannot be read or written.
    """
    names = names_of(channels)
    mine: list[Outgoing] = []

    def begin(state: AlertState) -> AlertState:
        mine.clear()
        state = advance(learn(state), seen, settings, names)
        now = clock()
        if state.delivering_until and now < state.delivering_until:
            return state
        mine.extend(each for each in state.outbox if any(_is_due(state, name, now) for name in each.pending))
        return replace(state, delivering_until=now + _LEASE if mine else None)

    state = _change(document, begin)
    if not mine:
        return Told(state, Delivered())
    troubled = {name for name in names if not _is_due(state, name, clock())}
    sent, failures = _deliver(mine, [channel for channel in channels if channel.name not in troubled])
    state = _change(document, lambda state: _record(state, sent, failures, clock()))
    return Told(state, Delivered(tuple(sent), tuple((name, str(error)) for name, error in failures.items())))


def _deliver(
    messages: Sequence[Outgoing], channels: Sequence[Channel]
) -> tuple[list[tuple[str, str]], dict[str, PipelineError]]:
    """Deliver messages in order; a channel that fails once is skipped until its next attempt."""
    sent: list[tuple[str, str]] = []
    failures: dict[str, PipelineError] = {}
    end = time.monotonic() + _DELIVERY_SECONDS
    for channel in channels:
        for each in messages:
            if channel.name in each.pending and channel.name not in failures and time.monotonic() < end:
                try:
                    channel.send(each.message)
                except PipelineError as error:
                    failures[channel.name] = error
                    _LOG.warning("alert channel %s: %s; it will be retried", channel.name, error)
                else:
                    sent.append((channel.name, each.message.message_id))
    return sent, failures


def _record(
    state: AlertState, sent: Sequence[tuple[str, str]], failures: dict[str, PipelineError], now: datetime
) -> AlertState:
    """Remove acknowledged messages from the outbox, and schedule the next attempt of failed channels."""
    outbox = [
        replace(each, pending=tuple(name for name in each.pending if (name, each.message.message_id) not in sent))
        for each in state.outbox
    ]
    trouble = {name: each for name, each in state.trouble.items() if name not in {channel for channel, _ in sent}}
    for name, error in failures.items():
        count = trouble[name].failures + 1 if name in trouble else 1
        asked = timedelta(seconds=error.retry_after_seconds if isinstance(error, DeliveryError) else 0)
        # The exponent is bounded: a channel that is down for months must not overflow the backoff.
        wait = max(min(_FIRST_WAIT * 2 ** min(count - 1, 10), _LONGEST_WAIT), asked)
        trouble[name] = ChannelTrouble(count, str(error), now + wait)
    return replace(state, outbox=tuple(each for each in outbox if each.pending), trouble=trouble, delivering_until=None)


def _is_due(state: AlertState, channel: str, now: datetime) -> bool:
    trouble = state.trouble.get(channel)
    return trouble is None or now >= trouble.next_attempt


def _change(document: Document, change: Callable[[AlertState], AlertState]) -> AlertState:
    """Replace the state by the result of a function, starting over when another process was faster.

    Raises:
        TransientError: other processes were faster every time.
    """
    for _ in range(_ATTEMPTS):
        present = document.read()
        state = change(AlertState.from_json(present[0] if present else None))
        if document.replace(state.to_json(), present[1] if present else None):
            return state
    raise TransientError(f"{document.place}: other processes replaced it {_ATTEMPTS} times meanwhile: try again")
