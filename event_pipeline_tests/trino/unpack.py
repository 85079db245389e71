"""Unpacks what the tests need of Trino's server archive: its libraries and the Hive connector, a fifth of it."""

from __future__ import annotations

import os
import shutil
import sys
import tarfile
from pathlib import Path

_WANTED = ("lib/", "plugin/hive/")


def unpack(archive: Path, folder: Path) -> None:
    """Unpack an archive into a folder; a file that is in the archive for several plugins is kept once.

    Raises:
        OSError: the archive cannot be read, or the folder not be written.
        tarfile.TarError: it is no such archive.
    """
    with tarfile.open(archive) as opened:
        members = opened.getmembers()
        # The archive keeps equal files of plugins as links to the first of them, which may be another plugin's.
        places: dict[str, list[Path]] = {}
        for member in members:
            inside = member.name.partition("/")[2]
            if inside.startswith(_WANTED) and not member.isdir():
                source = member.linkname if member.islnk() else member.name
                places.setdefault(source, []).append(folder / inside)
        for member in members:
            content = opened.extractfile(member) if member.isreg() and member.name in places else None
            if content is None:
                continue
            first, *others = places[member.name]
            first.parent.mkdir(parents=True, exist_ok=True)
            with content, first.open("wb") as file:
                shutil.copyfileobj(content, file)
            for other in others:
                other.parent.mkdir(parents=True, exist_ok=True)
                os.link(first, other)


if __name__ == "__main__":
    unpack(Path(sys.argv[1]), Path(sys.argv[2]))
