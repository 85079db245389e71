"""Makes untrusted text safe to show: one line of visible characters, everything else escaped.

Object names, field names, records and error messages that quote them are untrusted. Unescaped, they could control a
terminal, forge log lines, or be invalid in UTF-8. Markdown for Dagster is created in `assets/presentation.py`.
"""

from __future__ import annotations

import json
import re

_INVISIBLE_LETTERS = "\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef"
"""Invisible characters that Unicode classifies as letters, marks or symbols: fillers, joiners, variation selectors."""

_SUSPECT = re.compile(rf"[^\x20-\x7e\xa1-\xac\xae-\u02ff]|[{_INVISIBLE_LETTERS}]")
"""Characters to check: everything but the printable characters of Latin alphabets."""
_INVISIBLE = re.compile(f"[{_INVISIBLE_LETTERS}]")


def printable(text: str) -> str:
    r"""Return a text as one line of visible characters; others become Python escapes: `\n`, `\x1b`, `\u202e`.

    Escaped are line ends and all other controls (C0, C1), characters that change the writing direction, that have no
    width or no glyph, separators other than the space, and lone surrogates, which are invalid in UTF-8.
    """
    return _SUSPECT.sub(_escaped, text)


def printable_lines(text: str) -> str:
    """Return a text with printable lines, keeping its line ends."""
    return "\n".join(map(printable, text.split("\n")))


def json_escaped(line: str) -> str:
    """Return one line of JSON with invisible characters as JSON escapes, which parse to the same text."""
    return _SUSPECT.sub(lambda found: _json_escape(found[0]) if printable(found[0]) != found[0] else found[0], line)


def _json_escape(character: str) -> str:
    # DEL is ASCII, so the JSON writer does not escape it.
    return "\\u007f" if character == "\x7f" else json.dumps(character)[1:-1]


def _escaped(found: re.Match[str]) -> str:
    character = found[0]
    if character.isprintable() and not _INVISIBLE.match(character):
        return character
    if character in "\n\r\t":
        return {"\n": "\\n", "\r": "\\r", "\t": "\\t"}[character]
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def size_text(size: int) -> str:
    """Format a number of bytes in the unit that leaves at most four digits."""
    number, unit = float(size), 0
    while number >= 1024 and unit < len(_UNITS) - 1:
        number, unit = number / 1024, unit + 1
    return f"{number:,.1f} {_UNITS[unit]}" if unit else f"{size} B"


def plural(count: int, noun: str) -> str:
    """Return a regular noun as it stands behind a number: `object` behind 1 and -1, `objects` behind all others."""
    return noun if abs(count) == 1 else f"{noun}s"
