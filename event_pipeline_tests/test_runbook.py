"""The runbook does what it says: each section's commands show its fault in a real data folder, and heal it."""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import re
import shlex
import shutil
import sqlite3
import subprocess
from collections import namedtuple
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy
from filelock import FileLock

import event_pipeline
from event_pipeline.alerts.conditions import AlertKind
from event_pipeline.cli import main
from event_pipeline.dagster_instance.prepare import prepare_instance
from event_pipeline.engines.host.layout import Layout
from event_pipeline.engines.local import LocalEngine
from event_pipeline.errors import PipelineError
from event_pipeline.rules.hour import Hour
from event_pipeline.settings import load_settings
from event_pipeline_tests.command import interrupts_of_the_tests
from event_pipeline_tests.pipeline import build, event, silent, write_object
from event_pipeline_tests.receiver import webhook_receiver

pytestmark = pytest.mark.long

PROJECT = Path(__file__).parents[1]
RUNBOOK = (PROJECT / "docs" / "runbook.md").read_text(encoding="utf-8")


@dataclass(frozen=True)
class Section:
    """One section of the runbook."""

    anchors: tuple[str, ...]
    title: str
    text: str

    def commands(self, heading: str) -> list[str]:
        """Lines of the first code block below a heading; none where there is no block."""
        found = re.search(rf"\*\*{heading}\.\*\*(.*?)(?=\n\*\*|\Z)", self.text, re.DOTALL)
        blocks = re.findall(r"```bash\n(.*?)```", found[1], re.DOTALL) if found else []
        return [line for block in blocks for line in block.splitlines() if line.strip()]


def sections() -> dict[str, Section]:
    """Every section under each of its anchors."""
    found: dict[str, Section] = {}
    for anchors, title, text in re.findall(
        r"((?:<a id=\"[^\"]+\"></a>)+)\n\n## (.+?)\n(.*?)(?=\n<a id=|\n# |\Z)", RUNBOOK, re.DOTALL
    ):
        section = Section(tuple(re.findall(r'id="([^"]+)"', anchors)), title, text)
        found |= dict.fromkeys(section.anchors, section)
    return found


SECTIONS = sections()


def errors_for_people(kind: type[PipelineError] = PipelineError) -> Iterator[str]:
    """Name every class of errors with a message for a person, in all modules."""
    if kind is PipelineError:
        for module in pkgutil.walk_packages(event_pipeline.__path__, "event_pipeline."):
            importlib.import_module(module.name)
    if kind.__module__.startswith("event_pipeline."):
        yield kind.__name__
    for each in kind.__subclasses__():
        yield from errors_for_people(each)


def test_every_alert_and_every_error_for_people_has_its_section() -> None:
    wanted = {*(kind.value for kind in AlertKind), *errors_for_people()}
    assert wanted - set(SECTIONS) == set()


def test_every_section_has_symptoms_a_check_a_fix_and_whom_to_call() -> None:
    for section in set(SECTIONS.values()):
        headings = re.findall(r"^\*\*(Symptoms|Check|Fix|Call)\b", section.text, re.MULTILINE)
        optional = ["Symptoms", "Check", "Call"] if "daily_digest" in section.anchors else None
        assert headings == (optional or ["Symptoms", "Check", "Fix", "Call"]), section.title


def test_every_anchor_that_a_page_leads_to_exists() -> None:
    pages = [PROJECT / "README.md", *(PROJECT / "docs").rglob("*.md")]
    for page in pages:
        text = page.read_text(encoding="utf-8")
        for target, anchor in re.findall(r"\]\(([^)#\s]*)#([^)\s]+)\)", text):
            if not target.startswith("http"):
                aimed = (page.parent / target).read_text(encoding="utf-8") if target else text
                titles = re.findall(r"^#+ (.+)$", aimed, re.MULTILINE)
                slugs = {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
                assert anchor in slugs | set(re.findall(r'<a id="([^"]+)">', aimed)), f"{page.name}: #{anchor}"


def test_every_section_is_exercised_here_or_names_what_exercises_it() -> None:
    for section in set(SECTIONS.values()):
        named = re.findall(r"Tested by: `([^`]+)`", section.text)
        assert all((PROJECT / path).exists() for path in named), section.title
        exercised = any(anchor in FAULTS for anchor in section.anchors)
        run = [*section.commands("Check"), *section.commands("Fix")]
        shown = [
            line for block in re.findall(r"```bash\n(.*?)```", section.text, re.DOTALL) for line in block.splitlines()
        ]
        assert not exercised or run == [line for line in shown if line.strip()], section.title
        if any(anchor in THE_SAME_COMMANDS for anchor in section.anchors):
            exercised = all(
                section.commands(heading) == SECTIONS["nothing-runs"].commands(heading) for heading in ("Check", "Fix")
            )
        assert exercised or named or "Not exercised here" in section.text, section.title


# -- the faults, and that what the runbook says shows and heals them


@dataclass
class Place:
    """A data folder with two built hours, and what a test does to it."""

    root: Path
    closed: Hour
    """The newer one, which was over when they were built: alerts are about the present."""
    patch: pytest.MonkeyPatch
    until_healed: ExitStack
    """Closed between showing and healing: what the world outside does, such as a producer who writes objects again."""
    until_the_end: ExitStack

    @property
    def engine(self) -> LocalEngine:
        return LocalEngine(load_settings(root=self.root, workers=1))

    @property
    def layout(self) -> Layout:
        return Layout(self.root)

    def write(self, hour: Hour, minute: int = 0, lines: object = None, build_it: bool = False) -> Path:
        key = write_object(self.root, hour, minute, lines or [event(hour, minute)])  # type: ignore[arg-type]
        if build_it:
            build(self.engine, [hour])
        return self.root / "raw" / key

    def rewrite_later(self, minute: int) -> None:
        """Have the producer write an object of the newer hour again before the healing."""
        self.until_healed.callback(lambda: self.write(self.closed, minute, [event(self.closed, n) for n in range(40)]))


Fault = tuple[Callable[[Place], object], str]
"""What brings a data folder into the state, and what the showing commands say then and no longer after the healing."""


def resent_object(place: Place) -> None:
    before = place.closed.plus(-1)
    place.write(place.closed, 5, [event(before, second) for second in range(4)], build_it=True)


def joined_object(place: Place) -> None:
    joined = b"".join(json.dumps(event(place.closed, second)).encode() for second in range(40))
    place.write(place.closed, 10, [joined], build_it=True)
    place.rewrite_later(10)


def waiting(place: Place) -> None:
    for folder in ("raw", "lake"):
        shutil.rmtree(place.root / folder)
    place.layout.catalog.unlink()
    place.write(place.closed.plus(-3))
    place.write(place.closed)


def few_records(place: Place) -> None:
    days = [place.closed.plus(-24 * day) for day in range(1, 6)]
    for hour in days:
        place.write(hour, 0, [event(hour, second) for second in range(40)])
    build(place.engine, days)
    place.rewrite_later(5)


def refused_records(place: Place) -> None:
    place.write(place.closed, 5, [b"no json"] * 9, build_it=True)
    place.rewrite_later(5)


def corrupt_object(place: Place) -> None:
    place.write(place.closed, 5, b"no gzip", build_it=True)
    place.rewrite_later(5)


def broken_law(place: Place) -> None:
    record = place.layout.hour_commit(place.closed)
    fields = json.loads(record.read_text())
    fields["account"]["objects"][0]["records"] += 1
    record.write_text(json.dumps(fields))


def lost_object(place: Place) -> None:
    gone = place.write(place.closed, 5, build_it=True)
    gone.unlink()


def new_field(place: Place) -> None:
    place.write(place.closed, 5, [event(place.closed, n, referrer="mail") for n in range(3)], build_it=True)
    place.rewrite_later(5)


def few_objects(place: Place) -> None:
    # The copy of the hour in question: the others of the place have one object as well, and it is enough for them.
    place.patch.setenv("EVENT_PIPELINE_EXPECTED_OBJECTS", "2")
    place.until_healed.callback(complete_hours, place)


def complete_hours(place: Place) -> None:
    """Write the second object of each built hour."""
    for hour in (place.closed.plus(-1), place.closed):
        place.write(hour, 40)


def unmatched_key(place: Place) -> None:
    odd = place.root / "raw" / "events" / "_SUCCESS"
    odd.write_bytes(b"")
    place.until_healed.callback(odd.unlink)


def failed_run(place: Place) -> None:
    hour = place.closed.plus(-5)
    place.write(hour)
    stone = place.root / "lake" / "runs" / "hours" / hour.hive_path
    stone.parent.mkdir(parents=True, exist_ok=True)
    stone.write_text("in the way")
    ended(["event-pipeline run"], place)
    place.until_healed.callback(stone.unlink)


def damaged_catalog(place: Place) -> None:
    with place.layout.catalog.open("r+b") as catalog:
        catalog.write(b"x" * 300)


def full_disk(place: Place) -> None:
    usage = namedtuple("usage", "total used free")
    real = shutil.disk_usage
    place.patch.setattr(shutil, "disk_usage", lambda _: usage(1 << 40, 1 << 40, 0))
    place.until_healed.callback(lambda: place.patch.setattr(shutil, "disk_usage", real))


def held_lock(place: Place) -> None:
    place.patch.setenv("EVENT_PIPELINE_LOCK_TIMEOUT_SECONDS", "0")
    place.until_healed.enter_context(FileLock(place.root / "locks" / "catalog.lock"))


def damaged_record(place: Place) -> None:
    place.layout.hour_commit(place.closed).write_text('{"kind": "hour", "format": 2}')


def gone_file(place: Place) -> None:
    commit = place.engine.hour_commit(place.closed)
    assert commit
    (place.layout.lake / commit.files[0].path).unlink()


def late_object(place: Place) -> None:
    place.write(place.closed, 55)


def other_rules(place: Place) -> None:
    place.patch.setenv("EVENT_PIPELINE_EVENT_MAX_AGE_DAYS", "6")


def no_gold(place: Place) -> None:
    place.write(place.closed, 5)
    list(place.engine.build_silver([place.closed], progress=silent))
    place.engine.register_hours([place.closed])


def not_registered(place: Place) -> None:
    place.write(place.closed, 5)
    list(place.engine.build_silver([place.closed], progress=silent))


def no_record(place: Place) -> None:
    place.layout.hour_commit(place.closed).unlink()


def damaged_dagster(place: Place) -> None:
    (place.root / "dagster" / "history" / "runs.db").write_bytes(b"no database " * 100)


def other_layout(place: Place) -> None:
    (place.root / "layout.json").write_text('{"layout": 99}')


def dead_webhook(place: Place) -> None:
    receiver = place.until_the_end.enter_context(webhook_receiver())
    receiver.answers.extend([500])
    place.patch.setenv("EVENT_PIPELINE_ALERT_WEBHOOK_URL", receiver.url)


def nothing(_: Place) -> None:
    """Nothing is broken: the commands of the section themselves ask for what cannot be."""


FAULTS: dict[str, Fault] = {
    "freshness": (waiting, "No hour published"),
    "volume": (few_records, "Unusual number of records in 1 hour"),
    "quarantine_share": (refused_records, "More than 5.00% of the records quarantined"),
    "unreadable_objects": (corrupt_object, "Raw objects cannot be read"),
    "object_framing": (joined_object, "Raw objects are not one JSON object per line"),
    "conservation_law": (broken_law, "Records in and out do not add up"),
    "lost_objects": (lost_object, "Raw objects of published hours are lost"),
    "sent_again": (resent_object, "Records of another hour were sent again in 1 hour"),
    "schema_drift": (new_field, 'referrer: 3 records, for example "mail"'),
    "few_objects": (few_objects, "Fewer than 2 raw objects in"),
    "unmatched_keys": (unmatched_key, "1 key is not read"),
    "run_failed": (failed_run, "Runs failed and are not retried"),
    "cannot_look": (damaged_catalog, "The pipeline's data cannot be read"),
    "daily_digest": (nothing, "ready"),
    "nothing-runs": (waiting, "new, not built yet"),
    "disk-full": (full_disk, "free some space, or set EVENT_PIPELINE_ROOT"),
    "LockTimeoutError": (held_lock, "another process has been working on catalog"),
    "damaged-catalog": (damaged_catalog, "the catalog is damaged"),
    "damaged_commit_record": (damaged_record, "damaged commit record"),
    "committed-files-gone": (gone_file, "are gone, first:"),
    "late-data": (late_object, "changed since it was built"),
    "rules-changed": (other_rules, "outdated rules"),
    "gold-behind": (no_gold, "Gold behind"),
    "unregistered-partitions": (not_registered, "queries do not see 1 hour"),
    "NotPublishedError": (no_record, "there is no commit record for 1 hour"),
    "damaged-dagster-storage": (damaged_dagster, "Dagster's storage cannot be used"),
    "backfill-stuck": (waiting, "new, not built yet"),
    "LayoutVersionError": (other_layout, "the data folder has layout 99"),
    "NotBuildableError": (nothing, "is before the first partition"),
    "QueryError": (nothing, "nothing_like_this"),
    "DeliveryError": (dead_webhook, "the webhook answered 500"),
}

THE_SAME_COMMANDS = ("backfill_finished",)
"""Sections whose commands are those of `nothing-runs`: hours wait, and are built."""

ASKED_FOR_WRONGLY = ("NotBuildableError", "QueryError", "daily_digest")
"""Sections whose showing commands say the same at any time."""


@pytest.fixture(scope="module", autouse=True)
def _no_waiting_for_the_disk() -> Iterator[None]:
    """Dagster's storage of a test need not survive a power cut; waiting for the disk took half of its time."""

    def in_a_hurry(connection: sqlite3.Connection, _: object) -> None:
        connection.execute("PRAGMA synchronous = OFF")

    sqlalchemy.event.listen(sqlalchemy.engine.Engine, "connect", in_a_hurry)
    yield
    sqlalchemy.event.remove(sqlalchemy.engine.Engine, "connect", in_a_hurry)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Hour]:
    """Two built hours, the newer of which is returned, and Dagster's storage without runs, as slow to make as a run."""
    root = tmp_path_factory.mktemp("built") / "data"
    closed = Hour.containing(datetime.now(UTC)).plus(-1)
    hours = [closed.plus(-1), closed]
    for hour in hours:
        write_object(root, hour, 0, [event(hour, second) for second in range(4)])
    settings = load_settings(root=root, workers=1)
    build(LocalEngine(settings), hours)
    prepare_instance(settings).dispose()
    return root, closed


@pytest.fixture
def place(built: tuple[Path, Hour], root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """A copy of that data folder, named `data` in the working folder as in the runbook."""
    built_root, closed = built
    shutil.copytree(built_root, root)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EVENT_PIPELINE_ROOT", "data")
    monkeypatch.setenv("EVENT_PIPELINE_EXPECTED_OBJECTS", "1")
    monkeypatch.setenv("EVENT_PIPELINE_WORKERS", "1")
    with ExitStack() as late, ExitStack() as outside:
        yield Place(root, closed, monkeypatch, outside, late)


@pytest.mark.parametrize("anchor", FAULTS)
def test_the_runbook_shows_and_heals(anchor: str, place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    section, (break_it, said) = SECTIONS[anchor], FAULTS[anchor]
    break_it(place)
    showing, healing = section.commands("Check"), section.commands("Fix")
    capsys.readouterr()
    ended(showing, place)
    assert said in text_of(capsys)

    place.until_healed.close()
    codes = ended(healing, place)
    assert codes == [0] * len(healing), text_of(capsys)
    text_of(capsys)
    if anchor not in ASKED_FOR_WRONGLY:
        ended(showing, place)
        assert said not in text_of(capsys)


def ended(commands: list[str], place: Place) -> list[int]:
    """Run lines of the runbook: our command in this process, all else by a shell. Return the exit codes."""
    record = place.layout.hour_commit(place.closed)
    resent = str(place.root / "raw" / place.closed.raw_key(place.closed.start + timedelta(minutes=5)))
    stands_for = {"HOUR": str(place.closed), "NEXT": str(place.closed.plus(1)), "FILE": str(record), "OBJECT": resent}
    codes = []
    for line in commands:
        words = [stands_for.get(word, word) for word in shlex.split(line, comments=True)]
        words = [word.replace("FILE.", f"{record}.") if word.startswith("FILE.") else word for word in words]
        if words[0] == "event-pipeline":
            with pytest.raises(SystemExit) as end, interrupts_of_the_tests():
                main(words[1:])
            codes.append(int(end.value.code or 0))
        elif words[0] == "export":
            place.patch.setenv(*words[1].split("=", 1))
            codes.append(0)
        else:
            codes.append(subprocess.run(words, check=False, env=os.environ).returncode)
    return codes


def text_of(capsys: pytest.CaptureFixture[str]) -> str:
    """What was printed since the last time, as one line."""
    printed = capsys.readouterr()
    return " ".join((printed.out + printed.err).split())
