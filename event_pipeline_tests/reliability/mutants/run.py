"""Plants mutants in copies of the checkout and runs their tests there; the checkout itself is never touched."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from itertools import count
from pathlib import Path
from queue import SimpleQueue

from event_pipeline.settings import PREFIX
from event_pipeline_tests.reliability.mutants.mutant import Mutant
from event_pipeline_tests.reliability.trial import Say

PROJECT = Path(__file__).parents[3]
SECONDS = 120.0
"""A test has this long: each takes seconds, but a machine may be busy."""
PROMISED_SECONDS = 60.0
"""A mutant that takes longer is tried again alone, and is late if that takes longer as well."""
_LINES_SHOWN = 15
_TESTS_FAILED = 1
"""pytest's exit code for tests that were run and failed; what cannot be run at all ends with others."""


class Outcome(StrEnum):
    """What came of a mutant."""

    KILLED = "killed"
    SURVIVED = "survived"
    INVALID = "invalid"
    """Its test does not exist, does not pass without the defect either, or cannot be started with it."""
    TIMED_OUT = "timed out"


@dataclass(frozen=True, slots=True)
class Result:
    """One mutant that was tried."""

    mutant: Mutant
    outcome: Outcome
    seconds: float
    output: str = ""
    """The end of what pytest printed."""

    @property
    def is_killed(self) -> bool:
        """Whether its test failed, as it must."""
        return self.outcome is Outcome.KILLED

    @property
    def is_late(self) -> bool:
        """Whether its test failed, but not within the promised time."""
        return self.is_killed and self.seconds > PROMISED_SECONDS

    def __str__(self) -> str:
        mutant = self.mutant
        late = f" only after {self.seconds:.0f} s" if self.is_late else ""
        said = f"\n{self.output}" if self.outcome is Outcome.INVALID and self.output else ""
        return f"{self.outcome}{late}: {mutant.defect} ({mutant.path}; {mutant.killed_by}){said}"


@dataclass(frozen=True, slots=True)
class _Ended:
    code: int | None
    """None: it was stopped because it took too long."""
    output: str


class Copy:
    """A copy of the checkout in which one mutant at a time is planted."""

    def __init__(self, folder: Path, seconds: float = SECONDS) -> None:
        self._folder = folder
        self._seconds = seconds
        self._times = count(1)
        for name in _files():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(PROJECT / name, target)
        self._check_imports()
        # Without the folder of the script among those of modules: its neighbours are named like modules of others.
        self._warm = subprocess.Popen(
            [sys.executable, "-P", str(Path(__file__).with_name("warm.py"))],
            cwd=folder,
            env=self._environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def close(self) -> None:
        """End the process that runs the tests."""
        self._warm.communicate()

    def _check_imports(self) -> None:
        """Make sure that the product under test is the copy's, whatever is installed."""
        asked = [sys.executable, "-c", "import event_pipeline; print(event_pipeline.__file__)"]
        said = subprocess.run(asked, cwd=self._folder, env=self._environment(), capture_output=True, check=True)
        found = Path(said.stdout.decode().strip())
        if not found.is_relative_to(self._folder):
            raise RuntimeError(f"tests in {self._folder} would import {found}: mutants of the copy would not be seen")

    def sound(self, tests: Sequence[str]) -> set[str]:
        """Return which of these tests run and pass in the copy without a mutant."""
        ended = self._pytest(("-rA", *tests), self._seconds * len(tests))
        passed = re.findall(r"^PASSED (.+)$", ended.output, re.MULTILINE)
        failed = re.findall(r"^(?:FAILED|ERROR) (\S+)", ended.output, re.MULTILINE)
        good = {each for each in tests if _named(each, passed) and not _named(each, failed)}
        if len(tests) == 1:
            return good if ended.code == 0 else set()
        # One name that does not exist keeps all from being run.
        return good.union(*(self.sound([each]) for each in tests if each not in good))

    def tried(self, mutant: Mutant) -> Result:
        """Plant a mutant, run its test, and take the mutant back."""
        started = time.monotonic()
        try:
            with self._planted(mutant):
                ended = self._pytest(("-x", mutant.killed_by), self._seconds)
        except (OSError, ValueError) as error:
            return Result(mutant, Outcome.INVALID, time.monotonic() - started, str(error))
        outcomes = {0: Outcome.SURVIVED, _TESTS_FAILED: Outcome.KILLED, None: Outcome.TIMED_OUT}
        outcome = outcomes.get(ended.code, Outcome.INVALID)
        shown = "\n".join(ended.output.splitlines()[-_LINES_SHOWN:])
        return Result(mutant, outcome, time.monotonic() - started, shown)

    @contextmanager
    def _planted(self, mutant: Mutant) -> Iterator[None]:
        path = self._folder / mutant.path
        content, stat = path.read_bytes(), path.stat()
        path.write_text(mutant.applied(content.decode()), encoding="utf-8")
        # Compiled code is kept for a time in whole seconds and a size: two mutants of one second could share theirs.
        changed = int(stat.st_mtime) + next(self._times)
        os.utime(path, (changed, changed))
        try:
            yield
        finally:
            path.write_bytes(content)
            os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))

    def _pytest(self, arguments: Sequence[str], seconds: float) -> _Ended:
        with tempfile.NamedTemporaryFile() as output:
            asked = [["-q", "-p", "no:cacheprovider", *arguments], output.name, seconds]
            assert self._warm.stdin is not None
            assert self._warm.stdout is not None
            self._warm.stdin.write(f"{json.dumps(asked)}\n")
            self._warm.stdin.flush()
            code: int | None = json.loads(self._warm.stdout.readline())
            return _Ended(code, Path(output.name).read_text(encoding="utf-8", errors="replace"))

    def _environment(self) -> dict[str, str]:
        """Return an environment without settings of a pytest or a pipeline around this process."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", PREFIX))}
        return {**kept, "PYTHONPATH": str(self._folder)}


def _files() -> list[str]:
    """Return what git would commit now, relative to the checkout: new files that are not ignored as well."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=PROJECT, capture_output=True, check=True).stdout.decode().split("\0")
    return [name for name in dict.fromkeys(names) if name and (PROJECT / name).is_file()]


def _named(test: str, nodes: Iterable[str]) -> bool:
    """Return whether a node id is among these, or is a test with parameters of which some are."""
    return any(each == test or each.startswith(f"{test}[") for each in nodes)


def run_mutants(mutants: Sequence[Mutant], jobs: int, say: Say, seconds: float = SECONDS) -> dict[Mutant, Result]:
    """Try mutants, several at a time in copies of their own; every test must pass without its mutant first."""
    jobs = max(1, min(jobs, len(mutants)))
    copies, results = SimpleQueue[Copy](), dict[Mutant, Result]()

    def in_a_copy(mutant: Mutant) -> Result:
        copy = copies.get()
        try:
            return copy.tried(mutant)
        finally:
            copies.put(copy)

    with (
        tempfile.TemporaryDirectory(prefix="mutants-") as folder,
        ExitStack() as opened,
        ThreadPoolExecutor(jobs) as pool,
    ):
        made = [opened.enter_context(closing(Copy(Path(folder, str(number)), seconds))) for number in range(jobs)]
        tests = list(dict.fromkeys(each.killed_by for each in mutants))
        say(f"{len(tests)} tests without a mutant ...")
        parts = [(copy, part) for number, copy in enumerate(made) if (part := tests[number::jobs])]
        sound = set[str]().union(*pool.map(lambda part: part[0].sound(part[1]), parts))
        for copy in made:
            copies.put(copy)
        results = {
            each: Result(each, Outcome.INVALID, 0.0, "the test does not pass without the defect either")
            for each in mutants
            if each.killed_by not in sound
        }
        for result in results.values():
            say(str(result))
        for done in as_completed([pool.submit(in_a_copy, each) for each in mutants if each.killed_by in sound]):
            result = results[done.result().mutant] = done.result()
            say(f"{len(results)}/{len(mutants)} {result} in {result.seconds:.1f} s")
        for each in [each for each, result in results.items() if result.seconds > PROMISED_SECONDS]:
            result = results[each] = made[0].tried(each)
            say(f"alone: {result} in {result.seconds:.1f} s")
    return results
