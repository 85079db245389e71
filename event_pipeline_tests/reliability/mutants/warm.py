"""Runs tests in forks of one process that has imported the libraries that they need, and nothing of the checkout.

Most tests that kill a mutant take a second, after three seconds of imports. The product must not be among these: the
next test is to import it with another mutant in it. So this is run by its path, and each line that it reads is one run
of pytest: its arguments, the file for its output, and the seconds that it has. It answers with pytest's exit code, or
`null` for a run that took longer and was ended with all that it started.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from contextlib import suppress
from importlib import import_module

LIBRARIES = (
    "pytest",
    "_pytest.assertion.rewrite",
    "hypothesis",
    "xdist.scheduler",
    "pyarrow.compute",
    "pyarrow.parquet",
    "pydantic",
    "duckdb",
    "boto3.session",
    "botocore.client",
    "moto.server",
    "sqlglot",
    "rich.progress",
    "typer",
    "yaml",
    "dagster",
)
"""What takes long to import; a test imports all else."""
_POLL_SECONDS = 0.02


def main() -> None:
    """Serve until the input ends."""
    for name in LIBRARIES:
        with suppress(ImportError):
            import_module(name)
    for line in sys.stdin:
        arguments, output, seconds = json.loads(line)
        sys.stdout.flush()
        child = os.fork()
        if child == 0:
            _test(arguments, output)
        print(json.dumps(_code_of(child, seconds)), flush=True)


def _test(arguments: list[str], output: str) -> None:
    """Run pytest in this process, which ends with it."""
    import pytest

    from event_pipeline_tests.forks import leave

    os.setsid()
    written = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for descriptor, stream in ((nothing, 0), (written, 1), (written, 2)):
        os.dup2(descriptor, stream)
    # pytest cannot rewrite the assertions of plugins that are imported already; these have been tested elsewhere.
    code = pytest.main(["-W", "ignore:Module already imported", *arguments])
    leave(code)


def _code_of(child: int, seconds: float) -> int | None:
    deadline, code = time.monotonic() + seconds, None
    try:
        while code is None and time.monotonic() < deadline:
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                code = os.waitstatus_to_exitcode(status)
            else:
                time.sleep(_POLL_SECONDS)
    finally:
        if code is None:
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
    return code


if __name__ == "__main__":
    main()
