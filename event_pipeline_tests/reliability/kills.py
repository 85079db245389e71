"""Kills (kill -9) of real processes at random times.

Commands, Dagster runs of an hour, Glue runs, and the daemon with its runs and those of a backfill (`rehearsal.py`).

Most are forks of a warm process that run the real command (`watched.py`); a few are started anew. The time of a kill
is anywhere within the time that the same command takes undisturbed. Kills come in chains: what one leaves is what the
next one meets, and at the end of a chain the command runs to its end.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from event_pipeline.engines.aws import AwsEngine
from event_pipeline.errors import PipelineError
from event_pipeline.settings import PREFIX
from event_pipeline_tests.assemblies import variables
from event_pipeline_tests.command import Ended
from event_pipeline_tests.emulator import EmulatedAws
from event_pipeline_tests.emulator.warm_python import WarmPython
from event_pipeline_tests.engines.aws import plain_job
from event_pipeline_tests.engines.aws.pipeline import land, seen, silver
from event_pipeline_tests.pipeline import HOUR, assert_agrees_with_oracle, build, event, purchase
from event_pipeline_tests.rehearsal import cleared, rehearse
from event_pipeline_tests.reliability.readers import anomalies
from event_pipeline_tests.reliability.scenario import Scenario, prepared, rebuilt_and_aged
from event_pipeline_tests.reliability.trial import Promise, Say, Trial
from event_pipeline_tests.reliability.watched import PROJECT, Command

_CHAIN = 4
"""Kills before a command may run to its end."""
_GENERATE = "generate --start 2025-12-08T00 --files-per-hour 4 --events-per-file 300 --bad-share 0.1 --broken-objects 1"


@dataclass(frozen=True, slots=True)
class Killed:
    """A kind of process, and what must hold whenever it is killed."""

    what: str
    kills: int
    """At scale 1; those that come too late do not count."""
    begin: Callable[[Path], Path]
    """Prepares a data folder there."""
    start: Callable[[Path], Command | NewProcess]
    while_killed: Callable[[Path], list[str]]
    """Returns what is wrong after a kill, as texts."""
    at_the_end: Callable[[Path], list[str]]
    """Returns what is wrong once the process has run to its end."""
    finish: Callable[[Path], Command] | None = None
    """Starts what heals after the last kill of a chain, if that is not the same process."""


class NewProcess:
    """`event-pipeline` started as people do, as a process of its own and not as a fork."""

    def __init__(self, root: Path, *arguments: str) -> None:
        outside = {name: value for name, value in os.environ.items() if not name.startswith((PREFIX, "DAGSTER_"))}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "event_pipeline.cli", *arguments],
            cwd=PROJECT,
            env={**outside, f"{PREFIX}ROOT": str(root)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def kill(self) -> None:
        """Kill it and its children."""
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass

    def wait(self, seconds: float = 300) -> Ended:
        """Wait until it has ended.

        Raises:
            subprocess.TimeoutExpired: it still runs.
        """
        out, err = self._process.communicate(timeout=seconds)
        return Ended(self._process.returncode, out, err)


def trials(scale: int, seed: int, say: Say) -> Iterator[Trial]:
    """Kill all kinds of processes."""
    yield from commands(scale, seed, say)
    yield from glue_jobs(scale, seed, say)
    yield from daemons(scale, seed, say)


# -- commands


def commands(scale: int, seed: int, say: Say) -> Iterator[Trial]:
    """Kill commands and Dagster runs at random times."""
    with tempfile.TemporaryDirectory(prefix="kills-") as name:
        folder = Path(name)
        case = prepared()
        for kind in (*_kinds(case, folder), new_process(case)):
            yield chains(kind, folder / "killed", scale, seed, say)


def chains(kind: Killed, folder: Path, scale: int, seed: int, say: Say) -> Trial:
    """Kill one kind of process again and again."""
    started, found, chance = time.monotonic(), list[str](), random.Random(f"{seed} {kind.what}")
    longest = _seconds(kind, folder)
    wanted = kind.kills * scale
    kills = chain = too_late = 0
    while kills < wanted and too_late <= wanted + _CHAIN:
        root, chain = kind.begin(folder), chain + 1
        for link in range(_CHAIN):
            delay = chance.uniform(0, longest)
            where = f"{kind.what}, seed {seed}, chain {chain}, kill {link} after {delay:.3f} of {longest:.3f} s"
            process, begun = kind.start(root), time.monotonic()
            try:
                ended = process.wait(delay)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                kills += 1
                found += [f"{where}: {each}" for each in kind.while_killed(root)]
                continue
            too_late += 1
            if link == 0:
                # The machine has become faster; later links of a chain may have less left to do.
                longest = time.monotonic() - begun
            if kind.finish is None:
                break
        else:
            ended = (kind.finish or kind.start)(root).wait()
        where = f"{kind.what}, seed {seed}, after chain {chain}"
        if ended.code not in (0, 1) or "Traceback" in ended.err:
            found.append(f"{where}: the run that is not killed ends with {ended.code}: {ended.err[-1500:]}")
        found += [f"{where}: {each}" for each in kind.at_the_end(root)]
    say(f"{kind.what}: {kills} kills, seed {seed}; {too_late} more came too late")
    if kills < wanted:
        found.append(f"{kind.what}, seed {seed}: only {kills} kills came in time, {too_late} when it had ended")
    tried = f"{kind.what} is killed at random times"
    return Trial(Promise.HEALS, tried, kills, seed, tuple(found), time.monotonic() - started)


def _seconds(kind: Killed, folder: Path) -> float:
    """Return how long the process takes undisturbed."""
    root = kind.begin(folder)
    started = time.monotonic()
    kind.start(root).wait()
    return time.monotonic() - started


def _kinds(case: Scenario, folder: Path) -> Sequence[Killed]:
    rebuilt_and_aged(folder / "aged")
    generated = _generated(folder / "generated")

    def without_catalog(place: Path) -> Path:
        root = case.copy(place)
        for path in root.glob("catalog.sqlite*"):
            path.unlink()
        return root

    def aged(place: Path) -> Path:
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(folder / "aged", place)
        return place

    def materialize(root: Path) -> Command:
        arguments = ("asset", "materialize", "--select", "*", "-m", "event_pipeline.definitions")
        home = {"DAGSTER_HOME": str(root / "dagster")}
        return Command(root, *arguments, "--partition", HOUR.partition_key, program="dagster", environment=home)

    def run(root: Path) -> Command:
        return Command(root, "run")

    def repair(root: Path) -> Command:
        return Command(root, "repair")

    def housekeeping(root: Path) -> Command:
        return Command(root, "housekeeping", "--delete")

    def generate(root: Path) -> Command:
        return Command(root, *_GENERATE.split())

    def only_new(root: Path) -> list[str]:
        return anomalies(root, (case.new,))

    def some_generated(root: Path) -> list[str]:
        return _other_bytes(generated, root)

    def all_generated(root: Path) -> list[str]:
        return [*_other_bytes(generated, root), *_other_names(generated, root)]

    old_or_new, whole, healed = case.reader_anomalies, case.end_anomalies, case.rerun_anomalies
    return (
        Killed("`event-pipeline run`", 24, case.copy, run, old_or_new, whole),
        Killed("a Dagster run of an hour's assets", 4, case.copy, materialize, old_or_new, whole, run),
        Killed("`event-pipeline repair` of a lost catalog", 20, without_catalog, repair, old_or_new, healed),
        Killed("`event-pipeline housekeeping --delete`", 20, aged, housekeeping, only_new, whole),
        Killed("`event-pipeline generate`", 20, cleared, generate, some_generated, all_generated),
    )


def new_process(case: Scenario) -> Killed:
    """Return the command as a process that is started anew."""

    def run(root: Path) -> NewProcess:
        return NewProcess(root, "run")

    what = "`event-pipeline run`, started anew"
    return Killed(what, 3, case.copy, run, case.reader_anomalies, case.end_anomalies)


def _generated(root: Path) -> dict[str, bytes]:
    Command(root, *_GENERATE.split()).wait()
    found = _raw(root)
    assert len(found) == 4
    return found


def _raw(root: Path) -> dict[str, bytes]:
    """Return the raw objects that a build would read."""
    return {str(path.relative_to(root)): path.read_bytes() for path in (root / "raw" / "events").rglob("*.jsonl.gz")}


def _other_bytes(wanted: dict[str, bytes], root: Path) -> list[str]:
    found = _raw(root).items()
    return [f"{key} has other bytes than from an undisturbed run" for key, body in found if wanted.get(key) != body]


def _other_names(wanted: dict[str, bytes], root: Path) -> list[str]:
    missing = sorted(wanted.keys() - _raw(root).keys())
    return [f"objects {missing} are missing"] if missing else []


# -- the Glue job


def glue_jobs(scale: int, seed: int, say: Say) -> Iterator[Trial]:
    """Kill the processes of Glue runs on the emulated account at random times."""
    started, found, chance = time.monotonic(), list[str](), random.Random(seed)
    kills = 8 * scale
    warm = WarmPython([plain_job.__name__])
    try:
        with tempfile.TemporaryDirectory(prefix="kills-") as folder, EmulatedAws(warm_python=warm) as account:
            with variables(account.environment()):
                account.create_resources()
                found = list(_glue_kills(account, Path(folder), kills, seed, chance))
    finally:
        warm.close()
    say(f"Glue runs: {kills} kills, seed {seed}")
    tried = "A Glue run is killed at a random time, on the emulated account"
    yield Trial(Promise.HEALS, tried, kills, seed, tuple(found), time.monotonic() - started)


def _glue_kills(account: EmulatedAws, root: Path, kills: int, seed: int, chance: random.Random) -> Iterator[str]:
    settings = account.settings(root=root, glue_wait_minutes=1, glue_timeout_minutes=5)
    job = account.client("glue").get_job(JobName=settings.glue_job)["Job"]["Command"]["ScriptLocation"]
    bucket, _, key = job.removeprefix("s3://").partition("/")
    account.client("s3").put_object(Bucket=bucket, Key=key, Body=Path(plain_job.__file__).read_bytes())
    engine = AwsEngine(settings)
    land(account, settings, HOUR, 0, [event(), purchase(second=1), {"bad": 1}])
    started = time.monotonic()
    silver(engine, HOUR)
    longest = time.monotonic() - started
    shown = seen(engine)
    for number in range(kills):
        minute, second = 5 + number % 50, number // 50
        land(account, settings, HOUR, minute, [event(second=2 + number), event(second=2 + number)], second)
        delay = chance.uniform(0, longest)
        killer = threading.Thread(target=_kill_runs, args=(account, delay))
        killer.start()
        try:
            silver(engine, HOUR)
        except PipelineError:
            pass  # what a user is told is the subject of the tests of the Glue job
        killer.join()
        where = f"Glue run, seed {seed}, kill {number} after {delay:.3f} of {longest:.3f} s"
        if (now := seen(engine)) not in (shown, shown + 1):
            yield f"{where}: readers see {now} rows of Silver, neither the {shown} before nor one more"
        silver(engine, HOUR)
        if (now := seen(engine)) != shown + 1:
            yield f"{where}: after a rerun readers see {now} rows of Silver, not {shown + 1}"
        shown = now
    build(engine, [HOUR])
    try:
        assert_agrees_with_oracle(engine, root)
    except AssertionError as difference:
        yield f"Glue runs, seed {seed}: at the end the tables are not the oracle's: {str(difference)[:1000]}"


def _kill_runs(account: EmulatedAws, delay: float) -> None:
    time.sleep(delay)
    account.kill_jobs()


# -- everything


def daemons(scale: int, seed: int, say: Say) -> Iterator[Trial]:
    """Kill the daemon, runs, and everything in the middle of a run, while objects land and a backfill goes on."""
    started, found, kills = time.monotonic(), list[str](), 0
    with tempfile.TemporaryDirectory(prefix="kills-") as folder:
        try:
            kills = rehearse(Path(folder), 2 + scale, 0.3, run_kills=scale - 1, chance=random.Random(seed)).kills
        except AssertionError as fault:
            found.append(f"daemon and runs, seed {seed}: {str(fault)[:4000]}")
    say(f"daemon, runs and a backfill's run: {kills} kills, seed {seed}")
    tried = "The daemon is killed, its runs, a run of a backfill, and all processes at once, while objects land"
    yield Trial(Promise.COMPLETE, tried, kills, seed, tuple(found), time.monotonic() - started)
