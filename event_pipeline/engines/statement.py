"""Checks and splits a text before any engine parses it as SQL."""

from __future__ import annotations

import re

from event_pipeline.errors import QueryError


def check_text(sql: str) -> None:
    """Check that a statement is text that every parser accepts.

    Raises:
        QueryError: it contains bytes that are not UTF-8 (lone surrogates in an argument), or NUL.
    """
    try:
        sql.encode()
    except UnicodeEncodeError as error:
        raise QueryError(
            f"the SQL is not UTF-8: character {error.start + 1} is an invalid byte: save it as UTF-8"
        ) from error
    if "\0" in sql:
        raise QueryError(f"the SQL contains a NUL character at {sql.index(chr(0)) + 1}: remove it")


_PART = re.compile(
    r"""(?P<space>\s+|--[^\n]*|/\*.*?\*/)|(?P<end>;)|"""
    r"""[eE]'(?:[^'\\]|\\.|'')*'|'(?:[^']|'')*'|"(?:[^"]|"")*"|\$(?P<tag>\w*)\$.*?\$(?P=tag)\$|\w+|.""",
    re.DOTALL,
)
"""White space and comments, the end of a statement, quoted text, words, and any other character."""


def split_statements(text: str) -> list[str]:
    """Split a text at the semicolons that end its statements, without the semicolons.

    Statements without anything but white space and comments are left out. Comments stay with the statement that follows
    them.
    """
    statements, start, found = list[str](), 0, False
    for part in _PART.finditer(text):
        if part["end"]:
            statements += [text[start : part.start()].strip()] if found else []
            start, found = part.end(), False
        elif not part["space"]:
            found = True
    return [*statements, text[start:].strip()] if found else statements
