"""A document that several processes replace: one of them does, the others change nothing and are told."""

from __future__ import annotations

import pytest

from event_pipeline.engines.document import Document
from event_pipeline_tests.engines.memory_store import MemoryStore


def test_who_is_overtaken_changes_nothing() -> None:
    document = Document(MemoryStore(), "state.json")
    assert document.replace(b"1", None)
    assert not document.replace(b"2", None)
    found = document.read()
    assert found
    assert document.replace(b"3", found[1])
    assert not document.replace(b"4", found[1])
    assert (document.read() or found)[0] == b"3"


def test_who_is_overtaken_in_the_middle_of_it_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemoryStore()
    document = Document(store, "state.json")
    document.replace(b"1", None)
    found = document.read()
    assert found
    overtaken = list[str]()

    def read(key: str) -> tuple[bytes, str]:
        overtaken.append(key)
        store.write(key, b"of another process")
        return found

    with monkeypatch.context() as patched:
        patched.setattr(store, "read", read)
        done = document.replace(b"2", found[1])
    assert (done, (document.read() or found)[0]) == ((False, b"of another process") if overtaken else (True, b"2"))
