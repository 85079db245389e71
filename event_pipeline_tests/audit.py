"""`make audit`: asks an advisory source about every version in constraints.txt, and about pip here.

One request to OSV (osv.dev), which has the advisories of PyPI and GitHub. Ends with 0 when none is known, 1 when there
are some, and 3 when the source cannot be asked: then nothing is known, which is not the same as nothing being wrong.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import urllib.error
import urllib.request
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

CONSTRAINTS = Path(__file__).parents[1] / "constraints.txt"
SOURCE = "https://api.osv.dev"
CLEAN, FOUND, NOT_ASKED = 0, 1, 3
_PIN = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)==([^\s;#]+)")
_TIMEOUT_SECONDS = 30
_BESIDES = ("pip", "setuptools")
"""Not pinned: a virtual environment brings them, or another package."""


class NotAskedError(Exception):
    """The advisory source gave no answer."""


def pins(text: str) -> dict[str, str]:
    """Read the pinned versions: package -> version.

    Raises:
        ValueError: a line is neither a pin nor a comment, so that something would be left out in silence.
    """
    found = {}
    for line in text.splitlines():
        pin = line.partition("#")[0].strip()
        if pin:
            match = _PIN.match(pin)
            if match is None:
                raise ValueError(f"{pin!r} is no pin `name==version`")
            found[match[1]] = match[2]
    return found


def advisories(wanted: dict[str, str], source: str) -> dict[str, list[str]]:
    """Return the ids of known advisories, by package, of those that have any.

    Raises:
        NotAskedError: the source cannot be reached, or its answer is none.
    """
    asked = [{"package": {"name": name, "ecosystem": "PyPI"}, "version": pin} for name, pin in wanted.items()]
    request = urllib.request.Request(
        f"{source}/v1/querybatch", json.dumps({"queries": asked}).encode(), {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS) as answer:
            results: list[dict[str, Any]] = json.load(answer)["results"]
        told = [sorted(each["id"] for each in result.get("vulns", [])) for result in results]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise NotAskedError(f"{source} cannot be asked ({error})") from error
    if len(told) != len(wanted):
        raise NotAskedError(f"{source} answered for {len(told)} of {len(wanted)} packages")
    return {name: ids for name, ids in zip(wanted, told, strict=True) if ids}


def main(arguments: Sequence[str] | None = None) -> int:
    """Ask, and say what is known."""
    parser = argparse.ArgumentParser(prog="make audit", description=__doc__)
    parser.add_argument("--source", default=SOURCE, help=f"an address that speaks OSV's protocol, {SOURCE} by default")
    parser.add_argument("--constraints", type=Path, default=CONSTRAINTS, help="the pinned versions")
    options = parser.parse_args(arguments)
    wanted = pins(options.constraints.read_text(encoding="utf-8"))
    for name in _BESIDES:
        try:
            wanted.setdefault(name, version(name))
        except PackageNotFoundError:
            continue  # what is not installed cannot be attacked
    try:
        found = advisories(wanted, options.source)
    except NotAskedError as error:
        sys.stderr.write(
            f"NOT AUDITED: {error}. Nothing is known about {len(wanted)} packages; try again with a network.\n"
        )
        return NOT_ASKED
    for name, ids in found.items():
        sys.stdout.write(
            f"{name} {wanted[name]}: {', '.join(f'https://osv.dev/vulnerability/{each}' for each in ids)}\n"
        )
    sys.stdout.write(f"{len(wanted)} packages asked about at {options.source}: {len(found)} with known advisories\n")
    return FOUND if found else CLEAN


if __name__ == "__main__":
    sys.exit(main())
