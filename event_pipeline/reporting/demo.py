"""Narrates `event-pipeline demo`: what happens, what must hold after it, and whether it does."""

from __future__ import annotations

import shlex
import signal
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from rich.text import Text

from event_pipeline.engines.commit import HourCommit
from event_pipeline.inspection.verification import Verification
from event_pipeline.operations.demo import AnswersSeen, Killed, Landed
from event_pipeline.reporting.tables import lay_out
from event_pipeline.reporting.terminal import FAULT, GOOD, QUIET, typed_command
from event_pipeline.rules.accounting import HourAccount
from event_pipeline.rules.hour import Hour, hours_text


class Narrator:
    """Prints the steps, and remembers whether everything held that had to."""

    def __init__(self, console: Console, place: Path) -> None:
        self.all_held = True
        self._console = console
        self._place = place
        self._steps = 0

    def begin(self) -> None:
        """Say where it happens."""
        self._say(f"Three hours of a shop, in {self._place}: nothing else is touched.")

    def normal_hour(self, hour: Hour, landed: Landed) -> None:
        """Begin with an hour as it should be."""
        self._step("A normal hour")
        self._say(f"{landed.objects} gzipped objects with {landed.records:,} events landed in {hour}. They are built:")

    def built(self, seen: AnswersSeen, landed: Landed) -> None:
        """Show what the normal hour became."""
        self._check(
            seen.events == landed.records,
            f"{seen.events:,} typed Silver rows, one for each event; Gold counts {seen.revenue:,} of revenue",
        )

    def late(self, normal: Hour, troubled: Hour, late: Landed) -> None:
        """Let late events land."""
        self._step("Late events")
        self._say(
            f"An object with {late.records:,} events of {normal} lands an hour late, in {troubled}. Their Gold rows "
            "are published already."
        )

    def broken(self, troubled: Hour) -> None:
        """Let a broken object land."""
        self._step("A broken object")
        self._say(f"The upload of another object of {troubled} broke off: half of the gzip file is there.")

    def duplicate(self, again: Landed) -> None:
        """Let an object land twice."""
        self._step("A duplicate")
        self._say(f"The producer's retry sends an object again under another name: {again.records:,} events twice.")

    def kill(self, troubled: Hour, third: Hour) -> None:
        """Announce the kill."""
        self._step("A kill in the middle")
        self._say(
            f"A process builds {troubled} and {third}. As soon as it reports the first of them, it gets SIGKILL: the "
            "second is not built, and neither catalog nor Gold knows the first."
        )

    def killed(self, killed: Killed, before: AnswersSeen, after: AnswersSeen) -> None:
        """Show that queries see what they saw before."""
        self._say(f"Its last words after {killed.seconds:.1f} s: {killed.said}")
        self._check(killed.exit_code == -signal.SIGKILL, "it was killed")
        self._check(
            after == before,
            f"queries see what they saw before: {after.events:,} events and {after.revenue:,} of revenue, no half hour",
        )

    def run_again(self) -> None:
        """Announce the second build."""
        self._step("The same command again")
        self._say("It finishes what the killed one began; nothing has to be cleaned up.")

    def hours(self, commits: Mapping[Hour, HourCommit]) -> None:
        """Show what became of every record."""
        rows = []
        for hour, commit in sorted(commits.items()):
            account = commit.account
            counts = (len(account.objects), len(account.unreadable), account.records)
            verdicts = (account.silver_rows, account.quarantined, account.duplicates)
            rows.append((str(hour), *(f"{count:,}" for count in (*counts, *verdicts))))
        headings = ("hour", "objects", "broken", "records", "=rows", "+bad", "+dup")
        self._console.print(lay_out(headings, rows, left=("hour",)))

    def late_counted(self, normal: Hour, late: Landed, before: AnswersSeen, after: AnswersSeen) -> None:
        """Show that the late events are in Gold of the hour in which they happened."""
        had, has = before.purchases.get(str(normal), 0), after.purchases.get(str(normal), 0)
        self._check(
            has - had == late.purchases,
            f"late: Gold counts {has:,} purchases in {normal} instead of {had:,}, for {late.purchases:,} came late",
        )

    def broken_named(self, account: HourAccount) -> None:
        """Show that the broken object is named."""
        named = ", ".join(f"{key.rsplit('/', 1)[-1]} ({why})" for key, why in _unreadable(account).items())
        self._check(len(account.unreadable) == 1, f"broken: {named} is reported, and nothing of it is guessed")

    def duplicate_counted_once(self, again: Landed, account: HourAccount) -> None:
        """Show that the repeated records count once."""
        self._check(
            account.duplicates == again.records,
            f"duplicate: {account.duplicates:,} records were there already and count once",
        )

    def prove(self) -> None:
        """Announce the proof."""
        self._step("The proof")
        self._say("Other code reads every raw object again and compares counts, every row, and every Gold table:")

    def proven(self, found: Verification) -> None:
        """Show the result of the recount."""
        records = sum(each.records for each in found.hours)
        hours = hours_text([each.hour for each in found.hours]) if found.hours else "no hour"
        self._check(
            len(found.hours) == 3 and not found.differences and not found.wrongly_framed,
            f"{records:,} records of {hours}: each is in Silver, in quarantine or a duplicate, exactly once; Gold is "
            "what Silver says",
        )
        for each in found.differences[:10]:
            self._say(f"{each.place}, {each.what}: expected {each.expected}, found {each.found}")

    def end(self) -> None:
        """Say what was proven and how to look further."""
        self._console.print()
        if self.all_held:
            verdict = "Nothing was lost, nothing was counted twice, and nobody saw half an hour."
            self._console.print(Text(verdict, style=GOOD))
        else:
            self._console.print(Text("Not everything held: that is a bug, please report it.", style=FAULT))
        command, folder = typed_command(), shlex.quote(str(self._place))
        self._console.print("Look further", style="bold")
        for line in (
            f"export EVENT_PIPELINE_ROOT={folder}",
            f"{command} status",
            f"{command} query --name hourly_revenue",
            f"{command} explain gold.hourly_revenue --help",
            f"{command} dev",
            f"rm -r {folder}; unset EVENT_PIPELINE_ROOT",
        ):
            self._console.print(Text(f"  {line}", style=QUIET), soft_wrap=True)

    def _step(self, title: str) -> None:
        self._steps += 1
        self._console.print()
        self._console.print(f"{self._steps}  {title}", style="bold")

    def _say(self, text: str) -> None:
        self._console.print(f"   {text}" if self._steps else text, soft_wrap=True)

    def _check(self, held: bool, text: str) -> None:
        self.all_held &= held
        mark = ("holds" if held else "FAILS").ljust(6)
        self._console.print(Text.assemble("   ", (mark, GOOD if held else FAULT), text), soft_wrap=True)


def _unreadable(account: HourAccount) -> dict[str, str]:
    return {each.key: each.unreadable or "" for each in account.unreadable}
