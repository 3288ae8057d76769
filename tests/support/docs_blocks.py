"""The fenced blocks and links of README.md, docs/*.md and the other pages for people."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
#: How a block is tested: run line by line, run with a model, run as it is, parsed, or shown only.
LANGUAGES = ("bash", "shell", "sh", "python", "py", "console", "yaml", "yml", "toml", "text")

_FENCED = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)


class Block(NamedTuple):
    """One fenced block."""

    page: str
    line: int
    language: str
    text: str

    @property
    def place(self) -> str:
        """Return where it stands, as the name of a test."""
        return f"{self.page}:{self.line}"


class Link(NamedTuple):
    """One link to a file of the repository."""

    page: str
    path: str
    anchor: str


@cache
def pages() -> dict[str, str]:
    """Return the text of each page by its path from the root."""
    files = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")]
    files += sorted((ROOT / "docs").glob("*.md"))
    return {str(file.relative_to(ROOT)): file.read_text() for file in files}


@cache
def all_blocks() -> tuple[Block, ...]:
    """Return every fenced block, also one of an unknown language."""
    return tuple(
        Block(page, text.count("\n", 0, fenced.start()) + 1, fenced[1], fenced[2])
        for page, text in pages().items()
        for fenced in _FENCED.finditer(text)
    )


def blocks(language: str) -> list[Block]:
    """Return the blocks of one language."""
    return [block for block in all_blocks() if block.language == language]


def links() -> list[Link]:
    """Return the links between pages, and from pages to other files."""
    found = []
    for page, text in pages().items():
        for target in re.findall(r"\]\(([^)\s]+)\)", _FENCED.sub("", text)):
            if "://" not in target:
                path, _, anchor = target.partition("#")
                found.append(Link(page, path, anchor))
    return found


def anchors(text: str) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", _FENCED.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
