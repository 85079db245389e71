"""Reads the small JSON documents that the pipeline keeps: whatever may have happened to one, a fault is a `ValueError`.

Each reader decides what a damaged document means. Standard library only.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Mapping
from dataclasses import MISSING, fields
from datetime import datetime
from functools import cache
from typing import Any, TypeVar, cast, get_args, get_origin, get_type_hints

_MOST_NUMBER = 2**63 - 1
"""Of a count or size: what a column of 64 bits holds."""
_T = TypeVar("_T")


def read_json(text: str | bytes) -> Any:
    """Parse a document.

    Raises:
        ValueError: it is not UTF-8 or not JSON, has a lone surrogate, or is nested deeper than Python reads.
    """
    if isinstance(text, bytes):
        text = text.decode("utf-8")
    try:
        document = json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if "\\ud" in text.lower():
        # A lone surrogate reaches paths, digests and SQL, none of which can be written with it.
        json.dumps(document, ensure_ascii=False).encode("utf-8")
    return document


def read_instant(text: Any) -> datetime:
    """Parse an instant with its time zone.

    Raises:
        ValueError: it is no text, no instant, or has no time zone.
    """
    if not isinstance(text, str) or (instant := datetime.fromisoformat(text)).tzinfo is None:
        raise ValueError(f"{text!r:.100} is not an instant with its time zone")
    return instant


def read_value(hint: Any, value: Any, name: str) -> Any:
    """Return a value of a document if it has the declared type: texts, counts, lists and mappings of them.

    Raises:
        ValueError: it has another type, or a count is negative or has more than 63 bits.
    """
    if not _predicate(hint)(value):
        raise ValueError(f"{name} is {value!r:.100}")
    return value


def read_dataclass(cls: type[_T], members: Any) -> _T:
    """Create a dataclass from an object of a document whose members are its fields, each of its declared type.

    Raises:
        ValueError: a member is unknown, missing, or of another type.
    """
    known, needed = _fields(cast(Hashable, cls))
    if not isinstance(members, dict) or not needed <= members.keys():
        raise ValueError(f"{members!r:.100} is not a {cls.__name__}")
    for name, value in members.items():
        if name not in known or not known[name](value):
            raise ValueError(f"{name!r:.100} of a {cls.__name__} is {value!r:.100}")
    return cls(**members)


_Predicate = Callable[[Any], bool]


@cache
def _fields(cls: Any) -> tuple[dict[str, _Predicate], frozenset[str]]:
    hints = get_type_hints(cls)
    declared: tuple[Any, ...] = fields(cls)
    needed = (each.name for each in declared if each.default is MISSING and each.default_factory is MISSING)
    return {each.name: _predicate(hints[each.name]) for each in declared}, frozenset(needed)


@cache
def _predicate(hint: Any) -> _Predicate:
    if hint is bool:
        return lambda value: value is True or value is False
    if hint is int:
        return lambda value: type(value) is int and 0 <= value <= _MOST_NUMBER
    if hint is str:
        return lambda value: isinstance(value, str)
    if hint is type(None):
        return lambda value: value is None
    inner = [_predicate(each) for each in get_args(hint) if each is not ...]
    if get_origin(hint) is Mapping:
        of_values = inner[1]
        return lambda value: isinstance(value, dict) and all(map(of_values, value.values()))
    if get_origin(hint) in (list, tuple):
        of_items = inner[0]
        return lambda value: isinstance(value, list) and all(map(of_items, value))
    return lambda value: any(is_one(value) for is_one in inner)
