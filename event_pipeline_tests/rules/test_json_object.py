"""Splitting one JSON object: strict as RFC 8259, as the standard library's parser is wherever that one can judge."""

from __future__ import annotations

import json
import random
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from event_pipeline.rules import json_object
from event_pipeline.rules.json_object import NotAnObjectError, decode_string, has_lone_surrogate, split_object

DEEP = 20_000


@pytest.mark.parametrize(
    ("text", "members"),
    [
        ("{}", {}),
        (" {\t} \r\n", {}),
        ('{"a": 1.0}', {"a": "1.0"}),
        ('{"a":-0,"b":1E+05 ,\r"c" : null}', {"a": "-0", "b": "1E+05", "c": "null"}),
        ('{"a": "x\\n\\u0041"}', {"a": '"x\\n\\u0041"'}),
        ('{"\\u0061\\/": true}', {"a/": "true"}),
        ('{"\\ud83d": 1}', {"\ud83d": "1"}),
        ('{"": ""}', {"": '""'}),
        ('{"a": [ ] , "b": {"x": [1, {"y": "]}"}]}}', {"a": "[ ]", "b": '{"x": [1, {"y": "]}"}]}'}),
        ('{"a": {"x": 1, "x": 2}}', {"a": '{"x": 1, "x": 2}'}),
        ('{"a": ' + "9" * 10_000 + "}", {"a": "9" * 10_000}),
    ],
)
def test_values_keep_the_text_they_were_written_in(text: str, members: dict[str, str]) -> None:
    assert split_object(text) == members


@pytest.mark.parametrize(
    "text",
    ['{"a": 1, "a": 1}', '{"a": 1, "\\u0061": 2}', '{"a": [], "a": {}}', '{"\\/": 1, "/": 1}', '{"": 1, "": 1}'],
)
def test_a_key_that_stands_twice_is_refused_however_it_is_spelled(text: str) -> None:
    with pytest.raises(NotAnObjectError):
        split_object(text)


@pytest.mark.parametrize("inner", ["1", "[]", "{}", '"x"'])
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}"), ('[{"a":[', "]}]"), ("[0,", ",0]")])
def test_nesting_has_no_limit(opening: str, closing: str, inner: str) -> None:
    nested = opening * DEEP + inner + closing * DEEP
    assert split_object(f'{{"a": {nested}}}') == {"a": nested}
    for broken in (nested[:-1], nested + "]", nested.replace(inner, inner + "}", 1)):
        with pytest.raises(NotAnObjectError):
            split_object(f'{{"a": {broken}}}')


def test_the_verdict_does_not_depend_on_how_deep_the_caller_stands() -> None:
    text = '{"a": ' + "[" * 900 + "]" * 900 + "}"

    def split_below(frames: int) -> dict[str, str]:
        return split_below(frames - 1) if frames else split_object(text)

    assert split_below(sys.getrecursionlimit() - 150) == split_object(text)


def test_a_string_of_many_megabytes_is_split() -> None:
    string = '"' + 'x\\"é' * 3_000_000 + '"'
    assert split_object(f'{{"a": {string}}}') == {"a": string}
    assert decode_string(string) == 'x"é' * 3_000_000
    with pytest.raises(NotAnObjectError):
        split_object(f'{{"a": {string[:-1]}}}')


@pytest.mark.parametrize(
    ("text", "lone"),
    [
        (r'"\ud83d\ude00"', False),
        (r'"\uD83D\uDE00x\uD83D\uDE00"', False),
        (r'"\\ud83d"', False),
        (r'"\\\ud83d"', True),
        (r'"\ud83d"', True),
        (r'"\ude00\ud83d"', True),
        (r'"\ud83d\ud83d\ude00"', True),
        (r'"\ud83dx\ude00"', True),
        (r'"\ud83d\\ude00"', True),
        (r'"\ud7ff\ue000\uffff"', False),
        (r'[{"\udbff": 1}]', True),
        (r'["\n\t\/", {"a": "\ud83d\ude00"}]', False),
    ],
)
def test_lone_surrogate_escapes_are_found_in_any_json_text(text: str, lone: bool) -> None:
    assert has_lone_surrogate(text) is lone


def expected_of_standard_library(text: str) -> set[str] | None:
    """The top-level keys of a strict object, or None, as json.loads with its leniencies switched off sees it."""

    def refuse(constant: str) -> None:
        raise ValueError(constant)

    try:
        pairs = json.loads(text, parse_constant=refuse, parse_int=str, object_pairs_hook=tuple)
    except ValueError:
        return None
    keys = [key for key, _ in pairs] if isinstance(pairs, tuple) else None
    return None if keys is None or len(set(keys)) < len(keys) else set(keys)


def assert_agrees_with_standard_library(text: str) -> bool:
    expected = expected_of_standard_library(text)
    try:
        members = split_object(text)
    except NotAnObjectError:
        assert expected is None, text
        return False
    assert members.keys() == expected, text
    loaded: dict[str, Any] = json.loads(text)
    for key, value in members.items():
        assert value == value.strip()
        assert json.loads(value) == loaded[key], text
    return True


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=3), children, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=4), JSON_VALUES, max_size=5), st.booleans(), st.sampled_from([None, 1]))
def test_every_object_that_the_standard_library_writes_is_split(
    document: dict[str, Any], ascii_only: bool, indent: int | None
) -> None:
    assert assert_agrees_with_standard_library(json.dumps(document, ensure_ascii=ascii_only, indent=indent))


def test_mutated_objects_are_refused_exactly_when_the_standard_library_refuses_them() -> None:
    chance = random.Random(8259)
    whole = '{"a": [1, -2.5e+3, {"b": null, "b": [true, {}]}, "x\\u00e9\\n\\""], "c": "ü", "d": {"e": [[]]}, "f": 0}'
    tokens = [*'{}[]",:\\ \t\r\n0123456789.eE+-tfnu/', "\x00", "\x1f", "\x0b", "\ufeff", "\u2028", "é", "１", "NaN"]
    tokens += ["true", "null", "Infinity", '"a": 1, ', '\\"', "\\u12", "\\ud800", "[]", "{}", '"b":', "//", "'"]
    accepted = 0
    for _ in range(10_000):
        text = whole
        for _ in range(chance.choice((1, 1, 1, 2, 3))):
            position = chance.randrange(len(text))
            cut = chance.choice((0, 1, 1, 2, 9))
            text = text[:position] + chance.choice([*tokens, ""]) + text[position + cut :]
        accepted += assert_agrees_with_standard_library(text)
    assert 500 < accepted < 9_500


TOKENS = [
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    " ",
    "\t",
    '"a"',
    '"b"',
    '"\\u0061"',
    '""',
    '"',
    "\\",
    "1",
    "-",
    "0.5",
    "null",
    ',"c":2',
]


def outcome(text: str) -> dict[str, str] | None:
    try:
        return split_object(text)
    except NotAnObjectError:
        return None


@given(st.integers(0, 2**32))
def test_a_text_is_judged_alike_at_once_and_member_by_member(seed: int) -> None:
    chosen = random.Random(seed)
    for _ in range(20):
        pieces = ["{", '"a"', ":", "1", ",", '"b"', ":", '"x"', "}"]
        for _ in range(chosen.randrange(3)):
            place = chosen.randrange(len(pieces) + 1)
            pieces[place : place + chosen.randrange(2)] = [chosen.choice(TOKENS)]
        text = "".join(pieces)
        # An object after white space is read member by member.
        assert outcome(text) == outcome(f" {text}")


def split_or_none(text: str) -> list[tuple[str, str]] | None:
    try:
        return list(split_object(text).items())
    except NotAnObjectError:
        return None


def known_layouts(layouts: json_object._Layouts) -> tuple[Any, ...]:
    return layouts.known


def test_keys_that_are_known_from_other_objects_change_no_result(monkeypatch: pytest.MonkeyPatch) -> None:
    layouts = json_object._Layouts()
    monkeypatch.setattr(json_object, "_layouts", layouts)
    chance = random.Random(627)
    whole = '{"a": "x", "b.*": -2.5e+3, "c": null, "": true, "d\u00fc" : 0 ,"e":"\u2028"}'
    tokens = [
        *'{}[]",:\\ \t\r\n012.eE+-tfnu/',
        "\x00",
        "\x0b",
        "é",
        "１",
        "NaN",
        "\\u0061",
        "\\n",
        "\\ud800",
        '"a": 1, ',
        "[]",
    ]
    texts = [whole, '{"a":1}', "{}", whole.replace('"a"', '"b"')]
    for _ in range(4_000):
        text = whole
        for _ in range(chance.choice((1, 1, 2))):
            position = chance.randrange(len(text))
            text = text[:position] + chance.choice([*tokens, ""]) + text[position + chance.choice((0, 1, 2)) :]
        texts.append(text)
    member_by_member = [split_or_none(text) for text in texts]
    assert known_layouts(layouts) == ()

    monkeypatch.setattr(json_object, "LAYOUT_WORTH_RECORDS", 1)
    split_object(whole)
    of_whole = known_layouts(layouts)[0][1]
    monkeypatch.setattr(layouts, "count", lambda names: None)
    assert [split_or_none(text) for text in texts] == member_by_member
    assert 100 < sum(of_whole(text) is not None for text in texts) < sum(each is not None for each in member_by_member)


def test_few_layouts_are_known_and_only_of_objects_that_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    layouts = json_object._Layouts()
    monkeypatch.setattr(json_object, "_layouts", layouts)
    monkeypatch.setattr(json_object, "LAYOUT_WORTH_RECORDS", 3)
    for number in range(2_500):
        split_object(f'{{"once{number}": 1}}')
    assert known_layouts(layouts) == ()
    names = [f"often{number}" for number in range(json_object.MAX_LAYOUTS + 3)]
    for name in names:
        for _ in range(3):
            split_object(f'{{"{name}": 1}}')
    assert [known for known, _ in known_layouts(layouts)] == [(name,) for name in reversed(names[3:])]
    assert len(layouts._counted) <= json_object._MOST_COUNTED
    for _ in range(5):
        split_object(f'{{"{"long" * 1_000}": 1}}')
    assert known_layouts(layouts)[0][0] == (names[-1],), "a name of any length is not kept"
