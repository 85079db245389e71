"""The engine that the settings name."""

from __future__ import annotations

from pathlib import Path

from event_pipeline.engines.aws import AwsEngine
from event_pipeline.engines.local import LocalEngine
from event_pipeline.engines.open import open_engine
from event_pipeline.settings import Settings, load_settings


def test_the_embedded_engine_is_the_default(settings: Settings) -> None:
    assert isinstance(open_engine(settings), LocalEngine)


def test_the_engine_on_aws_is_opened_without_a_call(root: Path) -> None:
    buckets = {name: "x" * 8 for name in ("raw_bucket", "lake_bucket", "artifacts_bucket")}
    settings = load_settings(root=root, env="aws", aws_region="us-east-1", **buckets)
    assert isinstance(open_engine(settings), AwsEngine)
