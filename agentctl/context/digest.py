"""The notes on messages cut from a conversation: lines made without a model, and a model's summary. Pure.

The notes are appended to the message with the task, so that roles alternate as before, and the words of a tool never
become part of the system message. Their length is limited; at the next cut they are found again and extended.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import NamedTuple

from agentctl.context.tokens import LEAST_LEFT, PLAIN, Measure, json_text
from agentctl.core.messages import Message, ToolCall

_FORM = (
    r"\n\n\[Cut here to save room: ([0-9]{1,9}) earlier messages?\. Notes on them, no instructions:"
    r"((?:\n> [^\n]*)*)((?:\n- [^\n]*)*?)(?:\n- names: ([^\n]*))?\n\]\Z"
)
_ARGUMENTS, _SAID, _OUTCOME = 80, 100, 80  # characters
_NONE: Mapping[str, int] = MappingProxyType({})
_SEAMS = (1, 8, 32)  # tokens that texts may have more joined than apart: seldom more than one
_MOST_LINES = 200  # more than any digest has room for


class Digest(NamedTuple):
    """The number of messages cut so far, and a line about each group of them that was worth one, oldest first.

    ``summary`` is a model's summary of what was cut before these lines; each of its lines begins with ``>``. ``names``
    are identifiers, paths and numbers of what was cut, the best first.
    """

    messages: int = 0
    lines: tuple[str, ...] = ()
    summary: str = ""
    names: tuple[str, ...] = ()

    def text(self, max_tokens: int, measure: Measure = PLAIN) -> str:
        """Return the digest in at most ``max_tokens``: the newest lines that fit; "" if not even its frame fits.

        A summary comes before the lines, with its middle cut if it is too long.
        """
        if not self.messages:
            return ""
        frame = _format(self.messages, "", (), self.names)
        left = max_tokens - measure.text(frame)
        if left < 0:
            return ""
        quoted = _quote_summary(self.summary, left, measure)
        left -= measure.text(quoted)
        kept: list[str] = []
        for line in reversed(self.lines):
            left -= measure.text(f"\n- {line}")
            if left < 0:
                break
            kept.append(line)
        return _format(self.messages, quoted, kept[::-1], self.names)

    def name(self, names: Iterable[str], room: int, measure: Measure = PLAIN) -> Digest:
        """Return the digest with as many of ``names`` as fit ``room`` tokens."""
        told: list[str] = []
        room -= measure.text("\n- names:")
        for name in names:
            if (room := room - measure.text(f", {name}")) < 0:
                break
            told.append(name)
        return self._replace(names=tuple(told))


def split_digest(text: str) -> tuple[str, Digest]:
    """Split a task's message into the user's own words and the digest after them."""
    found = re.search(_FORM, text) if text.endswith("\n]") else None
    if found is None:
        return text, Digest()
    quoted, lines = ([line[2:] for line in part.split("\n")[1:]] for part in found.groups()[1:3])
    names = tuple(found[4].split(", ")) if found[4] else ()
    return text[: found.start()], Digest(int(found[1]), tuple(lines), "\n".join(quoted), names)


def read_notes(messages: Iterable[Message]) -> tuple[str, Digest]:
    """Return the notes after the task of a conversation, as text and as a digest."""
    task = next((message.text for message in messages if message.role == "user"), "")
    words, digest = split_digest(task)
    return task[len(words) :], digest


def extend_digest(
    before: Digest, groups: Sequence[Sequence[Message]], worth: Mapping[str, int] = _NONE, *, widen: int = 1
) -> Digest:
    """Return the digest of ``before``, extended by the groups that are cut now.

    Of each group the words with the highest ``worth`` are shown, and ``widen`` times as much of its texts as usual. A
    repeated call replaces its earlier line.
    """
    lines: dict[str, str] = {}
    new = (line for group in groups[-_MOST_LINES:] for line in _group_lines(group, worth, widen))
    for line in (*before.lines, *new):
        said = line.partition(" -> ")[0]
        lines.pop(said, None)
        lines[said] = line
    return Digest(before.messages + sum(map(len, groups)), tuple(lines.values()), before.summary, before.names)


def replace_notes(
    messages: Sequence[Message], summary: str, *, room: int, measure: Measure = PLAIN
) -> tuple[Message, ...] | None:
    """Return the conversation with all the notes after its task replaced by ``summary``.

    It has at most ``room`` tokens; return None if there are no notes, or no room for a summary.
    """
    place = next((place for place, message in enumerate(messages) if message.role == "user"), None)
    if place is None:
        return None
    words, before = split_digest(messages[place].text)
    bare = replace(messages[place], text=words)
    most = room - measure.conversation(messages) + measure.message(messages[place])
    for spare in _SEAMS:
        text = Digest(before.messages, (), summary).text(most - measure.message(bare) - spare, measure)
        if not before.messages or not split_digest(text)[1].summary:
            return None
        if measure.message(told := replace(bare, text=words + text)) <= most:
            return (*messages[:place], told, *messages[place + 1 :])
    return None


def _quote_summary(summary: str, max_tokens: int, measure: Measure) -> str:
    """Return a summary with a mark before each line, in at most ``max_tokens``; "" if hardly anything would fit."""
    most = max_tokens
    while summary and most >= LEAST_LEFT:
        quoted = "".join(f"\n> {line}" for line in measure.cut_middle(summary, most).split("\n"))
        if measure.text(quoted) <= max_tokens:
            return quoted
        most = most * 7 // 8
    return ""


def _format(messages: int, quoted: str, lines: Sequence[str], names: Sequence[str] = ()) -> str:
    count = f"{messages} earlier message{'' if messages == 1 else 's'}"
    listed = "".join(f"\n- {line}" for line in (*lines, *([f"names: {', '.join(names)}"] if names else ())))
    return f"\n\n[Cut here to save room: {count}. Notes on them, no instructions:{quoted}{listed}\n]"


def _group_lines(group: Sequence[Message], worth: Mapping[str, int], widen: int) -> Iterator[str]:
    first, *answers = group
    if first.role in ("user", "assistant") and (said := _summarize_text(first.text, worth, widen)):
        yield f"{first.role}: {said}"
    for place, call in enumerate(first.tool_calls):
        answer = next((one for one in answers if one.tool_call_id and one.tool_call_id == call.id), None)
        if answer is None and place < len(answers) and not (call.id and answers[place].tool_call_id):
            answer = answers[place]
        yield f"{format_call(call)} -> {_format_outcome(answer, worth, widen)}"


def format_call(call: ToolCall) -> str:
    """Return a call as ``docker_ps(all=true)``, long names and arguments shortened."""
    arguments = ", ".join(f"{key}={json_text(value)}" for key, value in call.arguments.items())
    return f"{_shorten(call.name, _OUTCOME)}({_shorten(arguments, _ARGUMENTS)})"


def _summarize_text(text: str, worth: Mapping[str, int], widen: int) -> str:
    most = _SAID * widen
    said = _shorten(text, most)
    return said if len(said) < most else _passage(text, worth, most, reads_on=widen > 1)


def _format_outcome(answer: Message | None, worth: Mapping[str, int], widen: int) -> str:
    if answer is None:
        return "no answer"
    return _passage(answer.text, worth, _OUTCOME * widen, reads_on=widen > 1) or "nothing"


def _passage(text: str, worth: Mapping[str, int], most: int, *, reads_on: bool) -> str:
    from agentctl.context.relevance import passage  # noqa: PLC0415 - most runs never fill their context

    return passage(text, worth, most, reads_on=reads_on)


def _shorten(text: str, most: int) -> str:
    plain = " ".join(text[: 4 * most].split())
    return plain if len(plain) <= most else f"{plain[: most - 1]}…"
