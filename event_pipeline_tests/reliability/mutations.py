"""Damages texts: bytes that are flipped, cut, doubled or put in, JSON values that are replaced, lost or nested.

Equal random numbers give equal damage, so that a seed repeats a run.
"""

from __future__ import annotations

import copy
import json
import random
from typing import Any

_BYTES = (
    b"",
    b"\0",
    b"\xff",
    b"\xc3",
    b"\xed\xa0\x80",
    b'"',
    b"\\",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"-",
    b"e9",
    b"0",
)
_TEXTS = (
    "",
    " ",
    "\0",
    "..",
    "../x",
    "/",
    "a" * 70_000,
    "\u202e",
    "\ud800",
    "7",
    "-1",
    "NaN",
    "1e999",
    "2025-12-07",
    "é",
)
_NUMBERS = (0, -1, 1, 7.5, 2**31, 2**63, 10**30, -(10**30), 1e308, float("inf"), float("nan"))
_NESTED = 100_000
"""Deeper than any reader that recurses."""


def bent(chance: random.Random, content: bytes) -> bytes:
    """Damage a few bytes."""
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        at, length = chance.randrange(len(content) + 1), chance.choice((0, 1, 1, 2, 9, 100))
        match chance.randrange(6):
            case 0:
                content = content[:at]
            case 1:
                content = content[:at] + content[at : at + length] + content[at:]
            case 2 if content:
                at = min(at, len(content) - 1)
                content = content[:at] + bytes((content[at] ^ 1 << chance.randrange(8),)) + content[at + 1 :]
            case _:
                content = content[:at] + chance.choice(_BYTES) + content[at + length :]
    return content


def bent_json(chance: random.Random, content: bytes) -> bytes:
    """Damage a JSON document: its values and structure mostly, its bytes sometimes."""
    kind = chance.random()
    if kind < 0.25:
        return bent(chance, content)
    if kind < 0.27:
        return b"[" * _NESTED + b"]" * chance.choice((0, _NESTED))
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        return bent(chance, content)
    for _ in range(chance.choice((1, 1, 1, 2, 5))):
        document = _changed(chance, document)
    return json.dumps(document, ensure_ascii=chance.random() < 0.5).encode("utf-8", "surrogatepass")


def _changed(chance: random.Random, document: Any) -> Any:
    """Replace, lose or double one value somewhere in a document."""
    document = copy.deepcopy(document)
    places = list(_places(document))
    if not places:
        return _value(chance, document)
    holder, name = chance.choice(places)
    match chance.randrange(8):
        case 0:
            del holder[name]
        case 1 if isinstance(holder, dict):
            holder[chance.choice((*_TEXTS, "format", "kind", "extra"))] = holder.pop(name)
        case 2 if isinstance(holder, list):
            holder.append(copy.deepcopy(holder[name]))
        case 3:
            other, at = chance.choice(places)
            holder[name] = copy.deepcopy(other[at])
        case 4:
            holder[name] = chance.choice(([holder[name]], {"a": holder[name]}, str(holder[name])))
        case _:
            holder[name] = _value(chance, holder[name])
    return document


def _places(document: Any) -> list[tuple[Any, Any]]:
    found = list[tuple[Any, Any]]()
    waiting = [document]
    while waiting:
        holder = waiting.pop()
        names = list(holder) if isinstance(holder, dict) else range(len(holder)) if isinstance(holder, list) else ()
        for name in names:
            found.append((holder, name))
            waiting.append(holder[name])
    return found


def _value(chance: random.Random, before: Any) -> Any:
    if isinstance(before, str) and before and chance.random() < 0.4:
        at = chance.randrange(len(before))
        return before[:at] + chance.choice(("", *_TEXTS)) + before[at + chance.choice((0, 1, 3)) :]
    return chance.choice((None, True, False, [], {}, [[]], {"a": None}, *_TEXTS, *_NUMBERS))
