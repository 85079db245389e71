"""Lambda functions that really run: the handler of the deployed code, in a process of its own."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from moto.awslambda.models import lambda_backends
from moto.core import DEFAULT_ACCOUNT_ID

from event_pipeline_tests.emulator import loopback
from event_pipeline_tests.emulator.glue_jobs import outside_environment
from event_pipeline_tests.emulator.wire import Answer, Call

_RUNTIME = """
import importlib, importlib.util, json, sys, time

loopback, handler, event, result, seconds = sys.argv[1:]
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
answer = getattr(importlib.import_module(module), name)(request, Context())
with open(result, "w") as file:
    json.dump(answer, file)
"""


class Functions:
    """The functions of one account, run in the environment that points to it."""

    def __init__(self, region: str, environment: dict[str, str]) -> None:
        self._region = region
        self._environment = environment

    def invoke(self, call: Call) -> Answer:
        """Run a function's handler to its end and answer with what it returns or raises."""
        name = call.path.split("/functions/")[1].split("/")[0].rpartition(":")[2]
        function: Any = lambda_backends[DEFAULT_ACCOUNT_ID][self._region].get_function(name)
        with tempfile.TemporaryDirectory(prefix="emulated-function-") as folder:
            return self._run(function, call.body or b"{}", Path(folder))

    def _run(self, function: Any, event: bytes, folder: Path) -> Answer:
        code, result = folder / "code", folder / "result"
        with zipfile.ZipFile(io.BytesIO(function.code_bytes)) as archive:
            archive.extractall(code)
        (folder / "event").write_bytes(event)
        arguments = [loopback.__file__, function.handler, str(folder / "event"), str(result), str(function.timeout)]
        environment = {
            **outside_environment(),
            **self._environment,
            **function.environment_vars,
            "PYTHONPATH": str(code),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        try:
            ended = subprocess.run(
                [sys.executable, "-c", _RUNTIME, *arguments],
                cwd=code,
                env=environment,
                capture_output=True,
                text=True,
                timeout=int(function.timeout),
                check=False,
            )
        except subprocess.TimeoutExpired:
            return _failed("Sandbox.Timedout", f"Task timed out after {function.timeout}.00 seconds")
        if ended.returncode:
            return _failed("Unhandled", ended.stderr.strip().splitlines()[-1])
        return Answer(200, (("Content-Type", "application/json"),), result.read_bytes())


def _failed(kind: str, message: str) -> Answer:
    body = json.dumps({"errorType": kind, "errorMessage": message}).encode()
    return Answer(200, (("Content-Type", "application/json"), ("X-Amz-Function-Error", "Unhandled")), body)
