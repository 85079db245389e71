"""Checks of a text before any engine parses it as SQL."""

from __future__ import annotations

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
