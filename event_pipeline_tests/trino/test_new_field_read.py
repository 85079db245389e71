"""A new field by CONTRIBUTING.md's lines alone is read by a real Trino, which runs in a copy of the project."""

from __future__ import annotations

from pathlib import Path

import pytest

from event_pipeline_tests.changed_project import changed_project, run_module

pytestmark = pytest.mark.trino


def test_a_new_field_is_read_by_trino(tmp_path: Path) -> None:
    run_module(
        changed_project(tmp_path), "pytest", "-q", "-p", "no:cacheprovider", "event_pipeline_tests/trino/new_field.py"
    )
