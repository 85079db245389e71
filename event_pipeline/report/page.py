"""Writes the report: one HTML file that loads nothing, in which nothing from data can become markup."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from string import Template
from typing import Any
from uuid import uuid4

from event_pipeline.dagster_instance.storage import RunState
from event_pipeline.engines.pipeline import Pipeline
from event_pipeline.report.answers import read_answers
from event_pipeline.report.health import read_health
from event_pipeline.rules.hour import Hour
from event_pipeline.settings import Settings

WEB = Path(__file__).parent / "web"

MOST_BYTES = 2_000_000
"""Size that no report exceeds: the oldest days are left out."""

_MARKUP = {ord(character): f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029\x7f"}
_OF_DAYS = ("days", "performance", "productDays", "otherProducts", "hours", "activity")
"""Lists with one entry per day."""


@dataclass(frozen=True, slots=True)
class WrittenReport:
    """A report that was written."""

    path: Path
    size: int
    """Bytes."""
    first_day: str | None
    """First and last event day in it; None if no day is published."""
    last_day: str | None


def report_path(settings: Settings) -> Path:
    """Return where the report is written by default."""
    return settings.root.absolute() / "report.html"


def write_report(pipeline: Pipeline, now: datetime, runs: Mapping[Hour, RunState], path: Path) -> WrittenReport:
    """Read Gold and health, and write the page; readers see the old page or the new one.

    Raises:
        QueryError: a Gold table is missing.
        PipelineError: the data cannot be read.
        OSError: the file cannot be written.
    """
    content: dict[str, Any] = {
        "generated": now.isoformat(timespec="seconds"),
        "answers": read_answers(pipeline),
        "health": read_health(pipeline, now, runs),
    }
    page = rendered(content).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{uuid4().hex[:8]}.draft")
    try:
        draft.write_bytes(page)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    days = (content["answers"] or {}).get("days") or [None]
    return WrittenReport(path, len(page), days[0], days[-1])


def rendered(content: dict[str, Any]) -> str:
    """Return the page for some content, without the oldest days if it would be too large."""
    while len(page := _page(content)) > MOST_BYTES and len((content["answers"] or {}).get("days", ())) > 1:
        content["answers"] = _newer_half(content["answers"])
    return page


def _newer_half(answers: dict[str, Any]) -> dict[str, Any]:
    cut = (len(answers["days"]) + 1) // 2
    return answers | {
        "opens": min(answers["opens"], len(answers["days"]) - cut),
        "daysCut": answers["daysCut"] + cut,
        **{name: answers[name][cut:] for name in _OF_DAYS},
        "distinct": [
            each | {"first": each["first"] - cut, "last": each["last"] - cut}
            for each in answers["distinct"]
            if each["first"] >= cut
        ],
    }


def _page(content: Mapping[str, Any]) -> str:
    style = _file("uplot.css") + _file("report.css")
    library, script = _file("uplot.js"), _file("report.js")
    return Template(_file("report.html")).substitute(
        # Scripts and styles run by their digests alone, so neither markup from data nor a browser extension's habit of
        # adding handlers can run anything.
        policy=(
            f"default-src 'none'; script-src {_digest(library)} {_digest(script)}; style-src {_digest(style)}; "
            "img-src data:; base-uri 'none'; form-action 'none'"
        ),
        style=style,
        library=library,
        script=script,
        content=safe_json(content),
    )


def safe_json(content: Mapping[str, Any]) -> str:
    """Return JSON without a character that HTML could read as markup, in ASCII."""
    return json.dumps(content, separators=(",", ":")).translate(_MARKUP)


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _file(name: str) -> str:
    return (WEB / name).read_text(encoding="utf-8")
