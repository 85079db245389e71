"""Hooks, workflow and `make check` run the same tools, and no tool reads a list of places that somebody forgot."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import yaml

PROJECT = Path(__file__).parents[1]
MAKEFILE = (PROJECT / "Makefile").read_text(encoding="utf-8")


def recipe(target: str) -> list[str]:
    """Return the commands of a target of the Makefile."""
    found = re.search(rf"^{target}:.*\n((?:\t.*\n)+)", MAKEFILE, re.MULTILINE)
    assert found
    return [line.removeprefix("\t@") for line in found[1].splitlines()]


def test_the_hooks_are_the_tools_of_make_check_and_nothing_is_downloaded_for_them() -> None:
    config = yaml.safe_load((PROJECT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    hooks = [hook for repository in config["repos"] for hook in repository["hooks"]]
    assert {repository["repo"] for repository in config["repos"]} == {"local"}
    assert {hook["language"] for hook in hooks} == {"system"}
    called = {re.sub(r"^\.venv/bin/(\w+).*", r"\1", hook["entry"]) for hook in hooks}
    assert called == {re.sub(r"^\$\(BIN\)/(\w+).*", r"\1", line) for line in recipe("check")}


def test_every_tool_of_make_check_is_pinned() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extra = project["optional-dependencies"]["check"]
    wanted = {re.split(r"[>=\[]", each)[0] for each in extra} - {"event-pipeline"}
    pinned = {line.split("==")[0] for line in (PROJECT / "constraints.txt").read_text(encoding="utf-8").splitlines()}
    assert wanted <= pinned
    assert {re.sub(r"^\$\(BIN\)/(\w+).*", r"\1", line) for line in recipe("check")} <= wanted


def test_the_workflow_runs_what_a_change_must_pass_on_pushes_and_pull_requests() -> None:
    text = (PROJECT / ".github" / "workflows" / "ci.yaml").read_text(encoding="utf-8")
    # YAML 1.1 reads `on` as a truth value.
    workflow = yaml.safe_load(text)
    assert set(workflow[True]) == {"push", "pull_request"}
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    assert [step["run"] for step in steps if "run" in step] == [".ci/run"]


def test_every_folder_of_python_is_typed() -> None:
    tools = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    folders = [
        path for path in PROJECT.iterdir() if path.is_dir() and not path.name.startswith((".", "data", "build", "site"))
    ]
    assert {path.name for path in folders if any(path.rglob("*.py"))} == set(tools["mypy"]["packages"])
