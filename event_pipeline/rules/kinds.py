"""The kinds of fields: how a value is read from its JSON text, and which values break the rule.

This is the reference rule of each kind, the law. `certificates.py` has the fast form of the same rule, which may accept
less but never other values; `event_pipeline_tests/rules/test_kinds.py` holds the two together on generated values. A
new kind is a class here, and one function there. Standard library only.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property, lru_cache
from typing import ClassVar

from event_pipeline.rules.json_object import decode_string

ASCII_WHITE_SPACE = " \t\n\r\x0b\x0c"
"""Characters trimmed from records and texts: those of `bytes.strip`, fewer than those of `str.strip`."""

Value = str | int
"""A normalised value: a text, a whole number, cents, or microseconds since 1970-01-01T00:00:00 UTC."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)

_MICROSECONDS_PER_MINUTE = timedelta(minutes=1) // MICROSECOND
_DECIMAL_LITERAL = re.compile(r"[+-]?[0-9]+(?:\.[0-9]+)?")
_NUMBER_STARTS = "-0123456789"


class BrokenRuleError(Exception):
    """A value breaks the rule of its kind; the field's declaration names the reason."""


class Kind:
    """What all kinds of fields have in common. A kind with limits is a frozen dataclass: they are part of the rules."""

    fault: ClassVar[str] = "invalid_{}"
    """Quarantine reason of a value that breaks the rule, for a field's name."""
    glue_type: ClassVar[str] = "string"
    """Type of the Silver column, in Glue's spelling."""

    json_form: ClassVar[str] = "string"
    """What producers write, for the contract page."""

    @property
    def rule(self) -> str:
        """When a value breaks the rule, for the contract page."""
        return self._rule()

    def read(self, json_text: str) -> Value | None:
        """Return the normalised value of a JSON text; None if it is null or an empty text.

        Raises:
            BrokenRuleError: the value breaks the rule.
        """
        text = trimmed_text(json_text)
        return None if text is None else self._value_of(text, json_text)

    def _rule(self) -> str:
        raise NotImplementedError

    def _value_of(self, text: str, json_text: str) -> Value:
        """Return the normalised value; `text` is `json_text` as text, trimmed and not empty."""
        raise NotImplementedError


@dataclass(frozen=True)
class Instant(Kind):
    """A point in time, to the microsecond."""

    json_form = "ISO 8601 string"
    glue_type = "timestamp"

    _FORM: ClassVar[re.Pattern[str]] = re.compile(
        r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:?\d\d)?", re.ASCII
    )
    _QUOTED_FORM: ClassVar[re.Pattern[str]] = re.compile(f'"{_FORM.pattern}"', re.ASCII)
    MAX_OFFSET_HOURS: ClassVar[int] = 14

    def _rule(self) -> str:
        return (
            "not a JSON string `YYYY-MM-DDTHH:MM:SS[.1-9 digits][Z or +-HH:MM or +-HHMM]` with a real date, hour "
            f"00-23, minute and second 00-59, offset at most {self.MAX_OFFSET_HOURS}:59; no offset means UTC; digits "
            "past the microsecond are cut off"
        )

    def read(self, json_text: str) -> Value | None:
        """Return the instant; one that is written without white space and escapes needs no more than its pattern."""
        match = self._QUOTED_FORM.fullmatch(json_text)
        return self._instant(match) if match else super().read(json_text)

    def _value_of(self, text: str, json_text: str) -> int:
        match = self._FORM.fullmatch(text)
        if not match or not json_text.startswith('"'):
            raise BrokenRuleError
        return self._instant(match)

    def _instant(self, match: re.Match[str]) -> int:
        wall_clock, fraction, zone = match.groups()
        try:
            instant = _start_of_second(wall_clock, zone)
        except ValueError as error:
            raise BrokenRuleError from error
        return instant + int(fraction[:6].ljust(6, "0")) if fraction else instant


@dataclass(frozen=True)
class Id(Kind):
    """An identifier, kept as it is."""

    max_characters: int = 128

    # Real ids are base64, addresses or paths; what could end a text, a path element or a tag in HTML cannot be one.
    CHARACTERS: ClassVar[str] = "".join(sorted(set(map(chr, range(0x21, 0x7F))) - set("\"'`\\<>{}[]")))

    def _rule(self) -> str:
        return (
            f"not 1-{self.max_characters} printable ASCII characters without white space, quotes (`\"`, `'` and the "
            "backtick), backslash, `<>`, `{}` and `[]`"
        )

    @cached_property
    def _form(self) -> re.Pattern[str]:
        return re.compile(rf"[{re.escape(self.CHARACTERS)}]{{1,{self.max_characters}}}")

    @cached_property
    def _quoted_form(self) -> re.Pattern[str]:
        return re.compile(f'"{self._form.pattern}"')

    def read(self, json_text: str) -> Value | None:
        """Return the id; one that is written without white space and escapes needs no more than its pattern."""
        return json_text[1:-1] if self._quoted_form.fullmatch(json_text) else super().read(json_text)

    def _value_of(self, text: str, json_text: str) -> str:
        if not self._form.fullmatch(text):
            raise BrokenRuleError
        return text


@dataclass(frozen=True)
class Choice(Kind):
    """One of a few texts, in lower case."""

    choices: tuple[str, ...]

    fault = "unknown_{}"

    def _rule(self) -> str:
        *others, last = (f"`{each}`" for each in self.choices)
        return f"not {', '.join(others)} or {last}" if others else f"not {last}"

    def _value_of(self, text: str, json_text: str) -> str:
        lower = ascii_lower(text)
        if lower not in self.choices:
            raise BrokenRuleError
        return lower


@dataclass(frozen=True)
class Label(Kind):
    """A short name that groups events, in lower case."""

    max_characters: int = 64
    reserved: tuple[str, ...] = ()
    """Names that mean something else in the Gold tables."""

    FORBIDDEN: ClassVar[str] = '{}[]"'

    def _rule(self) -> str:
        reserved = "".join(f", or the reserved `{each}`" for each in self.reserved)
        return (
            f"not 1-{self.max_characters} characters, with a control character or one of `{self.FORBIDDEN}`{reserved}"
        )

    @cached_property
    def _form(self) -> re.Pattern[str]:
        return re.compile(rf"[^\x00-\x1f\x7f-\x9f{re.escape(self.FORBIDDEN)}]{{1,{self.max_characters}}}")

    def _value_of(self, text: str, json_text: str) -> str:
        lower = ascii_lower(text)
        if not self._form.fullmatch(text) or lower in self.reserved:
            raise BrokenRuleError
        return lower


@dataclass(frozen=True)
class Text(Kind):
    """Free text."""

    max_characters: int = 1_000

    def _rule(self) -> str:
        return f"more than {self.max_characters:,} characters"

    def _value_of(self, text: str, json_text: str) -> str:
        if len(text) > self.max_characters:
            raise BrokenRuleError
        return text


@dataclass(frozen=True)
class WholeNumber(Kind):
    """A whole number in a range that fits 32 bits, judged by its value as a double."""

    least: int = 1
    most: int = 1_000_000

    json_form = "number"
    glue_type = "int"

    def _rule(self) -> str:
        return f"its value is not an integer from {self.least:,} to {self.most:,}"

    def _value_of(self, text: str, json_text: str) -> int:
        value = number_of(text, json_text)
        if not self.least <= value <= self.most or value != int(value):
            raise BrokenRuleError
        return int(value)


@dataclass(frozen=True)
class Money(Kind):
    """An amount in whole cents, judged by its value as a double; the dust of floating-point arithmetic is removed."""

    most_cents: int = 9_999_999_999

    json_form = "number"
    glue_type = "decimal(10,2)"

    DUST_CENTS: ClassVar[float] = 0.005
    """Shops compute prices in doubles or floats: 3 x 6.33 gives 18.990000000000002, a 32-bit 29.99 gives
    29.989999771118164. A price with a third decimal place is at least 0.1 cents away from a whole one."""

    def _rule(self) -> str:
        return (
            f"its value is not an amount from 0 to {self.most_cents // 100:,}.{self.most_cents % 100:02}, or more than "
            f"{self.DUST_CENTS} cents away from a whole cent"
        )

    def _value_of(self, text: str, json_text: str) -> int:
        value = number_of(text, json_text)
        if not 0 <= value <= self.most_cents / 100:
            raise BrokenRuleError
        cents = round(value * 100)
        if abs(value * 100 - cents) > self.DUST_CENTS:
            raise BrokenRuleError
        return cents


@lru_cache(maxsize=4_096)
def _start_of_second(wall_clock: str, zone: str | None) -> int:
    """Return `YYYY-MM-DDTHH:MM:SS` in a zone as microseconds; an object's events share a few hundred of them.

    Raises:
        ValueError: there is no such date, time or offset.
    """
    date, time = wall_clock.split("T")
    instant = (datetime(*map(int, (*date.split("-"), *time.split(":"))), tzinfo=UTC) - EPOCH) // MICROSECOND  # type: ignore[misc, arg-type]
    if zone is None or zone == "Z":
        return instant
    hours, minutes = int(zone[1:3]), int(zone[-2:])
    if hours > Instant.MAX_OFFSET_HOURS or minutes > 59:
        raise ValueError(zone)
    offset = (hours * 60 + minutes) * _MICROSECONDS_PER_MINUTE
    return instant - offset if zone[0] == "+" else instant + offset


def trimmed_text(json_text: str) -> str | None:
    """Return the text of a JSON value: a string's content, trimmed; other values verbatim; None for null or ""."""
    if not json_text.startswith('"'):
        return None if json_text == "null" else json_text
    return decode_string(json_text).strip(ASCII_WHITE_SPACE) or None


def number_of(text: str, json_text: str) -> float:
    """Return the value of a JSON number, or of a JSON string with a plain decimal literal, as a double.

    Raises:
        BrokenRuleError: it is anything else.
    """
    is_number = json_text[0] in _NUMBER_STARTS
    if not is_number and not (json_text[0] == '"' and _DECIMAL_LITERAL.fullmatch(text)):
        raise BrokenRuleError
    return float(text)


def ascii_lower(text: str) -> str:
    """Lower-case only ASCII letters: `str.lower` would also turn a Kelvin sign into a `k`."""
    return text.encode().lower().decode()
