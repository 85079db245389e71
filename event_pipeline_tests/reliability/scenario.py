"""The case that parts about processes share: a published hour of which more has landed, so that its rebuild is due."""

from __future__ import annotations

import atexit
import functools
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from event_pipeline.errors import PipelineError
from event_pipeline_tests.pipeline import HOUR, assert_agrees_with_oracle, event, purchase, write_object
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
    """A data folder before a rebuild, which is only copied, and what an undisturbed rebuild makes of it."""

    root: Path
    old: View
    new: View
    files: Sequence[str]
    """What housekeeping leaves after an undisturbed rebuild."""

    def copy(self, folder: Path) -> Path:
        """Return a copy of the data folder."""
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self.root, folder)
        return folder

    def reader_anomalies(self, root: Path) -> list[str]:
        """Return what readers see that is neither old nor new."""
        return anomalies(root, (self.old, self.new))

    def rerun_anomalies(self, root: Path) -> list[str]:
        """Build what is due; return what is not then as after an undisturbed rebuild."""
        try:
            build_what_is_due(root)
        except PipelineError as error:
            return [f"a rerun fails: {error}"]
        return self.end_anomalies(root)

    def end_anomalies(self, root: Path) -> list[str]:
        """Return what is not as after an undisturbed rebuild: what readers see, and what housekeeping leaves."""
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
    folder = Path(tempfile.mkdtemp(prefix="scenario-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    root = folder / "scenario"
    write_object(root, HOUR, 0, [event(), purchase(second=1), b"no json"])
    _run(root)
    old = seen(root)
    land_more(root)
    scenario = Scenario(root, old, {}, ())
    rebuilt = scenario.copy(folder / "rebuilt")
    _run(rebuilt)
    assert_agrees_with_oracle(engine_of(rebuilt), rebuilt)
    new = seen(rebuilt)
    assert new != old
    return Scenario(root, old, new, left_after_housekeeping(rebuilt))


def land_more(root: Path) -> None:
    """Let another object of the hour land."""
    write_object(root, HOUR, 5, [purchase(second=300), event(), purchase(second=-86_400), {"bad": 1}])


def _run(root: Path) -> None:
    ended = Command(root, "run").wait()
    assert ended.code in (0, 1), ended.err
    assert "Traceback" not in ended.err, ended.err
