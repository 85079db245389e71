"""`event-pipeline erase` as people run it: the page's commands, what they print, and how they end."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from event_pipeline.commands.options import ExitCode
from event_pipeline.engines.local import LocalEngine
from event_pipeline.settings import load_settings
from event_pipeline_tests.command import Run
from event_pipeline_tests.pipeline import HOUR, build, event, purchase, write_object

PAGE = Path(__file__).parents[2] / "docs" / "erasure.md"
PERSON = "u_12345"


def test_the_commands_of_the_page_erase_a_person_and_say_what_is_left(run: Run, root: Path) -> None:
    lines = [event(), purchase(second=1, user_id=PERSON), purchase(second=2, user_id=PERSON, price=-1)]
    key = write_object(root, HOUR, 0, lines)
    build(LocalEngine(load_settings(root=root, workers=1)), [HOUR])
    (block,) = re.findall(r"```bash\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    plan, erase, rewrite, verify = [shlex.split(line, comments=True)[1:] for line in block.splitlines()]

    planned = run(*plan)
    assert re.search(rf"{HOUR} +1 +1", planned.out)
    assert "Nothing was changed." in planned.out
    erased = run(*erase)
    assert erased.code == ExitCode.OK
    assert re.search(rf"Raw objects that still hold the person.*{re.escape(key)} +2", erased.out, re.DOTALL)
    place = Path(re.findall(r"The receipt is (.*)", erased.out)[0])
    receipt = json.loads(place.read_text(encoding="utf-8"))
    assert receipt["hours"] == {str(HOUR): {"silver_rows": 1, "quarantined": 1}}
    assert receipt["finished_at"]
    assert re.search(rf"{HOUR} .* 3 +1 +0 +0 +2 +\S", run(*verify).out)
    assert f"Erased: 2 records of erased people in 1 hour ({HOUR})" in run("status").out
    assert [each["erased"] for each in json.loads(run("status", "--format", "json").out)["hours"]] == [2]
    left = [path for path in (root / "lake").rglob("*") if path.is_file() and PERSON.encode() in path.read_bytes()]
    assert left == []

    assert re.search(rf"rewritten.*{re.escape(key)} +2", run(*rewrite).out, re.DOTALL)
    assert (receipt_again := json.loads(place.read_text(encoding="utf-8")))["raw"][key]["rewritten"]
    assert receipt_again["hours"] == receipt["hours"]
    assert "Nothing that is published holds this person." in run(*plan).out


@pytest.mark.parametrize("user", ["", "two words", "<b>", "x" * 129])
def test_an_id_that_no_event_can_have_is_wrong_usage(run: Run, user: str) -> None:
    ended = run("erase", "--user", user)
    assert ended.code == ExitCode.USAGE
    assert "is not the user id of any event: it is not 1-128 printable ASCII characters" in ended.err


def finished_at(said: str) -> str | None:
    """Return when the erasure was finished by the receipt that a command named; None if it was not."""
    (place,) = re.findall(r"The receipt is (.*)", said)
    finished: str | None = json.loads(Path(place).read_text(encoding="utf-8"))["finished_at"]
    return finished


def test_nothing_is_built_with_a_damaged_list_and_a_damaged_hour_is_named(run: Run, root: Path) -> None:
    write_object(root, HOUR, 0, [event(user_id=PERSON)])
    engine = LocalEngine(load_settings(root=root, workers=1))
    build(engine, [HOUR])
    commit = engine.hour_commit(HOUR)
    assert commit is not None
    file = root / "lake" / commit.files[0].path
    whole = file.read_bytes()
    file.write_bytes(b"PAR1" * 100)
    ended = run("erase", "--user", PERSON)
    assert (ended.code, f"{HOUR} cannot be read, so it may hold the person" in ended.out) == (ExitCode.NOT_HELD, True)
    assert (finished_at(ended.out), "Erased: " in ended.out) == (None, False)
    file.write_bytes(whole)
    ended = run("erase", "--user", PERSON)
    assert (ended.code, bool(finished_at(ended.out))) == (ExitCode.OK, True)

    (root / "lake" / "commits" / "erasures.json").write_text('{"format": 1, "key": "00"}')
    ended = run("erase", "--user", PERSON, "--plan")
    assert (ended.code, "restore it from a backup" in ended.err) == (ExitCode.STORAGE, True)
