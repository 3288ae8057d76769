"""Render the Markdown of a model for a terminal, whole or while it streams, without losing a word."""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Sequence
from itertools import dropwhile, zip_longest
from typing import TYPE_CHECKING

from agentctl.cli.ui.cells import cell_width, wrap
from agentctl.cli.ui.meter import fenced_lines, open_fence

if TYPE_CHECKING:
    from markdown_it.token import Token
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.markdown import Markdown

_NARROWEST = 20
_MARKS = re.compile(
    r"^[ ]{0,3}(?:\#{1,6}[ ]|>[ ]|```|~~~|\|.*\|\s*$|(?:[-*+]|\d{1,9}[.)])[ ])|\*\*\S|`[^`\n]+`|\]\(", re.MULTILINE
)
_FENCE_INFO = re.compile(r"^([ ]*(?:```+|~~~+))[^\n]*$", re.MULTILINE)
_STYLES = {  # without backgrounds: the terminal's may be light or dark
    "markdown.code": "cyan",
    "markdown.block_quote": "dim",
    "markdown.hr": "dim",
    "markdown.item.number": "none",
    "markdown.link": "none",
    "markdown.link_url": "underline",
    "markdown.table.border": "dim",
    "markdown.table.header": "bold",
}
_PAINTED = re.compile(r"\x1b\[[0-9;]*m")
_PADDING = re.compile(r"[ ]+((?:\x1b\[[0-9;]*m)*)$")
_WORD = re.compile(r"\w+")
_ONLY_MARKS = re.compile(r"[\s>*+=#`~|:._()\[\]\d-]+")
_CODE = re.compile(r"(`+)[^`]+\1")


def render_markdown(text: str, *, width: int, joins_lines: bool = False) -> str:
    """Return the Markdown ``text``, which must be safe, rendered for a terminal of ``width`` cells.

    ``joins_lines`` joins the lines of a paragraph, as Markdown does; without it line breaks are kept.

    Text without Markdown, or that would lose a word, is returned unchanged.
    """
    if width < _NARROWEST or _MARKS.search(text) is None:
        return text
    try:
        found = _draw(text, width, joins_lines=joins_lines)
    except Exception:  # noqa: BLE001 - parsing untrusted text may fail, printing the answer must not
        return text
    return found if _keeps_the_words(text, found, width) else text


def render_answer(text: str, width: int) -> str:
    """Return a model's text for a terminal: its Markdown drawn; without Markdown, its prose wrapped."""
    from agentctl.cli.ui.cells import wrap_prose

    drawn = render_markdown(text, width=width)
    return wrap_prose(text, width) if drawn == text and "```" not in text else drawn


def draw_end(text: str, *, width: int, most: int) -> list[str]:
    """Return at most ``most`` rows, the last ones, of streamed Markdown, rendered as ``render_markdown`` does.

    An end that may still become a mark is held back, and bold or code that has begun is closed, so that what is drawn
    does not jump when more of it comes. What cannot be rendered is wrapped.
    """
    tail = _last_blocks(_settle(text), 2 * most, width)
    drawn = render_markdown(tail, width=width)
    rows = [*wrap(tail, width)] if drawn == tail else drawn.split("\n")
    while rows and not rows[-1]:
        rows.pop()
    return [*dropwhile(lambda row: not row, rows[-most:])]


def _settle(text: str) -> str:
    """Return streamed Markdown without an unfinished mark at its end, and with the marks of its last block closed."""
    head, _, last = text.rpartition("\n")
    if open_fence(head):
        return head if last.strip() and not last.strip("`~ ") else text
    if open_fence(text):
        return text
    if last and _ONLY_MARKS.fullmatch(last):
        return _settle(f"{head}\n") if head else ""
    block = _last_block(text.removesuffix("\n"))
    if block.lstrip().startswith("|") and "\n" not in block:
        return text.removesuffix("\n").removesuffix(block)  # a table's heading, until its second line says so
    plain, end = _CODE.sub("", block), text.rstrip()
    if plain.count("`") % 2:
        return end[:-1] if end.endswith("`") else f"{end}`"
    _, bold, inside = plain.rpartition("**")
    if bold and plain.count("**") % 2:
        return f"{end.rstrip('*')}**" if inside[:1].isalnum() else end.removesuffix("**")
    return end[:-1] if end.endswith("*") and not end.endswith("**") else text


def _last_block(text: str) -> str:
    """Return the lines of Markdown behind its last blank line or code fence."""
    lines = list[str]()
    for line, opened in fenced_lines(text):
        if opened or not line.strip() or line.lstrip().startswith(("```", "~~~")):
            lines.clear()
        else:
            lines.append(line)
    return "\n".join(lines)


def _last_blocks(text: str, rows: int, width: int) -> str:
    """Return the last blocks of Markdown: at least as many lines or characters as fill ``rows`` rows.

    Of a block that is much longer, the end: inside its code fence, or below the heading of its table.
    """
    lines = [*fenced_lines(text)]
    cut, size = len(lines), 0
    while cut and len(lines) - cut < rows and size < rows * width:
        cut -= 1
        size += len(lines[cut][0]) + 1
    start = next((at for at in range(cut, 0, -1) if _begins_block(lines, at)), 0)
    end = [line[-rows * width :] for line, _ in lines[cut:]]
    heading = [line for line, _ in lines[start:cut]]
    if cut - start > rows or sum(map(len, heading)) > rows * width:
        fence = lines[cut - 1][1]
        is_table = heading[0].startswith("|") and all(line.strip() for line in heading)
        heading = [fence] if fence else heading[:2] if is_table else []
    return "\n".join(heading + end)


def _begins_block(lines: Sequence[tuple[str, str]], at: int) -> bool:
    """Return whether line ``at`` stands behind a blank one, outside a code fence, and is not indented."""
    (before, fence), (line, _) = lines[at - 1], lines[at]
    return not before.strip() and not fence and line.strip() != "" and not line[0].isspace()


def _draw(text: str, width: int, *, joins_lines: bool) -> str:
    from rich.console import Console
    from rich.theme import Theme

    out = io.StringIO()
    console = Console(
        file=out,
        width=width,
        force_terminal=True,
        force_jupyter=False,
        legacy_windows=False,
        color_system="standard",
        markup=False,
        emoji=False,
        highlight=False,
        theme=Theme(_STYLES),
        _environ={},
    )
    console.print(_markdown(text, joins_lines=joins_lines))
    rows = ["" if not _PAINTED.sub("", row).strip() else _PADDING.sub(r"\1", row) for row in out.getvalue().split("\n")]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(rows)).strip("\n")


def _markdown(text: str, *, joins_lines: bool) -> Markdown:
    """Return a document for rich: no HTML (<none> is a word), no clickable links, line breaks kept unless joined."""
    from markdown_it import MarkdownIt
    from rich.markdown import CodeBlock, Heading, Markdown
    from rich.padding import Padding
    from rich.text import Text

    class Title(Heading):
        """A left-aligned heading."""

        def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
            yield Text(self.text.plain, style="bold")

    class Code(CodeBlock):
        """Code without a background of its own."""

        def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
            yield Padding(Text(self.text.plain.rstrip("\n"), style="cyan", overflow="fold"), (0, 0, 0, 4))

    class AnswerMarkdown(Markdown):
        elements = {  # noqa: RUF012 - declared so in rich
            **Markdown.elements,
            "heading_open": Title,
            "fence": Code,
            "code_block": Code,
        }

    answer = AnswerMarkdown("", hyperlinks=False)
    parser = MarkdownIt("commonmark", {"html": False})
    answer.parsed = parser.enable("table").disable(["image", "entity", "escape", "autolink"]).parse(text)
    for token in answer.parsed:
        _keep_what_stands(token.children or (), joins_lines=joins_lines)
    return answer


def _keep_what_stands(pieces: Sequence[Token], *, joins_lines: bool) -> None:
    """Keep single stars and underscores (``*.log`` is a pattern and not emphasis), and line breaks unless joined."""
    opened: list[bool] = []
    for piece, following in zip_longest(pieces, pieces[1:]):
        literal = piece.type in ("em_open", "em_close")
        if piece.type == "softbreak" and not joins_lines:
            piece.type = "hardbreak"
        elif piece.type == "strong_open":
            begins = following.content if following is not None and following.type == "text" else "x"
            literal = piece.markup == "__" or not begins[:1].isalnum()
            opened.append(literal)
        elif piece.type == "strong_close":
            literal = opened.pop()
        if literal:
            piece.type, piece.tag, piece.nesting, piece.content = "text", "", 0, piece.markup


def _keeps_the_words(text: str, found: str, width: int) -> bool:
    """Return whether ``found`` has every word of ``text``, broken only at the width, and no row is too wide."""
    plain = _PAINTED.sub("", found)
    if any(cell_width(row) > width for row in plain.split("\n")):
        return False
    left, words = "".join(plain.split()), _WORD.findall(_FENCE_INFO.sub(r"\1", text))
    return all(word in left for word in words) and not Counter("".join(words)) - Counter(left)
