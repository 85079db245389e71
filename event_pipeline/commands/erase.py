"""`event-pipeline erase`: takes a person out of everything that is published."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from typing import Annotated

import typer

from event_pipeline.commands.options import ExitCode, UsageError
from event_pipeline.engines.open import open_engine
from event_pipeline.reporting.terminal import output, progress
from event_pipeline.rules.contract import USER
from event_pipeline.rules.kinds import BrokenRuleError
from event_pipeline.rules.query import load_gold_tables
from event_pipeline.settings import load_settings


def erase(
    user: Annotated[str, typer.Option("--user", metavar="ID", help="The user id; - reads it from standard input.")],
    plan_only: Annotated[bool, typer.Option("--plan", help="Show what is published of the person; change nothing.")] = (
        False
    ),
    rewrite_raw: Annotated[
        bool, typer.Option("--rewrite-raw", help="Also take their lines out of raw objects, which is final.")
    ] = False,
) -> None:
    """Erase a person: Silver, quarantine, partials and Gold are made again without them, and the old files removed.

    Later builds leave the person out too. Raw objects that still hold records are listed, or rewritten on request. Run
    it again after an interruption: it completes. Exits with 1 when something cannot be read that may hold the person.

    Examples:
      event-pipeline erase --user u_12345 --plan

      event-pipeline erase --user u_12345
    """
    from event_pipeline.operations.erasing import erase_person, find_person
    from event_pipeline.reporting.erasure import print_erased, print_found

    user_id, settings = _user_id(user), load_settings()
    engine = open_engine(settings)
    with progress() as view:
        if plan_only:
            found = find_person(engine, user_id, view.step)
        else:
            erased = erase_person(
                engine,
                load_gold_tables(),
                settings.event_time_limits,
                user_id,
                datetime.now(UTC),
                view.step,
                rewrite_raw=rewrite_raw,
                workers=settings.workers,
            )
    if plan_only:
        print_found(found, output())
        complete = not found.damaged
    else:
        print_erased(erased, output())
        complete = not (erased.damaged or erased.changed_raw)
    if not complete:
        raise typer.Exit(ExitCode.NOT_HELD)


def _user_id(text: str) -> str:
    """Read a user id as the contract does.

    Raises:
        UsageError: no accepted event can have it.
    """
    if text == "-":
        text = sys.stdin.readline()
    try:
        user_id = USER.kind.read(json.dumps(text))
    except BrokenRuleError:
        user_id = None
    if user_id is None:
        raise UsageError(f"--user {text!r} is not the user id of any event: it is {USER.kind.rule}")
    return str(user_id)
