"""The life of a refused record: counted, shown without harm, and judged again when rules or objects have changed."""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import shlex
from pathlib import Path

import pytest

from event_pipeline.commands.options import ExitCode
from event_pipeline.engines.local import LocalEngine
from event_pipeline.operations.replaying import compare_builds
from event_pipeline.reporting.quarantine import MOST_CHARACTERS_SHOWN, print_replay_result
from event_pipeline.reporting.terminal import output
from event_pipeline.settings import load_settings
from event_pipeline_tests.command import Run
from event_pipeline_tests.pipeline import HOUR, assert_agrees_with_oracle, build, event, purchase, rows, write_object

NEXT_HOUR = HOUR.plus(1)
OLD = -10 * 86_400
REPLAY_PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "replay.md"


@pytest.fixture
def engine(root: Path) -> LocalEngine:
    """The embedded engine."""
    return LocalEngine(load_settings(root=root, workers=1))


@pytest.fixture
def _two_hours(root: Path, engine: LocalEngine) -> None:
    """HOUR has two equal events that are too old, and no JSON; NEXT_HOUR has a wrong price."""
    old = event(second=OLD, user_id="u_old")
    write_object(root, HOUR, 0, [event(), old, old, b"no json"])
    write_object(root, NEXT_HOUR, 0, [purchase(NEXT_HOUR, 1, price=-1), purchase(NEXT_HOUR, 2)])
    build(engine, [HOUR, NEXT_HOUR])


@pytest.mark.usefixtures("_two_hours")
def test_reasons_are_counted_with_an_example_and_by_hour(run: Run) -> None:
    listed = run("quarantine", "list")
    assert re.search(rf"timestamp_out_of_range +1 +2 +33[.]333% +{HOUR} +{HOUR}\n not_json +1 +1 ", listed.out)
    examples = listed.out.split("Examples\n")[1]
    assert re.search(r"^  timestamp_out_of_range  [{].*u_old", examples)
    assert re.search(r"\n  not_json +no json\n  invalid_price +[{].*-1", examples)
    assert f"quarantine show --hour {HOUR} --reason timestamp_out_of_range" in examples
    listed = run("quarantine", "list", "--by-hour")
    assert re.search(rf"{HOUR} +timestamp_out_of_range +2 +4 +50\.000%", listed.out)
    assert re.search(rf"{NEXT_HOUR} +invalid_price +1 +2 +50\.000%", listed.out)
    assert re.search(r"in all +2 +4 +66\.667%", listed.out)
    found = list(csv.DictReader(io.StringIO(run("quarantine", "list", "--format", "csv").out)))
    assert [(row["hour"], row["reason"], row["quarantined"], row["records"]) for row in found] == [
        (str(HOUR), "not_json", "1", "4"),
        (str(HOUR), "timestamp_out_of_range", "2", "4"),
        (str(NEXT_HOUR), "invalid_price", "1", "2"),
    ]
    one = json.loads(
        run("quarantine", "list", "--from", str(NEXT_HOUR), "--to", str(NEXT_HOUR.plus(1)), "--format", "json").out
    )
    assert one == [{"hour": str(NEXT_HOUR), "reason": "invalid_price", "quarantined": 1, "records": 2, "share": 0.5}]
    assert run("quarantine", "list", "--reason", "missing_price", "--format", "json").out == "[]\n"
    assert "No quarantined records in 2 published hours" in run("quarantine", "list", "--reason", "missing_price").out


def test_hostile_records_are_shown_without_harm_and_given_to_programs_as_they_are(
    run: Run, root: Path, engine: LocalEngine
) -> None:
    hostile = ["\x1b[31mred\x1b]0;title\x07", "\u202egnp.exe", "\x9b2J", "x" * 50_000]
    write_object(root, HOUR, 0, [*(line.encode() for line in hostile), b"\xff\xfe half", b"ok \r carriage"])
    build(engine, [HOUR])
    shown = run("quarantine", "show", "--hour", str(HOUR))
    assert shown.code == 0
    assert all(each.isprintable() for line in shown.out.split("\n") for each in line)
    assert r"\x1b[31mred\x1b]0;title\x07" in shown.out
    assert r"\u202egnp.exe" in shown.out
    assert f"cut at {MOST_CHARACTERS_SHOWN} of 50,000 characters" in shown.out
    assert max(map(len, shown.out.split("\n"))) < MOST_CHARACTERS_SHOWN + 100
    assert "line 6" in shown.out
    assert f"{HOUR}: 6 of 6 quarantined records" in shown.err
    exact = json.loads(run("quarantine", "show", "--hour", str(HOUR), "--format", "json").out)
    assert [row["record"] for row in exact[:4]] == hostile
    assert exact[4]["record"] == "\ufffd\ufffd half"
    few = run("quarantine", "show", "--hour", str(HOUR), "--limit", "2", "--reason", "not_json")
    assert f"{HOUR}: 2 of 6 quarantined records of not_json" in few.err
    assert "nothing is published" in run("quarantine", "show", "--hour", str(NEXT_HOUR)).err


@pytest.mark.usefixtures("_two_hours")
def test_a_reason_that_the_contract_does_not_have_is_wrong_usage(run: Run) -> None:
    for command in (("list",), ("show", "--hour", str(HOUR)), ("replay",)):
        ended = run("quarantine", *command, "--reason", "too_old")
        assert ended.code == ExitCode.USAGE
        assert "--reason 'too_old' is not in the contract: choose from too_long, not_json" in ended.err


@pytest.mark.usefixtures("_two_hours")
def test_nothing_is_replayed_when_nothing_can_change(run: Run, root: Path, engine: LocalEngine) -> None:
    before = engine.hour_commits()
    ended = run("quarantine", "replay")
    assert ended.code == 0
    assert "Nothing to replay" in ended.out
    assert f"nothing can change: 2 hours ({HOUR} to {NEXT_HOUR.plus(1)})" in ended.out
    assert engine.hour_commits() == before
    assert not (root / "dagster").exists()
    refused = run("quarantine", "replay", "--force")
    assert (refused.code, "--force needs --from and --to" in refused.err) == (ExitCode.USAGE, True)
    forced = run("quarantine", "replay", "--force", "--plan", "--from", str(HOUR), "--to", str(NEXT_HOUR))
    assert re.search(rf"{HOUR} +forced +3", forced.out)
    same = compare_builds(before, before)
    assert (same.left_quarantine, same.rebuilt, same.after.adds_up) == ({}, (), True)


@pytest.mark.long
@pytest.mark.usefixtures("_two_hours")
def test_after_a_rule_change_only_the_hours_with_such_records_are_built_again(
    run: Run, root: Path, engine: LocalEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = engine.hour_commits()
    monkeypatch.setenv("EVENT_PIPELINE_EVENT_MAX_AGE_DAYS", "14")
    monkeypatch.setenv("EVENT_PIPELINE_QUARANTINE_ERROR_SHARE", "1")
    arguments = ("quarantine", "replay", "--reason", "timestamp_out_of_range")
    plan = run(*arguments, "--plan")
    assert re.search(rf"{HOUR} +other rules +2 +[0-9a-f]{{12}}:604800s:300s:1048576B:4294967296B:20000000", plan.out)
    assert str(NEXT_HOUR) not in plan.out
    assert engine.hour_commits() == before
    ended = run(*arguments)
    assert ended.code == 0
    assert re.search(r"timestamp_out_of_range +2 +0 +-2", ended.out)
    assert "Left quarantine: 2 of timestamp_out_of_range; Silver +1, duplicates +1" in ended.out
    assert "Records = Silver + quarantined + duplicates, before and after." in ended.out
    after = LocalEngine(load_settings(root=root, workers=1)).hour_commits()
    assert (after[HOUR].account.silver_rows, after[HOUR].account.duplicates) == (2, 1)
    assert after[NEXT_HOUR] == before[NEXT_HOUR]
    assert rows(engine, "SELECT total_events FROM gold.user_activity WHERE event_date = '2025-11-27'") == [
        {"total_events": 1}
    ]
    again = run(*arguments)
    assert "Nothing to replay: no hour with records of timestamp_out_of_range" in again.out


@pytest.mark.long
@pytest.mark.usefixtures("_two_hours")
def test_a_repaired_object_lets_its_records_out(
    run: Run, root: Path, engine: LocalEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVENT_PIPELINE_QUARANTINE_ERROR_SHARE", "1")
    write_object(root, NEXT_HOUR, 0, [purchase(NEXT_HOUR, 1, price=1), purchase(NEXT_HOUR, 2)])
    ended = run("quarantine", "replay")
    assert ended.code == 0
    assert re.search(rf"{NEXT_HOUR} +other objects +1", ended.out)
    assert "Left quarantine: 1 of invalid_price; Silver +1" in ended.out
    assert "Same rules, same objects" in ended.out
    assert_agrees_with_oracle(engine, root)


@pytest.mark.usefixtures("_two_hours")
def test_hours_that_lost_raw_objects_are_not_replayed(run: Run, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (path,) = (root / "raw" / HOUR.raw_prefix).rglob("*.gz")
    path.unlink()
    monkeypatch.setenv("EVENT_PIPELINE_EVENT_MAX_AGE_DAYS", "14")
    ended = run("quarantine", "replay", "--reason", "timestamp_out_of_range")
    assert "Nothing to replay" in ended.out
    assert f"Skipped, because raw objects are lost: 1 hour ({HOUR})" in ended.out


@pytest.mark.long
def test_the_round_of_the_replay_page_can_be_walked(run: Run, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    section = REPLAY_PAGE.read_text(encoding="utf-8")
    (block,) = re.findall(r"```bash\n(.*?)```", section, re.DOTALL)
    outputs = []
    for line in block.splitlines():
        words = shlex.split(line, comments=True)
        if words[0] == "export":
            variable, value = words[1].split("=")
            # The folder of its own is the test's.
            monkeypatch.setenv(variable, value if variable != "EVENT_PIPELINE_ROOT" else str(root))
            continue
        assert words[0] == ".venv/bin/event-pipeline"
        ended = run(*words[1:])
        assert ended.code == 0, ended.err
        outputs.append(ended.out)
    (shown,) = re.findall(r"```text\n(.*?)```", section, re.DOTALL)
    for line in shown.strip().splitlines():
        pattern = re.escape(re.sub(r"\s+", " ", line.strip()))
        pattern = re.sub(r"\b[0-9a-f]{12}:", "[0-9a-f]{12}:", pattern)  # the digest of the rules
        assert any(re.search(pattern, re.sub(r"[ ]+", " ", out)) for out in outputs), line


def test_records_of_replaced_objects_are_told_apart(
    root: Path, engine: LocalEngine, capsys: pytest.CaptureFixture[str]
) -> None:
    write_object(root, HOUR, 0, [event(), b"no json", b"nor this"])
    build(engine, [HOUR])
    write_object(root, HOUR, 0, gzip.compress(json.dumps(event(second=1)).encode()))
    before = engine.hour_commits()
    build(engine, [HOUR])
    print_replay_result(compare_builds(before, engine.hour_commits()), output())
    assert "Left quarantine: 2 of not_json; records of replaced objects -2" in capsys.readouterr().out
