"""Raw objects below a key prefix: read there by both engines and the job, and reported where they are elsewhere."""

from __future__ import annotations

import json
import logging
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest

from event_pipeline.engines.aws import AwsEngine
from event_pipeline.engines.aws.notices import NoticeQueue
from event_pipeline.engines.base import Engine
from event_pipeline.engines.local import LocalEngine
from event_pipeline.inspection.verification import verify
from event_pipeline.rules.query import load_gold_tables
from event_pipeline.settings import Settings, load_settings
from event_pipeline_tests.emulator import EmulatedAws
from event_pipeline_tests.engines.aws.pipeline import silver
from event_pipeline_tests.pipeline import HOUR, event, rows, write_object

pytestmark = pytest.mark.long

PREFIX = "capstone/raw/"
ELSEWHERE = f"not under {PREFIX} (EVENT_PIPELINE_RAW_PREFIX)"


def assert_read_there_only(engine: Engine, settings: Settings, key: str, stray: str) -> None:
    """Build what is below the prefix; keys are without it, and what is elsewhere is named."""
    assert [each.key for each in engine.list_raw(HOUR).objects] == [key]
    assert {hour: len(each.objects) for hour, each in engine.list_raw_hours().items()} == {HOUR: 1}
    assert [str(each) for each in engine.unmatched_raw_keys()] == [f"{stray} ({ELSEWHERE})"]
    silver(engine, HOUR)
    assert rows(engine, "SELECT DISTINCT source_object, user_id FROM silver.events") == [
        {"source_object": key, "user_id": "u_1"}
    ]
    tables = load_gold_tables()[:1]
    engine.refresh_gold(tables[0], [HOUR], progress=lambda _: None)
    proven = verify(engine, tables, settings.event_time_limits, None, datetime.now(UTC), lambda *_: None)
    assert (len(proven.hours), proven.differences) == (1, [])


def write_both(root: Path) -> tuple[str, str]:
    """Write one object below the prefix and another one where it would be without; return both keys."""
    key = write_object(root, HOUR, 0, [event(user_id="u_1")])
    (root / "raw" / PREFIX).mkdir(parents=True)
    shutil.move(root / "raw" / "events", root / "raw" / PREFIX / "events")
    return key, write_object(root, HOUR, 5, [event(user_id="u_stray")])


def test_folders_below_raw_on_this_machine(root: Path) -> None:
    key, stray = write_both(root)
    settings = load_settings(root=root, workers=1, raw_prefix=PREFIX)
    assert_read_there_only(LocalEngine(settings), settings, key, stray)


@pytest.mark.parametrize("job", ["plain", pytest.param("spark", marks=pytest.mark.spark)])
def test_a_prefix_of_the_bucket(aws: EmulatedAws, settings: Settings, root: Path, job: str) -> None:
    key, stray = write_both(root)
    for path in (root / "raw").rglob("*.gz"):
        stored, name = path.read_bytes(), path.relative_to(root / "raw").as_posix()
        aws.client("s3").put_object(Bucket=settings.raw_bucket, Key=name, Body=stored)
    settings = settings.model_copy(update={"raw_prefix": PREFIX})
    assert_read_there_only(AwsEngine(settings), settings, key, stray)


def test_notices_are_of_objects_below_the_prefix(
    aws: EmulatedAws, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    sqs = aws.client("sqs")
    url = sqs.create_queue(QueueName="prefixed")["QueueUrl"]
    below, outside = f"{PREFIX}{HOUR.raw_key(HOUR.start)}", HOUR.plus(1).raw_key(HOUR.plus(1).start)
    for name in (below, outside):
        sqs.send_message(QueueUrl=url, MessageBody=json.dumps({"detail": {"object": {"key": name}}}))
    settings = settings.model_copy(update={"raw_prefix": PREFIX, "raw_queue_url": url})
    engine = AwsEngine(settings)
    with caplog.at_level(logging.WARNING, NoticeQueue.__module__):
        taken = engine.take_notices(())
    assert (taken.hours, len(taken.receipts)) == (frozenset({HOUR}), 2)
    assert f"{outside}, which is not read: {ELSEWHERE}" in caplog.text
