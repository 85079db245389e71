"""The endpoint that clients see: checks who calls, strikes planned faults, logs, and hands on to whoever answers.

Behind it stand the operations this package makes real (`own`) and moto for all others.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from event_pipeline_tests.emulator import wire
from event_pipeline_tests.emulator.faults import Caller, Fault, Faults, Held, Request, RequestLog, wording
from event_pipeline_tests.emulator.java_patterns import UntranslatablePatternError
from event_pipeline_tests.emulator.request_validation import validate
from event_pipeline_tests.emulator.wire import Answer, AwsError, Call

Wsgi = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]
Operation = Callable[[Call], Any]

CLIENT_KEY = "AKIAEMULATEDCLIENT00"
"""The one access key that clients may use: a request signed with a real one is refused."""
_LOGGED_BODY = 4000
_ACCESS_KEY = re.compile(rb"<AccessKeyId>([A-Z0-9]+)</AccessKeyId>")


class _NoAnswer(Exception):
    """The connection is to be closed without an answer."""


class Front:
    """A WSGI application over moto's, with operations of its own before it."""

    def __init__(
        self,
        moto: Wsgi,
        region: str,
        own: Mapping[str, Operation],
        checks: Mapping[str, Callable[[Call], None]],
        job_of_key: Callable[[str], str | None],
        kill_job: Callable[[str], None],
        page_size: int,
    ) -> None:
        self._moto = moto
        self._region = region
        self._own = own
        self._checks = checks
        self._job_of_key = job_of_key
        self._kill_job = kill_job
        self._page_size = page_size
        self._role_keys = set[bytes]()
        self.faults = Faults()
        self.log = RequestLog()
        self.unchecked: list[str] = []
        """Requests that could not be held to their model, and why."""

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer one HTTP request."""
        call = wire.identify(environ)
        run_id = self._job_of_key(call.access_key)
        struck: list[str] = []
        try:
            answer = self._answer(call, run_id, environ, struck)
        except AwsError as error:
            wire.drain(environ)
            answer = wire.error_answer(call, error)
        except UntranslatablePatternError as error:
            self.unchecked.append(f"{call.name}: {error}")
            wire.drain(environ)
            answer = wire.error_answer(call, AwsError("EmulatorError", str(error), 501))
        except _NoAnswer:
            wire.drain(environ)
            self._note(call, run_id, 0, struck)
            return _hang_up(environ, start_response)
        self._note(call, run_id, answer.status, struck)
        start_response(f"{answer.status} -", list(answer.headers))
        return [answer.body]

    def _answer(self, call: Call, run_id: str | None, environ: dict[str, Any], struck: list[str]) -> Answer:
        self._check_caller(call, run_id)
        self._strike(call, run_id, struck, after_effect=False)
        validate(call, environ)
        if check := self._checks.get(call.name):
            check(call)
        if operation := self._own.get(call.name):
            result = operation(call) if call.region == self._region else _elsewhere(call)
            answer = result if isinstance(result, Answer) else wire.json_answer(result)
        else:
            answer = self._ask_moto(call, environ)
        if call.name == "sts.AssumeRole":
            self._role_keys.update(_ACCESS_KEY.findall(answer.body))
        self._strike(call, run_id, struck, after_effect=True)
        return answer

    def _check_caller(self, call: Call, run_id: str | None) -> None:
        if call.access_key == CLIENT_KEY or call.access_key.encode() in self._role_keys or run_id:
            return
        if not call.access_key:
            raise AwsError("AccessDenied", "Anonymous access is forbidden for this operation", 403)
        code = "InvalidAccessKeyId" if call.service == "s3" else "UnrecognizedClientException"
        raise AwsError(code, "The security token included in the request is invalid.", 403)

    def _strike(self, call: Call, run_id: str | None, struck: list[str], *, after_effect: bool) -> None:
        caller: Caller = "job" if run_id else "client"
        fault = self.faults.strike(call, caller, after_effect=after_effect)
        if fault is None:
            return
        if isinstance(fault, Held):
            fault.hold()
            return
        struck.append(fault.code if isinstance(fault, AwsError) else fault.value)
        if isinstance(fault, AwsError):
            raise fault
        if fault is Fault.KILL_JOB:
            if not run_id:
                raise AwsError("EmulatorError", f"{call.name} was not sent by a job run: nothing to kill", 400)
            self._kill_job(run_id)
        if fault in (Fault.KILL_JOB, Fault.NO_ANSWER):
            raise _NoAnswer
        raise wording(fault, call)

    def _ask_moto(self, call: Call, environ: dict[str, Any]) -> Answer:
        if call.name == "s3.ListObjectsV2":
            # S3 may give fewer keys than asked for; of a repeated parameter moto takes the first.
            environ["QUERY_STRING"] = f"max-keys={self._page_size}&{environ['QUERY_STRING']}"
        started: list[Any] = []

        def start_response(status: str, headers: list[tuple[str, str]], *_: Any) -> Callable[[bytes], None]:
            started.extend((status, headers))
            return lambda data: None

        chunks = self._moto(environ, start_response)
        try:
            body = b"".join(chunks)
        finally:
            close = getattr(chunks, "close", None)
            if close:
                close()
        status, headers = started
        return Answer(int(status.split()[0]), tuple(headers), body)

    def _note(self, call: Call, run_id: str | None, status: int, struck: list[str]) -> None:
        resource = call.body[:_LOGGED_BODY].decode("utf-8", "replace") if call.body else call.path
        self.log.add(Request(call.name, run_id or "client", resource, status, struck[0] if struck else None))


def _elsewhere(call: Call) -> Any:
    message = f"{call.region} holds nothing: this emulator's jobs, queries and catalog are in another region"
    raise AwsError("InvalidRequestException" if call.service == "athena" else "EntityNotFoundException", message)


def _hang_up(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    connection: socket.socket = environ["werkzeug.socket"]
    connection.shutdown(socket.SHUT_RDWR)
    start_response("500 -", [])
    return []
