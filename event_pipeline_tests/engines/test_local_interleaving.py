"""Repair beside a run, in every order: one is stopped at each of its steps while the other goes on to its end."""

from __future__ import annotations

import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from event_pipeline.engines import layout
from event_pipeline.engines.commits import CommitStore
from event_pipeline.engines.host.layout import Layout
from event_pipeline.engines.local import LocalEngine
from event_pipeline.engines.local.catalog import SqliteCatalog
from event_pipeline.errors import LockTimeoutError
from event_pipeline.rules.query import load_gold_tables
from event_pipeline.settings import load_settings
from event_pipeline_tests.materializing import one_gold_table
from event_pipeline_tests.pipeline import HOUR, event, purchase, rows, write_object

pytestmark = pytest.mark.long

NEXT_HOUR = HOUR.plus(1)
_CATALOG_STEPS = ("is_complete", "check", "everything", "entries", "get", "change", "create", "fill")
STEPS = [
    *((SqliteCatalog, name) for name in _CATALOG_STEPS),
    *((CommitStore, name) for name in ("hour", "partial", "day", "publish", "missing_files")),
]
"""Between these, whatever the other side does can matter: each is one read or one change of what both share."""


class Stop:
    """Holds one thread before its n-th step until it is let go; knows when another thread waits for a lock."""

    def __init__(self, number: int) -> None:
        self.left = number
        self.thread: threading.Thread | None = None
        self.reached = threading.Event()
        self.go_on = threading.Event()
        self.other_ended_or_waits = threading.Event()

    def step(self) -> None:
        """Count a step of the thread that is to be stopped."""
        if threading.current_thread() is self.thread:
            self.left -= 1
            if self.left == 0:
                self.reached.set()
                assert self.go_on.wait(60)


@pytest.fixture
def stops(monkeypatch: pytest.MonkeyPatch) -> list[Stop]:
    """The stop in force, if any."""
    active: list[Stop] = []

    def stopping(owner: type, name: str) -> None:
        real = getattr(owner, name)

        def stepped(self: Any, *arguments: Any, **named: Any) -> Any:
            # A fold asks for the partials of 200 hours, of which there are two.
            if name != "partial" or self._lake.read(layout.partial_commit(*arguments)):
                for stop in active:
                    stop.step()
            return real(self, *arguments, **named)

        monkeypatch.setattr(owner, name, stepped)

    for owner, name in STEPS:
        stopping(owner, name)
    real_lock = Layout.lock

    @contextmanager
    def lock(self: Layout, name: str, timeout_seconds: float) -> Iterator[None]:
        for stop in active:
            stop.step()
            if threading.current_thread() is not stop.thread:
                try:
                    with real_lock(self, name, 0):
                        pass
                except LockTimeoutError:
                    stop.other_ended_or_waits.set()
        with real_lock(self, name, timeout_seconds):
            yield

    monkeypatch.setattr(Layout, "lock", lock)
    return active


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two hours through to one Gold table, then an object more of the first hour, which is not built yet."""
    place = tmp_path_factory.mktemp("built")
    folder, root = one_gold_table(place / "gold"), place / "data"
    for hour in (HOUR, NEXT_HOUR):
        write_object(root, hour, 0, [event(hour), purchase(hour, 1)])
    publish(LocalEngine(load_settings(root=root, workers=1), folder), folder, HOUR, NEXT_HOUR)
    write_object(root, HOUR, 5, [event(second=301, user_id="u_2"), event(second=302, user_id="u_3")])
    return place


def publish(engine: LocalEngine, folder: Path, *hours: Any) -> None:
    """What a run does."""
    list(engine.build_silver(hours, progress=lambda _: None))
    engine.register_hours(hours)
    for table in load_gold_tables(folder):
        engine.refresh_gold(table, hours, progress=lambda _: None)


def lose_rows(root: Path) -> None:
    """An accident after which repair has something to add for every hour, partial and day."""
    with closing(sqlite3.connect(root / "catalog.sqlite")) as session:
        session.execute("DELETE FROM data_file")
        session.execute("DELETE FROM partial_day")
        session.commit()


def lose_commits(root: Path) -> None:
    """An accident after which repair drops entries, while a run commits the hour anew."""
    (root / "lake" / "commits" / "hours" / f"{HOUR.hive_path}.json").unlink()
    shutil.rmtree(root / "lake" / "runs" / "partials" / "user_activity" / HOUR.hive_path)


def lose_catalog(root: Path) -> None:
    """An accident after which the next one, whoever it is, builds the catalog anew."""
    for path in root.glob("catalog.sqlite*"):
        path.unlink()


def run_to_the_end(stop: Stop, stopped: Callable[[], object], other: Callable[[], object]) -> bool:
    """Run both, the first one stopped at its step while the other runs; tell whether that step was reached."""
    faults: list[BaseException] = []

    def guarded(work: Callable[[], object], ended: threading.Event) -> None:
        try:
            work()
        except BaseException as fault:
            faults.append(fault)
        finally:
            ended.set()

    first = threading.Thread(target=guarded, args=(stopped, stop.reached))
    second = threading.Thread(target=guarded, args=(other, stop.other_ended_or_waits))
    stop.thread = first
    first.start()
    assert stop.reached.wait(60)
    second.start()
    assert stop.other_ended_or_waits.wait(60)
    assert stop.left > 0 or first.is_alive(), "it went on while the other side ran"
    stop.go_on.set()
    first.join(60)
    second.join(60)
    assert faults == []
    return stop.left <= 0


@pytest.mark.parametrize(
    "accident",
    [None, *(pytest.param(each, marks=pytest.mark.slow) for each in (lose_rows, lose_commits, lose_catalog))],
)
@pytest.mark.parametrize("stopped", ["repair", "run"])
def test_repair_beside_a_run_neither_hides_nor_reverts_what_is_published(
    built: Path, tmp_path: Path, stops: list[Stop], stopped: str, accident: Callable[[Path], None] | None
) -> None:
    for number in range(1, 200):
        place = tmp_path / str(number)
        shutil.copytree(built, place)
        settings = load_settings(root=place / "data", workers=1)
        if accident:
            accident(place / "data")
        sides: dict[str, Callable[[], object]] = {
            "repair": partial(LocalEngine(settings, place / "gold").repair),
            "run": partial(publish, LocalEngine(settings, place / "gold"), place / "gold", HOUR),
        }
        other = "run" if stopped == "repair" else "repair"
        stops[:] = [Stop(number)]
        reached = run_to_the_end(stops[0], sides[stopped], sides[other])
        stops.clear()
        engine = LocalEngine(settings, place / "gold")
        assert engine.disagreements() == [], f"{stopped} was stopped at step {number}"
        assert len(rows(engine, "FROM silver.events WHERE hour = '22'")) == 4
        assert len(rows(engine, "FROM ops.hour_ledger")) == 2
        assert [row["total_events"] for row in rows(engine, "FROM gold.user_activity")] == [6]
        shutil.rmtree(place)
        if not reached:
            assert number > 5
            return
    pytest.fail("more steps than were expected")


@pytest.mark.parametrize("stopped", ["slow", "fast"])
def test_a_slow_registration_never_shows_an_older_build(
    built: Path, tmp_path: Path, stops: list[Stop], stopped: str
) -> None:
    for number in range(1, 100):
        place = tmp_path / str(number)
        shutil.copytree(built, place)
        settings = load_settings(root=place / "data", workers=1)
        sides: dict[str, Callable[[], object]] = {
            "slow": partial(LocalEngine(settings, place / "gold").register_hours, [HOUR]),
            "fast": partial(publish, LocalEngine(settings, place / "gold"), place / "gold", HOUR),
        }
        stops[:] = [Stop(number)]
        reached = run_to_the_end(stops[0], sides[stopped], sides["fast" if stopped == "slow" else "slow"])
        stops.clear()
        engine = LocalEngine(settings, place / "gold")
        assert engine.disagreements() == [], f"{stopped} was stopped at step {number}"
        assert len(rows(engine, "FROM silver.events WHERE hour = '22'")) == 4
        shutil.rmtree(place)
        if not reached:
            return
    pytest.fail("more steps than were expected")
