"""Renders the reference pages of `docs/` from what they describe: commands, settings, checks, and the data dictionary.

`generated.py` writes them (`make fix`), and a test compares them with what would be written.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import typer

from event_pipeline.assets.checks import GOLD_CHECKS, PARTITION_CHECKS, RAW_CHECKS, SILVER_CHECKS
from event_pipeline.assets.results import BLOCKING_CHECKS
from event_pipeline.cli import EXIT_CODES, app
from event_pipeline.reporting.settings_table import SettingRow, setting_rows
from event_pipeline.rules.contract import BRONZE_EVENTS, HOUR_TABLES, Column, Table
from event_pipeline.rules.query import load_gold_tables
from event_pipeline.settings import load_settings

DOCS = Path(__file__).parents[1] / "docs"
DATA_DICTIONARY = DOCS / "data-dictionary.md"

COMMANDS_HEAD = """# Commands

What `event-pipeline COMMAND --help` says, written from the same place (`make fix`). In a checkout, `make run` installs
the command as `.venv/bin/event-pipeline`.
"""
SETTINGS_HEAD = """# Settings

Settings are environment variables. `event-pipeline settings` shows the values in effect. A wrong value or a misspelt
name is an error that lists what is allowed. This page is written from `event_pipeline/settings.py` (`make fix`).
"""
SETTINGS_GROUPS = {
    "Everywhere": """What applies on one machine and on AWS alike.
""",
    "Alerts": """How they work is on the page [alerts](../alerts.md). The webhook's address is a secret: it is
never shown, not even in errors.
""",
    "On AWS": """What the parts do is on the page [on AWS](../aws.md). `stack deploy` writes those that name resources
of the stack. Credentials, profile and endpoint are configured as usual for boto3: `AWS_PROFILE`, `AWS_ENDPOINT_URL` and
so on.
""",
}
CHECKS_HEAD = """# Checks

Dagster shows them at each asset, and every build records one result per hour. A **blocking** check stops what comes
after it. The [runbook](../runbook.md) says what to do when one fails. This page is written from
`event_pipeline/assets/checks.py` (`make fix`).
"""
DICTIONARY_HEAD = """# Data dictionary

Every column with an example of a value, and the mistake that people make with it. `event-pipeline query "DESCRIBE
silver.events"` shows types and meanings in a terminal; the Dagster UI and the Athena console show them at the table.
What is promised about the tables as a whole is in the [contract](contract.md).

This page is written from the declarations of the columns in `event_pipeline/rules/contract.py` and the headers of
`event_pipeline/rules/gold/*.sql` (`make fix`).
"""

Rows = list[tuple[str, ...]]
"""Cells of a table in Markdown; the first row is its head."""


def reference_pages() -> dict[Path, str]:
    """Return every page that is written as a whole."""
    return {
        DOCS / "reference" / "commands.md": "\n".join(_commands()),
        DOCS / "reference" / "settings.md": "\n".join(_settings()),
        DOCS / "reference" / "checks.md": "\n".join(_checks()),
        DATA_DICTIONARY: "\n".join(_dictionary()),
    }


def markdown_table(rows: Rows) -> str:
    """Return a table with a newline at its end."""
    head, *body = [" | ".join(cell.replace("|", "\\|") for cell in row) for row in rows]
    return "\n".join((f"| {head} |", "|---" * len(rows[0]) + "|", *(f"| {row} |" for row in body), ""))


def plain(text: str) -> str:
    """Return a text in which only code spans mean something in Markdown."""
    parts = text.split("`")
    for at in range(0, len(parts), 2):
        parts[at] = re.sub(r"([*<>])", lambda found: {"*": "\\*", "<": "&lt;", ">": "&gt;"}[found[1]], parts[at])
    return "`".join(parts)


# -- commands


def _commands() -> Iterator[str]:
    yield COMMANDS_HEAD
    yield "## Exit codes\n"
    codes = [(f"{code.value}", plain(meaning)) for code, meaning in EXIT_CODES.items()]
    yield markdown_table([("code", "meaning"), *codes])
    for name, command in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
        yield from _command(name, command, depth=2)


def _command(name: str, command: Any, depth: int) -> Iterator[str]:
    inner: Mapping[str, Any] = getattr(command, "commands", {})
    yield f"{'#' * depth} {name}\n"
    yield from _help(command.help or "")
    options = [_option(each) for each in command.params if each.name != "help"]
    if options:
        yield markdown_table([("option", "default", "meaning"), *options])
    for each in inner:
        yield from _command(f"{name} {each}", inner[each], depth + 1)


def _help(text: str) -> Iterator[str]:
    """Paragraphs as such, and examples, which are indented, as lines that nobody reflows."""
    blocks = [block for block in text.replace("\f", "").split("\n\n") if block.strip()]
    examples: list[str] = []
    for block in blocks:
        lines = block.strip("\n").splitlines()
        commands = [line.strip() for line in lines if re.match(r" *(?:.* \| )?event-pipeline ", line)]
        if commands:
            examples += commands
        elif "".join(lines).strip() != "Examples:":
            yield plain("\n".join(line.strip() for line in lines)) + "\n"
    if examples:
        yield "\n".join(("Examples:\n", "```text", *examples, "```", ""))


def _option(parameter: Any) -> tuple[str, str, str]:
    if parameter.param_type_name == "argument":
        named = f"`{(parameter.metavar or parameter.name).strip('[]').upper()}`"
        explained = plain(getattr(parameter, "help", None) or "")
        return named, "", explained
    value = "" if parameter.is_flag else f" {parameter.metavar or _choices(parameter)}"
    default = parameter.default
    shown = (
        "" if default is None or parameter.is_flag or callable(default) else f"`{getattr(default, 'value', default)}`"
    )
    names = ", ".join((*parameter.opts, *parameter.secondary_opts))
    return f"`{names}{value}`", shown, plain(parameter.help or "")


def _choices(parameter: Any) -> str:
    annotation = parameter.type_descriptor.annotation
    try:
        return "|".join(each.value for each in annotation)
    except TypeError:
        return {str: "TEXT", int: "N", float: "NUMBER", Path: "PATH"}.get(annotation, "VALUE")


# -- settings


def _settings() -> Iterator[str]:
    yield SETTINGS_HEAD
    groups: dict[str, list[SettingRow]] = {group: [] for group in SETTINGS_GROUPS}
    for row in setting_rows(load_settings()):
        groups[_group(row)].append(row)
    for group, rows in groups.items():
        yield f"## {group}\n\n{SETTINGS_GROUPS[group]}"
        cells = [(f"`{row.variable}`", _default(row), plain(row.allowed), plain(_meaning(row))) for row in rows]
        yield markdown_table([("variable", "default", "allowed", "meaning"), *cells])


def _group(row: SettingRow) -> str:
    if row.meaning.startswith("AWS: "):
        return "On AWS"
    about_alerts = row.variable.startswith("EVENT_PIPELINE_ALERT_") or "links in alerts" in row.meaning
    return "Alerts" if about_alerts else "Everywhere"


def _meaning(row: SettingRow) -> str:
    text = row.meaning.removeprefix("AWS: ")
    return text[:1].upper() + text[1:]


def _default(row: SettingRow) -> str:
    if row.variable == "EVENT_PIPELINE_WORKERS":
        return "all cores"
    return f"`{row.default}`" if row.default else "none"


# -- checks


def _checks() -> Iterator[str]:
    yield CHECKS_HEAD
    of_assets = {
        "raw_events": RAW_CHECKS,
        "silver_events": SILVER_CHECKS,
        "silver_partitions": PARTITION_CHECKS,
        "Every Gold table": GOLD_CHECKS,
    }
    for asset, checks in of_assets.items():
        yield f"## {asset}\n"
        rows = [
            (f"`{name}`", "yes" if name in BLOCKING_CHECKS else "no", plain(meaning))
            for name, meaning in checks.items()
        ]
        yield markdown_table([("check", "blocking", "holds if"), *rows])


# -- the data dictionary


def _dictionary() -> Iterator[str]:
    yield DICTIONARY_HEAD
    by_hour, golds = (BRONZE_EVENTS, *HOUR_TABLES), load_gold_tables()
    yield markdown_table(
        [
            ("table", "one row per"),
            *((f"[`{t.full_name}`](#{_anchor(t)})", plain(_grain(t.description))) for t in by_hour),
            *((f"[`{g.table.full_name}`](#{_anchor(g.table)})", ", ".join(("day", *g.grain))) for g in golds),
        ]
    )
    for table in (*by_hour, *(each.table for each in golds)):
        yield f"## {table.full_name}\n"
        yield plain(table.description) + "\n"
        yield markdown_table([("column", "type", "meaning", "example", "trap"), *_columns(table)])


def _grain(description: str) -> str:
    return re.sub(r"^One row per ([^,:.]+).*$", r"\1", description, flags=re.DOTALL)


def _anchor(table: Table) -> str:
    return table.full_name.replace(".", "")


def _columns(table: Table) -> Iterator[tuple[str, ...]]:
    both: Iterable[tuple[Column, str]] = (
        *((column, "") for column in table.columns),
        *((column, " (partition key)") for column in table.partition_columns),
    )
    for column, suffix in both:
        example = f"`{column.example}`" if column.example else ""
        yield f"`{column.name}`", f"`{column.type}`", plain(column.meaning) + suffix, example, plain(column.trap)
