"""Every command's help has examples that can be typed, and the shell completes what is typed."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from event_pipeline.cli import app
from event_pipeline_tests.command import Run

ROOT: Any = typer.main.get_command(app)


def commands(name: str = "", command: Any = ROOT) -> Iterator[tuple[str, Any]]:
    """Yield every command and group, by how it is typed after `event-pipeline`."""
    if name:
        yield name, command
    for inner, each in getattr(command, "commands", {}).items():
        yield from commands(f"{name} {inner}".strip(), each)


COMMANDS = dict(commands())


@pytest.mark.parametrize("name", COMMANDS)
def test_the_examples_of_a_command_can_be_typed(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "downloads").mkdir()
    (tmp_path / "downloads" / "events-20251119-*.jsonl.gz").touch()
    monkeypatch.chdir(tmp_path)
    examples = re.findall(r"^ *(?:.* \| )?event-pipeline (.+)$", COMMANDS[name].help or "", re.MULTILINE)
    assert examples, f"event-pipeline {name} --help has no example"
    assert any(f"{example} ".startswith(f"{name} ") for example in examples)
    for example in examples:
        context = ROOT.make_context("event-pipeline", shlex.split(example))
        while rest := [*context._protected_args, *context.args]:
            inner_name, inner, arguments = context.command.resolve_command(context, rest)
            context = inner.make_context(inner_name, list(arguments), parent=context)


def test_the_shell_completes_commands_and_options(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_EVENT_PIPELINE_COMPLETE", "complete_bash")
    for typed, wanted in (
        ("event-pipeline qu", {"quarantine", "queries", "query"}),
        ("event-pipeline run --fo", {"--force"}),
    ):
        monkeypatch.setenv("COMP_WORDS", typed)
        monkeypatch.setenv("COMP_CWORD", str(len(typed.split()) - 1))
        assert set(run().out.split()) == wanted
