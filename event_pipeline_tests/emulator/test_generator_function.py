"""The generator's Lambda function against S3: the code as it is shipped, one object a tick."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from event_pipeline.generator import lambda_handler
from event_pipeline.generator.lambda_handler import UnknownTickError, handler, tick_of
from event_pipeline.infrastructure.packaging import GENERATOR
from event_pipeline.rules.hour import Hour
from event_pipeline_tests.emulator import EmulatedAws
from event_pipeline_tests.emulator.conftest import BUCKET, Account

TICK = {"scheduled_time": "2025-12-07T22:05:00Z"}
KEY = "events/year=2025/month=12/day=07/hour=22/minute=05/events-20251207-220500.jsonl.gz"


@pytest.fixture
def function(aws: EmulatedAws, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of the function, in the emulated account."""
    for name, value in {
        **aws.environment(),
        "RAW_BUCKET": BUCKET,
        "RAW_PREFIX": "",
        "EVENTS_PER_FILE": "20",
        "SEED": "7",
    }.items():
        monkeypatch.setenv(name, value)


def events(account: Account, key: str) -> list[dict[str, Any]]:
    """Return the records of an object."""
    body = account.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()
    return [json.loads(line) for line in gzip.decompress(body).splitlines()]


@pytest.mark.usefixtures("function")
def test_a_tick_leaves_one_object_and_its_repetition_changes_nothing(account: Account) -> None:
    first = handler(TICK, None)
    assert first == {"key": KEY, "records": 20, "bytes": first["bytes"], "was_there": False}
    stored = account.s3.get_object(Bucket=BUCKET, Key=KEY)
    assert (stored["ContentLength"], stored["ContentEncoding"]) == (first["bytes"], "gzip")
    instants = [each["timestamp"] for each in events(account, KEY)]
    assert len(instants) == 20
    assert "2025-12-07T22:00:00" <= instants[0] <= instants[-1] < "2025-12-07T22:05:00"
    assert handler({"scheduled_time": "2025-12-07T22:05:01Z"}, None) == {**first, "was_there": True}
    assert account.s3.get_object(Bucket=BUCKET, Key=KEY)["LastModified"] == stored["LastModified"]
    assert account.keys("events/") == [KEY]


@pytest.mark.usefixtures("function")
def test_a_tick_is_written_below_the_prefix(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAW_PREFIX", "capstone/raw/")
    assert handler(TICK, None)["key"] == f"capstone/raw/{KEY}"
    assert account.keys("capstone/") == [f"capstone/raw/{KEY}"]


@pytest.mark.usefixtures("function")
def test_a_refused_put_fails_the_invocation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAW_BUCKET", "nobodys-bucket")
    with pytest.raises(ClientError, match="NoSuchBucket"):
        handler(TICK, None)


@pytest.mark.parametrize("event", [{}, {"scheduled_time": "noon"}, {"scheduled_time": "2025-12-07T22:05:00"}])
def test_an_event_without_a_tick_is_an_error_that_says_what_is_missing(event: dict[str, Any]) -> None:
    with pytest.raises(UnknownTickError, match=r"scheduled_time=.* it must be an instant such as"):
        tick_of(event)


@pytest.mark.parametrize(
    ("scheduled", "tick"),
    [
        ("2025-12-07T22:59:59.9Z", "22:55"),
        ("2025-12-07T23:00:00+00:00", "23:00"),
        ("2025-12-08T00:04:59+01:00", "23:00"),
    ],
)
def test_a_tick_is_cut_to_five_minutes(scheduled: str, tick: str) -> None:
    assert f"{tick_of({'scheduled_time': scheduled}):%Y-%m-%dT%H:%M}" == f"2025-12-07T{tick}"


@pytest.mark.usefixtures("function")
def test_the_shipped_code_runs_without_the_rest_of_the_package(account: Account, tmp_path: Path) -> None:
    package = Path(lambda_handler.__file__).parents[1]
    with zipfile.ZipFile(tmp_path / "code.zip", "w") as archive:
        for pattern in GENERATOR:
            for path in package.glob(pattern):
                archive.write(path, path.relative_to(package.parent))
    program = (
        "import json, sys; sys.path.insert(0, 'code.zip')\n"
        "for name in ('pyarrow', 'pydantic', 'dagster', 'duckdb', 'isal'): sys.modules[name] = None\n"
        "from event_pipeline.generator.lambda_handler import handler\n"
        "import event_pipeline; assert 'code.zip' in event_pipeline.__file__\n"
        "print(json.dumps(handler({'scheduled_time': '2025-12-07T23:10:00Z'}, None)))\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    key = json.loads(done.stdout.splitlines()[-1])["key"]
    assert Hour.of_raw_key(key) == Hour.containing(datetime(2025, 12, 7, 23, tzinfo=UTC))
    assert len(events(account, key)) == 20


def test_a_full_object_fits_the_memory_and_time_of_the_function(aws: EmulatedAws, account: Account) -> None:
    """750,000 events, measured from outside: peak memory below half of the 512 MB, CPU for 0.29 of one in 120 s."""
    program = (
        "import resource\n"
        "from event_pipeline.generator.lambda_handler import handler\n"
        "handler({'scheduled_time': '2025-12-07T23:15:00Z'}, None)\n"
        "used = resource.getrusage(resource.RUSAGE_SELF)\n"
        # Not ru_maxrss, which begins at what the parent process had.
        "status = open('/proc/self/status').read().split()\n"
        "print(int(status[status.index('VmHWM:') + 1]) / 1024, used.ru_utime + used.ru_stime)\n"
    )
    environment = {
        **os.environ,
        **aws.environment(),
        "RAW_BUCKET": BUCKET,
        "RAW_PREFIX": "",
        "EVENTS_PER_FILE": "750000",
        "SEED": "7",
    }
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    megabytes, cpu_seconds = map(float, done.stdout.splitlines()[-1].split())
    assert megabytes < 256
    assert cpu_seconds < 120 * 0.29 / 2
    key = "events/year=2025/month=12/day=07/hour=23/minute=15/events-20251207-231500.jsonl.gz"
    assert account.s3.head_object(Bucket=BUCKET, Key=key)["ContentLength"] > 10_000_000
    print(f"{megabytes:.0f} MB, {cpu_seconds:.1f} s")
