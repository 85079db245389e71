"""The picture of docs/deploy.md shows what the code says now."""

from __future__ import annotations

import pytest

from event_pipeline_tests.infra import architecture
from event_pipeline_tests.infra.architecture import PICTURE, draw


def test_the_picture_is_what_the_code_draws() -> None:
    again = "python -m event_pipeline_tests.infra.architecture draws it again"
    assert PICTURE.read_text(encoding="utf-8") == draw(), again


def test_a_resource_without_a_place_in_the_picture_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(architecture.PLACES, "DeadLetters")
    with pytest.raises(LookupError, match="DeadLetters"):
        draw()
