"""Lambda functions that really run: the handler of the deployed code, in a process of its own.

The process has what Lambda's Python runtime has: the standard library and boto3, and no more memory than the function
("Configure Lambda function memory" in the developer guide; over it Lambda kills the runtime). Here the limit is that of
writable memory (RLIMIT_DATA): a little stricter, as it counts what is reserved and not only what is used.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tempfile
import zipfile
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from moto.awslambda.models import lambda_backends
from moto.core.models import DEFAULT_ACCOUNT_ID

from event_pipeline_tests.emulator import loopback
from event_pipeline_tests.emulator.glue_jobs import outside_environment
from event_pipeline_tests.emulator.inside import Inside, as_far_as_permitted
from event_pipeline_tests.emulator.permissions import Session, service_key
from event_pipeline_tests.emulator.wire import Answer, AwsError, Call

RUNTIME_PACKAGES = ("boto3", "botocore", "dateutil", "jmespath", "s3transfer", "six", "urllib3")
"""Modules that Lambda's Python runtime has beside the standard library: boto3 and what it needs."""
_KILLED = 137

_RUNTIME = """
import importlib, importlib.util, json, os, resource, sys, time

loopback, handler, event, result, seconds, megabytes = sys.argv[1:]
resource.setrlimit(resource.RLIMIT_DATA, (int(megabytes) << 20,) * 2)
spec = importlib.util.spec_from_file_location("loopback", loopback)
guard = importlib.util.module_from_spec(spec)
spec.loader.exec_module(guard)
guard.install(lambda host: None)

end = time.monotonic() + float(seconds)


class Context:
    aws_request_id = "emulated"
    function_name = "emulated"

    def get_remaining_time_in_millis(self):
        return int((end - time.monotonic()) * 1000)


module, _, name = handler.rpartition(".")
with open(event) as file:
    request = json.load(file)
try:
    answer = getattr(importlib.import_module(module), name)(request, Context())
except MemoryError:
    os._exit(137)
with open(result, "w") as file:
    json.dump(answer, file)
"""


class Functions:
    """The functions of one account, run in the environment that points to it."""

    def __init__(self, region: str, environment: dict[str, str], inside: Inside) -> None:
        self._region = region
        self._environment = environment
        self._inside = inside
        self._log_groups: dict[str, str] = {}

    def note_settings(self, call: Call) -> None:
        """Remember where a function logs, which moto forgets."""
        group = call.parameters.get("LoggingConfig", {}).get("LogGroup")
        if group:
            self._log_groups[call.parameters["FunctionName"]] = group

    def invoke(self, call: Call) -> Answer:
        """Run a function's handler to its end and answer with what it returns or raises."""
        name = call.path.split("/functions/")[1].split("/")[0].rpartition(":")[2]
        function: Any = lambda_backends[DEFAULT_ACCOUNT_ID][self._region].get_function(name)
        with tempfile.TemporaryDirectory(prefix="emulated-function-") as folder:
            return self._run(function, call.body or b"{}", Path(folder))

    def _run(self, function: Any, event: bytes, folder: Path) -> Answer:
        key = service_key()
        try:
            session = self._inside.judge.hand_out(function.role, "lambda.amazonaws.com", function.function_name, key)
        except AwsError as error:
            raise AwsError(
                "AccessDeniedException", f"The role defined for the function cannot be assumed by Lambda: {error}", 403
            ) from error
        code, result = folder / "code", folder / "result"
        with zipfile.ZipFile(io.BytesIO(function.code_bytes)) as archive:
            archive.extractall(code)
        (folder / "event").write_bytes(event)
        arguments = [loopback.__file__, function.handler, str(folder / "event"), str(result)]
        arguments += [str(function.timeout), str(function.memory_size)]
        environment = {
            **outside_environment(),
            **self._environment,
            **function.environment_vars,
            **({"AWS_ACCESS_KEY_ID": key} if session else {}),
            "PYTHONPATH": os.pathsep.join((str(code), str(_runtime_packages(folder / "runtime")))),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        try:
            ended = subprocess.run(
                # -S: without the packages that are installed here.
                [sys.executable, "-S", "-c", _RUNTIME, *arguments],
                cwd=code,
                env=environment,
                capture_output=True,
                text=True,
                timeout=int(function.timeout),
                check=False,
            )
        except subprocess.TimeoutExpired:
            return _failed("Sandbox.Timedout", f"Task timed out after {function.timeout}.00 seconds")
        if session:
            self._log(session, self._log_groups.get(function.function_name), ended.stdout.splitlines() or ["START"])
        if ended.returncode == _KILLED:
            return _failed("Runtime.OutOfMemory", "Error: Runtime exited with error: signal: killed")
        if ended.returncode:
            return _failed("Unhandled", ended.stderr.strip().splitlines()[-1])
        return Answer(200, (("Content-Type", "application/json"),), result.read_bytes())

    def _log(self, session: Session, group: str | None, lines: list[str]) -> None:
        """Write what a function printed; without the permission Lambda drops it, and the judge has noted it."""
        group, stream = group or f"/aws/lambda/{session.name}", f"emulated-{service_key()}"
        now = int(datetime.now(UTC).timestamp() * 1000)
        with self._inside.acting_for(session), as_far_as_permitted():
            self._inside.logs.create_log_stream(logGroupName=group, logStreamName=stream)
            self._inside.logs.put_log_events(
                logGroupName=group,
                logStreamName=stream,
                logEvents=[{"timestamp": now, "message": line} for line in lines],
            )


def _runtime_packages(folder: Path) -> Path:
    """Make a folder that holds the runtime's packages and no others."""
    folder.mkdir()
    for name in RUNTIME_PACKAGES:
        found = find_spec(name)
        assert found
        assert found.origin
        source = Path(found.origin)
        package = source.parent if found.submodule_search_locations else source
        (folder / package.name).symlink_to(package)
    return folder


def _failed(kind: str, message: str) -> Answer:
    body = json.dumps({"errorType": kind, "errorMessage": message}).encode()
    return Answer(200, (("Content-Type", "application/json"), ("X-Amz-Function-Error", "Unhandled")), body)
