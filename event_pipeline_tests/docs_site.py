"""Hooks of MkDocs for the docs site: the repository's own pages as pages of the site, and links that work in both.

Pages are written for the repository: a link is relative to the file that it is in, and may lead out of `docs/`. On the
site, `README.md` is the home page, `CONTRIBUTING.md` and `CHANGELOG.md` are pages beside it, and other files of the
repository that a page links to are copied along.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

PROJECT = Path(__file__).parents[1]
DOCS = "docs"
HOME = "index.md"
PAGES_OUTSIDE = {"README.md": HOME, "CONTRIBUTING.md": "CONTRIBUTING.md", "CHANGELOG.md": "CHANGELOG.md"}
"""Page of the repository -> page of the site."""
COPIES = "repository"
"""Folder of the site with linked files that are neither pages nor below `docs/`."""
DECISIONS = "adr"
TO_COME = set[str]()
"""Pages that the navigation may name before they are there."""

_LINK = re.compile(r"(!?\[[^\]]*\]\()([^)\s#]+)((?:#[^)\s]*)?\))")
_FETCHED = re.compile(r"<(?:script|img|iframe|source|link)\b[^>]*?\b(?:src|href)=[\"']?((?:https?:)?//[^\"' >]+)")


def on_config(config: Any) -> Any:
    """List the decisions, which are one page each, in the navigation."""
    folder = PROJECT / DOCS / DECISIONS
    for section in config.nav:
        if "Decisions" in section:
            section["Decisions"] += [f"{DECISIONS}/{path.name}" for path in sorted(folder.glob("[0-9]*.md"))]
        for name, pages in section.items():
            if isinstance(pages, list):
                section[name] = [page for page in pages if not _is_to_come(page)]
    return config


def _is_to_come(page: str | dict[str, str]) -> bool:
    path = page if isinstance(page, str) else next(iter(page.values()))
    return path in TO_COME and not (PROJECT / DOCS / path).exists()


def on_files(files: Files, config: Any) -> Files:
    """Add the pages and the linked files from outside `docs/`."""
    for source, page in PAGES_OUTSIDE.items():
        files.append(File.generated(config, page, abs_src_path=str(PROJECT / source)))
    linked = {
        target
        for page in list(files.documentation_pages())
        for _, target in _targets(_source(page.src_uri), page.content_string)
        if target not in PAGES_OUTSIDE and not target.startswith(f"{DOCS}/") and (PROJECT / target).is_file()
    }
    for target in sorted(linked):
        files.append(File.generated(config, f"{COPIES}/{target}", abs_src_path=str(PROJECT / target)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Have the links of a page lead to pages of the site, and say what the repository's viewer reads otherwise."""
    if page.file.src_uri == HOME:
        page.meta.setdefault("hide", ["navigation"])
    here = posixpath.dirname(page.file.src_uri)
    for link, target in _targets(_source(page.file.src_uri), markdown):
        if (PROJECT / target).exists():
            there = posixpath.relpath(_on_site(target), here or ".")
            markdown = markdown.replace(link[0], f"{link[1]}{there}{link[3]}")
    # In a table, the repository's viewer needs a backslash before a pipe in code, which is shown here.
    markdown = re.sub(r"^\|.*$", lambda row: re.sub(r"`[^`]+`", _without_escapes, row[0]), markdown, flags=re.MULTILINE)
    return _with_one_title(markdown)


def _without_escapes(code: re.Match[str]) -> str:
    return code[0].replace("\\|", "|")


def _with_one_title(markdown: str) -> str:
    """Lower the headings of a page with several of the first level: the theme lists none of them otherwise."""
    parts = re.split(r"^(```.*?^```)", markdown, flags=re.MULTILINE | re.DOTALL)
    first, *others = re.findall(r"^# .*$", "".join(parts[::2]), re.MULTILINE)
    if not others:
        return markdown
    lowered = (re.sub(r"^(?=#+ )", "#", part, flags=re.MULTILINE) for part in parts[::2])
    parts[::2] = [part.replace(f"#{first}", first, 1) for part in lowered]
    return "".join(parts)


def on_post_page(output: str, page: Any, **_: Any) -> None:
    """Refuse what a reader's browser would fetch from elsewhere.

    Raises:
        PluginError: the page has such an address.
    """
    if found := _FETCHED.search(output):
        raise PluginError(f"{page.file.src_uri} fetches {found[1]}: the site must work without a network")


def _targets(source: str, markdown: str) -> Iterator[tuple[re.Match[str], str]]:
    """Yield the links to other files, each with the path that it leads to from the top of the repository."""
    for link in _LINK.finditer(markdown):
        if "://" not in link[2] and not link[2].startswith("mailto:"):
            yield link, posixpath.normpath(posixpath.join(posixpath.dirname(source), link[2]))


def _source(page: str) -> str:
    """Return where a page of the site comes from."""
    outside = {on_site: path for path, on_site in PAGES_OUTSIDE.items()}
    return outside.get(page, f"{DOCS}/{page}")


def _on_site(path: str) -> str:
    """Return where a file of the repository is on the site."""
    if path.startswith(f"{DOCS}/"):
        return path.removeprefix(f"{DOCS}/")
    return PAGES_OUTSIDE.get(path, f"{COPIES}/{path}")
