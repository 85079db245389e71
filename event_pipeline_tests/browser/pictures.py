"""The pictures of the docs, and whether they are current: what their pages say is kept beside them.

`make screenshots` takes them. `docs/images/screenshots.json` has, for each, the digest of its file and the lines that
the page showed. The tests of the pages compare these lines with the page that they see, without what differs from run
to run: a page that says more, less or something else fails until its picture is taken again.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable
from pathlib import Path

from event_pipeline_tests.browser.chromium import Page
from event_pipeline_tests.dev_process import TimedOutError, wait_for

IMAGES = Path(__file__).parents[2] / "docs" / "images"
KEPT = IMAGES / "screenshots.json"
MOST_BYTES = 200_000
TAKING = "SCREENSHOTS"
"""Variable with the folder to which pictures are written, beside their texts; without it they are compared."""
SECONDS_TO_BE_CURRENT = 60

_DIFFERENT_EACH_TIME = (
    (r"/\S*/\S+", "PATH"),
    (r"\b[0-9a-f]{8,64}\b", "ID"),
    (r"\b(missing|invalid|unknown)_[a-z_]+|\bnot_json\b|\btimestamp_out_of_range\b", "REASON"),
    (r"\b(Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) (?=\d)", ""),
    (r"\d[\d,.:/%TZ-]*", "0"),
    (r"\b0( [AP]M| (ms|s|sec|min|h|B|KiB|MiB))+\b", "0"),
    (r"\b(less than )?(an?|0) (few )?(second|minute|hour)s?( ago)?\b", "AGO"),
    (r"\b(day|hour|object|record|row|run|partition|duplicate)s\b", r"\1"),
    (r"[█▏▎▍▌▋▊▉]+", ""),
    (r"(\b0 ?)+", "0 "),
    # Which of two overlapping backfills is first.
    (r"(?i)\b(built|unchanged|folded)\b", "OUTCOME"),
)
_BY_CHANCE = re.compile(r"warn|REASON|OUTCOME", re.IGNORECASE)
"""Lines that are there in some runs: a check that warns, a reason or a build more."""


def said(text: str) -> list[str]:
    """Return the distinct lines of a page, sorted: without numbers, times, durations, ids, and reasons by chance."""
    for pattern, instead in _DIFFERENT_EACH_TIME:
        text = re.sub(pattern, instead, text)
    # How many numbers are beside each other depends on the hours that were built.
    lines = {" ".join(re.sub(r"\b0\b", " ", line).split()) for line in text.splitlines()}
    return sorted(line for line in lines if re.search(r"[A-Za-z]{2}", line) and line not in ("AGO", "ID", "PATH"))


def picture(page: Page, name: str) -> None:
    """Take the picture of a page's window, or hold the page to the kept one.

    Raises:
        AssertionError: the page says something else than when its picture was taken, or the file is another one.
    """
    if folder := os.environ.get(TAKING):
        _take(page, name, Path(folder))
        return
    kept = json.loads(KEPT.read_text(encoding="utf-8"))[name]
    assert kept["sha256"] == digest(IMAGES / f"{name}.png"), f"{name}.png is not what `make screenshots` took"
    try:
        wait_for(f"{name} to be as in its picture", _is(kept["says"], page), SECONDS_TO_BE_CURRENT)
    except TimedOutError:
        gone, new = _differences(kept["says"], page)
        raise AssertionError(
            f"docs/images/{name}.png is not current, `make screenshots` takes it again: no more {gone}, new {new}"
        ) from None


def digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _is(lines: list[str], page: Page) -> Callable[[], bool]:
    return lambda: not any(_differences(lines, page))


def _differences(lines: list[str], page: Page) -> tuple[list[str], list[str]]:
    """Return the lines that the page has no more, and those that are new in it."""
    now = said(page.text())
    new = [line for line in now if line not in lines and not _BY_CHANCE.search(line)]
    return [line for line in lines if line not in now], new


def _take(page: Page, name: str, folder: Path) -> None:
    path, texts = folder / f"{name}.png", folder / KEPT.name
    says, before = page.text(), ""
    while says != before or "Loading" in says:
        page.value("new Promise((done) => setTimeout(() => done(true), 500))")
        says, before = page.text(), says
    # What has no text (icons, bars of what is loading) comes later: a page that is at rest looks the same four times.
    alike, last = 0, b""
    for _ in range(60):
        page.screenshot(path, whole=False)
        taken = path.read_bytes()
        alike, last = (alike + 1, last) if taken == last else (0, taken)
        if alike == 3:
            break
        page.value("new Promise((done) => setTimeout(() => done(true), 700))")
    assert 20_000 < path.stat().st_size < MOST_BYTES, f"{path}: {path.stat().st_size:,} bytes"
    kept = json.loads(texts.read_text(encoding="utf-8")) if texts.exists() else {}
    kept[name] = {"sha256": digest(path), "says": said(says)}
    texts.write_text(json.dumps(dict(sorted(kept.items())), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
