"""The raw objects that are measured: an hour as it is generated, the same changed by its producers, and a wide day."""

from __future__ import annotations

import gzip
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from shutil import rmtree

from event_pipeline.generator import GeneratorOptions, generate, write_object
from event_pipeline.rules.hour import Hour, HourRange

FIRST_HOUR = Hour.parse("2025-12-07T00")
BAD_SHARE = 0.01
_FAST = 1
"""Level of gzip for changed objects; how long inflating takes depends little on it."""


def _to_the_end(line: re.Match[bytes]) -> bytes:
    return b"{" + line[2] + b", " + line[1] + b"}"


CHANGES: dict[str, Callable[[bytes], bytes]] = {
    "unknown field": lambda lines: lines.replace(b"}\n", b', "device": "mobile"}\n'),
    "Z times": lambda lines: lines.replace(b'+00:00"', b'Z"'),
    "no fraction": lambda lines: re.sub(rb"\.\d+(?=\+00:00\")", b"", lines),
    "compact": lambda lines: lines.replace(b'", "', b'","').replace(b'": ', b'":').replace(b', "', b',"'),
    "another order": lambda lines: re.sub(rb'\{("timestamp": "[^"]*"), (.*)\}', _to_the_end, lines),
    "not ASCII": lambda lines: re.sub(rb'("search_query": "[^"]+)"', '\\1 für Ä"'.encode(), lines),
}
"""Harmless change of what producers send -> the inflated lines of an object after it."""


def link_hours(source: Path, root: Path, most: int | None = None) -> None:
    """Give a data folder the raw objects of another one, or the first of them, as hard links."""
    for path in sorted((source / "raw").rglob("*.gz"))[:most]:
        link = root / path.relative_to(source)
        link.parent.mkdir(parents=True, exist_ok=True)
        os.link(path, link)


@contextmanager
def fresh_root(source: Path, name: str = "measured") -> Iterator[Path]:
    """Make a data folder with the raw objects of another one and nothing built, for a block."""
    root = source.with_name(f"{source.name}-{name}")
    link_hours(source, root)
    try:
        yield root
    finally:
        rmtree(root)


def generated_hour(root: Path, objects: int, events: int, bad_share: float = 0) -> None:
    """Generate the first hour."""
    options = GeneratorOptions(events_per_file=events, files_per_hour=objects, bad_share=bad_share)
    generate(root / "raw", [FIRST_HOUR], options)


def changed_hour(source: Path, root: Path, change: Callable[[bytes], bytes]) -> None:
    """Change every line of every object of an hour."""
    for path in sorted((source / "raw").rglob("*.gz")):
        changed = root / path.relative_to(source)
        changed.parent.mkdir(parents=True)
        lines = change(gzip.decompress(path.read_bytes()) + b"\n")
        changed.write_bytes(gzip.compress(lines[:-1], _FAST, mtime=0))


def land_whole_hours(root: Path, hours: HourRange, events: int) -> None:
    """Write one object an hour with events of that very hour, so that a day has no events of another one."""
    options = GeneratorOptions(events_per_file=events, files_per_hour=1)
    for hour in hours:
        path = root / "raw" / hour.raw_key(hour.start + timedelta(minutes=55))
        path.parent.mkdir(parents=True)
        with path.open("wb") as stream:
            # Events precede the time at which an object is said to land.
            write_object(stream, hour.end, options)


def land_wide_day(root: Path, users: int, sessions: int) -> HourRange:
    """Write a day in which every session has one event, and every user as many sessions as the others."""
    hours = HourRange(FIRST_HOUR, FIRST_HOUR.plus(24))
    number = 0
    for count, hour in enumerate(hours, start=1):
        lines = []
        while number < sessions * count // 24:
            lines.append(
                f'{{"timestamp": "{hour.start:%Y-%m-%dT%H}:30:00+00:00", "user_id": "u_{number % users}", '
                f'"session_id": "s_{number}", "event_type": "search", "search_query": "desk lamp"}}'
            )
            number += 1
        path = root / "raw" / hour.raw_key(hour.start + timedelta(minutes=55))
        path.parent.mkdir(parents=True)
        path.write_bytes(gzip.compress("\n".join(lines).encode(), _FAST, mtime=0))
    return hours
