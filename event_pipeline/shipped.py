"""Files outside the package that it needs at run time: Dagster's configuration, Glue script, template, linked pages.

A checkout has them at its top level; a wheel has copies inside the package
(`tool.hatch.build.targets.wheel.force-include` in pyproject.toml). Nothing else in the package may read the checkout.
"""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).parent
_INSTALLED = _PACKAGE / "_shipped"

DAGSTER_YAML = "dagster.yaml"
WORKSPACE_YAML = "workspace.yaml"
GLUE_SCRIPT = "glue_scripts/silver_events.py"
TEMPLATE = "infra/cloudformation/event_pipeline.yaml"
SHIPPED_FILES = (DAGSTER_YAML, WORKSPACE_YAML, GLUE_SCRIPT, TEMPLATE)
"""Paths relative to the checkout's top level."""
CONTRACT, QUERIES, DICTIONARY = "docs/contract.md", "docs/queries.md", "docs/data-dictionary.md"
SHIPPED_PAGES = (CONTRACT, QUERIES, DICTIONARY)
"""Pages that Dagster's pages of assets link to."""


def shipped_file(name: str) -> Path:
    """Return the path of one of SHIPPED_FILES: inside an installed package, or else in the checkout around it."""
    folder = _INSTALLED if _INSTALLED.is_dir() else _PACKAGE.parent
    return folder / name


def missing_files() -> list[Path]:
    """Return the shipped files that are missing from the installation."""
    return [path for path in map(shipped_file, SHIPPED_FILES) if not path.is_file()]
