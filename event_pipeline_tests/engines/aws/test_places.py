"""What commands say about places on AWS: buckets, URLs and the workgroup, never folders that do not exist."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from event_pipeline.engines.aws import AwsEngine
from event_pipeline.rules.hour import Hour
from event_pipeline.settings import Settings
from event_pipeline_tests.command import run_command
from event_pipeline_tests.emulator import EmulatedAws
from event_pipeline_tests.engines.aws.pipeline import land, silver
from event_pipeline_tests.pipeline import event

pytestmark = pytest.mark.long


def test_every_command_names_what_exists_on_aws(
    aws: EmulatedAws,
    engine: AwsEngine,
    settings: Settings,
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    for name, value in aws.settings_environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("EVENT_PIPELINE_ROOT", str(root))
    hour = Hour.containing(datetime.now(UTC) - timedelta(hours=3))
    monkeypatch.setenv("EVENT_PIPELINE_FIRST_PARTITION", str(hour))
    land(aws, settings, hour, 0, [event(hour), b"{"])
    silver(engine, hour)
    whole = ("--from", str(hour), "--to", str(hour.plus(1)))

    said = {}
    for arguments in (
        ("run",),
        ("status",),
        ("verify",),
        ("quarantine", "list", *whole),
        ("quarantine", "show", "--hour", str(hour)),
        ("quarantine", "replay", *whole, "--plan"),
        ("backfill", *whole, "--plan"),
        ("alerts",),
        ("housekeeping",),
        ("repair",),
        ("doctor",),
        ("generate", "--if-empty", "--start", str(hour)),
        ("generate", "--start", str(hour), "--files-per-hour", "1", "--events-per-file", "2"),
    ):
        ended = run_command(arguments, capfdbinary)
        said[arguments[0]] = ended.out + ended.err
        assert ended.code in (0, 1), (arguments, said[arguments[0]])
        told = said[arguments[0]].replace(str(root / "dagster"), "")
        if arguments[:2] != ("generate", "--start"):
            assert str(root) not in told, arguments
            assert "data folder" not in told, arguments
    raw, lake, artifacts = settings.raw_bucket, settings.lake_bucket, settings.artifacts_bucket
    for place in (f"s3://{raw}/events/", f"s3://{lake}/", f"s3://{artifacts}/", settings.athena_workgroup):
        assert place in said["run"]
    assert f"aws s3 sync {root / 'raw'} s3://{raw}/" in said["generate"]
