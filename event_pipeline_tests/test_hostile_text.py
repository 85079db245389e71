"""Text of strangers reaches people as one line of visible characters: in terminals, in logs, on Dagster's pages."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import unicodedata
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import dagster as dg
import pytest
from dagster._core.test_utils import instance_for_test
from dagster_webserver.app import create_app_from_workspace_process_context
from rich.table import Table
from rich.text import Text

from event_pipeline.alerts.conditions import AlertFinding, AlertKind, Severity
from event_pipeline.alerts.messages import AlertEvent, alert_message, as_text
from event_pipeline.assets.presentation import code_span, described, markdown_table, quoted
from event_pipeline.reporting.terminal import PrintableFormatter, messages, output, print_error
from event_pipeline.rules.hour import HourRange
from event_pipeline.rules.printable import json_escaped, printable
from event_pipeline.settings import Settings, load_settings
from event_pipeline_tests.command import Run
from event_pipeline_tests.instances import _no_waiting_for_the_disk
from event_pipeline_tests.materializing import materialize
from event_pipeline_tests.pipeline import HOUR, event, write_object

__all__ = ["_no_waiting_for_the_disk"]

ESCAPES = "\x1b[2J\x1b]0;owned\x07"
HOSTILE = [
    f"{ESCAPES}red",
    "line\nerror: the data folder is gone",
    "carriage\rProven for everything",
    "\x9b31mC1",
    "\u202egnp.exe\u2066",
    "zero\u200bwidth\ufeff",
    "separator\u2028here",
    "tag\U000e0041",
    "del\x7f",
    "filler\u3164",
    "[red]markup[/red] [link=https://evil.example]x[/link]",
    "![x](https://evil.example/pixel.png)",
    "<img src=https://evil.example/pixel.png>",
    "a | b `c` \\| d",
    "https://evil.example/",
]
FORBIDDEN_CATEGORIES = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def assert_harmless(text: str) -> None:
    """No control but the line end, nothing that turns or hides text, and no line that data has forged."""
    seen = {each for each in text if each != "\n" and unicodedata.category(each) in FORBIDDEN_CATEGORIES}
    assert seen == set()
    for line in text.split("\n"):
        assert not re.match(r"\s*(error: the data folder|Proven for everything)", line), line


@pytest.fixture
def _hostile_folder(root: Path) -> None:
    """An hour whose field names, values, refused records and object names are hostile."""
    lines = [event(second=number) | {name: number} for number, name in enumerate(HOSTILE)]
    lines += [event(second=60 + number, user_id=f"u{name}") for number, name in enumerate(HOSTILE)]
    refused = [name.encode() for name in HOSTILE if "\n" not in name]
    key = write_object(root, HOUR, 0, [*lines, *refused, b'{"\\ud800\\ud83d": 1}', event(second=200) | {"\ud800": 1}])
    folder = (root / "raw" / key).parent
    for name in HOSTILE:
        (folder / name.replace("/", "_")).write_bytes(b"")
    Path(os.fsdecode(os.fsencode(folder) + b"/no-utf8-\xff\x9b.gz")).write_bytes(b"")
    write_object(root, HOUR, 5, b"<html>not gzip")


@pytest.mark.usefixtures("_hostile_folder")
def test_no_command_lets_text_of_the_data_command_a_terminal(run: Run, root: Path) -> None:
    commands = [
        ("run",),
        ("status",),
        ("status", "--format", "json"),
        ("verify",),
        ("doctor",),
        ("alerts",),
        ("alerts", "--send"),
        ("quarantine", "list"),
        ("quarantine", "show", "--hour", str(HOUR)),
        ("quarantine", "show", "--hour", str(HOUR), "--format", "json"),
        ("query", "SELECT * FROM silver.quarantine"),
        ("query", "SELECT * FROM silver.quarantine", "--format", "json"),
        ("query", "SELECT user_id AS \"\x1b[31m\nerror: the data folder\u202e\" FROM silver.events"),
        ("query", "SELECT CAST(user_id AS INTEGER) FROM silver.events"),
        ("query", "SELECT \"\x1b[31m\nerror: the data folder\u202e\" FROM silver.events"),
        ("query", "--name", "\x1b[31m\nerror: the data folder"),
        ("run", "--from", "\x1b[31m\nerror: the data folder", "--to", "x"),
    ]  # fmt: skip
    seen = ""
    for arguments in commands:
        ended = run(*arguments)
        assert ended.code in (0, 1, 2), (arguments, ended)
        assert_harmless(ended.out)
        assert_harmless(ended.err)
        seen += ended.out + ended.err
    # Nothing is hidden either: who looks sees what was written.
    for shown in (r"\x1b[2J\x1b]0;owned\x07red", r"\u202egnp.exe\u2066", "[red]markup[/red]", r"no-utf8-\udcff\udc9b"):
        assert shown in seen, shown


@pytest.mark.usefixtures("_hostile_folder")
def test_programs_get_the_very_text_of_the_data(run: Run, root: Path) -> None:
    run("run")
    sql = "SELECT record FROM silver.quarantine WHERE line_number > 30 ORDER BY line_number"
    wanted = [name for name in HOSTILE if "\n" not in name]
    assert [row["record"] for row in json.loads(run("query", sql, "--format", "json").out)][: len(wanted)] == wanted
    assert HOSTILE[0] in run("query", sql, "--format", "csv").out


def test_a_console_escapes_whatever_it_is_given(capsys: pytest.CaptureFixture[str]) -> None:
    for console in (output(), messages()):
        table = Table("\x1b[31mheading\n", title="\x1b[31mtitle\nerror: the data folder")
        table.add_row(Text("\x1b[31mcell\nerror: the data folder", style="bold"))
        table.add_row("\x9bcell")
        for given in (*HOSTILE, *map(Text, HOSTILE), table):
            console.print(given)
            console.print(given, soft_wrap=True, style="bold")
    printed = capsys.readouterr()
    assert printed.out == printed.err
    assert_harmless(printed.out)
    assert r"line\nerror: the data folder is gone" in printed.out


def test_lines_of_an_error_after_its_first_are_marked(capsys: pytest.CaptureFixture[str]) -> None:
    print_error("first\nerror: forged\x1b[31m", messages())
    assert capsys.readouterr().err == "error: first\n  | error: forged\\x1b[31m\n"


def test_styles_survive_the_escapes() -> None:
    console = output()
    console._color_system = None
    with console.capture() as captured:
        console.print(Text.assemble(("a\x1bb", "bold"), "c\n"))
    assert captured.get() == "a\\x1bbc\\n\n"


def test_logs_hold_visible_characters() -> None:
    record = logging.LogRecord("x", logging.INFO, "x.py", 1, "key %s", ("\x1b[31m\nINFO forged",), None)
    assert PrintableFormatter().format(record) == "key \\x1b[31m\n  INFO forged"


def test_alerts_are_composed_of_visible_lines(settings: Settings) -> None:
    finding = AlertFinding(
        AlertKind.QUARANTINE_SHARE, Severity.WARNING, "title\nforged", {"x\nforged": "\x1b[31m"}, "advice", "s"
    )
    message = alert_message("id", AlertEvent.RAISED, finding, ("note\nforged",), settings, HOUR.start)
    text = as_text(message)
    assert_harmless(text)
    assert not any(line.startswith("forged") for line in text.split("\n"))


@pytest.mark.parametrize("plain", ["word", "naïve façade", "日本語", "Ελλάδα", "emoji 🙂", "a\\nb", ""])
def test_visible_text_stays_as_it_is(plain: str) -> None:
    assert printable(plain) == plain


@pytest.mark.parametrize("text", [*HOSTILE, "\x00", "\x85", "\U000e0001", "\u061c"])
def test_escaped_json_reads_back_as_the_same_text(text: str) -> None:
    written = json_escaped(json.dumps({text: text}, ensure_ascii=False))
    assert_harmless(written)
    assert json.loads(written) == {text: text}


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("a`b", "``a`b``"),
        ("`a``", "``` `a`` ```"),
        ("", "`  `"),
        ("a|b", r"`a\|b`"),
        (r"a\|b", r"`a\\x7cb`"),
        ("a\nb\udcff", r"`a\nb\udcff`"),
    ],
)
def test_a_code_span_holds_any_text_and_fits_into_a_cell(text: str, span: str) -> None:
    assert code_span(text) == span


def test_only_plain_names_stay_outside_of_code_spans() -> None:
    for name in ("user_id", "raw/year=2025/events-1.jsonl.gz", "12.5%", "2025-12-07"):
        assert quoted(name) == name
    for name in HOSTILE[10:] + [
        "www.evil.example",
        "see www.evil.example",
        "a@b.example",
        "# heading",
        "- item",
        "*a*",
    ]:
        assert quoted(name).startswith("`"), name
    table = markdown_table(("a",), [(HOSTILE[13],), (None,), (7,), (True,)]).value or ""
    assert table.split("\n") == ["| a |", "| --- |", r"| ``a \| b `c` \\x7c d`` |", "|  |", "| 7 |", "| True |"]


def test_what_a_check_says_makes_no_link_and_keeps_its_code_spans() -> None:
    for plain in ("12 objects, 13 expected", "`![x](https://evil.example)` in 1 records; b in 2", "a_b: zero_bytes"):
        assert described(plain) == plain
    for marked in (*HOSTILE[10:13], HOSTILE[14], "one line of <html> ``` [a](b)", "`a` <b>"):
        assert described(marked).startswith("`"), marked
    assert described("a\nb") == r"a\nb"


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """A Dagster instance on disk, as the webserver opens it."""
    with instance_for_test() as made:
        yield made


_RUN_LOG = """query($id: ID!) { logsForRun(runId: $id) { ... on EventConnection { events {
  ... on MessageEvent { message eventType }
  ... on MaterializationEvent { metadataEntries { label description ... on MarkdownMetadataEntry { mdStr }
    ... on TextMetadataEntry { text } } }
  ... on AssetCheckEvaluationEvent { evaluation { description metadataEntries { label
    ... on MarkdownMetadataEntry { mdStr } } } }
  ... on ExecutionStepFailureEvent { error { message stack cause { message } } failureMetadata { description } }
} } ... on PythonError { message } } }"""


_CHART = re.compile(r"!\[[\w, -]+\]\(data:image/svg\+xml;base64,([A-Za-z0-9+/=]+)\)")
"""A picture within the page, which fetches nothing; its title has names of columns and a day, nothing from data."""


@pytest.mark.usefixtures("_hostile_folder")
def test_the_pages_of_a_run_over_hostile_data_hold_code_spans_and_answer(
    settings: Settings, instance: dg.DagsterInstance
) -> None:
    result = materialize(settings, instance, HourRange.of([HOUR]))
    assert result.success
    told = _ask(instance, result.run_id)
    shown = [text for event in told for text in _texts(event)]
    assert any(r"\x1b[2J\x1b]0;owned\x07red" in text for text in shown)
    for text in shown:
        text.encode()
        assert not any(unicodedata.category(each) in FORBIDDEN_CATEGORIES for each in text if each not in "\n\t"), text
    markdown = [entry["mdStr"] for event in told for entry in _entries(event) if entry.get("mdStr")]
    markdown += [event["evaluation"]["description"] for event in told if event.get("evaluation")]
    assert any("evil.example" in text for text in markdown)
    charts = [chart for text in markdown for chart in _CHART.findall(text)]
    assert charts
    for chart in charts:
        drawn = ElementTree.fromstring(b64decode(chart))  # noqa: S314 - drawn by this project
        assert {each.tag.rpartition("}")[2] for each in drawn.iter()} == {"svg", "path", "text"}
    for text in (_CHART.sub("", each) for each in markdown):
        outside = re.sub(r"(`+)(?!`).*?(?<!`)\1(?!`)", "", text)
        assert "//evil.example" not in outside
        assert not re.search(r"[<\[!]", outside), outside
    for table in markdown:
        rows = [line for line in table.split("\n") if line.startswith("|")]
        assert len({len(re.findall(r"(?<!\\)\|", row)) for row in rows}) <= 1, table


def test_a_failure_that_quotes_a_hostile_path_is_shown(
    tmp_path: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = Path(os.fsdecode(os.fsencode(tmp_path) + b"/data\x1b[31m-\xff"))
    settings = load_settings(root=root, workers=1)
    write_object(root, HOUR, 0, [event()])
    (root / "lake").write_bytes(b"a file in the place of a folder")
    result = materialize(settings, instance, HourRange.of([HOUR]))
    assert not result.success
    for event_ in _ask(instance, result.run_id):
        for text in _texts(event_):
            text.encode()
            assert "\x1b" not in text


def _ask(instance: dg.DagsterInstance, run_id: str) -> list[dict[str, Any]]:
    """Ask the webserver's own application for all that it shows of a run."""
    from dagster._core.workspace.context import WorkspaceProcessContext
    from dagster._core.workspace.load_target import EmptyWorkspaceTarget

    with WorkspaceProcessContext(instance, EmptyWorkspaceTarget()) as context:
        app = create_app_from_workspace_process_context(context)
        status, answer = asyncio.run(_post(app, {"query": _RUN_LOG, "variables": {"id": run_id}}))
    assert status == 200, answer
    body = json.loads(answer)
    assert "errors" not in body, body
    events: list[dict[str, Any]] = body["data"]["logsForRun"]["events"]
    return events


async def _post(app: Any, asked: dict[str, Any]) -> tuple[int, bytes]:
    """Send one request to an ASGI application and return status and body of its answer."""
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": json.dumps(asked).encode(), "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    headers = [(b"content-type", b"application/json"), (b"host", b"127.0.0.1:3000")]
    scope: dict[str, Any] = {"type": "http", "http_version": "1.1", "method": "POST", "scheme": "http"}
    scope |= {
        "path": "/graphql",
        "raw_path": b"/graphql",
        "query_string": b"",
        "root_path": "",
        "headers": headers,
        "client": None,
    }
    await app({**scope, "asgi": {"version": "3.0"}, "server": ("127.0.0.1", 3000)}, receive, send)
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent[1:])


def _entries(event: dict[str, Any]) -> list[dict[str, Any]]:
    return [*event.get("metadataEntries", []), *(event.get("evaluation") or {}).get("metadataEntries", [])]


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from _texts(each)
    elif isinstance(value, list):
        for each in value:
            yield from _texts(each)
