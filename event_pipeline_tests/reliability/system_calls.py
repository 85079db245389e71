"""Faults below Python: at each system call that `event-pipeline run` makes in the data folder to rebuild an hour.

A process that is killed leaves what every other process sees at that moment. So one run, which stops before each call
until the folder has been noted, gives what a kill at any call leaves (`disk.py`), and what a power cut may leave. Real
kills at some calls, and calls that really fail, are beside it.
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
from event_pipeline.errors import TransientError
from event_pipeline.settings import PREFIX
from event_pipeline_tests.pipeline import HOUR, assert_agrees_with_oracle, purchase, write_object
from event_pipeline_tests.reliability.disk import Moment, Recorder, Tree, digest, materialize
from event_pipeline_tests.reliability.readers import View, anomalies, build_what_is_due, engine_of, seen
from event_pipeline_tests.reliability.scenario import Scenario, prepare
from event_pipeline_tests.reliability.trial import Promise, Say, Trial
from event_pipeline_tests.reliability.watched import DIES, GOES_ON, Call, Command, library, run
from event_pipeline_tests.reliability.watched_command import PLANTED

LONG_SCALE = 10
"""From this scale on, everything that CI takes samples of is tried."""
RERUNS_IN_CI = 12
"""Power cuts after which CI runs again."""

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


def trials(scale: int, seed: int, say: Say) -> Iterator[Trial]:
    """Try all of it."""
    yield from killed_or_without_power(scale, seed, say)
    yield from refused(scale, seed, say)
    yield from stopped(scale, seed, say)


@contextmanager
def scenario() -> Iterator[tuple[Scenario, Path]]:
    """Prepare the case in a folder of its own; yields it and a folder for copies.

    Raises:
        NoCompilerError: system calls cannot be watched here.
    """
    library()
    with tempfile.TemporaryDirectory(prefix="system-calls-") as folder:
        yield prepare(Path(folder)), Path(folder)


# -- kills and power cuts


def killed_or_without_power(scale: int, seed: int, say: Say) -> Iterator[Trial]:
    """Kill the rebuild before each of its calls, and cut the power there."""
    with scenario() as (case, folder):
        moments = recorded(case, folder, seed, scale)
        yield from killed(case, folder, moments, say)
        yield really_killed(case, folder, len(moments) - 1, scale, seed, say)
        reruns = None if scale >= LONG_SCALE else RERUNS_IN_CI
        yield without_power(case, folder, moments, seed, say, reruns)


def recorded(case: Scenario, folder: Path, seed: int, scale: int, planted: str = "") -> list[Moment]:
    """Rebuild the hour once, and return what its folder and disk hold before each call.

    `planted` are Python statements that the process runs first.
    """
    root = case.copy(folder / "recorded")
    recorder = Recorder(Path(os.path.realpath(root)), random.Random(seed), min(1.0, 0.1 * scale))
    ended = run(root, "run", answer=recorder, environment={PLANTED: planted})
    moments = recorder.end()
    found = case.reader_anomalies(root) or anomalies(root, (case.new,))
    assert not found, f"the recorded run itself failed: {found}\n{ended.err}"
    return moments


def killed(case: Scenario, folder: Path, moments: Sequence[Moment], say: Say) -> Iterator[Trial]:
    """Look at what a kill at each of the moments leaves, and run again."""
    started, whole, heals = time.monotonic(), list[str](), list[str]()
    known = set[bytes]()
    for moment in moments:
        if (state := digest(moment.present)) in known:
            continue
        known.add(state)
        root = materialize(moment.present, case.root, folder / "killed")
        where = f"killed {moment}"
        whole += [f"{where}: {each}" for each in case.reader_anomalies(root)]
        heals += [f"{where}: {each}" for each in case.rerun_anomalies(root)]
    say(f"killed before each of {len(moments)} system calls: {len(known)} different states")
    tried = "The rebuild of an hour is killed before each system call that changes the data folder"
    seconds = time.monotonic() - started
    yield Trial(Promise.WHOLE, tried, len(moments), None, tuple(whole), seconds / 2)
    yield Trial(Promise.HEALS, tried, len(moments), None, tuple(heals), seconds / 2)


def really_killed(case: Scenario, folder: Path, calls: int, scale: int, seed: int, say: Say) -> Trial:
    """Kill a real process before some calls, and run the command again."""
    started, found, chance = time.monotonic(), list[str](), random.Random(seed)
    chosen = sorted(chance.sample(range(1, calls), min(calls - 1, 3 * scale**2)))
    for number in chosen:
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
    say(f"real processes killed at {len(chosen)} system calls")
    tried = "`event-pipeline run` is killed at a system call as a real process, and run again"
    return Trial(Promise.HEALS, tried, len(chosen), seed, tuple(found), time.monotonic() - started)


def without_power(
    case: Scenario, folder: Path, moments: Sequence[Moment], seed: int, say: Say, reruns: int | None
) -> Trial:
    """Look at what a power cut before each call may leave, and run again after it, or after some of them."""
    started, found, chance = time.monotonic(), list[str](), random.Random(seed)
    known, states = {digest(moment.present) for moment in moments}, list[tuple[str, Tree]]()
    for moment in moments:
        for survived, tree in moment.after_power_cut.items():
            if (state := digest(tree)) not in known:
                known.add(state)
                states.append((f"power cut {moment}, {survived}", tree))
    again = set(chance.sample(range(len(states)), min(len(states), len(states) if reruns is None else reruns)))
    for number, (where, tree) in enumerate(states):
        root = materialize(tree, case.root, folder / "cut")
        # A published build must be whole at once: the catalog is what readers go by.
        found += [f"{where}: {each}" for each in case.reader_anomalies(root)]
        if number in again:
            found += [f"{where}: {each}" for each in case.rerun_anomalies(root)]
    say(f"power cut at each of {len(moments)} moments: {len(states)} more states, rerun in {len(again)}")
    tried = "The power is cut before each system call of a rebuild: what was not synced is lost, all or by chance"
    times = sum(len(moment.after_power_cut) for moment in moments)
    return Trial(Promise.DURABLE, tried, times, seed, tuple(found), time.monotonic() - started)


# -- calls that fail


@dataclass
class Refusing:
    """Lets the n-th of the calls that can fail so fail, and with a lasting error all later ones."""

    error: int
    at: int
    counted: int = 0
    first: Call | None = None

    def __call__(self, call: Call) -> int:
        """Answer a call."""
        calls, lasting, _ = _FAULTS[self.error]
        if call.name not in calls:
            return GOES_ON
        self.counted += 1
        if self.counted == self.at or (lasting and self.counted > self.at):
            self.first = self.first or call
            return self.error
        return GOES_ON


def refused(scale: int, seed: int, say: Say) -> Iterator[Trial]:
    """Let calls of the command fail, those of Dagster's storage too: a sample, in the long run ever more."""
    with scenario() as (case, folder):
        chance = random.Random(seed)
        for error in _FAULTS:
            started, found = time.monotonic(), list[str]()
            counting = Refusing(error, 0)
            run(case.copy(folder / "counted"), "run", answer=_without_failing(counting), reads=True, left_out="")
            times = min(counting.counted, 3 * scale**2)
            for at in sorted(chance.sample(range(1, counting.counted + 1), times)):
                found += _refused_at(case, folder / "refused", Refusing(error, at))
            name = errno.errorcode[error]
            say(f"{name} at {times} of {counting.counted} system calls")
            lasting = " and at all later ones" if _FAULTS[error][1] else ""
            tried = f"A system call of the rebuild fails with {name}{lasting}, in the data folder or Dagster's storage"
            yield Trial(Promise.HEALS, tried, times, seed, tuple(found), time.monotonic() - started)


def _without_failing(counting: Refusing) -> Callable[[Call], int]:
    def answer(call: Call) -> int:
        counting(call)
        return GOES_ON

    return answer


def _refused_at(case: Scenario, folder: Path, refusing: Refusing) -> list[str]:
    root = case.copy(folder)
    ended = run(root, "run", answer=refusing, reads=True, left_out="")
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
"""How long the other process may take before the stopped one goes on."""
_BUSY_SECONDS = 0.5
_IMPATIENT = f"from event_pipeline.engines.local import catalog; catalog._BUSY_TIMEOUT_SECONDS = {_BUSY_SECONDS}"
"""What the processes run first: else each call of theirs would wait for the catalog for half a minute."""


def stopped(scale: int, seed: int, say: Say) -> Iterator[Trial]:
    """Stop one process at a call for longer than every timeout while another one works, then let it go on."""
    with scenario() as (case, folder), pytest.MonkeyPatch.context() as patched:
        patched.setattr(catalog, "_BUSY_TIMEOUT_SECONDS", _BUSY_SECONDS)
        started, found, chance = time.monotonic(), list[str](), random.Random(seed)
        counted = list[Call]()
        run(case.copy(folder / "counted"), "run", answer=lambda call: counted.append(call) or GOES_ON)  # type: ignore[func-returns-value]
        newest = _newest(case, folder)
        times = min(len(counted) - 1, 3 * scale**2)
        for at in sorted(chance.sample(range(1, len(counted)), times)):
            found += _stopped_at(case, newest, folder / "stopped", at)
        say(f"one process stopped at {times} of {len(counted)} system calls")
        tried = "One of two processes is stopped at a system call for longer than every timeout, then goes on"
        yield Trial(Promise.COMPLETE, tried, times, seed, tuple(found), time.monotonic() - started)


def _newest(case: Scenario, folder: Path) -> View:
    """Return what readers see when what lands while the first process is stopped is built as well."""
    root = case.copy(folder / "newest")
    _land_meanwhile(root)
    build_what_is_due(root)
    assert_agrees_with_oracle(engine_of(root), root)
    return seen(root)


def _land_meanwhile(root: Path) -> None:
    write_object(root, HOUR, 10, [purchase(second=600, quantity=3), purchase(second=600, quantity=3)])


def _stopped_at(case: Scenario, newest: View, folder: Path, at: int) -> list[str]:
    root, reached, found = case.copy(folder), threading.Event(), list[str]()
    impatient = {f"{PREFIX}LOCK_TIMEOUT_SECONDS": "1", PLANTED: _IMPATIENT}

    def answer(call: Call) -> int:
        if call.number == at:
            sleeper.signal(signal.SIGSTOP)
            reached.set()
        return GOES_ON

    begun = threading.Event()

    def answer_once_known(call: Call) -> int:
        begun.wait(60)
        return answer(call)

    sleeper = Command(root, "run", answer=answer_once_known, environment=impatient)
    begun.set()
    try:
        if not reached.wait(300):
            return [f"stopped at call {at}: it was never reached"]
        _land_meanwhile(root)
        where = f"process stopped at call {at}"
        found += [f"while it is stopped: {each}" for each in _unless_busy(root, (case.old, case.new))]
        beside = Command(root, "run", environment=impatient)
        try:
            other = beside.wait(_BESIDE_SECONDS)
        except subprocess.TimeoutExpired:
            # It waits for a pool that the stopped process holds: Dagster knows no timeout for that.
            sleeper.signal(signal.SIGCONT)
            other = beside.wait()
        if "Traceback" in other.err:
            found.append(f"the other process shows a traceback: {other.err[-1500:]}")
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
