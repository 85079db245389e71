"""A copy of the project with the field and the event type that CONTRIBUTING.md declares."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).parents[1]
COPIED = ("event_pipeline", "event_pipeline_tests", "glue_scripts", "infra", "docs", "pyproject.toml", "README.md")


def changed_project(folder: Path) -> Path:
    """Copy the project, apply the lines of CONTRIBUTING.md, write what is generated from them; return the copy."""
    copy = folder / "project"
    for name in COPIED:
        source = PROJECT / name
        if source.is_dir():
            shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, copy / name)
    if (PROJECT / ".trino").exists():
        (copy / ".trino").symlink_to(PROJECT / ".trino")
    (diff,) = re.findall(r"```diff\n(.*?)```", (PROJECT / "CONTRIBUTING.md").read_text(encoding="utf-8"), re.DOTALL)
    apply(diff, copy / "event_pipeline" / "rules" / "contract.py")
    run_module(copy, "event_pipeline_tests.generated")
    return copy


def apply(diff: str, path: Path) -> None:
    """Apply the hunks of a diff, separated by `@@`, to a file in which the old lines of each occur exactly once."""
    text = path.read_text(encoding="utf-8")
    for hunk in diff.split("@@\n"):
        lines = hunk.splitlines()
        old = "\n".join(line[1:] for line in lines if not line.startswith("+"))
        new = "\n".join(line[1:] for line in lines if not line.startswith("-"))
        assert text.count(old) == 1, f"{path.name} does not have these lines once:\n{old}"
        text = text.replace(old, new)
    path.write_text(text, encoding="utf-8")


def run_module(project: Path, *arguments: str) -> None:
    """Run a Python module with a copy of the project in front of everything else."""
    environment = {**os.environ, "PYTHONPATH": str(project)}
    ended = subprocess.run(
        [sys.executable, "-m", *arguments], cwd=project, env=environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stdout[-4_000:] + ended.stderr[-2_000:]
