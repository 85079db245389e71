"""The declarations of the contract: what follows from them, what they may not say, and the version of the rules."""

from __future__ import annotations

import ast
from dataclasses import replace
from pathlib import Path

import pytest

from event_pipeline.rules import contract
from event_pipeline.rules.code_digest import code_lines
from event_pipeline.rules.contract import (
    EVENT_TYPES,
    FIELDS,
    QUARANTINE_REASONS,
    RULE_MODULES,
    SEARCH,
    SILVER_ORDER,
    Column,
    EventType,
    Field,
    Limits,
    check_declarations,
    rules_digest,
)
from event_pipeline.rules.kinds import Choice, Text

RULES = Path(contract.__file__).parent
WITHOUT_VERDICTS = {
    "accounting",
    "framing",
    "hour",
    "printable",
    "resent",
    "sampler",
    "stored_bytes",
    "code_digest",
    "contract",
}
"""Modules that the judge imports, but that decide nothing about a record: counts, digests, hours, text for people."""

DEVICE = Field("device", Choice(("mobile", "desktop")), "Where it happened", in_every_event=True, optional=True)


def test_an_optional_field_has_no_reason_for_being_missing() -> None:
    assert contract._reasons(DEVICE) == ("unknown_device",)
    assert contract._reasons(replace(DEVICE, optional=False)) == ("missing_device", "unknown_device")


def test_every_field_has_its_reasons_in_the_order_of_the_fields() -> None:
    of_fields = [reason for field in FIELDS for reason in contract._reasons(field)]
    assert list(QUARANTINE_REASONS) == ["too_long", "not_json", *of_fields]
    assert len(set(QUARANTINE_REASONS)) == len(QUARANTINE_REASONS)


@pytest.mark.parametrize(
    ("field", "event_types", "message"),
    [
        (replace(DEVICE, name="Device"), EVENT_TYPES, "field 'Device': a name has lower-case letters"),
        (replace(DEVICE, name="user_id"), EVENT_TYPES, "field 'user_id' is declared twice"),
        (replace(DEVICE, column_name="revenue"), EVENT_TYPES, "column 'revenue' is declared twice"),
        (replace(DEVICE, column_name="hour"), EVENT_TYPES, "column 'hour' is declared twice"),
        (replace(DEVICE, in_every_event=False), EVENT_TYPES, "field 'device' is carried by no event type"),
        (DEVICE, (*EVENT_TYPES, replace(SEARCH, counted_as="finds")), "event type 'search' is declared twice"),
        (DEVICE, (*EVENT_TYPES, EventType("find", "searches", ())), "control total 'searches' is declared twice"),
        (DEVICE, (*EVENT_TYPES, EventType("find", "finds", ("devices",))), "carries 'devices', which is not declared"),
        (DEVICE, (*EVENT_TYPES, EventType("find", "finds", ("device",))), "in every event: find need not carry it"),
    ],
)
def test_declarations_that_do_not_fit_together_are_refused(
    field: Field, event_types: tuple[EventType, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        check_declarations((*SILVER_ORDER, field), event_types)


def test_a_field_that_depends_on_the_event_type_is_declared_after_it() -> None:
    early = Field("early", Text(), "Declared first")
    with pytest.raises(ValueError, match="field 'early' depends on the event type: declare it after event_type"):
        check_declarations((early, *SILVER_ORDER), (*EVENT_TYPES, EventType("find", "finds", ("early",))))


# -- the version of the rules


def imported(name: str) -> set[str]:
    """Return the modules of the room that a module imports when it is loaded."""
    tree = ast.parse((RULES / f"{name}.py").read_text(encoding="utf-8"))
    modules = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    return {each.rpartition(".")[2] for each in modules if each.startswith("event_pipeline.rules.")}


def test_the_version_covers_all_code_that_the_judge_uses() -> None:
    reached, waiting = set[str](), {"validation", "duplicates"}
    while waiting:
        name = waiting.pop()
        reached.add(name)
        waiting |= imported(name) - reached
    assert reached - WITHOUT_VERDICTS == set(RULE_MODULES)


def test_the_version_changes_with_a_declaration(monkeypatch: pytest.MonkeyPatch) -> None:
    before = rules_digest()
    for name, value in (
        ("FIELDS", (*FIELDS, DEVICE)),
        ("EVENT_TYPES", (*EVENT_TYPES, EventType("wishlist_add", "wishlist_adds", ("product_id",)))),
        ("MAX_RESCUED_BYTES", 1),
    ):
        with monkeypatch.context() as changed:
            changed.setattr(contract, name, value)
            rules_digest.cache_clear()
            assert rules_digest() != before
    rules_digest.cache_clear()
    assert rules_digest() == before
    assert Limits().rules_version.startswith(f"{before}:")


def test_the_version_does_not_change_with_a_meaning(monkeypatch: pytest.MonkeyPatch) -> None:
    before = rules_digest()
    other = replace(FIELDS[-1], meaning="Said otherwise")
    monkeypatch.setattr(contract, "FIELDS", (*FIELDS[:-1], other))
    rules_digest.cache_clear()
    assert rules_digest() == before
    rules_digest.cache_clear()


def test_comments_and_docstrings_are_no_code() -> None:
    documented = (
        '"""Module."""\n\n# why\nX = 1  # kept with its line\n\n\ndef f():\n    """Say.\n\n    More.\n    """\n'
    )
    source = documented + '    return "x"'
    assert code_lines(source) == ["X = 1  # kept with its line", "def f():", '    return "x"']
    assert code_lines(source.replace('return "x"', 'return "y"')) != code_lines(source)


def test_columns_that_no_field_fills_are_known() -> None:
    derived = {each.name for each in SILVER_ORDER if isinstance(each, Column)}
    assert derived == {"event_date", "event_hour", "revenue", "rescued", "source_object"}
