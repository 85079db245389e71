"""Every kind of field: its reference rule, and its certificate, which may accept less but never other values."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from event_pipeline.rules.certificates import certified_values, normalised_type, read_type
from event_pipeline.rules.contract import FIELDS
from event_pipeline.rules.kinds import (
    EPOCH,
    MICROSECOND,
    BrokenRuleError,
    Choice,
    Id,
    Instant,
    Kind,
    Label,
    Money,
    Text,
    WholeNumber,
)

# Limits other than the contract's, so that a limit that is only right by chance shows.
KINDS = (
    Instant(),
    Id(5),
    Id(),
    Choice(("mobile", "desktop")),
    Choice(("one",)),
    Label(4, reserved=("(a)", "b")),
    Label(1),
    Label(),
    Text(3),
    Text(),
    WholeNumber(0, 3),
    WholeNumber(-5, 2_147_483_647),
    Money(101),
    Money(),
)
each_kind = pytest.mark.parametrize("kind", KINDS, ids=repr)

WHITE_SPACE = " \t\n\r\x0b\x0c\u00a0\u2003"
CHARACTERS = st.sampled_from(
    [*"aZ09_.:@-+/|=(b)!~\"'`\\<>{}[]", *WHITE_SPACE, "\x00", "\x1f", "\x7f", "\x85", "é", "K", "😀"]
)
TEXTS = st.text(CHARACTERS, max_size=6) | st.sampled_from(
    ["mobile", "Desktop", "one", "(A)", "B", "x" * 64, "x" * 65, "x" * 128, "x" * 129, "y" * 1_000, "y" * 1_001]
)
CENTS = st.integers(-2, 103) | st.integers(9_999_999_990, 10_000_000_010)
DUST = st.sampled_from([0, 1e-18, 1e-15, 4e-5, 4.9e-5, 5e-5, 5.1e-5, 1e-3, 0.5])
NUMBERS = st.builds(lambda cents, dust, sign: cents / 100 + dust * sign, CENTS, DUST, st.sampled_from([-1, 1])) | (
    st.floats() | st.integers(-(2**40), 2**40).map(float) | st.sampled_from([0.1 + 0.2, 3 * 6.33, 29.989999771118164])
)
INSTANTS = st.datetimes().map(datetime.isoformat).flatmap(
    lambda text: st.sampled_from(["", "Z", "+00:00", "-14:59", "+1400", "+15:00", "z", "+00:60"]).map(text.__add__)
) | st.sampled_from(["2024-02-29T00:00:00Z", "2023-02-29T00:00:00Z", "1900-02-29T00:00:00Z", "2000-02-29T00:00:00Z"])


def values_for(kind: Kind) -> st.SearchStrategy[Any]:
    """Return what pyarrow's reader gives for a field of a kind: texts, or doubles; null for both."""
    if pa.types.is_floating(read_type(kind)):
        return st.none() | NUMBERS
    return st.none() | TEXTS | INSTANTS


def outcome(kind: Kind, value: Any) -> object:
    """Return what the reference makes of a value; its class for a broken rule."""
    try:
        return kind.read(json.dumps(value))
    except BrokenRuleError:
        return BrokenRuleError


@each_kind
@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_what_the_certificate_accepts_is_what_the_reference_makes_of_it(kind: Kind, data: st.DataObject) -> None:
    values = data.draw(st.lists(values_for(kind), min_size=1, max_size=30))
    normalised, certain = certified_values(kind, pa.array(values, read_type(kind)))
    assert normalised.type == normalised_type(kind)
    assert certain.null_count == 0
    if pa.types.is_timestamp(normalised.type):
        normalised = normalised.cast(pa.int64())
    for value, found, is_certain in zip(values, normalised.to_pylist(), certain.to_pylist(), strict=True):
        # Infinity and NaN are no JSON; a record with them never comes this far.
        if is_certain:
            assert outcome(kind, value) == found
            assert found is not None


USUAL: dict[type[Kind], list[tuple[Any, Any]]] = {
    Instant: [("2025-12-07T22:15:30.123456+00:00", (datetime.fromisoformat("2025-12-07T22:15:30.123456Z") - EPOCH))],
    Id: [("u_1", "u_1"), ("a|1", "a|1"), ("x/+=", "x/+=")],
    Choice: [],
    Label: [("c", "c"), ("C", "c"), ("é", "é")],
    Text: [("a b", "a b"), (" x ", "x")],
    WholeNumber: [(1.0, 1), (2.0, 2)],
    Money: [(0.0, 0), (0.99, 99), (0.1 + 0.2, 30), (1.01, 101)],
}
"""Kind -> values that every kind of that class accepts, as the reader gives them, and normalised."""


@each_kind
def test_the_usual_values_are_certain(kind: Kind) -> None:
    expected = USUAL[type(kind)] + ([(each, each) for each in kind.choices] if isinstance(kind, Choice) else [])
    if kind == Label(1):
        assert expected
    values, certain = certified_values(kind, pa.array([value for value, _ in expected], read_type(kind)))
    assert certain.to_pylist() == [True] * len(expected)
    wanted = [value // MICROSECOND if isinstance(kind, Instant) else value for _, value in expected]
    assert (values.cast(pa.int64()) if isinstance(kind, Instant) else values).to_pylist() == wanted


@pytest.mark.parametrize(
    ("kind", "json_text", "value"),
    [
        (Money(), "18.990000000000002", 1_899),
        (Money(), "29.989999771118164", 2_999),
        (Money(), "-0.0", 0),
        (Money(), "1e-400", 0),
        (Money(), "99999999.99", 9_999_999_999),
        (Id(), '"gid://shop/1"', "gid://shop/1"),
        (Id(), "1e+5", "1e+5"),
        (Choice(("mobile", "desktop")), '" MOBILE "', "mobile"),
        (Label(reserved=("(none)",)), '"(None) x"', "(none) x"),
        (WholeNumber(0, 3), '"3.0"', 3),
        (Text(3), '"\\ud83d\\ude00ab"', "😀ab"),
        (Text(3), '" \\u2003a\\u00a0 "', "\u2003a\u00a0"),
        (Label(), '"A\\u212a"', "a\u212a"),
        (Instant(), '"1970-01-01T01:00:00+0100"', 0),
        *((kind, empty, None) for kind in (Money(), Id(), Text(), Instant()) for empty in ("null", '""', '" \\t"')),
    ],
)
def test_the_reference_reads(kind: Kind, json_text: str, value: object) -> None:
    assert kind.read(json_text) == value


@pytest.mark.parametrize(
    ("kind", "json_text"),
    [
        (Money(), "29.999"),
        (Money(), "10.000051"),
        (Money(), "-1e-17"),
        (Money(), "99999999.99000001"),
        (Money(), "1e400"),
        (Money(), '"1e2"'),
        (Money(101), "1.02"),
        (Id(), '"a b"'),
        (Id(3), '"abcd"'),
        *((Id(), json.dumps(f"a{each}b")) for each in "\"'`\\<>{}[]\x7f\u00e9"),
        (Choice(("mobile",)), '"mobiles"'),
        (Label(reserved=("(none)",)), '"(NONE)"'),
        (Label(4), '"abcde"'),
        (WholeNumber(0, 3), "-1"),
        (WholeNumber(0, 3), "3.5"),
        (WholeNumber(0, 3), "true"),
        (Text(3), '"abcd"'),
        (Instant(), "1765108800"),
        (Instant(), '"2023-02-29T00:00:00Z"'),
    ],
)
def test_the_reference_refuses(kind: Kind, json_text: str) -> None:
    with pytest.raises(BrokenRuleError):
        kind.read(json_text)


def test_every_kind_that_the_contract_uses_is_among_those_compared() -> None:
    assert {type(field.kind) for field in FIELDS} <= {type(each) for each in KINDS}
