"""Where messages go: the log, a webhook, an SNS topic. Each accepts a message or raises why it did not."""

from __future__ import annotations

import html
import http.client
import json
import logging
import re
import socket
import ssl
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import SplitResult, quote, unquote, urlsplit

from event_pipeline.alerts.conditions import Severity
from event_pipeline.alerts.messages import Message, as_slack, as_text
from event_pipeline.engines.open import publish_to_topic
from event_pipeline.errors import DeliveryError
from event_pipeline.rules.printable import printable
from event_pipeline.settings import Settings

_LEVELS = {Severity.CRITICAL: logging.ERROR, Severity.WARNING: logging.WARNING, Severity.INFO: logging.INFO}
_ANSWER_BYTES = 4_096
"""Bytes read of a refusal."""
_ANSWER_CHARACTERS = 200
"""Characters quoted from a refusal."""
_SHORTEST_SECRET = 6
"""A part of an address as short as `api` reveals nothing about the others, and occurs in any answer."""


class Channel(Protocol):
    """A destination for messages."""

    @property
    def name(self) -> str:
        """The channel's name in the state."""

    def send(self, message: Message) -> None:
        """Deliver a message and wait for its acknowledgement.

        Raises:
            PipelineError: it was not acknowledged.
        """


@dataclass(frozen=True, slots=True)
class LogChannel:
    """A log: the sensor tick's in Dagster, or the command line's."""

    log: logging.Logger
    name: str = "log"

    def send(self, message: Message) -> None:
        """Log the message at the level of its severity."""
        self.log.log(_LEVELS[message.severity], as_text(message))


@dataclass(frozen=True, slots=True)
class WebhookChannel:
    """An address that accepts JSON by POST, as Slack's incoming webhooks do. Redirects and proxies are not followed."""

    address: SplitResult = field(repr=False)
    timeout_seconds: float
    name: str = "webhook"

    def send(self, message: Message) -> None:
        """Post the message; any 2xx acknowledges it. The header `Idempotency-Key` is the message's id.

        Raises:
            DeliveryError: another status, no connection, or no complete answer within the timeout.
        """
        body = json.dumps(as_slack(message)).encode()
        headers = {"Content-Type": "application/json; charset=utf-8", "Idempotency-Key": message.message_id}
        target = (self.address.path or "/") + (f"?{self.address.query}" if self.address.query else "")
        connection = self._connection()
        try:
            connection.connect()
            with _ended_after(connection.sock, self.timeout_seconds):
                connection.request("POST", target, body, headers)
                # Close the response explicitly: an unread rest would keep the connection open.
                with closing(connection.getresponse()) as answer:
                    said = answer.read(_ANSWER_BYTES)
        except (OSError, http.client.HTTPException, UnicodeError) as error:
            # Exception texts may contain the address, which is a secret; the class is enough.
            raise DeliveryError(
                f"the webhook did not answer within {self.timeout_seconds:g} s ({type(error).__name__})"
            ) from None
        finally:
            connection.close()
        if not 200 <= answer.status < 300:
            # The answer may quote the requested address, which is a secret.
            text = self._without_secret(" ".join(said.decode("utf-8", "replace").split()), len(said) == _ANSWER_BYTES)
            reason = self._without_secret(answer.reason)
            raise DeliveryError(
                printable(f"the webhook answered {answer.status} {reason}" + (f": {text}" if text else "")),
                _seconds(answer.getheader("Retry-After")),
            )

    def _without_secret(self, text: str, cut: bool = False) -> str:
        """Return the receiver's text without any part of the address but its host; `cut` says that it is truncated."""
        secrets = _secrets(self.address)
        if cut and secrets:
            # The end of the text may be the beginning of a secret.
            text = text[: -max(map(len, secrets))]
        for secret in secrets:
            text = re.sub(re.escape(secret), "***", text, flags=re.IGNORECASE)
        return text[:_ANSWER_CHARACTERS]

    def _connection(self) -> http.client.HTTPConnection:
        host = self.address.hostname or ""
        if self.address.scheme == "http":
            return http.client.HTTPConnection(host, self.address.port, timeout=self.timeout_seconds)
        context = ssl.create_default_context()
        return http.client.HTTPSConnection(host, self.address.port, timeout=self.timeout_seconds, context=context)


@dataclass(frozen=True, slots=True)
class TopicChannel:
    """An SNS topic, whose subscribers get plain text."""

    settings: Settings
    name: str = "sns"

    def send(self, message: Message) -> None:
        """Publish the message."""
        subject = f"[{message.event}] {message.title}"
        publish_to_topic(self.settings, subject, as_text(message), message.message_id)


def _secrets(address: SplitResult) -> list[str]:
    """Return the secret parts of a webhook's address, in every encoding in which they may be quoted."""
    parts = [
        f"{address.path}?{address.query}",
        address.path,
        address.query,
        address.fragment,
        address.username or "",
        address.password or "",
    ]
    parts += address.path.split("/") + [value for pair in address.query.split("&") for value in pair.split("=")]
    written = {form for part in parts for form in (part, unquote(part), quote(part, safe=""), html.escape(part))}
    written |= {json.dumps(each)[1:-1] for each in written} | {each.replace("/", "\\/") for each in written}
    # Longest first: they contain the short ones.
    return sorted((each for each in written if len(each) >= _SHORTEST_SECRET), key=len, reverse=True)


def channels_of(settings: Settings, log: logging.Logger) -> list[Channel]:
    """Return the configured channels; the log is always one of them."""
    channels: list[Channel] = [LogChannel(log)]
    if address := settings.alert_webhook_url.get_secret_value():
        channels.append(WebhookChannel(urlsplit(address), settings.alert_webhook_timeout_seconds))
    if settings.alert_topic_arn:
        channels.append(TopicChannel(settings))
    return channels


def names_of(channels: Sequence[Channel]) -> list[str]:
    """Return the names of channels."""
    return [channel.name for channel in channels]


@contextmanager
def _ended_after(connection: socket.socket, seconds: float) -> Iterator[None]:
    """Close a connection after a total time: a socket's own timeout restarts with every received byte."""

    def cut() -> None:
        # It may already be closed.
        with suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(seconds, cut)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _seconds(header: str | None) -> float:
    """Parse a Retry-After in seconds; a date or anything else is ignored."""
    return min(float(header), 3_600.0) if header and header.isascii() and header.isdigit() else 0.0
