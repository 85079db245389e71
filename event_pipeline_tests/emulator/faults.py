"""Deliberate faults, and the log of every request: faults are planned per operation and strike N times."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from event_pipeline_tests.emulator.wire import AwsError, Call

Caller = Literal["client", "job"]
WAIT_SECONDS = 180
"""How long a held request waits to be released before the test is taken for broken."""


class Fault(StrEnum):
    """What a service answers when it fails, in each service's own words."""

    THROTTLED = "throttled"
    SERVER_ERROR = "server error"
    ACCESS_DENIED = "access denied"
    EXPIRED_CREDENTIALS = "expired credentials"
    NO_ANSWER = "no answer"
    """The connection closes without an answer, as when a load balancer gives up."""
    KILL_JOB = "kill job"
    """The Glue job run that sent the request is killed (SIGKILL to all its processes) and gets no answer."""


@dataclass
class PlannedFault:
    """One fault that waits for its request."""

    operation: str
    answer: Fault | AwsError | Held
    times: int | None
    """How many requests it still strikes; None for all."""
    after_effect: bool
    containing: str
    caller: Caller | None
    struck: int = 0
    """How many requests it has struck."""


@dataclass
class Held:
    """A request that waits half way, or a Glue run that stays STARTING, until the test lets it go on."""

    reached: threading.Event = field(default_factory=threading.Event)
    _released: threading.Event = field(default_factory=threading.Event)

    def wait_until_reached(self) -> None:
        """Wait for the request or the run to come.

        Raises:
            TimeoutError: it did not come for three minutes.
        """
        if not self.reached.wait(WAIT_SECONDS):
            raise TimeoutError(f"what was to be held did not come for {WAIT_SECONDS} s")

    def release(self) -> None:
        """Let it go on."""
        self._released.set()

    @property
    def released(self) -> bool:
        """Whether it may go on."""
        return self._released.is_set()

    def hold(self) -> None:
        """Block the request's own thread.

        Raises:
            TimeoutError: nobody released it for three minutes.
        """
        self.reached.set()
        if not self._released.wait(WAIT_SECONDS):
            raise TimeoutError(f"a held request was not released for {WAIT_SECONDS} s")


class Faults:
    """The planned faults of one emulator. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._planned: list[PlannedFault] = []

    def plan(self, fault: PlannedFault) -> PlannedFault:
        """Add one fault behind those already planned."""
        service, _, operation = fault.operation.partition(".")
        if not service or not operation:
            raise ValueError(f"operation {fault.operation!r}: write <service>.<Operation>, for example s3.PutObject")
        with self._lock:
            self._planned.append(fault)
        return fault

    def clear(self) -> None:
        """Forget all faults that have not struck yet; held requests go on."""
        with self._lock:
            planned, self._planned = self._planned, []
        for fault in planned:
            if isinstance(fault.answer, Held):
                fault.answer.release()

    def strike(self, call: Call, caller: Caller, *, after_effect: bool) -> Fault | AwsError | Held | None:
        """Take the first planned fault that fits a request at this moment of it."""
        with self._lock:
            for fault in self._planned:
                if (
                    fault.operation == call.name
                    and fault.after_effect == after_effect
                    and fault.caller in (None, caller)
                    and call.mentions(fault.containing)
                ):
                    fault.struck += 1
                    if fault.times is not None:
                        fault.times -= 1
                        if not fault.times:
                            self._planned.remove(fault)
                    return fault.answer
        return None


_THROTTLED = {
    "s3": AwsError("SlowDown", "Please reduce your request rate.", 503),
    "athena.StartQueryExecution": AwsError(
        "TooManyRequestsException", "You have exceeded the limit for the number of queries you can run concurrently."
    ),
    "query": AwsError("Throttling", "Rate exceeded"),
    "json": AwsError("ThrottlingException", "Rate exceeded"),
}
_SERVER_ERRORS = {
    "s3": AwsError("InternalError", "We encountered an internal error. Please try again.", 500),
    "athena": AwsError("InternalServerException", "Internal server error", 500),
    "glue": AwsError("InternalServiceException", "An internal service error occurred.", 500),
    "query": AwsError("InternalFailure", "An internal error occurred.", 500),
    "json": AwsError("InternalServerError", "An internal error occurred.", 500),
}
_EXPIRED = {
    "s3": AwsError("ExpiredToken", "The provided token has expired.", 400),
    "query": AwsError("ExpiredToken", "The security token included in the request is expired", 403),
    "json": AwsError("ExpiredTokenException", "The security token included in the request is expired"),
}


def wording(fault: Fault, call: Call) -> AwsError:
    """Return how the call's service words a fault."""
    if fault is Fault.ACCESS_DENIED:
        message = f"User: emulated is not authorized to perform: {call.service}:{call.operation} on {call.path}"
        code = "AccessDeniedException" if call.protocol == "json" else "AccessDenied"
        return AwsError(code, message, 400 if call.protocol == "json" else 403)
    wordings = {Fault.THROTTLED: _THROTTLED, Fault.SERVER_ERROR: _SERVER_ERRORS, Fault.EXPIRED_CREDENTIALS: _EXPIRED}
    known = wordings[fault]
    return next(known[key] for key in (call.name, call.service, call.protocol) if key in known)


@dataclass(frozen=True, slots=True)
class Request:
    """One request that reached the endpoint."""

    name: str
    """For example `s3.PutObject`."""
    caller: str
    """`client`, or the id of the Glue job run that sent it."""
    resource: str
    """`/<bucket>/<key>` for S3, the JSON or form body otherwise."""
    status: int
    """0 when the connection was closed without an answer."""
    fault: str | None
    """What struck it on purpose."""


class RequestLog:
    """Every request in the order in which it was answered. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: list[Request] = []

    def add(self, request: Request) -> None:
        """Note one answered request."""
        with self._lock:
            self._requests.append(request)

    def all(self) -> list[Request]:
        """Return the requests so far."""
        with self._lock:
            return list(self._requests)

    def of(self, name: str, containing: str = "") -> list[Request]:
        """Return the requests of one operation whose resource holds a text."""
        return [request for request in self.all() if request.name == name and containing in request.resource]

    def counts(self) -> dict[str, int]:
        """Return how often each operation was asked for, by name."""
        counted: dict[str, int] = {}
        for request in self.all():
            counted[request.name] = counted.get(request.name, 0) + 1
        return dict(sorted(counted.items()))

    def clear(self) -> None:
        """Forget the requests so far."""
        with self._lock:
            self._requests.clear()
