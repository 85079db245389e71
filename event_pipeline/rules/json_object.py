"""Splits one JSON object into the JSON texts of its members, strictly by RFC 8259 and at any depth.

The standard library's parser is not used for records, because its maximum nesting depth depends on the caller's stack,
it loses the text of numbers such as `1.0` and `1e5`, and it keeps the last of two equal keys. Standard library only;
knows nothing about events.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable

_SPACE = r"[ \t\n\r]*+"
_STRING = r'"[^"\\\x00-\x1f]*+(?:\\(?:["\\/bfnrt]|u[0-9A-Fa-f]{4})[^"\\\x00-\x1f]*+)*+"'
_NUMBER = r"-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?(?:[eE][+-]?[0-9]++)?"
_SCALAR = rf"(?:{_STRING}|{_NUMBER}|true|false|null)"
_SCALAR_WITHOUT_ESCAPES = rf'(?:"[^"\\\x00-\x1f]*+"|null|{_NUMBER}|true|false)'

_MEMBER_OF_PLAIN_OBJECT = re.compile(rf'(?:\A\{{|,){_SPACE}"([^"\\\x00-\x1f]*+)"{_SPACE}:{_SPACE}({_SCALAR}){_SPACE}')
_OBJECT_OPENS = re.compile(rf"{_SPACE}\{{{_SPACE}(\}})?")
_PLAIN_MEMBER = re.compile(rf"{_SPACE}({_STRING}){_SPACE}:{_SPACE}({_SCALAR}){_SPACE}([,}}])")
_NESTED_MEMBER = re.compile(rf"{_SPACE}({_STRING}){_SPACE}:{_SPACE}(?=[\[{{])")
_KEY = re.compile(rf"{_SPACE}{_STRING}{_SPACE}:")
_ARRAY_OR_OBJECT_OPENS = re.compile(rf"{_SPACE}([\[{{]){_SPACE}([\]}}])?")
_SCALAR_VALUE = re.compile(rf"{_SPACE}{_SCALAR}")
_AFTER_VALUE = re.compile(rf"{_SPACE}([,\]}}])")
_SPACE_TO_END = re.compile(rf"{_SPACE}\Z")

LAYOUT_WORTH_RECORDS = 1_000
"""Objects with the same keys in the same order that are split before a pattern is made for them, which costs as much as
splitting a few hundred."""
MAX_LAYOUTS = 4
"""Patterns that are tried on an object; a fifth replaces the oldest."""
_MAX_LAYOUT_KEYS = 64
_MAX_LAYOUT_CHARACTERS = 2_000
_MOST_COUNTED = 1_000
"""Orders of keys that are counted before counting starts again."""

_PAIRED_ESCAPES_ONLY = re.compile(
    r"(?:[^\\]++|\\[^u]|\\u(?![dD][89a-fA-F])....|\\u[dD][89abAB]..\\u[dD][c-fC-F]..)*+", re.DOTALL
)


class NotAnObjectError(ValueError):
    """A text is not exactly one strict JSON object with distinct keys."""


def split_object(text: str) -> dict[str, str]:
    """Map each key of one JSON object to its value's JSON text, exactly as written.

    `{"a": 1.0, "b": ["x"]}` gives `{"a": "1.0", "b": '["x"]'}`. Keys are unescaped and may contain lone surrogates.
    Nesting depth is unlimited; equal keys in nested objects are allowed.

    Raises:
        NotAnObjectError: the text is anything else, or has a top-level key twice (even if only one of the
            two is written with escapes).
    """
    for names, match in _layouts.known:
        if found := match(text):
            return dict(zip(names, found.groups(), strict=True))
    plain = _split_plain_object(text)
    if plain is not None:
        _layouts.count(tuple(plain))
        return plain
    members: dict[str, str] = {}
    opening = _OBJECT_OPENS.match(text)
    if not opening:
        raise NotAnObjectError
    position = opening.end()
    after = opening[1]
    while after != "}":
        if member := _PLAIN_MEMBER.match(text, position):
            key_text, value, after = member.groups()
            position = member.end()
        else:
            key_text, start = _nested_member(text, position)
            end = _end_of_nested_value(text, start)
            value = text[start:end]
            after, position = _after_value(text, end)
        key = decode_string(key_text)
        if key in members or after == "]":
            raise NotAnObjectError
        members[key] = value
    if not _SPACE_TO_END.match(text, position):
        raise NotAnObjectError
    return members


def _split_plain_object(text: str) -> dict[str, str] | None:
    """Split an object of scalars with distinct keys without escapes, at the cost of one call; None for anything else.

    Between the members that the pattern matches there may be nothing, and after them only the closing bracket. So the
    text is `{`, members with commas between them, and `}`: exactly what the grammar asks for.
    """
    if not text.startswith("{"):
        return None
    parts = _MEMBER_OF_PLAIN_OBJECT.split(text)
    between, keys = parts[:-1:3], parts[1::3]
    if parts[-1] != "}" or any(between):
        return None
    members = dict(zip(keys, parts[2::3], strict=True))
    return members if len(members) == len(keys) > 0 else None


class _Layouts:
    """Patterns of whole objects whose keys are known, in their order: most records of a producer have the same.

    Such a pattern consists of the same parts as `_MEMBER_OF_PLAIN_OBJECT`, so what it matches is what would be found
    member by member. No result depends on which layouts are known.
    """

    def __init__(self) -> None:
        self.known: tuple[tuple[tuple[str, ...], Callable[[str], re.Match[str] | None]], ...] = ()
        self._counted: dict[tuple[str, ...], int] = {}

    def count(self, names: tuple[str, ...]) -> None:
        """Note that a plain object with these keys was split; the pattern is made when there were many."""
        if len(names) > _MAX_LAYOUT_KEYS or sum(map(len, names)) > _MAX_LAYOUT_CHARACTERS:
            return
        if len(self._counted) >= _MOST_COUNTED:
            self._counted.clear()
        times = self._counted[names] = self._counted.get(names, 0) + 1
        if times >= LAYOUT_WORTH_RECORDS:
            self._counted.pop(names, None)  # another thread may have been here
            members = (f'"{re.escape(name)}"{_SPACE}:{_SPACE}({_SCALAR_WITHOUT_ESCAPES}){_SPACE}' for name in names)
            pattern = re.compile(rf"\{{{_SPACE}{f',{_SPACE}'.join(members)}\}}")
            self.known = ((names, pattern.fullmatch), *self.known[: MAX_LAYOUTS - 1])


_layouts = _Layouts()


def decode_string(json_text: str) -> str:
    """Return the value of a JSON string; a lone surrogate escape becomes a lone surrogate."""
    if "\\" not in json_text:
        return json_text[1:-1]
    value: str = json.loads(json_text)
    return value


def has_lone_surrogate(json_text: str) -> bool:
    r"""Return whether a valid JSON text has an escape such as `\ud83d` without its other half."""
    return "\\" in json_text and not _PAIRED_ESCAPES_ONLY.fullmatch(json_text)


def _end_of_nested_value(text: str, position: int) -> int:
    """Return the end of the array or object that starts at a position.

    Uses its own stack of open brackets: with recursion the verdict would depend on the caller's stack depth.

    Raises:
        NotAnObjectError: it is not valid JSON.
    """
    open_brackets = bytearray()
    while True:
        if opening := _ARRAY_OR_OBJECT_OPENS.match(text, position):
            bracket, closing = opening.groups()
            position = opening.end()
            open_brackets += b"]" if bracket == "[" else b"}"
            if closing is None:
                if bracket == "{":
                    position = _end_of(_KEY, text, position)
                continue
            position -= 1
        else:
            position = _end_of(_SCALAR_VALUE, text, position)
        after, position = _after_value(text, position)
        while after != ",":
            if open_brackets.pop() != ord(after):
                raise NotAnObjectError
            if not open_brackets:
                return position
            after, position = _after_value(text, position)
        if open_brackets[-1:] == b"}":
            position = _end_of(_KEY, text, position)


def _nested_member(text: str, position: int) -> tuple[str, int]:
    """Return the key of a member whose value is an array or object, and where that value starts."""
    member = _NESTED_MEMBER.match(text, position)
    if not member:
        raise NotAnObjectError
    return member[1], member.end()


def _after_value(text: str, position: int) -> tuple[str, int]:
    """Return the comma or closing bracket after a value, and its end position."""
    after = _AFTER_VALUE.match(text, position)
    if not after:
        raise NotAnObjectError
    return after[1], after.end()


def _end_of(pattern: re.Pattern[str], text: str, position: int) -> int:
    match = pattern.match(text, position)
    if not match:
        raise NotAnObjectError
    return match.end()
