"""Every block of shell commands in the documents is run here, or says in a comment what runs it, or why nothing does.

The comments are for those who edit a page; readers do not see them. `CONTRIBUTING.md` lists them.
"""

from __future__ import annotations

import io
import re
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from event_pipeline.rules.hour import Hour
from event_pipeline.settings import PREFIX
from event_pipeline_tests.command import Ended, run_command
from event_pipeline_tests.query_pack import sample_lake

PROJECT = Path(__file__).parents[1]
PAGES = sorted([*PROJECT.glob("*.md"), *(PROJECT / "docs").rglob("*.md")])
OURS = re.compile(r"(?:[.]venv/bin/)?event-pipeline ")
REPORT = "-- A report, as people keep them in files.\nSELECT event_type, count(*) FROM silver.events GROUP BY 1;\n"
"""The file `report.sql` of the examples."""

HOURS = [Hour.parse("2025-12-07T21"), Hour.parse("2025-12-07T22")]
"""Those that the pages ask about."""

_BLOCK = re.compile(
    r"^(?:<!-- (?P<mark>[^>\n]+) -->\n\n)?```(?:bash|console|sh|shell|zsh)\n(?P<lines>.*?)^```", re.M | re.S
)
_REST_OF_PAGE = re.compile(r"^<!-- from here on, (run by: \S+) -->$", re.M)


@dataclass(frozen=True)
class Block:
    """One block of shell commands."""

    place: str
    mark: str
    """The comment above it, or the one for the rest of the page; empty for neither."""
    lines: tuple[str, ...]

    @property
    def run_by(self) -> str:
        """The file of what runs it instead."""
        return self.mark.removeprefix("run by: ") if self.mark.startswith("run by: ") else ""

    @property
    def why_not_run(self) -> str:
        """Why nothing runs it."""
        return self.mark.removeprefix("not run: ") if self.mark.startswith("not run: ") else ""

    @property
    def exit_codes(self) -> list[int]:
        """How its commands end; each with 0 where nothing else is said."""
        named = re.fullmatch(r"exit codes: ([\d ]+)", self.mark)
        return [int(code) for code in named[1].split()] if named else [0] * len(self.lines)


def blocks(page: Path) -> Iterator[Block]:
    """Read the blocks of a page."""
    text = page.read_text(encoding="utf-8")
    rest = _REST_OF_PAGE.search(text)
    for found in _BLOCK.finditer(text):
        number = text.count("\n", 0, found.start("lines"))
        mark = found["mark"] or (rest[1] if rest and rest.start() < found.start() else "")
        joined = found["lines"].replace("\\\n", " ").splitlines()
        lines = tuple(line.strip() for line in joined if line.strip() and not line.lstrip().startswith("#"))
        yield Block(f"{page.relative_to(PROJECT)}:{number}", mark, lines)


def blocks_to_run(page: Path) -> list[Block]:
    """Return the blocks of a page that this module runs."""
    return [block for block in blocks(page) if not block.run_by and not block.why_not_run]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(PROJECT).as_posix())
def test_what_is_not_run_here_names_what_runs_it_or_why_nothing_does(page: Path) -> None:
    for block in blocks(page):
        if block.run_by:
            text = (PROJECT / block.run_by).read_text(encoding="utf-8")
            commands = {line.split()[1] for line in block.lines if OURS.match(line)}
            unnamed = [] if page.name in text else [each for each in commands if each not in text]
            assert not unnamed, f"{block.place}: {block.run_by} does not run {unnamed}"
        elif block.why_not_run:
            assert len(block.why_not_run) > 10, f"{block.place}: say why"
        else:
            strange = [line for line in block.lines if not OURS.match(line) and not line.startswith("export ")]
            assert not strange, f"{block.place}: only event-pipeline is run here, mark the block: {strange}"
            assert len(block.exit_codes) == len(block.lines), f"{block.place}: {block.mark}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with a built data folder, as somebody has who reads the pages."""
    folder = tmp_path_factory.mktemp("reader")
    sample_lake(folder / "data", HOURS)
    (folder / "report.sql").write_text(REPORT, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def ended_before() -> dict[str, Ended]:
    """How each line ended; what several pages show is run once."""
    return {}


@pytest.mark.parametrize(
    "page", [page for page in PAGES if blocks_to_run(page)], ids=lambda page: page.relative_to(PROJECT).as_posix()
)
def test_the_commands_of_a_page_do_what_it_says(
    page: Path,
    folder: Path,
    ended_before: dict[str, Ended],
    monkeypatch: pytest.MonkeyPatch,
    capsysbinary: pytest.CaptureFixture[bytes],
) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setenv(f"{PREFIX}WORKERS", "1")
    for block in blocks_to_run(page):
        for line, code in zip(block.lines, block.exit_codes, strict=True):
            words = shlex.split(line, comments=True)
            if words[0] == "export":
                monkeypatch.setenv(*words[1].split("=", 1))
                continue
            words = words[1:]
            known = " ".join(words)
            if known not in ended_before:
                if "<" in words:
                    *words, _, name = words
                    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(Path(name).read_bytes())))
                ended_before[known] = run_command(tuple(words), capsysbinary)
            ended = ended_before[known]
            assert ended.code == code, f"{block.place}: {line}\n{ended.err[-2000:]}"
