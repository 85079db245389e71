"""Faults below Python: at each system call that `event-pipeline` makes in the data folder to rebuild an hour.

A process that is killed leaves what every other process sees at that moment. So one run, which stops before each call
until the folder has been noted, gives what a kill at any call leaves (`disk.py`), and what a power cut may leave. Real
kills at some calls, and calls that really fail, are beside it. Other operations than a rebuild are killed, and lose the
power, at a sample of their calls in CI, and in the long run at each.
"""

from __future__ import annotations

import errno
import os
import random
import re
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from event_pipeline.engines.local import catalog
from event_pipeline.errors import PipelineError, TransientError
from event_pipeline.settings import PREFIX
from event_pipeline_tests.pipeline import HOUR, assert_agrees_with_oracle, purchase, write_object
from event_pipeline_tests.reliability.disk import Moment, Recorder, Tree, digest, materialize
from event_pipeline_tests.reliability.readers import View, anomalies, build_what_is_due, engine_of, seen
from event_pipeline_tests.reliability.scenario import Scenario, others, prepared
from event_pipeline_tests.reliability.trial import Promise, Say, Trial
from event_pipeline_tests.reliability.watched import DIES, GOES_ON, Call, Command, library, run
from event_pipeline_tests.reliability.watched_command import PLANTED

LONG_SCALE = 10
"""From this scale on, each system call is refused, one after the other."""
REAL_KILLS, STOPS = 3, 4
"""System calls at which a real process is killed, and stopped, at scale 1."""
MOMENTS_IN_CI = 10
"""Moments of every operation but the rebuild that CI looks at; the long run looks at each one."""
REFUSED_IN_CI = 3
"""System calls that CI refuses, for each error; the long run refuses each one."""
EACH, SOME = "each system call that changes the data folder", "some system calls that change the data folder"
RUNS = "dagster"
"""Folder of Dagster's storage in the data folder."""

_CHANGES = frozenset(("create", "write", "pwrite64", "pwrite", "fsync", "fdatasync", "mkdir", "rename", "ftruncate64"))
_FAULTS = {
    # Once full, a disk stays full until somebody frees some space; it can still delete and rename.
    errno.ENOSPC: (_CHANGES - {"rename"}, True, "disk is full"),
    errno.EDQUOT: (_CHANGES - {"rename"}, True, "quota|disk is full"),
    errno.EIO: (
        _CHANGES | {"open", "unlink", "rmdir", "ftruncate"},
        False,
        "disk failed|disk is full or fail|disk has space|cannot be read",
    ),
    errno.EMFILE: (frozenset(("create", "open")), True, "too many files open|Too many open files"),
}
"""Error -> the calls that can fail with it, whether all later ones of them fail as well, and words that name it."""
_SAMPLED = frozenset((errno.EDQUOT, errno.EMFILE))
"""Errors of which the long run, too, refuses a sample.

The pipeline takes a used up quota for a full disk. Each call that can lack a free handle is refused by a failing disk.
"""


def trials(scale: int, seed: int, say: Say) -> Iterator[Trial]:
    """Try all of it."""
    yield from killed_or_without_power(scale, seed, say)
    yield from other_operations(scale, seed, say)
    yield from refused(scale, seed, say)
    yield from stopped(scale, seed, say)


@contextmanager
def scenario() -> Iterator[tuple[Scenario, Path]]:
    """Yield the case and a folder for copies of it.

    Raises:
        NoCompilerError: system calls cannot be watched here.
    """
    library()
    with tempfile.TemporaryDirectory(prefix="system-calls-") as folder:
        yield prepared(), Path(folder)


# -- kills and power cuts


def killed_or_without_power(scale: int, seed: int, say: Say) -> Iterator[Trial]:
    """Kill the rebuild before each of its calls, and cut the power there."""
    with scenario() as (case, folder):
        moments = recorded(case, folder, seed, scale)
        yield from killed(case, folder, moments, say)
        yield really_killed(case, folder, len(moments) - 1, scale, seed, say)
        yield from without_power(case, folder, moments, seed, say)


def other_operations(scale: int, seed: int, say: Say) -> Iterator[Trial]:
    """Kill every other operation before its calls, and cut the power there; in the long run before each of them."""
    library()
    for case in others():
        with tempfile.TemporaryDirectory(prefix="system-calls-") as name:
            moments = recorded(case, Path(name), seed, scale)
            times = None if scale >= LONG_SCALE else MOMENTS_IN_CI
            some = [moments[number - 1] for number in chosen(random.Random(f"{seed} {case.what}"), len(moments), times)]
            yield from killed(case, Path(name), some, say, None if times is None else seed)
            yield from without_power(case, Path(name), some, seed, say, EACH if times is None else SOME)


def chosen(chance: random.Random, count: int, times: int | None) -> list[int]:
    """Choose from the numbers 1 to `count`: one of each of so many equal parts; all if `times` is None or too many."""
    times = count if times is None else min(count, times)
    return [1 + int((part + chance.random()) * count / times) for part in range(times)]


def recorded(case: Scenario, folder: Path, seed: int, scale: int, planted: str = "") -> list[Moment]:
    """Run the case's command once, and return what its folder and disk hold before each call.

    `planted` are Python statements that the process runs first.
    """
    root = case.copy(folder / "recorded")
    recorder = Recorder(Path(os.path.realpath(root)), random.Random(seed), min(1.0, 0.1 * scale))
    ended = run(root, *case.arguments, answer=recorder, environment={**case.environment, PLANTED: planted})
    moments = recorder.end()
    found = case.reader_anomalies(root) or anomalies(root, (case.new,))
    assert not found, f"the recorded run itself failed: {found}\n{ended.err}"
    return moments


def killed(
    case: Scenario, folder: Path, moments: Sequence[Moment], say: Say, seed: int | None = None
) -> Iterator[Trial]:
    """Look at what a kill at each of the moments leaves, and run again; `seed` chose them if they are not all."""
    states = dict[bytes, tuple[str, Tree]]()
    for moment in moments:
        states.setdefault(digest(moment.present), (f"killed {moment}", moment.present))
    say(f"{case.what} killed before each of {len(moments)} system calls: {len(states)} different states")
    tried = f"{case.what} is killed before {EACH if seed is None else SOME}"
    yield from _looked_at(
        case, folder / "killed", [*states.values()], tried, (Promise.WHOLE, Promise.HEALS), len(moments), seed
    )


def really_killed(case: Scenario, folder: Path, calls: int, scale: int, seed: int, say: Say) -> Trial:
    """Kill a real process before some calls, and run the command again."""
    started, found = time.monotonic(), list[str]()
    numbers = chosen(random.Random(seed), calls, REAL_KILLS * scale)
    for number in numbers:
        root = case.copy(folder / "really-killed")
        ended = run(root, "run", answer=lambda call, at=number: DIES if call.number == at else GOES_ON)  # type: ignore[misc]
        where = f"process killed before call {number} of {calls}"
        if ended.code != -signal.SIGKILL:
            found.append(f"{where}: it ended with {ended.code}, so the kill did not happen")
        found += [f"{where}: {each}" for each in case.reader_anomalies(root)]
        again = run(root, "run")
        if "Traceback" in again.err:
            found.append(f"{where}: the command that is run again shows a traceback: {again.err[-500:]}")
        found += [f"{where}: {each}" for each in case.end_anomalies(root)]
    say(f"real processes killed at {len(numbers)} system calls")
    tried = "`event-pipeline run` is killed at a system call as a real process, and run again"
    return Trial(Promise.HEALS, tried, len(numbers), seed, tuple(found), time.monotonic() - started)


def without_power(
    case: Scenario, folder: Path, moments: Sequence[Moment], seed: int, say: Say, where: str = EACH
) -> Iterator[Trial]:
    """Look at what a power cut before each of the moments may leave, and run again."""
    known, states, cuts = {digest(moment.present) for moment in moments}, list[tuple[str, Tree]](), 0
    for moment in moments:
        for survived, tree in moment.after_power_cut.items():
            cuts += 1
            if (state := digest(tree)) not in known:
                known.add(state)
                states.append((f"power cut {moment}, {survived}", tree))
    say(f"{case.what} without power at each of {len(moments)} moments: {len(states)} more states")
    tried = f"{case.what} loses the power before {where}: what was not synced is lost, all or by chance"
    yield from _looked_at(case, folder / "cut", states, tried, (Promise.DURABLE, Promise.DURABLE), cuts, seed)


def _looked_at(
    case: Scenario,
    folder: Path,
    states: Sequence[tuple[str, Tree]],
    tried: str,
    promises: tuple[Promise, Promise],
    times: int,
    seed: int | None = None,
) -> Iterator[Trial]:
    """Look at each state as a reader does, at once; then run again over it."""
    started, seen, healed = time.monotonic(), list[str](), list[str]()
    for where, tree in states:
        root = materialize(tree, case.root, folder)
        seen += [f"{where}: {each}" for each in case.reader_anomalies(root)]
        healed += [f"{where}: {each}" for each in case.rerun_anomalies(root)]
    seconds = (time.monotonic() - started) / 2
    yield Trial(promises[0], f"{tried}; then readers look", times, seed, tuple(seen), seconds)
    yield Trial(promises[1], f"{tried}; then a plain rerun", times, seed, tuple(healed), seconds)


# -- calls that fail


@dataclass
class Refusing:
    """Lets the n-th of the calls that can fail so fail, and with a lasting error all later ones.

    Calls in a row that do the same to the same file count as one.
    """

    error: int
    at: int
    counted: int = 0
    first: Call | None = None
    _before: tuple[str, str] | None = None

    def __call__(self, call: Call) -> int:
        """Answer a call."""
        calls, lasting, _ = _FAULTS[self.error]
        if call.name not in calls:
            return GOES_ON
        another, self._before = (call.name, call.path) != self._before, (call.name, call.path)
        self.counted += another
        if (another and self.counted == self.at) or (lasting and 0 < self.at <= self.counted):
            self.first = self.first or call
            return self.error
        return GOES_ON


def refused(scale: int, seed: int, say: Say) -> Iterator[Trial]:
    """Let calls fail: some of those in the data folder, in the long run each; and some in Dagster's storage."""
    with scenario() as (case, folder):
        for left_out, where in ((RUNS, "in the data folder"), ("", "in Dagster's storage too")):
            calls = calls_of(case, folder / "counted", left_out)
            for error, (_, lasting, _) in _FAULTS.items():
                every = left_out and scale >= LONG_SCALE and error not in _SAMPLED
                times = None if every else REFUSED_IN_CI * scale if left_out else scale
                started, found = time.monotonic(), list[str]()
                counting = Refusing(error, 0)
                for call in calls:
                    counting(call)
                numbers = chosen(random.Random(f"{seed} {error} {where}"), counting.counted, times)
                for at in numbers:
                    found += refused_at(case, folder / "refused", Refusing(error, at), left_out)
                name, later = errno.errorcode[error], " and at all later ones" if lasting else ""
                say(f"{name} {where}: {len(numbers)} of {counting.counted} system calls")
                tried = f"`event-pipeline run` gets {name} at a system call{later}, {where}; then a plain rerun"
                how = None if every else seed
                yield Trial(Promise.HEALS, tried, len(numbers), how, tuple(found), time.monotonic() - started)


def calls_of(case: Scenario, root: Path, left_out: str, *, reads: bool = True, planted: str = "") -> list[Call]:
    """Return the calls of an undisturbed rebuild."""
    found = list[Call]()

    def noted(call: Call) -> int:
        found.append(call)
        return GOES_ON

    run(case.copy(root), "run", answer=noted, reads=reads, left_out=left_out, environment={PLANTED: planted})
    return found


def refused_at(case: Scenario, folder: Path, refusing: Refusing, left_out: str, planted: str = "") -> list[str]:
    """Let calls fail; return what is wrong then."""
    root = case.copy(folder)
    ended = run(root, "run", answer=refusing, reads=True, left_out=left_out, environment={PLANTED: planted})
    _, _, names = _FAULTS[refusing.error]
    where = f"{errno.errorcode[refusing.error]} at {refusing.first or f'the {refusing.at}th call, never reached'}"
    found = list[str]()
    if "Traceback" in ended.err:
        found.append(f"a traceback is shown: {ended.err[-2000:]}")
    if "(a bug" in ended.err:
        found.append(f"the fault is called a bug: {ended.err[-600:]}")
    is_new = not anomalies(root, (case.new,))
    if ended.code < 0 or (ended.code == 0 and not is_new):
        found.append(f"it ended with {ended.code}")
    if not is_new and not _names_the_fault(ended.err, root, names):
        found.append(f"its message names no file, or not the cause ({names}): {ended.err[-800:]}")
    found += case.reader_anomalies(root)
    found += case.rerun_anomalies(root)
    return [f"{where}: {each}" for each in found]


def _names_the_fault(text: str, root: Path, words: str) -> bool:
    """Return whether a message names something in the data folder, and the cause."""
    return str(root) in text and re.search(words, text) is not None


# -- a process that sleeps

_BESIDE_SECONDS = 10
"""How long a command beside a stopped one may take before that one goes on."""
_LOCK_SECONDS, _BUSY_SECONDS = 1, 0.5
_IMPATIENT = f"from event_pipeline.engines.local import catalog; catalog._BUSY_TIMEOUT_SECONDS = {_BUSY_SECONDS}"
"""What the processes run first: else each call of theirs would wait for the catalog for half a minute."""


def stopped(scale: int, seed: int, say: Say) -> Iterator[Trial]:
    """Stop one process at a call for longer than every timeout while another one works, then let it go on."""
    with scenario() as (case, folder), pytest.MonkeyPatch.context() as patched:
        patched.setattr(catalog, "_BUSY_TIMEOUT_SECONDS", _BUSY_SECONDS)
        started, found = time.monotonic(), list[str]()
        calls = len(calls_of(case, folder / "counted", RUNS, reads=False))
        newest = newest_of(case, folder)
        numbers = chosen(random.Random(seed), calls, STOPS * scale)
        for turn, at in enumerate(numbers):
            found += stopped_at(case, newest, folder / "stopped", at, (command_beside, build_beside)[turn % 2])
        say(f"one process stopped at {len(numbers)} of {calls} system calls")
        tried = "One of two processes is stopped at a system call for longer than every timeout, then goes on"
        yield Trial(Promise.COMPLETE, tried, len(numbers), seed, tuple(found), time.monotonic() - started)


def newest_of(case: Scenario, folder: Path) -> View:
    """Return what readers see when what lands while the first process is stopped is built as well."""
    root = case.copy(folder / "newest")
    _land_meanwhile(root)
    build_what_is_due(root)
    assert_agrees_with_oracle(engine_of(root), root)
    return seen(root)


def _land_meanwhile(root: Path) -> None:
    write_object(root, HOUR, 10, [purchase(second=600, quantity=3), purchase(second=600, quantity=3)])


def command_beside(root: Path, sleeper: Command) -> list[str]:
    """Run the command beside a stopped one; return what is wrong."""
    beside = Command(root, "run", environment=_impatience())
    try:
        ended = beside.wait(_BESIDE_SECONDS)
    except subprocess.TimeoutExpired:
        # It waits for a pool that the stopped process holds: Dagster knows no timeout for that.
        sleeper.signal(signal.SIGCONT)
        ended = beside.wait()
    return [f"the other process shows a traceback: {ended.err[-1500:]}"] if "Traceback" in ended.err else []


def build_beside(root: Path, sleeper: Command) -> list[str]:
    """Build without Dagster and its pools: only locks and the catalog keep it waiting, until their timeouts."""
    try:
        build_what_is_due(root, _LOCK_SECONDS)
    except PipelineError:
        pass  # that somebody else works there is what it is to say
    return []


def _impatience(planted: str = "") -> dict[str, str]:
    return {f"{PREFIX}LOCK_TIMEOUT_SECONDS": str(_LOCK_SECONDS), PLANTED: f"{_IMPATIENT}\n{planted}"}


def stopped_at(
    case: Scenario,
    newest: View,
    folder: Path,
    at: int,
    work: Callable[[Path, Command], list[str]],
    planted: str = "",
) -> list[str]:
    """Stop a rebuild at a call while another process works, then let it go on; return what is wrong then."""
    root, begun, reached, found = case.copy(folder), threading.Event(), threading.Event(), list[str]()
    where = f"process stopped at call {at}"

    def answer(call: Call) -> int:
        begun.wait(60)
        if call.number == at:
            sleeper.signal(signal.SIGSTOP)
            reached.set()
        return GOES_ON

    sleeper = Command(root, "run", answer=answer, environment=_impatience(planted))
    begun.set()
    try:
        if not reached.wait(300):
            return [f"{where}: it was never reached"]
        _land_meanwhile(root)
        found += [f"while it is stopped: {each}" for each in _unless_busy(root, (case.old, case.new))]
        found += work(root, sleeper)
        before = _view(root, found)
        found += [f"beside it: {each}" for each in _unless_busy(root, (case.old, case.new, newest))]
    finally:
        sleeper.signal(signal.SIGCONT)
    ended = sleeper.wait()
    if "Traceback" in ended.err:
        found.append(f"it shows a traceback when it goes on: {ended.err[-1500:]}")
    after = _view(root, found)
    for place, rows in before.items():
        # Old, new, newest: none may be followed by one that comes before it.
        ages = [list(view.get(place, ()) for view in (case.old, case.new, newest))] * 2
        was, now = (
            max((age for age, each in enumerate(known) if each == shown), default=-1)
            for known, shown in zip(ages, (rows, after.get(place, ())), strict=True)
        )
        if now < was:
            found.append(f"{place} went back from what the other process had published")
    try:
        build_what_is_due(root)
    finally:
        found += [f"after a rerun, {each}" for each in anomalies(root, (newest,))]
    return [f"{where}: {each}" for each in found]


def _unless_busy(root: Path, allowed: Sequence[View]) -> list[str]:
    """Return what a reader sees wrongly; one who has to wait for the stopped process sees nothing."""
    return [each for each in anomalies(root, allowed) if "the catalog has been busy" not in each]


def _view(root: Path, found: list[str]) -> View:
    try:
        return seen(root)
    except TransientError:
        return {}
    except Exception as error:  # noqa: BLE001 - any of them is what is looked for
        found.append(f"a reader cannot read: {error}")
        return {}
