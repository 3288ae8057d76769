"""Tables, labelled values and prose that fit the width of a terminal; without a terminal nothing is cut or wrapped."""

from __future__ import annotations

import re
import sys
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import cache
from itertools import islice, repeat, takewhile
from typing import Literal, NamedTuple, TextIO

from agentctl.cli.ui.cells import MARKS, NUMBER, cell_width, wrap
from agentctl.cli.ui.terminal import terminal_width
from agentctl.core.text import safe_text

_GAP = "  "
_JOINT = "\x00"  # safe text has none
_INDENT = "  "
_EASY_TEXT, _EASY_NAME = 20, 16  # cells that a column keeps as long as another one can be left out
_LEAST_TEXT, _LEAST_NAME = 12, 8  # no amount is longer than 12, so that none is broken inside a text
_EASY_ID, _LEAST_ID = 40, 16  # as above; a longer id stands alone on its line
_LEAST_VALUE = 20
_MOST_PIECE = 20  # cells of a piece of a word that is not broken
_MOST_READ = 2000  # characters of a cell that are looked at for these
_LEAST_HEAD = 5  # of a name that is cut

Kind = Literal["whole", "id", "name", "text", "line"]


class Column(NamedTuple):
    """A column of a table, and what becomes of it on a terminal that is too narrow.

    ``kind``: "whole" is never cut or broken (amounts, dates); "id" is
    never cut either, but the rest of its row moves to the next line if it is too wide (what users paste); "name" is
    cut in its middle; "text" is wrapped, to
    at most ``lines`` lines if that is not 0; "line" is never cut or broken either, but moved to a line of its own
    below the row (commands to paste, paths). Columns are left out from the highest ``drop`` down; 0 is never left out.
    """

    head: str
    kind: Kind = "whole"
    drop: int = 0
    right: bool = False
    lines: int = 0

    @property
    def is_flexible(self) -> bool:
        """Whether it can be narrower than its cells."""
        return self.kind in ("id", "name", "text")


class _Layout(NamedTuple):
    """The widths of the columns that stand side by side, by place; and the columns on lines below, and left out."""

    widths: dict[int, int]
    below: tuple[int, ...] = ()
    left_out: tuple[int, ...] = ()


class Page(NamedTuple):
    """What text is laid out for: ``width`` in cells, None if it is no terminal; the encoding of the stream."""

    width: int | None = None
    encoding: str = "utf-8"

    def table(self, columns: Sequence[Column], rows: Iterable[Sequence[str] | str]) -> str:
        """Return a table with a header; a string instead of a row is the heading of the rows that follow.

        Columns shrink first, then are left out (a last line names them), then names are cut and texts wrapped further;
        below that, each row becomes a block of labelled lines. Cells are made safe and put on one line.
        """
        heads = [self._clean(column.head) for column in columns]
        found = [self.prose(row) if isinstance(row, str) else [*map(self._clean, row)] for row in rows]
        cells = [heads, *(row for row in found if not isinstance(row, str))]
        natural = [max(map(cell_width, each)) for each in zip(*cells, strict=True)]
        pieces = [0 if self.width is None else _longest_piece(each) for each in zip(*cells, strict=True)]
        blank = [at for at, each in enumerate(zip(*cells, strict=True)) if not any(each[1:])]
        layout = _fit(columns, [*map(cell_width, heads)], natural, pieces, self.width, blank=blank)
        if layout is None:
            blocks = (row if isinstance(row, str) else "\n".join(self._block(columns, heads, row)) for row in found)
            return "\n\n".join(blocks)
        lines = [*self._row(columns, heads, layout)]
        for row in found:
            lines += ["", row] if isinstance(row, str) else self._row(columns, row, layout)
        if left_out := [heads[at] for at in layout.left_out if heads[at]]:
            lines.append(self.prose(f"(too narrow for: {', '.join(left_out)})"))
        return "\n".join(lines)

    def fields(self, rows: Iterable[tuple[str, str]], *, whole: Collection[str] = (), margin: int | None = None) -> str:
        """Return labelled values, wrapped with a hanging indent, except those with a label of ``whole``.

        A value whose words do not fit next to its label is put below the label. ``margin`` is the width of the
        labels with the gap behind them, None for that of the widest.
        """
        cells = [(self._clean(label), self._clean(value)) for label, value in rows]
        if margin is None:
            margin = max((cell_width(label) for label, _ in cells), default=0) + len(_GAP)
        return "\n".join(self._field(label, value, margin, is_whole=label in whole) for label, value in cells)

    def _field(self, label: str, value: str, margin: int, *, is_whole: bool) -> str:
        widest = max(map(cell_width, [value] if is_whole else _words(value)), default=0)
        if self.width is not None and self.width - margin < max(widest, _LEAST_VALUE):
            below = _INDENT + value if is_whole else self._hang(_INDENT + value, _INDENT)
            return f"{label.rstrip()}\n{below}" if label.strip() else below
        return self._hang(value, " " * margin, before=_pad(label, margin)).rstrip()

    def prose(self, text: str, *, indent: str = _INDENT) -> str:
        """Return text whose lines are wrapped between words, with ``indent`` before the lines that this adds.

        A word that is wider than the terminal stays in one piece.
        """
        lines = map(self._clean, text.split("\n"))
        return "\n".join(self._hang(line, line[: len(line) - len(line.lstrip(" "))] + indent) for line in lines)

    def refit(self, text: str) -> str:
        """Return ``text`` with each aligned table that is too wide laid out again; the rest is unchanged.

        A table has a head of three or more names in lower case, and the same gaps of two spaces in all lines but
        the last ones without a gap.
        """
        if self.width is None:
            return text
        blocks = text.split("\n\n")
        for at, block in enumerate(blocks):
            lines = block.split("\n")
            tail = [lines.pop() for _ in takewhile(lambda line: "  " not in line, block.split("\n")[:0:-1])][::-1]
            if max(map(cell_width, lines)) > self.width and (spans := _spans(lines)):
                rows = [[line[start:end].strip() for start, end in spans] for line in lines]
                cells = [[line.ljust(end)[start:end] for line in lines] for start, end in spans]
                right = [
                    any(cell[0] == " " for cell in each) and all(cell[-1] != " " for cell in each) for each in cells
                ]
                kinds: list[Kind] = ["id", *("whole" if to_right else "text" for to_right in right[1:])]
                columns = [Column(*each) for each in zip(rows[0], kinds, repeat(0), right, strict=False)]
                blocks[at] = "\n".join([self.table(columns, rows[1:]), *tail])
        return "\n\n".join(blocks)

    def _clean(self, text: str) -> str:
        text = safe_text(text).replace("\n", " ").replace("\t", " ")
        if text.isascii():
            return text
        return text.encode(self.encoding, "backslashreplace").decode(self.encoding)

    @property
    def _ellipsis(self) -> str:
        return "…" if self._clean("…") == "…" else "..."

    def _row(self, columns: Sequence[Column], row: Sequence[str], layout: _Layout) -> Iterator[str]:
        widths = layout.widths
        wide = next((at for at in widths if columns[at].kind == "id" and cell_width(row[at]) > widths[at]), None)
        if wide is not None:
            before = "".join(_pad(row[at], widths[at]) + _GAP for at in widths if at < wide)
            if cell_width(before + row[wide]) <= (self.width or 0):
                yield before + row[wide]
            else:
                yield from filter(None, (before.rstrip(), _INDENT + row[wide]))
            row = ["" if at <= wide else cell for at, cell in enumerate(row)]
        parts = {at: self._cell(columns[at], row[at], width) for at, width in layout.widths.items()}
        for number in range(max(map(len, parts.values()), default=0)):
            line = (
                _pad(lines[number] if number < len(lines) else "", layout.widths[at], right=columns[at].right)
                for at, lines in parts.items()
            )
            yield _GAP.join(line).rstrip()
        yield from (f"{_INDENT}{row[at]}" for at in layout.below if row[at])

    def _cell(self, column: Column, cell: str, width: int) -> list[str]:
        """Return the lines of a cell, each at most ``width`` wide."""
        if cell_width(cell) <= width:
            return [cell]
        if column.kind == "name":
            return [_cut_middle(cell, width, self._ellipsis)]
        joined = _together().sub(_JOINT, " ".join(cell.split()))
        rows = islice(wrap(joined, width), column.lines + 1 if column.lines else None)
        lines = [line.strip(" ").replace(_JOINT, " ") for line in rows]
        if column.lines and len(lines) > column.lines:
            lines = lines[: column.lines]
            lines[-1] = _cut_end(lines[-1], width, self._ellipsis)
        return lines

    def _block(self, columns: Sequence[Column], heads: Sequence[str], row: Sequence[str]) -> Iterator[str]:
        """Yield a row as labelled lines, without its empty cells."""
        beside = [head for column, head in zip(columns, heads, strict=True) if column.kind != "line"]
        margin = max(map(cell_width, beside), default=0) + len(_GAP)
        room = (self.width or 0) - margin
        for column, head, cell in zip(columns, heads, row, strict=True):
            if not cell:
                continue
            label = _pad(head, margin)
            is_cut = column.kind in ("name", "text")
            least = min(cell_width(cell), _LEAST_TEXT) if is_cut else cell_width(cell)
            if column.kind == "line" or room < least:
                yield from ([self.prose(head)] if head else [])
                label, space = _INDENT, max(_LEAST_TEXT, (self.width or 0) - len(_INDENT))
            else:
                space = room
            if not is_cut:
                yield f"{label}{cell}".rstrip() if cell_width(label + cell) <= (self.width or 0) else cell
                continue
            for number, line in enumerate(self._cell(column, cell, space)):
                yield f"{label if not number else ' ' * cell_width(label)}{line}"

    def _hang(self, line: str, indent: str, *, before: str = "") -> str:
        """Return ``before`` and a line, wrapped between words; ``indent`` stands before the lines that this adds."""
        if self.width is None or cell_width(before + line) <= self.width:
            return before + line
        start = before + line[: len(line) - len(line.lstrip(" "))]
        rows, is_fresh = [start], True
        for word in _words(line):
            if not is_fresh and cell_width(f"{rows[-1]} {word}") > self.width:
                rows.append(indent)
                is_fresh = True
            rows[-1] += word if is_fresh else f" {word}"
            is_fresh = False
        return "\n".join(rows)


def page_of(stream: TextIO) -> Page:
    """Return the page of a stream: as wide as its terminal, without a width if it is none."""
    return Page(terminal_width(stream), stream.encoding or "utf-8")


def stdout_page() -> Page:
    """Return the page of stdout."""
    return page_of(sys.stdout)


def _fit(
    columns: Sequence[Column],
    heads: Sequence[int],
    natural: Sequence[int],
    pieces: Sequence[int],
    width: int | None,
    *,
    blank: Collection[int] = (),
) -> _Layout | None:
    """Return how the columns stand side by side in ``width`` cells; None if they cannot.

    ``pieces`` are the widths of the longest pieces of text that are not broken, ``blank`` the columns without a cell.
    """
    shown, below, left_out = list(range(len(columns))), tuple[int, ...](), list[int]()
    if width is None or _sum(natural) <= width:
        return _Layout(dict(enumerate(natural)))
    parts = list(zip(columns, heads, natural, pieces, strict=True))
    shown = [at for at in shown if at not in blank or not columns[at].drop]  # nothing is lost: not named
    easy = [_shrunk(*each, text=_EASY_TEXT, name=_EASY_NAME, id_=_EASY_ID) for each in parts]
    least = [_shrunk(*each, text=_LEAST_TEXT, name=_LEAST_NAME, id_=_LEAST_ID) for each in parts]
    if _sum(easy[at] for at in shown) > width:
        below = tuple(at for at in shown if columns[at].kind == "line")
        shown = [at for at in shown if at not in below]
    droppable = sorted((at for at in shown if columns[at].drop), key=lambda at: -columns[at].drop)
    while droppable and _sum(easy[at] for at in shown) > width:
        left_out.append(droppable.pop(0))
        shown.remove(left_out[-1])
    smallest = easy if _sum(easy[at] for at in shown) <= width else least
    spare = width - _sum(smallest[at] for at in shown)
    if spare < 0 or not shown:
        return None
    widths = _spread(spare, {at: smallest[at] for at in shown}, natural)
    return _Layout(widths, below, tuple(sorted(left_out)))


def _spans(lines: Sequence[str]) -> list[tuple[int, int]]:
    """Return where the columns of an aligned table begin and end; [] if the lines are none."""
    heads = re.split(r"  +", lines[0].strip())
    if len(lines) < 2 or len(heads) < 3 or not all(re.fullmatch(r"[a-z][a-z %]*", head) for head in heads):
        return []
    end = max(map(len, lines))
    if any(cell_width(line) != len(line) for line in lines):
        return []  # the columns are aligned by characters
    used = "".join(" " if all(line[at : at + 1] in ("", " ") for line in lines) else "x" for at in range(end))
    found = [match.span() for match in re.finditer(r"x(?:x| (?! ))*", used)]
    return found if len(found) == len(heads) else []


def _sum(widths: Iterable[int]) -> int:
    found = [*widths]
    return sum(found) + len(_GAP) * (len(found) - 1)


def _shrunk(column: Column, head: int, natural: int, piece: int, *, text: int, name: int, id_: int) -> int:
    if not column.is_flexible:
        return natural
    room = {"id": id_, "name": name}.get(column.kind, max(text, piece))
    return min(natural, max(head, room))


def _longest_piece(cells: Iterable[str]) -> int:
    """Return the width of the longest piece of a word that is not broken, at most ``_MOST_PIECE``."""
    words = (word for cell in cells for word in re.split(rf"(?<=[ {re.escape(MARKS)}])", cell[:_MOST_READ]))
    return min(_MOST_PIECE, max((len(word.rstrip()) for word in words if word.isascii()), default=0))


def _spread(spare: int, widths: dict[int, int], natural: Sequence[int]) -> dict[int, int]:
    """Return the widths with ``spare`` cells given to those that are narrower than their cells, to all alike."""
    while spare and (needy := [at for at in widths if widths[at] < natural[at]]):
        each = max(1, spare // len(needy))
        for at in needy[:spare]:
            more = min(each, natural[at] - widths[at])
            widths[at] += more
            spare -= more
    return widths


@cache
def _together() -> re.Pattern[str]:
    """Match a space inside a time or an amount: no line is broken there."""
    return re.compile(r"(?<=\d\d\d\d-\d\d-\d\d) (?=\d\d:\d\d)|(?<=\d) (?=(?:s|min|h|%|[kMGT]i?B|UTC)(?!\w))")


def _words(text: str) -> list[str]:
    """Return the words between which a line may be broken."""
    return [word.replace(_JOINT, " ") for word in _together().sub(_JOINT, text).split(" ") if word]


def _pad(text: str, width: int, *, right: bool = False) -> str:
    space = " " * (width - cell_width(text))
    return space + text if right else text + space


def _cut_end(text: str, width: int, ellipsis: str) -> str:
    """Return the beginning of ``text`` with an ellipsis, in ``width`` cells at most; no number is cut."""
    return _beginning(f"{text} ", width - len(ellipsis)).rstrip() + ellipsis


def _cut_middle(text: str, width: int, ellipsis: str) -> str:
    """Return the two ends of ``text`` with an ellipsis between, in ``width`` cells at most; no number is cut."""
    room = width - len(ellipsis)
    tail = _beginning(text[::-1], room // 2, number=room - _LEAST_HEAD)[::-1]
    while tail and not cell_width(tail[0]):  # a mark without its letter
        tail = tail[1:]
    return _beginning(text, room - cell_width(tail)) + ellipsis + tail


def _beginning(text: str, room: int, *, number: int = 0) -> str:
    """Return at most ``room`` cells of the beginning of ``text``, which is wider.

    A number that this would cut is included if it ends within ``number`` cells, else left out.
    """
    end = min(max(0, room), len(text))
    while end and cell_width(text[:end]) > room:
        end -= 1
    whole = end
    while 0 < whole < len(text) and text[whole - 1] in NUMBER and text[whole] in NUMBER:
        whole += 1
    if whole <= end or cell_width(text[:whole]) <= number:
        return text[:whole]
    while 0 < end < len(text) and text[end - 1] in NUMBER and text[end] in NUMBER:
        end -= 1
    return text[:end]
