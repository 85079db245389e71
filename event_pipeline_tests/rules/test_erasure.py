"""Who is erased: both judges agree, whatever the record looks like, and everybody else is judged as before."""

from __future__ import annotations

import gzip
import io
import json
import pickle

import pytest

from event_pipeline.rules.contract import Limits
from event_pipeline.rules.erasure import Erasures, possible_ids, with_blank_lines, without_lines
from event_pipeline.rules.validation import ValidatedObject, erased_lines, validate_object
from event_pipeline_tests.rules.test_validation import HOUR, KEY, Mutator, clean_lines, verdicts_of

ERASURES = Erasures(bytes(range(32)))


def erased(*users: str) -> Erasures:
    return Erasures(ERASURES.key, frozenset(map(ERASURES.digest_of, users)))


def judged(content: bytes, erasures: Erasures, chunk_bytes: int = 30_000) -> ValidatedObject:
    stored = gzip.compress(content, 1, mtime=0)
    return validate_object(
        io.BytesIO(stored),
        key=KEY,
        etag="e1",
        size=len(stored),
        hour=HOUR,
        limits=Limits(),
        erasures=erasures,
        chunk_bytes=chunk_bytes,
    )


@pytest.mark.parametrize("share", [0.0, 0.3])
def test_what_the_reference_erases_is_erased_and_all_else_is_as_if_those_lines_were_blank(share: float) -> None:
    mutator = Mutator(5)
    people = {str(json.loads(line)["user_id"]) for line in clean_lines(400, 6)}
    erasures = erased(*sorted(people)[::3])
    mutator.clean = clean_lines(400, 6)
    content = mutator.content(3_000, share)
    lines = content.split(b"\n")
    theirs = [
        number for number, line in enumerate(lines, 1) if erasures.has_record(line.strip().decode("utf-8", "replace"))
    ]
    assert len(theirs) > 100
    found, rest = judged(content, erasures), judged(without_lines(content, 1, theirs), erased())
    assert verdicts_of(found) == verdicts_of(rest)
    assert found.account.erased == len(theirs)
    assert found.account.records == rest.account.records + len(theirs)
    assert found.account.unaccounted == 0
    for name in ("quarantined_by_reason", "unknown_fields", "unknown_examples", "broken_bytes", "framing", "sample"):
        assert getattr(found.account, name) == getattr(rest.account, name), name

    stored = gzip.compress(content, 1, mtime=0)
    assert erased_lines(io.BytesIO(stored), hour=HOUR, limits=Limits(), erasures=erasures) == theirs
    rewritten = gzip.decompress(with_blank_lines(io.BytesIO(stored), theirs)).split(b"\n")
    blank = frozenset(theirs)
    assert rewritten == [b"" if number in blank else line for number, line in enumerate(lines, 1)]


@pytest.mark.parametrize(
    ("record", "is_theirs"),
    [
        ('{"user_id": "u_7", "price": "?"}', True),
        ('{"user_id": " u_7 "}', True),
        ('{"user_id": "u_\\u0037"}', True),
        # Somebody else's record is theirs, whomever it mentions.
        ('{"user_id": "u_8", "friend": "u_7"}', False),
        # No valid user id: the words of the text decide.
        ('{"user_id": "u_7"', True),
        ('{"user_id": "u_\\u0037"', True),
        ('{"user_id": {"id": "u_7"}}', True),
        ('{"user_id": null, "email": "u_7"}', True),
        ('{"user_id": "u_7", "user_id": "u_8"}', True),
        ("u_7,2025-12-07,page_view", True),
        ('{"user_id":u_7,', True),
        ('{"user_id": "u_77"', False),
        ('{"user_id": "xu_7"', False),
        ('{"user_id": "\ufffdu_7"', True),
        ("", False),
    ],
)
def test_a_record_is_a_persons_by_its_user_id_or_by_a_word_of_its_text(record: str, is_theirs: bool) -> None:
    assert erased("u_7").has_record(record) == is_theirs


def test_a_number_is_an_id_and_a_list_of_nobody_finds_nobody() -> None:
    assert list(possible_ids('{"user_id": 12345}')) == ["12345"]
    assert erased("12345").has_record("{user_id: 12345, x")
    assert not erased().has_record('{"user_id": "u_7"}')
    assert (erased().version, bool(erased())) == ("", False)


def test_a_list_reaches_other_processes_without_what_it_remembers() -> None:
    erasures = erased("u_7", "u_8")
    assert pickle.loads(pickle.dumps(erasures)) == erasures  # noqa: S301 - our own
    assert erased("u_8", "u_7").version == erasures.version != erased("u_7").version
