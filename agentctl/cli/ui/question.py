"""Lay out the question whether a tool call may run: the exact call, what it changes, its dangers. Pure.

Untrusted text stands behind a bar, four columns in; only agentctl's own marks stand further left. Nothing is redacted.
What does not fit on the screen is cut, with a mark that says how much; ``m`` shows the whole.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from agentctl.cli.ui.cells import cell_width, wrap
from agentctl.cli.ui.format import Paint, Style, plural
from agentctl.cli.ui.lines import call_text, value_text
from agentctl.core.lookalikes import escape_lookalikes
from agentctl.core.messages import ToolCall
from agentctl.protocols import Question

_EFFECTS: dict[str, tuple[str, Style]] = {
    "read": ("only reads", "green"),
    "write": ("changes something", "yellow"),
    "destructive": ("destructive: cannot be undone", "red"),
    "network": ("reaches the network", "yellow"),
}
_SIGNS: dict[str, Style] = {"+": "green", "-": "red", "@": "dim"}
_COMMAND = "command"  # an argument that is shown line by line
_BINDING = "old"  # an argument by agentctl that binds the call to what is shown
_MOST_DIFF_ROWS = 12
_LEAST_BLOCK_ROWS = 3
_BEFORE_BLOCK, _BEFORE_FACT = 4, 12  # cells before a text: the bar, blanks, a label
_GAP = re.compile(r" {40,}")
_NARROW = 60
_PROMPT = "Allow it? y yes · n no · a always · m more: "
_NARROW_PROMPT = "Allow? y, n, a always, m more: "


class VisibleText(NamedTuple):
    """A line with everything visible, and the number of places in it that are written as escapes."""

    text: str
    escaped: int


class _Fact(NamedTuple):
    """A labelled text below the call; of a higher ``rank`` it is cut earlier."""

    label: str
    rows: tuple[str, ...]
    style: Style | None = None
    rank: int = 0


class _Block(NamedTuple):
    """The rows of the call as they stand behind the bar, and the number of places that are written as escapes."""

    rows: list[str]
    escaped: int = 0


def prompt_for(width: int) -> str:
    """Return the prompt for a terminal of ``width`` columns; an answer fits behind it."""
    return _PROMPT if width >= _NARROW else _NARROW_PROMPT


def visible_line(line: str) -> VisibleText:
    """Return a line whose trailing blanks, long gaps, control and posing characters are written as escapes.

    Its own backslashes are doubled if there is an escape in it, so that the two cannot be confused.
    """
    body = line.rstrip(" ")
    shown = escape_lookalikes(body)
    odd = {char for char in body if not (char.isascii() and char.isprintable())}
    escaped = sum(body.count(char) - shown.count(char) for char in odd)
    trailing = len(line) - len(body)
    gaps = len(_GAP.findall(body))
    if escaped or trailing or gaps:
        shown = escape_lookalikes(body.replace("\\", "\\\\"))
        shown = _GAP.sub(lambda gap: f"\\x20{{{len(gap[0])}}}", shown)
    if trailing:
        shown += "\\x20" if trailing == 1 else f"\\x20{{{trailing}}}"
    return VisibleText(shown, escaped + (trailing > 0) + gaps)


def question_rows(question: Question, paint: Paint, *, width: int, height: int | None = None) -> Iterator[str]:
    """Yield the rows of a question, without its prompt.

    ``height``: the rows of the screen, into which the question and the prompt fit; None: everything is shown.
    """
    effect, style = _EFFECTS.get(question.effect, ("changes something", "red"))
    block = _block(question, paint, style, width, whole=height is None)
    facts = _facts(question, effect, style, block.escaped, max(2, width - _BEFORE_FACT - 1))
    title = wrap(f"May {escape_lookalikes(question.call.name)} run?", width, at_spaces=False)
    head, rows = ["", *(paint(row, "bold") for row in title)], block.rows
    if height is not None:
        rows = _cut(rows, _MOST_DIFF_ROWS + 1, paint) if question.impact.diff else rows
        head, rows, facts = _fit(head, rows, facts, height - 1, paint)
    bar = paint("│", style)
    yield from head
    yield from (f"{bar}{row}" for row in rows)
    yield bar
    for fact in facts:
        for place, row in enumerate(fact.rows):
            lead = paint(f"{fact.label if place == 0 else '':<6}", "dim")
            yield f"{bar}   {lead}  {paint(row, fact.style) if fact.style else row}"


def _block(question: Question, paint: Paint, style: Style, width: int, *, whole: bool) -> _Block:
    """Return the exact call: a command or a diff line by line, any other call as text.

    Below a command or a diff stand the other arguments, and, if ``whole``, all of them as JSON.
    """
    call = question.call
    loud = style if style == "red" else None
    command = call.arguments.get(_COMMAND)
    shown_above = {_COMMAND} if isinstance(command, str) else {"path", "text", _BINDING}
    below = {name: value for name, value in call.arguments.items() if whole or name not in shown_above}
    rows: list[str] = []
    escaped = 0
    if isinstance(command, str):
        for place, line in enumerate(command.split("\n")):
            shown = visible_line(line)
            escaped += shown.escaped
            rows += _marked_rows("> " if place else "$ ", shown.text, loud, paint, width)
    elif question.impact.diff:
        rows += _call_rows(call.name, {"path": call.arguments.get("path")}, None, paint, width)
        for line in question.impact.diff.split("\n"):
            shown = visible_line(line[1:])
            escaped += shown.escaped
            mark, text = ("", f"@{shown.text}") if line.startswith("@") else (f"{line[:1]:<2}", shown.text)
            rows += _marked_rows(mark, text, _SIGNS.get(line[:1]), paint, width)
    else:
        given = {name: value for name, value in call.arguments.items() if name != _BINDING}
        return _Block(_call_rows(call.name, given, loud, paint, width))
    return _Block([*rows, *_argument_rows(below, width)], escaped)


def _marked_rows(mark: str, text: str, style: Style | None, paint: Paint, width: int) -> Iterator[str]:
    """Yield the rows of one line: ``mark`` stands before the first, blanks before the others."""
    for place, row in enumerate(wrap(text, width - _BEFORE_BLOCK - len(mark), at_spaces=False)):
        shown = f"{' ' * len(mark) if place else mark}{row}".rstrip()
        yield f"   {paint(shown, style) if style else shown}"


def _call_rows(name: str, arguments: Mapping[str, object], style: Style | None, paint: Paint, width: int) -> list[str]:
    action = escape_lookalikes(call_text(ToolCall("", name, arguments), whole=True))
    if cell_width(action) <= width - _BEFORE_BLOCK:
        return [f"   {paint(action, style) if style else action}"]
    names = wrap(escape_lookalikes(name), width - _BEFORE_BLOCK, at_spaces=False)
    return [*(f"   {row}" for row in names), *_argument_rows(arguments, width)]


def _argument_rows(arguments: Mapping[str, object], width: int) -> Iterator[str]:
    """Yield the arguments as JSON, each next to its name or, if both do not fit in one row, below it."""
    for name, value in arguments.items():
        label, text = f"{escape_lookalikes(str(name))} = ", escape_lookalikes(value_text(value))
        if cell_width(label) + cell_width(text) <= width - 6:
            yield f"     {label}{text}"
            continue
        yield from (f"     {row}" for row in wrap(label.rstrip(), width - 6, at_spaces=False))
        yield from (f"       {row}" for row in wrap(text, width - 8, at_spaces=False))


def _facts(question: Question, effect: str, style: Style, escaped: int, width: int) -> list[_Fact]:
    """Return what stands below the call: its effect and dangers, why it is asked, what "always" means."""
    impact = question.impact
    if impact.does:
        effect = f"{impact.does}; cannot be undone" if question.effect == "destructive" else impact.does

    def rows(text: str, *, at_spaces: bool = True) -> tuple[str, ...]:
        return tuple(wrap(escape_lookalikes(text), width, at_spaces=at_spaces))

    facts = [_Fact("effect", rows(effect), style, 2)]
    facts += [_Fact("", rows(detail), None, 3) for detail in impact.details]
    facts += [_Fact("danger", rows(danger), "red", 1) for danger in impact.dangers]
    if escaped:
        places = "1 place is" if escaped == 1 else f"{escaped:,} places are"
        said = f"{places} written as escapes: they would not show, or pose as something else"
        facts.append(_Fact("hidden", rows(said), "red", 1))
    if question.asked_as:
        facts.append(_Fact("named", rows(f"{value_text(question.asked_as)} by the model"), None, 3))
    facts.append(_Fact("asked", rows(question.why), None, 4))
    facts.append(_Fact("always", rows(f"{question.rule}, until this run ends", at_spaces=False), None, 4))
    return facts


def _fit(
    head: list[str], block: list[str], facts: list[_Fact], room: int, paint: Paint
) -> tuple[list[str], list[str], list[_Fact]]:
    """Cut the parts of a question until they fit into ``room`` rows: what matters least for the answer first."""

    def over() -> int:
        return len(head) + len(block) + 1 + sum(len(fact.rows) for fact in facts) - room

    if over() > 0:
        head = head[1:]
    if (much := over()) > 0:
        block = _cut(block, max(_LEAST_BLOCK_ROWS, len(block) - much), paint)
    for rank, most in ((4, 1), (3, 1), (2, 2), (1, 2), (2, 1), (1, 1)):
        if over() > 0:
            facts = [_shorten(fact, most) if fact.rank == rank else fact for fact in facts]
    for rank in (4, 3):
        if over() > 0:
            facts = [fact for fact in facts if fact.rank != rank]
    if over() > 0:
        block = _cut(block, 2, paint)
    if (much := over()) > 0 and len(dangers := [fact for fact in facts if fact.rank == 1]) > 1:
        kept = max(1, len(dangers) - much - 1)
        gone = _Fact("danger", (f"and {len(dangers) - kept} more: m",), "red", 1)
        facts = [*(fact for fact in facts if fact.rank != 1), *dangers[:kept], gone]
    return head, block, facts


def _shorten(fact: _Fact, most: int) -> _Fact:
    if len(fact.rows) <= most:
        return fact
    return fact._replace(rows=(*fact.rows[: most - 1], f"{fact.rows[most - 1]}…"))


def _cut(rows: Sequence[str], most: int, paint: Paint) -> list[str]:
    """Return at most ``most`` rows, with a mark in place of those that are left out from the middle."""
    if len(rows) <= most:
        return list(rows)
    tail = (most - 1) // 3
    mark = paint(f" … {plural(len(rows) - most + 1, 'row')} left out, m shows all", "dim")
    return [*rows[: most - 1 - tail], mark, *rows[len(rows) - tail :]]
