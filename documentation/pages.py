"""Collects the pages of the site: those of `docs/`, other pages of the repository, and the generated
reference.

A line `<!-- include FILE -->` includes a file of the repository: a picture as it is, anything else as a code
block. `<!-- include FILE python 2 as NAME -->` includes the file's second code block in Python under the
title NAME. So a program is written once, and the tests run what the page shows.
"""

import posixpath
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

REPOSITORY = Path(__file__).resolve().parents[1]
# {file of the repository: page of the site}. The files in docs/ are not listed; they keep their names.
OTHER_PAGES = {
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security-policy.md",
}
# {file of the repository: the page that shows its contents}
SHOWN_ELSEWHERE = {
    "README.md": "index.md",
    ".env.example": "reference/settings.md",
    "examples": "examples.md",
}
_INCLUDE = re.compile(r"^<!-- include (\S+)(?: (\w+) (\d+) as (\S+))? -->$", re.MULTILINE)
_BLOCK = re.compile(r'^```(\w*)(?: title="([^"]*)")?\n(.*?)^```$', re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"(\]\()([^)\s#:]+)((?:#[^)\s]*)?\))")
_LANGUAGES = {".py": "python", ".js": "javascript", ".sh": "sh"}


def hand_written() -> dict[str, str]:
    """Return the pages of the repository as {page of the site: Markdown}."""
    sources = {
        path.relative_to(REPOSITORY).as_posix(): path.relative_to(REPOSITORY / "docs").as_posix()
        for path in sorted((REPOSITORY / "docs").rglob("*.md"))
    } | OTHER_PAGES
    return {page: _moved(with_includes(source), source, sources) for source, page in sources.items()}


def with_includes(source: str) -> str:
    """Return the Markdown of a file of the repository, with the files that it includes."""
    return _INCLUDE.sub(_included, (REPOSITORY / source).read_text())


def code_blocks(markdown: str) -> list[tuple[str, str, str]]:
    """Return the language, the title and the contents of all code blocks, in order."""
    return _BLOCK.findall(markdown)


def shown_file(path: str) -> str:
    """Return a file of the repository as a code block."""
    file = REPOSITORY / path
    return f'```{_LANGUAGES[file.suffix]} title="{file.name}"\n{file.read_text()}```'


def _included(found: re.Match[str]) -> str:
    file, language, number, title = found.groups()
    if file.endswith(".svg"):
        return f"<div>\n{(REPOSITORY / file).read_text()}</div>"
    if language is None:
        return shown_file(file)
    blocks = [block for other, _, block in code_blocks((REPOSITORY / file).read_text()) if other == language]
    return f'```{language} title="{title}"\n{blocks[int(number) - 1]}```'


def _moved(markdown: str, source: str, pages: Mapping[str, str]) -> str:
    """Return the Markdown with links that fit the site. Raises ValueError for a link to a file that the site
    does not show."""

    def link(found: re.Match[str]) -> str:
        target = posixpath.normpath(PurePosixPath(source).parent / found[2])
        page = pages.get(target) or next(
            (page for name, page in SHOWN_ELSEWHERE.items() if PurePosixPath(target).is_relative_to(name)),
            None,
        )
        if page is None:
            if target.startswith("docs/"):
                return found[0]  # a picture, or a page that is generated; the strict build checks it
            raise ValueError(f"{source} links to {target}, which the site does not show")
        return f"{found[1]}{posixpath.relpath(page, PurePosixPath(pages[source]).parent)}{found[3]}"

    return _LINK.sub(link, markdown)
