"""The cases that parts about processes share: a data folder, a command, and what it makes of it undisturbed.

The first of them is the rebuild: a published hour of which more has landed.
"""

from __future__ import annotations

import atexit
import functools
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from event_pipeline.engines.local import LocalEngine
from event_pipeline.errors import PipelineError
from event_pipeline.operations.erasing import erase_person
from event_pipeline.rules.contract import Limits
from event_pipeline.settings import PREFIX, load_settings
from event_pipeline_tests.engines.test_local_housekeeping import age
from event_pipeline_tests.pipeline import (
    ALL_GOLD,
    HOUR,
    assert_agrees_with_oracle,
    build,
    event,
    purchase,
    write_object,
)
from event_pipeline_tests.reliability.readers import (
    View,
    anomalies,
    build_what_is_due,
    engine_of,
    left_after_housekeeping,
    seen,
)
from event_pipeline_tests.reliability.watched import Command


@dataclass(frozen=True, slots=True)
class Scenario:
    """A data folder before a command, which is only copied, and what the undisturbed command makes of it."""

    what: str
    """The operation as the subject of a sentence."""
    root: Path
    old: View
    new: View
    files: Sequence[str]
    """What housekeeping leaves after an undisturbed command."""
    arguments: Sequence[str] = ("run",)
    environment: Mapping[str, str] = field(default_factory=dict)
    heal: Callable[[Path], None] = build_what_is_due
    """Does the same without Dagster, on what a fault has left."""

    def copy(self, folder: Path) -> Path:
        """Return a copy of the data folder."""
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self.root, folder)
        return folder

    def reader_anomalies(self, root: Path) -> list[str]:
        """Return what readers see that is neither old nor new."""
        return anomalies(root, (self.old, self.new))

    def rerun_anomalies(self, root: Path) -> list[str]:
        """Do the same once more, without a fault; return what is not then as after an undisturbed command."""
        try:
            self.heal(root)
        except PipelineError as error:
            return [f"a rerun fails: {error}"]
        return self.end_anomalies(root)

    def end_anomalies(self, root: Path) -> list[str]:
        """Return what is not as after an undisturbed command: what readers see, and what housekeeping leaves."""
        found = [f"after a rerun, {each}" for each in anomalies(root, (self.new,))]
        left = left_after_housekeeping(root)
        if left != list(self.files):
            surplus, missing = sorted(set(left) - set(self.files)), sorted(set(self.files) - set(left))
            found.append(f"after housekeeping, these files are too many: {surplus}, these too few: {missing}")
        return found


@functools.cache
def prepared() -> Scenario:
    """Build an hour, let more of it land, among it a late purchase and a duplicate, and see what a rebuild makes of it.

    Raises:
        AssertionError: an undisturbed run does not do what it should; nothing can be tried then.
    """
    case = _tried("The rebuild of an hour", _before_a_rebuild(_folder()))
    assert case.new != case.old
    return case


def others() -> Iterator[Scenario]:
    """Prepare the other operations that change a data folder, one after the other.

    Raises:
        AssertionError: an undisturbed command does not do what it should; nothing can be tried then.
    """
    landed = _folder()
    write_object(landed, HOUR, 0, [event(), purchase(second=1), b"no json"])
    yield _tried("The first build of an hour", landed)

    replaced = rebuilt_and_aged(_folder())
    yield _tried("Housekeeping", replaced, ("housekeeping", "--delete"))

    lost = _before_a_rebuild(_folder())
    for path in lost.glob("catalog.sqlite*"):
        path.unlink()
    yield _tried("The repair of a lost catalog", lost, ("repair",), heal=_repair, oracle_knows=False)

    whole = rebuilt_and_aged(_folder())
    hours = _retirement("The retirement of an hour", whole, {"silver_retention_days": 1})
    yield hours

    retired = hours.copy(_folder())
    _run(retired, *hours.arguments, environment=hours.environment)
    yield _retirement("The retirement of Gold days", retired, {"silver_retention_days": 1, "gold_retention_days": 9})

    known = _before_a_rebuild(_folder())
    _run(known)
    yield _tried("An erasure", known, ("erase", "--user", _PERSON), heal=_erase, oracle_knows=False)


_PERSON = "u_gone"


def _repair(root: Path) -> None:
    engine_of(root).repair()


def _retirement(what: str, root: Path, kept_days: Mapping[str, int]) -> Scenario:
    """Return the retirement of what is older than these settings say."""

    def retire(place: Path) -> None:
        engine = LocalEngine(load_settings(root=place, workers=1, lock_timeout_seconds=20, **kept_days))
        for leftover in engine.leftovers(datetime.now(UTC)):
            engine.remove(leftover)

    environment = {f"{PREFIX}{name.upper()}": str(days) for name, days in kept_days.items()}
    return _tried(what, root, ("housekeeping", "--delete"), environment, heal=retire, oracle_knows=False)


def _erase(root: Path) -> None:
    erase_person(engine_of(root), ALL_GOLD, Limits(), _PERSON, datetime.now(UTC), lambda *_: None)


def _folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="scenario-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder / "scenario"


def _before_a_rebuild(root: Path) -> Path:
    write_object(root, HOUR, 0, [event(), purchase(second=1), b"no json", event(second=2, user_id=_PERSON)])
    _run(root)
    land_more(root)
    return root


def rebuilt_and_aged(root: Path) -> Path:
    """Prepare a data folder with replaced builds, which housekeeping removes."""
    _before_a_rebuild(root)
    _run(root)
    age(root, 30)
    build(engine_of(root), [HOUR], force=True)
    age(root, 30)
    return root


def _tried(
    what: str,
    root: Path,
    arguments: Sequence[str] = ("run",),
    environment: Mapping[str, str] | None = None,
    *,
    heal: Callable[[Path], None] = build_what_is_due,
    oracle_knows: bool = True,
) -> Scenario:
    """See what an undisturbed command makes of a data folder, which is held to the oracle where that knows it."""
    case = Scenario(what, root, seen(root), {}, (), arguments, environment or {}, heal)
    done = case.copy(root.with_name("done"))
    _run(done, *arguments, environment=case.environment)
    if oracle_knows:
        assert_agrees_with_oracle(engine_of(done), done)
    return replace(case, new=seen(done), files=left_after_housekeeping(done))


def land_more(root: Path) -> None:
    """Let another object of the hour land."""
    write_object(root, HOUR, 5, [purchase(second=300), event(), purchase(second=-86_400), {"bad": 1}])


def _run(root: Path, *arguments: str, environment: Mapping[str, str] | None = None) -> None:
    ended = Command(root, *(arguments or ["run"]), environment=environment).wait()
    assert ended.code in (0, 1), ended.err
    assert "Traceback" not in ended.err, ended.err
