"""The engine that the settings name, and what is said when it cannot be opened."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from event_pipeline.engines.base import PipelineError
from event_pipeline.engines.local import LocalEngine
from event_pipeline.engines.open import open_engine
from event_pipeline.settings import Settings, load_settings


def test_the_embedded_engine_is_the_default(settings: Settings) -> None:
    assert isinstance(open_engine(settings), LocalEngine)


def test_missing_packages_of_the_aws_path_are_a_clear_error(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "event_pipeline.engines.aws", None)
    buckets = {name: "x" * 8 for name in ("raw_bucket", "lake_bucket", "artifacts_bucket")}
    settings = load_settings(root=root, env="aws", aws_region="us-east-1", **buckets)
    with pytest.raises(PipelineError, match=r"install the project with its `aws` extra"):
        open_engine(settings)
