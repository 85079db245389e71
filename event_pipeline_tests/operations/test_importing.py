"""Flat files find their hours by the time in their names; nothing is replaced, and nothing is left out silently."""

from __future__ import annotations

import gzip
import os
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from event_pipeline.commands.options import ExitCode
from event_pipeline.operations.importing import Placing, import_files, landing_time, plan_import
from event_pipeline.rules.hour import DEFAULT_FIRST_PARTITION
from event_pipeline_tests.command import Run


@pytest.mark.parametrize(
    ("name", "time"),
    [
        ("events-20251119-174454.jsonl.gz", "2025-11-19T17:44:54"),
        ("events_20251119_174454.json.gz", "2025-11-19T17:44:54"),
        ("20251119T174454Z.gz", "2025-11-19T17:44:54"),
        ("20251119174454.gz", "2025-11-19T17:44:54"),
        ("clicks_2025-11-19T17-44-54.jsonl.gz", "2025-11-19T17:44:54"),
        ("clicks 2025-11-19 17:44:54.jsonl.gz", "2025-11-19T17:44:54"),
        ("shop-1-2025-11-19-17-44-54-9f1c2a34-0b7d-4a55-8cde-000000000000.gz", "2025-11-19T17:44:54"),
        ("shop.2025.11.19.17.44.gz", "2025-11-19T17:44:00"),
        ("events-2025-11-19T17.gz", "2025-11-19T17:00:00"),
        ("2025111917.gz", "2025-11-19T17:00:00"),
        ("events-20251119.gz", "no time in its name"),
        ("events-20251319-174454.gz", "no time in its name"),
        ("events-20251119-994454.gz", "no time in its name"),
        ("order-1202511191744540.gz", "no time in its name"),
        ("events-20251119-170000-20251119-180000.gz", "2 times in its name"),
    ],
)
def test_the_time_of_a_file_is_in_its_name(name: str, time: str) -> None:
    found = landing_time(name)
    assert (found if isinstance(found, str) else found.isoformat()).startswith(time)


def test_files_are_placed_once_and_what_is_not_placed_is_named(run: Run, root: Path, tmp_path: Path) -> None:
    flat = tmp_path / "flat"
    copies = flat / "old" / "events" / "year=2025" / "month=11" / "day=18" / "hour=09" / "minute=40"
    copies.mkdir(parents=True)
    good = {
        flat / "events-20251119-174454.jsonl.gz": "day=19/hour=17/minute=44/events-20251119-174454.jsonl.gz",
        flat / "clicks_2025-11-19T18.gz": "day=19/hour=18/minute=00/events-20251119-180000.jsonl.gz",
        # Its hour is that of its folders.
        copies / "events-20251118-100000.jsonl.gz": "day=18/hour=09/minute=40/events-20251118-100000.jsonl.gz",
    }
    for number, path in enumerate(good):
        path.write_bytes(gzip.compress(b"%d" % number))
    bad = {
        "notes.gz": "no time in its name",
        "events-20251119-190000.jsonl": "not gzip",
        "events-19991119-190000.jsonl.gz": "before the first partition 2025-11-01T00",
    }
    for name in bad:
        (flat / name).write_bytes(gzip.compress(b"other") if name.endswith(".gz") else b"{}")

    planned = run("import", "--plan", str(flat))
    assert (planned.code, root.exists()) == (ExitCode.USAGE, False)
    assert "3 files would be placed" in planned.out
    for name, reason in bad.items():
        assert f"not placed {flat / name}: {reason}" in planned.err

    def placed() -> dict[str, bytes]:
        month = root / "raw" / "events" / "year=2025" / "month=11"
        files = (path for path in (root / "raw").rglob("*") if path.is_file())
        return {path.relative_to(month).as_posix(): path.read_bytes() for path in files}

    ended = run("import", *map(str, good))
    assert ended.code == 0
    assert placed() == {key: path.read_bytes() for path, key in good.items()}

    # One that is in the raw folder itself is moved to where it is read; those that are there already stay.
    stray = root / "raw" / "events-20251119-200000.jsonl.gz"
    stray.write_bytes(b"\x1f\x8b stray")
    # Named twice: by itself and in its folder.
    assert run("import", str(stray), str(root / "raw")).code == 0
    moved = "day=19/hour=20/minute=00/events-20251119-200000.jsonl.gz"
    assert placed() == {key: path.read_bytes() for path, key in good.items()} | {moved: b"\x1f\x8b stray"}
    (root / "raw" / "events" / "year=2025" / "month=11" / moved).unlink()

    # Of the same second: one is there already, another one is in its place.
    (flat / "again-20251119174454.gz").write_bytes(next(iter(good)).read_bytes())
    (flat / "clicks-20251119-180000.gz").write_bytes(gzip.compress(b"other"))
    again = run("import", *map(str, flat.glob("*2025*.gz")))
    assert again.code == ExitCode.REFUSED
    assert "Nothing to place." in again.out
    assert re.search(r" 2025-11-19T17 +0 +2 ", again.out)
    assert "clicks-20251119-180000.gz: events/year=2025/month=11/day=19/hour=18/minute=00/events-" in again.err
    assert placed() == {key: path.read_bytes() for path, key in good.items()}


def test_a_moved_file_survives_a_power_cut(run: Run, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stray = root / "raw" / "events-20251119-200000.jsonl.gz"
    stray.parent.mkdir(parents=True)
    stray.write_bytes(gzip.compress(b"{}"))
    names, sizes, kept = dict[int, list[str]](), dict[int, int](), list[bool]()
    fsync, unlink, link = os.fsync, Path.unlink, os.link
    where = stray.parent / "events" / "year=2025" / "month=11" / "day=19" / "hour=20" / "minute=00"

    def watched_fsync(handle: int) -> None:
        status, place = os.fstat(handle), Path(os.readlink(f"/proc/self/fd/{handle}"))
        sizes[status.st_ino] = status.st_size
        names[status.st_ino] = os.listdir(place) if place.is_dir() else []
        fsync(handle)

    def watched_link(source: Path, target: Path) -> None:
        kept.append(sizes.get(Path(source).stat().st_ino) == stray.stat().st_size)
        link(source, target)

    def watched_unlink(path: Path, missing_ok: bool = False) -> None:
        if path == stray:
            folders = [where, *where.parents[:5]]
            places = (where / stray.name, *folders)
            kept.extend(each.name in names.get(each.parent.stat().st_ino, ()) for each in places)
        unlink(path, missing_ok)

    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(os, "link", watched_link)
    monkeypatch.setattr(Path, "unlink", watched_unlink)
    assert run("import", str(root / "raw")).code == 0
    assert ([path.name for path in where.iterdir()], stray.exists()) == ([stray.name], False)
    assert kept == [True] * 8


@pytest.mark.parametrize("links", [True, False])
def test_of_two_imports_at_once_for_one_place_the_second_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    def no_links(*_: object) -> None:
        raise PermissionError("no hard links here")

    if not links:
        monkeypatch.setattr(os, "link", no_links)
    raw, plans = tmp_path / "raw", []
    for name, content in (("a", b"1"), ("b", b"2"), ("c", b"1")):
        # The second one is in the raw folder itself, from where files are moved.
        file = (raw if name == "b" else tmp_path) / name / "events-20251119-174454.jsonl.gz"
        file.parent.mkdir(parents=True)
        file.write_bytes(gzip.compress(content, mtime=0))
        plans.append(plan_import([file], raw, DEFAULT_FIRST_PARTITION, datetime.now(UTC)))
    done = [import_files(plan, raw, lambda *_: None)[0] for plan in plans]
    assert [each.placing for each in done] == [Placing.NEW, Placing.CONFLICT, Placing.SAME]
    assert done[1].reason == f"{done[1].key} exists and has other content"
    found = {path.relative_to(raw).parts[0]: path for path in raw.rglob("*") if path.is_file()}
    assert {top: gzip.decompress(path.read_bytes()) for top, path in found.items()} == {"events": b"1", "b": b"2"}
