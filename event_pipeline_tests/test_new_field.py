"""CONTRIBUTING.md's lines are all that a new field and a new event type take: tried in a copy of the project."""

from __future__ import annotations

from pathlib import Path

import pytest

from event_pipeline_tests.changed_project import changed_project, run_module


@pytest.mark.long
def test_the_lines_of_the_page_are_all_that_a_new_field_takes(tmp_path: Path) -> None:
    checks = "event_pipeline_tests/engines/aws/new_field.py"
    run_module(changed_project(tmp_path), "pytest", "-q", "-p", "no:cacheprovider", checks)
