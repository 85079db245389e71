"""The lake's data files as DuckDB sees them: read-only, under addresses derived from the catalog.

DuckDB never gets a local path to read. A path with a folder named `[x]` or `a*b` would be a pattern, and
`category=shop` in it would overwrite the column `category`, because Hive partition values are inferred from the whole
path. An address contains only the partition that the catalog registered; and because this file system cannot write, no
statement can change a file through it.
"""

from __future__ import annotations

import os
import re
import threading
from array import array
from bisect import bisect_right
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from fsspec.spec import AbstractFileSystem

from event_pipeline.errors import StorageError
from event_pipeline.rules.contract import Limits
from event_pipeline.rules.raw_object import LineReader, UnreadableObjectError

_PROTOCOL = "lake"
_RAW_NAME = "jsonl.gz"
_ADDRESS = re.compile(rf"{_PROTOCOL}://[^\s'\"]*?([0-9a-f]+)\.(parquet|{re.escape(_RAW_NAME)})")
_CHUNK_BYTES = 1 << 20


class RegisteredFile(NamedTuple):
    """One data file of a table, as registered in the catalog."""

    partition: str
    """Hive path of its partition, for example `year=2025/month=12/day=07/hour=22`; empty without one."""
    path: str
    """Path relative to the lake."""
    version: str = ""
    """Version of the rules or of the SQL that wrote it: files of one version have the same columns."""
    raw: bool = False
    """Whether it is a raw object; its path is its key then."""


class RawObjects(NamedTuple):
    """The raw objects that queries may read."""

    folder: Path
    """What their keys are relative to."""
    limits: Limits


class UnreadableRawError(StorageError):
    """A query reads a raw object that cannot be read whole; no build of an hour mends it."""


def address(file: RegisteredFile) -> str:
    """Return the address under which DuckDB reads a file; it contains the real path as hexadecimal digits."""
    name = file.path.encode(errors="surrogateescape").hex()
    name += f".{_RAW_NAME}" if file.raw else ".parquet"
    return f"{_PROTOCOL}://{file.partition}/{name}" if file.partition else f"{_PROTOCOL}://{name}"


class LakeFiles(AbstractFileSystem):  # type: ignore[misc]  # fsspec has no types
    """An fsspec file system that only opens files of one lake for reading."""

    protocol = _PROTOCOL
    cachable = False

    def __init__(self, lake: Path, raw: RawObjects | None = None) -> None:
        super().__init__()
        self._lake = lake.absolute()
        self._raw = raw
        self.fault: StorageError | None = None
        """Why a file could not be read; DuckDB only passes on a text."""
        self.opened: dict[Path, None] = {}
        """Opened files, in order."""
        self._located: dict[str, Path] = {}
        """Address -> where its file is, once it has been checked: DuckDB asks several times for each file."""
        self._padded: dict[Path, array[int]] = {}
        """Raw objects with padding -> where their gzip members begin and end."""
        self._bytes_read = 0
        self._counting = threading.Lock()

    @property
    def bytes_read(self) -> int:
        """Bytes that were read from all files so far."""
        return self._bytes_read

    def count(self, size: int) -> None:
        """Add bytes that were read; DuckDB reads from many threads."""
        with self._counting:
            self._bytes_read += size

    def open(self, path: str, mode: str = "rb", **_: Any) -> _PositionedReader:
        """Open a file for reading.

        Raises:
            StorageError: it cannot be read.
            PermissionError: the mode is not for reading.
        """
        if mode != "rb":
            raise PermissionError(f"{path}: the lake's files are read-only")
        file = self._path(path)
        try:
            is_raw = path.endswith(_RAW_NAME)
            if is_raw:
                self._check_readable(file)
            self.opened[file] = None
            return _PositionedReader(self, file, in_sequence=is_raw, members=self._padded.get(file))
        except OSError as error:
            self.refuse(file, error)

    def located(self, file: RegisteredFile) -> Path:
        """Return where a file is.

        Raises:
            StorageError: it leads outside the lake.
        """
        return self._path(address(file))

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        """Describe a file."""
        file = self._path(path)
        try:
            return {"name": path, "size": file.stat().st_size, "type": "file"}
        except OSError as error:
            self.refuse(file, error)

    def modified(self, path: str) -> datetime:
        """Return when a file was last changed; DuckDB caches its blocks while this is the same."""
        file = self._path(path)
        try:
            return datetime.fromtimestamp(file.stat().st_mtime, UTC)
        except OSError as error:
            self.refuse(file, error)

    def glob(self, path: str, **_: Any) -> list[str]:
        """Return the address itself, which is never a pattern."""
        return [path]

    def exists(self, path: str, **_: Any) -> bool:
        """Return whether there is such a file."""
        return self._path(path).is_file()

    def real_paths(self, text: str) -> str:
        """Replace addresses by real paths in a DuckDB message."""

        def real(match: re.Match[str]) -> str:
            try:
                return str(self._place(match))
            except ValueError:
                return match[0]

        return _ADDRESS.sub(real, text)

    def suspects(self) -> str:
        """Return which files were read, for DuckDB errors without a file name."""
        paths = [str(path) for path in self.opened]
        if len(paths) <= 1:
            return "".join(paths)
        return f"one of {len(paths)} files, the last opened is {paths[-1]}"

    def refuse(self, file: Path, error: OSError) -> NoReturn:
        """Remember why a file cannot be read, and raise it.

        Raises:
            StorageError: always.
        """
        self.fault = StorageError(f"{file}: a data file cannot be read: {error.strerror or error}")
        raise self.fault from error

    def _path(self, path: str) -> Path:
        if known := self._located.get(path):
            return known
        match = _ADDRESS.fullmatch(path)
        if match is None:
            raise PermissionError(f"{path}: not an address of a file of the lake")
        file = self._place(match)
        # The folder of all builds may be a link to another disk, but nothing in it may lead outside.
        top = self._raw.folder if self._raw and match[2] == _RAW_NAME else self._lake / "runs"
        if not file.resolve().is_relative_to(top.resolve()):
            self.fault = StorageError(f"{file}: a data file that leads outside the lake is not read")
            raise self.fault
        self._located[path] = file
        return file

    def _place(self, match: re.Match[str]) -> Path:
        top = self._raw.folder if self._raw and match[2] == _RAW_NAME else self._lake
        return top / bytes.fromhex(match[1]).decode(errors="surrogateescape")

    def _check_readable(self, file: Path) -> None:
        """Check a raw object as the builds do; DuckDB does not compare the checksums in it, and would make up rows.

        Raises:
            UnreadableRawError: it cannot be decompressed completely.
        """
        if self._raw is None or file in self.opened:
            return
        try:
            with file.open("rb") as stored:
                reader = LineReader(stored, _CHUNK_BYTES, self._raw.limits)
                for _ in reader.read():
                    pass
                if reader.members != array("Q", (0, os.fstat(stored.fileno()).st_size)):
                    self._padded[file] = reader.members
        except UnreadableObjectError as error:
            self.fault = UnreadableRawError(
                f"{file}: bronze.events cannot show this raw object ({error.reason}): leave it "
                "out by its hour and minute; Silver has set it aside"
            )
            raise self.fault from error


class _PositionedReader:
    """A readable file with one position per thread.

    DuckDB seeks and reads in two calls, from many threads with one handle: another thread could move a shared position
    in between. It also keeps handles open long after reading them, so each read opens the file: a query over thousands
    of files has only a few of them open. A compressed object it reads in sequence, one thread after the other: that
    takes one position for all of them.

    DuckDB takes padding between gzip members and behind them for a fault: with `members`, positions count their bytes
    alone.
    """

    def __init__(self, files: LakeFiles, path: Path, *, in_sequence: bool, members: array[int] | None) -> None:
        self._files = files
        self._path = path
        self._in_sequence = in_sequence
        self._members = members
        self._begins = list(_begins(members)) if members else []
        self._positions: dict[int, int] = {}
        os.close(self._opened())

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if whence != os.SEEK_SET:
            raise ValueError(f"{self._path}: only positions from the start are supported")
        self._positions[self._reader()] = offset
        return offset

    def tell(self) -> int:
        return self._positions.get(self._reader(), 0)

    def read(self, size: int) -> bytes:
        position = self.tell()
        try:
            handle = self._opened()
            try:
                content = self._read_at(handle, size, position)
            finally:
                os.close(handle)
        except OSError as error:
            self._files.refuse(self._path, error)
        self._files.count(len(content))
        self.seek(position + len(content))
        return content

    def _read_at(self, handle: int, size: int, position: int) -> bytes:
        if self._members is None:
            return os.pread(handle, size, position)
        number = bisect_right(self._begins, position) - 1
        place = self._members[2 * number] + position - self._begins[number]
        return os.pread(handle, max(0, min(size, self._members[2 * number + 1] - place)), place)

    def _reader(self) -> int:
        return 0 if self._in_sequence else threading.get_ident()

    def seekable(self) -> bool:
        return True

    def close(self) -> None:
        """Do nothing: no handle is kept."""

    def _opened(self) -> int:
        return os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)


def _begins(members: array[int]) -> Iterator[int]:
    """Yield where each stretch of members begins if nothing were between them."""
    begin = 0
    for start, end in zip(members[::2], members[1::2], strict=True):
        yield begin
        begin += end - start
