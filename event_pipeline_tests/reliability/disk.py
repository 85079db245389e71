"""What a data folder holds before each system call, if the process is killed there, or if the power is cut.

A power cut loses what was never synced: bytes of files (fsync of the file) and names (fsync of the folder). Which of it
is lost, and which happens to be on the disk, depends on the file system, so several states are possible.
"""

from __future__ import annotations

import functools
import hashlib
import os
import random
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from event_pipeline_tests.reliability.watched import GOES_ON, Call

Tree = dict[str, bytes | None]
"""Path relative to the data folder -> bytes of the file, None for a folder."""

KEPT_APART = frozenset(("raw", "dagster"))
"""Folders at the top that the calls do not change or that are not watched."""

_SYNCS = frozenset(("fsync", "fdatasync"))
_MAKES_FOLDER = frozenset(("mkdir", "mkdirat"))


@dataclass(slots=True)
class _Node:
    """What is on the disk of a file or a folder, whatever its present content is."""

    body: bytes = b""
    names: dict[str, _Node] | None = None
    """None for a file."""


@dataclass(frozen=True, slots=True)
class Moment:
    """The states of the folder that are possible before a call."""

    before: Call | None
    """None at the end of the process."""
    present: Tree
    """What every process sees; a process that is killed leaves it so."""
    after_power_cut: Mapping[str, Tree]
    """What survived, as text -> what the disk may hold."""

    def __str__(self) -> str:
        return f"before {self.before}" if self.before else "at the end"


@dataclass
class Recorder:
    """Lets every call of a process happen, and notes what the folder and its disk hold before each of them."""

    root: Path
    chance: random.Random
    mixtures: float = 0.1
    """Share of the moments that get a random mixture of lost and surviving changes."""
    moments: list[Moment] = field(default_factory=list)
    _nodes: dict[int, _Node] = field(default_factory=dict)
    _read: dict[int, tuple[int, int, bytes]] = field(default_factory=dict)
    _synced: tuple[int, _Node] | None = None
    _made: Path | None = None

    def __post_init__(self) -> None:
        """Take what is there at the start as being on the disk."""
        self._top = self._as_synced(self.root)

    def __call__(self, call: Call) -> int:
        """Note the moment before a call."""
        self._note(call)
        path = self.root / call.path
        if call.name in _SYNCS and path.exists():
            self._synced = (path.stat().st_ino, self._as_shown(path))
        elif (call.name == "create" or call.name in _MAKES_FOLDER) and not os.path.lexists(path):
            self._made = path
        self._forget(path)
        return GOES_ON

    def end(self) -> list[Moment]:
        """Note the end of the process and return all moments."""
        self._note(None)
        return self.moments

    def _note(self, call: Call | None) -> None:
        # First what the call before has done, which has ended by now.
        if self._synced:
            number, node = self._synced
            kept = self._nodes.setdefault(number, node)
            kept.body, kept.names = node.body, node.names
        if self._made and os.path.lexists(self._made):
            self._nodes[self._made.stat().st_ino] = _Node(names={} if self._made.is_dir() else None)
        self._synced = self._made = None
        present, bytes_lost = Tree(), Tree()
        for path, entry in _walk(self.root, top=True):
            node = self._node(entry)
            folder = entry.is_dir(follow_symlinks=False)
            present[path] = None if folder else self._body(entry)
            bytes_lost[path] = None if folder else node.body
        states = {
            "all names survive, but of the bytes only what was synced": bytes_lost,
            "only what was synced survives": dict(_of_disk(self._top)),
        }
        if self.chance.random() < self.mixtures:
            states["by chance, some of what was not synced survives"] = dict(self._mixture(self.root, self._top))
        self.moments.append(Moment(call, present, states))

    def _node(self, entry: os.DirEntry[str]) -> _Node:
        """Return what the disk holds of an entry; nothing if it was made by a call that was not seen."""
        folder = entry.is_dir(follow_symlinks=False)
        return self._nodes.setdefault(entry.inode(), _Node(names={} if folder else None))

    def _body(self, entry: os.DirEntry[str]) -> bytes:
        status = entry.stat()
        known = self._read.get(entry.inode())
        if known and known[:2] == (status.st_size, status.st_mtime_ns):
            return known[2]
        body = Path(entry.path).read_bytes()
        if known and known[2] == body:
            body = known[2]
        self._read[entry.inode()] = (status.st_size, status.st_mtime_ns, body)
        return body

    def _forget(self, path: Path) -> None:
        """Read a file that a call may change anew: its time of change is too coarse to show that."""
        if path.is_file():
            self._read.pop(path.stat().st_ino, None)

    def _as_shown(self, path: Path) -> _Node:
        """Return what a sync brings to the disk: the bytes of a file, the names in a folder."""
        if not path.is_dir():
            return _Node(path.read_bytes())
        with os.scandir(path) as entries:
            kept = (each for each in entries if not (path == self.root and each.name in KEPT_APART))
            return _Node(names={each.name: self._node(each) for each in kept})

    def _as_synced(self, path: Path) -> _Node:
        node = _Node(path.read_bytes()) if path.is_file() else _Node(names={})
        if node.names is not None:
            for each in path.iterdir():
                if not (path == self.root and each.name in KEPT_APART):
                    node.names[each.name] = self._as_synced(each)
        self._nodes[path.stat().st_ino] = node
        return node

    def _mixture(self, folder: Path | None, disk: _Node | None, before: str = "") -> Iterator[tuple[str, bytes | None]]:
        """Choose for every name and every file whether it is as on the disk or as it is shown."""
        shown = dict[str, os.DirEntry[str]]()
        if folder is not None:
            with os.scandir(folder) as entries:
                shown = {each.name: each for each in entries if before or each.name not in KEPT_APART}
        names = (disk.names or {}) if disk else {}
        for name in sorted({*shown, *names}):
            as_shown = self.chance.random() < 0.5
            entry = shown.get(name) if as_shown else None
            node = (self._node(entry) if entry else None) if as_shown else names.get(name)
            if node is None:
                continue
            path = f"{before}{name}"
            # The same file or folder may be shown under this name too, with other content.
            same = shown.get(name)
            here = Path(same.path) if same and self._node(same) is node else None
            if node.names is not None:
                yield path, None
                yield from self._mixture(here, node, f"{path}/")
            elif here and self.chance.random() < 0.5:
                yield path, here.read_bytes()
            else:
                yield path, node.body


def materialize(tree: Tree, scenario: Path, folder: Path, *, with_runs: bool = False) -> Path:
    """Write a state into a folder, with the raw objects of the data folder it comes from; return the folder."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for path, body in sorted(tree.items()):
        if body is None:
            (folder / path).mkdir(parents=True, exist_ok=True)
        else:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(body)
    for name in KEPT_APART if with_runs else KEPT_APART - {"dagster"}:
        if (scenario / name).exists():
            shutil.copytree(scenario / name, folder / name)
    return folder


def digest(tree: Tree) -> bytes:
    """Return the same for states that differ in nothing that readers and later runs go by.

    That is what the catalog says, commit records, data files, and whether there are drafts or scratch files.
    """
    found, left = hashlib.sha256(_catalog(tree)), set[str]()
    for path, body in sorted(tree.items()):
        top, _, rest = path.partition("/")
        if top == "scratch" or path.rpartition("/")[2].startswith("."):
            left.add(top)
        elif top == "lake" and body is not None:
            found.update(f"{rest}\0{len(body)}\0".encode() + body)
        elif top not in ("locks", "lake") and not path.startswith("catalog.sqlite"):
            found.update(f"{path}\0".encode() + (body or b""))
    found.update(repr(sorted(left)).encode())
    return found.digest()


def _catalog(tree: Tree) -> bytes:
    """Return what the catalog says, with its log; its files as they are if they cannot be read."""
    return _dumped(*(tree.get(f"catalog.sqlite{part}") for part in ("", "-wal")))


@functools.lru_cache(64)
def _dumped(main: bytes | None, log: bytes | None) -> bytes:
    if main is None:
        return b"none"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "catalog.sqlite")
        path.write_bytes(main)
        if log is not None:
            path.with_name("catalog.sqlite-wal").write_bytes(log)
        try:
            with closing(sqlite3.connect(path)) as session:
                return "\n".join(session.iterdump()).encode()
        except sqlite3.Error:
            return main + (log or b"")


def _of_disk(node: _Node, before: str = "") -> Iterator[tuple[str, bytes | None]]:
    for name, each in (node.names or {}).items():
        path = f"{before}{name}"
        if each.names is None:
            yield path, each.body
        else:
            yield path, None
            yield from _of_disk(each, f"{path}/")


def _walk(folder: Path, before: str = "", top: bool = False) -> Iterator[tuple[str, os.DirEntry[str]]]:
    with os.scandir(folder) as entries:
        found = sorted(entries, key=lambda entry: entry.name)
    for entry in found:
        if top and entry.name in KEPT_APART:
            continue
        if entry.name.endswith("-shm"):
            continue  # SQLite's index of its log, which the next process makes anew
        yield f"{before}{entry.name}", entry
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(Path(entry.path), f"{before}{entry.name}/")
