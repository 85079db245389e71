"""A picture of the docs whose page changed fails, and says what takes it again."""

from __future__ import annotations

import json
from typing import Any

import pytest

from event_pipeline_tests.browser import pictures

PAGES: dict[str, Any] = json.loads(pictures.KEPT.read_text(encoding="utf-8"))


class Shown:
    """A page that shows some lines, as a browser's tab."""

    def __init__(self, lines: list[str]) -> None:
        self._lines = lines

    def text(self) -> str:
        """Return them."""
        return "\n".join(self._lines)


@pytest.mark.parametrize(
    ("name", "line", "instead", "said"),
    [
        ("report", "Top products", ["Bestsellers"], "no more ['Top products'], new ['Bestsellers']"),
        ("report", "Top products", [], "no more ['Top products'], new []"),
        ("report", "Health", ["Health", "Forecast"], "no more [], new ['Forecast']"),
        ("asset-graph", "silver_partitions", ["silver_parts"], "no more ['silver_partitions'], new ['silver_parts']"),
    ],
)
def test_a_page_that_changed_fails_and_says_what_takes_its_picture_again(
    monkeypatch: pytest.MonkeyPatch, name: str, line: str, instead: list[str], said: str
) -> None:
    monkeypatch.setattr(pictures, "SECONDS_TO_BE_CURRENT", 0)
    lines = PAGES[name]["says"]
    assert line in lines
    pictures.picture(Shown(lines), name)  # type: ignore[arg-type]
    changed = [each for each in lines if each != line] + instead
    with pytest.raises(AssertionError) as failed:
        pictures.picture(Shown(changed), name)  # type: ignore[arg-type]
    assert f"docs/images/{name}.png is not current, `make screenshots` takes it again: {said}" in str(failed.value)
