"""Prints the stack: a change before it is applied, the events of an operation, and the status."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from shlex import quote

from rich.console import Console
from rich.text import Text

from event_pipeline.infrastructure.shipment import KEY_PARAMETERS
from event_pipeline.infrastructure.stack import Change, ChangeSet, Operation, StackEvent, StackState
from event_pipeline.reporting.tables import lay_out
from event_pipeline.reporting.terminal import FAULT, GOOD, NOTE, QUIET, WARNING

_ORDER = ("Remove", "Modify", "Add", "Import", "Dynamic")
_ACTION_STYLES = {"Remove": WARNING, "Modify": NOTE, "Add": GOOD}


def print_change_set(change_set: ChangeSet, name: str, region: str, console: Console) -> None:
    """Print one row per changed resource; those that may lose data are marked and repeated below."""
    rows = []
    for change in sorted(change_set.changes, key=lambda each: (_ORDER.index(each.action), each.resource)):
        style = FAULT if change.loses_data else _ACTION_STYLES.get(change.action, "")
        rows.append([Text(text, style=style) for text in (change.action, change.resource, change.type, _fate(change))])
    doing = "would be created" if change_set.operation is Operation.CREATE else "would be updated"
    headings = ("action", "resource", "type", "replacement")
    console.print(lay_out(headings, rows, left=headings, title=f"stack {name} in {region} {doing}"))
    counts = [(action, sum(change.action == action for change in change_set.changes)) for action in _ORDER]
    console.print(", ".join(f"{count} to {action.lower()}" for action, count in counts if count))
    for change in change_set.changes:
        if change.loses_data:
            console.print(
                f"DATA AT STAKE: {change.resource} ({change.type} {change.physical_id}) {_fate(change) or 'removed'}",
                style=FAULT,
            )


def _fate(change: Change) -> str:
    if change.action == "Remove":
        return "kept, outside the stack" if change.policy == "Retain" else "removed"
    known = {"True": "replaced", "Conditional": "perhaps replaced", "False": "in place", "": ""}
    return known.get(change.replacement, change.replacement)


def event_line(event: StackEvent) -> str:
    """Return a CloudFormation event as a line."""
    return f"{event.status}  {event.resource} ({event.type})" + (f": {event.reason}" if event.reason else "")


def print_state(state: StackState, region: str, stale: Mapping[str, str], console: Console) -> None:
    """Print status, parameters, outputs, and which artifacts differ from this checkout."""
    console.print(f"stack {state.name} in {region}", style="bold")
    said = f": {state.reason}" if state.reason else ""
    sound = state.status in ("CREATE_COMPLETE", "UPDATE_COMPLETE")
    console.print(
        f"{state.status}{said}, since {state.changed_at:%Y-%m-%d %H:%M} UTC", style=GOOD if sound else WARNING
    )
    parameters = [(name, value) for name, value in sorted(state.parameters.items()) if name not in KEY_PARAMETERS]
    _print_pairs("parameters", parameters, console)
    _print_pairs("outputs", sorted(state.outputs.items()), console)
    for name, expected in stale.items():
        console.print(f"{name} is not this checkout's", style=WARNING)
        console.print(f"  deployed  {state.parameters.get(name) or 'nothing'}", style=QUIET)
        console.print(f"  here      {expected}", style=QUIET)
    if stale:
        console.print("`event-pipeline stack deploy` brings the stack up to date", style=WARNING)
    else:
        console.print("the stack runs the code of this checkout", style=GOOD)


def _print_pairs(title: str, pairs: Sequence[tuple[str, str]], console: Console) -> None:
    if pairs:
        console.print(lay_out(("name", "value"), pairs, left=("name", "value"), title=title))


def print_left_behind(kept: Sequence[StackEvent], console: Console) -> None:
    """Print what a deleted stack left behind, and how to use or remove it."""
    if not kept:
        console.print("nothing is left behind", style=GOOD)
        return
    console.print("left behind, with their contents:", style=WARNING)
    for event in kept:
        console.print(f"  {event.type} {event.physical_id} (was {event.resource})")
    console.print(
        "A new stack can use kept buckets with `event-pipeline stack deploy --parameter ExistingRawBucket=... "
        "--parameter ExistingLakeBucket=...`; to remove one with its data, empty and delete it yourself"
    )


def export_lines(variables: Mapping[str, str]) -> str:
    """Return shell lines that export the environment."""
    return "".join(f"export {name}={quote(value)}\n" for name, value in variables.items())
