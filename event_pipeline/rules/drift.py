"""Schema drift: fields outside the contract, folded over hours, and how they are shown to people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from event_pipeline.rules.accounting import HourAccount
from event_pipeline.rules.contract import EVENT_FIELDS, MAX_UNKNOWN_FIELDS, NOT_RESCUED, OTHER_UNKNOWN_FIELDS
from event_pipeline.rules.printable import plural, printable

FIELDS_SHOWN = 5
"""Fields that a line names."""

DRIFT_ADVICE = "silver.events keeps them in the column rescued; docs/runbook.md#schema_drift says what to do"
_EXPLAINED = {
    NOT_RESCUED: "fields that did not fit into rescued",
    OTHER_UNKNOWN_FIELDS: f"names beyond the first {MAX_UNKNOWN_FIELDS} of an hour",
}
"""Entries of an account's unknown fields that are no names -> what they count."""


@dataclass(frozen=True, slots=True)
class UnknownField:
    """One top-level name outside the contract."""

    name: str
    records: int
    """Records that have it."""
    example: str
    """Its first value as JSON text, shortened; empty if none was kept."""

    @property
    def shown_name(self) -> str:
        """The name as visible characters."""
        return printable(self.name)

    @property
    def explanation(self) -> str:
        """What an entry that is no name counts; empty for a name."""
        return _EXPLAINED.get(self.name, "")

    @property
    def details(self) -> str:
        """How many records have it, and the example or the explanation, as visible characters."""
        counted = f"{self.records:,} {plural(self.records, 'record')}"
        if self.explanation:
            return f"{counted}: {self.explanation}"
        return f"{counted}, for example {printable(self.example)}" if self.example else counted

    def __str__(self) -> str:
        return f"{self.shown_name} ({self.details})"


def drift_of(accounts: Iterable[HourAccount]) -> tuple[UnknownField, ...]:
    """Return the unknown fields of some hours, most frequent first, entries that are no names last.

    A name that has been declared since the hour was built is not drift: rebuilding the hour reads it.
    """
    counts, examples = Counter[str](), dict[str, str]()
    for account in accounts:
        counts.update(account.unknown_fields)
        for name, example in account.unknown_examples.items():
            examples.setdefault(name, example)
    fields = [
        UnknownField(name, records, examples.get(name, ""))
        for name, records in counts.items()
        if name not in EVENT_FIELDS
    ]
    return tuple(sorted(fields, key=lambda each: (bool(each.explanation), -each.records, each.name)))


def declared_since(account: HourAccount) -> dict[str, int]:
    """Return the names that are declared now and were unknown when the hour was built, with their records.

    A rebuild of the hour reads their values. Names that were counted as `(other)` are not among them.
    """
    return {name: account.unknown_fields[name] for name in EVENT_FIELDS if name in account.unknown_fields}


def drift_text(fields: Sequence[UnknownField], most: int = FIELDS_SHOWN) -> str:
    """Return unknown fields in one line: the first few, and how many more there are."""
    more = [f"and {len(fields) - most:,} more"] if len(fields) > most else []
    return ", ".join([*map(str, fields[:most]), *more])
