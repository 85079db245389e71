"""Text of strangers, as people may be shown it: one line of visible characters, everything else escaped.

Object names, field names, records and the messages of errors that quote them are text of strangers. Shown raw they
could command a terminal, forge lines of a log, or be text that no UTF-8 can hold. What Dagster shows as Markdown is
made in `assets/presentation.py`.
"""

from __future__ import annotations

import json
import re

_INVISIBLE_LETTERS = "\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef"
"""What Unicode calls letters, marks or symbols and nobody sees: fillers, joiners, variation selectors."""

_SUSPECT = re.compile(rf"[^\x20-\x7e\xa1-\xac\xae-\u02ff]|[{_INVISIBLE_LETTERS}]")
"""What has to be looked at: everything but the printable characters of Latin alphabets."""
_INVISIBLE = re.compile(f"[{_INVISIBLE_LETTERS}]")


def printable(text: str) -> str:
    r"""Return a text as one line of visible characters; others are written as Python does: `\n`, `\x1b`, `\u202e`.

    Escaped are line ends and all other controls (C0, C1), characters that turn the direction of writing, that have no
    width or no form, separators other than the space, and lone surrogates, which no UTF-8 can hold.
    """
    return _SUSPECT.sub(_escaped, text)


def printable_lines(text: str) -> str:
    """Return a text whose lines are printable, with its line ends."""
    return "\n".join(map(printable, text.split("\n")))


def json_escaped(line: str) -> str:
    """Return one line of JSON with what is not visible as escapes of JSON, which read back as the same text."""
    return _SUSPECT.sub(lambda found: _json_escape(found[0]) if printable(found[0]) != found[0] else found[0], line)


def _json_escape(character: str) -> str:
    # DEL is ASCII, so that the JSON writer takes it for harmless.
    return "\\u007f" if character == "\x7f" else json.dumps(character)[1:-1]


def _escaped(found: re.Match[str]) -> str:
    character = found[0]
    if character.isprintable() and not _INVISIBLE.match(character):
        return character
    if character in "\n\r\t":
        return {"\n": "\\n", "\r": "\\r", "\t": "\\t"}[character]
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
