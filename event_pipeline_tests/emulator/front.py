"""The endpoint that clients see: checks who calls, strikes planned faults, logs, and hands on to whoever answers.

Behind it are the operations that this package implements (`own`), and moto for all others.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from xml.sax.saxutils import escape

from event_pipeline_tests.emulator import wire
from event_pipeline_tests.emulator.faults import Caller, Fault, Faults, Held, Request, RequestLog, wording
from event_pipeline_tests.emulator.java_patterns import UntranslatablePatternError
from event_pipeline_tests.emulator.permissions import Judge, Session, refusal
from event_pipeline_tests.emulator.policies import Need, Said
from event_pipeline_tests.emulator.request_parameters import operation_model, read_parameters
from event_pipeline_tests.emulator.request_validation import validate
from event_pipeline_tests.emulator.wire import Answer, AwsError, Call

Wsgi = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]
Operation = Callable[[Call], Any]

CLIENT_KEY = "AKIAEMULATEDCLIENT00"
"""The access key of the account's administrator, whom nobody judges; a request signed with a real one is refused."""
ADMINISTRATOR = "arn:aws:iam::123456789012:user/administrator"
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
        judge: Judge,
    ) -> None:
        self._moto = moto
        self._region = region
        self._own = own
        self._checks = checks
        self._job_of_key = job_of_key
        self._kill_job = kill_job
        self._page_size = page_size
        self._role_keys = set[bytes]()
        self._judge = judge
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
        session = self._check_caller(call, run_id, environ)
        self._strike(call, run_id, struck, after_effect=False)
        validate(call, environ)
        if refused := self._judged(call, session, environ):
            return refused
        if check := self._checks.get(call.name):
            check(call)
        if operation := self._own.get(call.name):
            result = operation(call) if call.region == self._region else _elsewhere(call)
            answer = result if isinstance(result, Answer) else wire.json_answer(result)
        else:
            answer = self._ask_moto(call, environ)
        if session and answer.status == 404 and call.name in ("s3.GetObject", "s3.HeadObject"):
            self._check_may_know(call, session)
        if call.name == "sts.AssumeRole":
            self._role_keys.update(_ACCESS_KEY.findall(answer.body))
        self._strike(call, run_id, struck, after_effect=True)
        return answer

    def _check_caller(self, call: Call, run_id: str | None, environ: dict[str, Any]) -> Session | None:
        """Return the session of a role whose permissions count, or None where everything is permitted."""
        if session := self._judge.session(call.access_key):
            if session.token and environ.get("HTTP_X_AMZ_SECURITY_TOKEN") != session.token:
                code = "InvalidToken" if call.service == "s3" else "InvalidClientTokenId"
                raise AwsError(code, "The security token included in the request is invalid", 403)
            return session
        if call.access_key == CLIENT_KEY or call.access_key.encode() in self._role_keys or run_id:
            return None
        if not call.access_key:
            raise AwsError("AccessDenied", "Anonymous access is forbidden for this operation", 403)
        code = "InvalidAccessKeyId" if call.service == "s3" else "UnrecognizedClientException"
        raise AwsError(code, "The security token included in the request is invalid.", 403)

    def _judged(self, call: Call, session: Session | None, environ: dict[str, Any]) -> Answer | None:
        """Judge a call by its caller's role; what S3 refuses inside its answer is returned.

        Raises:
            AwsError: the role lacks a permission.
        """
        taking = call.name == "sts.AssumeRole"
        model = operation_model(call.service, call.operation)
        if model is None or not (session or taking):
            return None
        found = read_parameters(model, call, environ)
        parameters = found.as_json | found.as_text
        if taking:
            self._judge.check_trust(session.arn if session else ADMINISTRATOR, parameters["RoleArn"])
        if session is None:
            return None
        if call.name != "s3.DeleteObjects":
            self._judge.check(session, call.service, call.operation, parameters)
            return None
        denied = ""
        for each in parameters["Delete"]["Objects"]:
            try:
                self._judge.check(session, "s3", "DeleteObject", {"Bucket": parameters["Bucket"], **each})
            except AwsError as error:
                inner = f"<Key>{escape(each['Key'])}</Key><Code>{error.code}</Code>"
                denied += f"<Error>{inner}<Message>{escape(error.message)}</Message></Error>"
        # AWS deletes the others of the call; the keys of one call share their fate in the pipeline's policies.
        return (
            Answer(200, (("Content-Type", "text/xml"),), f"<DeleteResult>{denied}</DeleteResult>".encode())
            if (denied)
            else None
        )

    def _check_may_know(self, call: Call, session: Session) -> None:
        """Tell that an object is missing only to who may list the bucket; to others it is forbidden, as in S3.

        https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html
        """
        bucket = call.path.lstrip("/").split("/")[0]
        need = Need("s3:ListBucket", f"arn:aws:s3:::{bucket}")
        if not self._judge.allows(session, need):
            raise refusal(session.arn, need, Said.NOTHING)

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
