"""A digest of code that ignores what does not change what it does: comments, docstrings and blank lines.

Python versions print syntax trees differently, but place statements on the same lines: so the digest is made of lines,
and the host and the Glue job get the same one. Standard library only.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable
from importlib import resources


def code_digest(modules: Iterable[str], package: str = __package__ or "") -> str:
    """Return the digest of the code of some modules of a package, as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    for name in modules:
        # Not by path: the Glue job imports the package from a zip file.
        source = resources.files(package).joinpath(f"{name}.py").read_text(encoding="utf-8")
        digest.update("\n".join((name, *code_lines(source), "")).encode())
    return digest.hexdigest()


def code_lines(source: str) -> list[str]:
    """Return the lines of a module without comment lines, docstrings and blank lines."""
    documented = {
        line
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    }
    return [
        line.rstrip()
        for number, line in enumerate(source.splitlines(), 1)
        if number not in documented and line.strip() and not line.lstrip().startswith("#")
    ]
