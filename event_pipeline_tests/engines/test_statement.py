"""A text is split where its statements end, and nowhere else."""

from __future__ import annotations

import pytest

from event_pipeline.engines.statement import split_statements


@pytest.mark.parametrize(
    ("text", "statements"),
    [
        ("", []),
        (" ;; -- nothing;\n/* ; */", []),
        ("SELECT 1", ["SELECT 1"]),
        ("SELECT 1;\n SELECT 2 ; ", ["SELECT 1", "SELECT 2"]),
        ("SELECT ';'; SELECT 'it''s;'", ["SELECT ';'", "SELECT 'it''s;'"]),
        ('SELECT ";"";" ; SELECT 2', ['SELECT ";"";"', "SELECT 2"]),
        ("SELECT e'\\';', E'a' ; SELECT 2", ["SELECT e'\\';', E'a'", "SELECT 2"]),
        ("SELECT $$;$$, $a$;$$;$a$; SELECT 2", ["SELECT $$;$$, $a$;$$;$a$", "SELECT 2"]),
        ("-- one; not two\nSELECT 1", ["-- one; not two\nSELECT 1"]),
        ("SELECT 1 -- one; not two", ["SELECT 1 -- one; not two"]),
        ("SELECT /* ; */ 1; -- end", ["SELECT /* ; */ 1"]),
        ("SELECT 'not ended; SELECT 2", ["SELECT 'not ended", "SELECT 2"]),
    ],
)
def test_a_text_is_split_at_the_ends_of_its_statements(text: str, statements: list[str]) -> None:
    assert split_statements(text) == statements
