"""What a text must be before any engine looks at it as SQL."""

from __future__ import annotations

from event_pipeline.errors import QueryError


def check_text(sql: str) -> None:
    """See that a statement is text that every parser can take.

    Raises:
        QueryError: it holds bytes that are not UTF-8 (Python keeps those of an argument as lone surrogates), or NUL.
    """
    try:
        sql.encode()
    except UnicodeEncodeError as error:
        raise QueryError(
            f"the SQL is not UTF-8: character {error.start + 1} is a byte that cannot be read: save it as UTF-8"
        ) from error
    if "\0" in sql:
        raise QueryError(f"the SQL holds a NUL character at {sql.index(chr(0)) + 1}: leave it out")
