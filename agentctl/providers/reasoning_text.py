"""Move the reasoning that a server leaves in an answer's text, between tags, out of it. Pure.

Loaded with the first text that may hold a tag.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

#: The tags of chat templates around reasoning, in lower case. The opening one may be part of the prompt.
_TAGS: Mapping[str, str] = {
    "<think>": "</think>",
    "<thinking>": "</thinking>",
    "<thought>": "</thought>",
    "<seed:think>": "</seed:think>",
    "[think]": "[/think]",
    "◁think▷": "◁/think▷",
    "<|start_thinking|>": "<|end_thinking|>",
    "<|begin_of_thought|>": "<|end_of_thought|>",
    "<|think|>": "<|/think|>",
    "<mm:think>": "</mm:think>",
    "<longcat_think>": "</longcat_think>",
    "<|channel>thought": "<channel|>",
    "<reasoning>": "</reasoning>",
    "<reason>": "</reason>",
    "<reflection>": "</reflection>",
    "<|channel|>analysis<|message|>": "<|end|>",
}
_FIRST_ONLY = ("<reasoning>", "<reason>", "<reflection>")  # elsewhere they may be what was asked for
_DROPPED = (
    *("<|start|>assistant<|channel|>final<|message|>", "<|channel|>final<|message|>", "<|return|>"),
    *("<|begin_of_solution|>", "<|start_response|>"),
)
_BEFORE_ANSWER = "<answer>"  # behind reasoning
#: Behind the last word of an answer: the marks of its end that a server should have taken away.
_ENDS = (
    *("<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<|end_of_text|>", "<|endoftext|>", "<|end_of_turn|>", "<end_of_turn>"),
    *("<|end_of_solution|>", "<|end_response|>", "<\uff5cend▁of▁sentence\uff5c>", "<turn|>", "</s>", "</answer>"),
)
#: The closing tags that end reasoning without an opening one.
_ALONE = frozenset(_TAGS.values()) - {"<|end|>", *map(_TAGS.__getitem__, _FIRST_ONLY)}
_WORDS = (*_TAGS, *_TAGS.values(), *_DROPPED, *_ENDS, _BEFORE_ANSWER)
_TAG = re.compile("|".join(map(re.escape, sorted(_WORDS, key=len, reverse=True))), re.IGNORECASE)
_FIRST = re.compile(r"[<\[◁]")
_ENDED = re.compile(rf"(?:\s|{'|'.join(map(re.escape, _ENDS))})*", re.IGNORECASE)
_LONGEST = max(map(len, _WORDS))
_FENCES = ("```", "~~~")
_QUOTES = frozenset("\"'`(“«„")
_MOST_TAGS = 1000  # looked at in one answer
_MENTIONED = frozenset(".,;:!?)'\"`")  # behind a closing tag: a sentence about it


class Sifted(NamedTuple):
    """A piece of text, divided. ``withdraws``: all text so far was reasoning, and ``text`` is what comes after it."""

    text: str = ""
    thought: str = ""
    withdraws: bool = False


class _Place(NamedTuple):
    """Where a text ends: whether it is blank so far, what its last line begins with and quotes, and its last character.

    ``is_quoted``: what comes next is Markdown's code, or stands in quotation marks.
    """

    is_blank: bool = True
    head: str = ""
    ticks: int = 0
    is_fenced: bool = False
    last: str = ""

    @property
    def is_quoted(self) -> bool:
        return self.is_fenced or self.ticks % 2 == 1 or self.last in _QUOTES

    def after(self, text: str) -> _Place:
        """Return the place behind more text."""
        is_blank, head, ticks, is_fenced, last = self
        for number, line in enumerate(text.split("\n")):
            if number:
                head, ticks, is_fenced = "", 0, is_fenced != (head in _FENCES)
            head = (head + line).lstrip()[:3] if len(head) < 3 else head
            ticks += line.count("`")
        return _Place(is_blank and not text.strip(), head, ticks, is_fenced, text[-1:] or last)


class ReasoningSifter:
    """Divides the text of one answer, in any pieces, into text and reasoning.

    A tag that is quoted, or in Markdown's code, does not count. An opening one without an end counts at the start of
    the answer only, or if the answer was cut; a closing one alone counts unless it is told about. Marks of the answer's
    end that stand there are left out. ``said`` is the text before the first piece. ``found``: there was a tag that
    counts.
    """

    def __init__(self, said: str = "") -> None:
        self._place, self._held = _Place().after(said), ""
        self._closes = ""
        self._doubtful: list[str] | None = None  # a thought in the middle, with its tag, until its end comes
        self._is_told = self._is_wrapped = False
        self._is_struck = "<s>" in said
        self._looks = _MOST_TAGS
        self.found = False

    def sift(self, text: str, *, last: bool = False, is_cut: bool = False) -> Sifted:
        """Divide the next piece; what may be a part of a tag waits, unless the piece is the ``last``."""
        self._held += text
        said, thought = list[str](), list[str]()
        withdraws = False
        while True:
            if self._closes:
                part, is_over = self._read_thought(last=last)
                thought.append(part)
                if is_over:
                    continue
                if last and self._doubtful is not None:
                    (thought if is_cut else said).append("".join(self._doubtful[is_cut:]))
                    self._closes, self._doubtful = "", None
                break
            found = _TAG.search(self._held) if self._looks else None
            if found is None or (found.end() == len(self._held) and not last):
                end = len(self._held) if last or not self._looks else self._undecided(found)
                said.append(self._say(self._held[:end]))
                self._held = self._held[end:]
                break
            self._looks -= 1
            before, tag = self._held[: found.start()], found[0].lower()
            self._held = self._held[found.end() :]
            place = self._place.after(before)
            if tag in _ENDS and _is_end(self._held) and not place.is_quoted and self._ends(tag, before):
                said.append(self._say(before))
                self._held = "" if last else found[0] + self._held
                break
            if tag in _DROPPED or (tag == _BEFORE_ANSWER and self.found and place.is_blank):
                said.append(self._say(before))
                self._is_wrapped = self._is_wrapped or tag == _BEFORE_ANSWER
            elif tag in _TAGS and not place.is_quoted and (place.is_blank or tag not in _FIRST_ONLY):
                said.append("" if place.is_blank else self._say(before))
                self._closes, self.found = _TAGS[tag], self.found or place.is_blank
                self._doubtful = None if place.is_blank else [found[0]]
            elif tag in _ALONE and not self._is_told and not _is_quoted(place, self._held):
                thought = [*said, *thought, before] if not withdraws else [*thought, *said, before]
                said, self._place, withdraws, self.found = [], _Place(), True, True
            else:
                said.append(self._say(before + found[0]))
                self._is_told = self._is_told or tag not in (*_ENDS, _BEFORE_ANSWER)
        return Sifted("".join(said), "".join(thought), withdraws)

    def _ends(self, tag: str, before: str) -> bool:
        """Return whether a mark at the end is the chat template's, and not of a language that has such a tag, too."""
        if tag == "</s>":
            return not self._is_struck and "<s>" not in before
        return tag != "</answer>" or self._is_wrapped

    def _say(self, text: str) -> str:
        """Return text to say, without the white space between a thought and the first word."""
        if self.found and self._place.is_blank:
            text = text.lstrip()
        self._place = self._place.after(text)
        self._is_struck = self._is_struck or "<s>" in text
        return text

    def _read_thought(self, *, last: bool) -> tuple[str, bool]:
        """Take the thought from what is held; return what is certainly one, and whether it is over."""
        place = self._held.lower().find(self._closes)
        is_over = place >= 0
        end = place if is_over else len(self._held) if last else len(self._held) - _begun(self._held, self._closes)
        thought, self._held = self._held[:end], self._held[end + len(self._closes) * is_over :]
        if self._doubtful is not None:
            self._doubtful.append(thought)
            thought = "".join(self._doubtful[1:]) if is_over else ""
        if is_over:
            self._closes, self._doubtful = "", None
        return thought, is_over

    def _undecided(self, found: re.Match[str] | None) -> int:
        """Return the place from which what is held may be a tag, or part of one."""
        if found is not None:
            return found.start()
        tail = self._held[-_LONGEST:].lower()
        for place in (one.start() for one in _FIRST.finditer(tail)):
            if any(word.startswith(tail[place:]) for word in _WORDS):
                return len(self._held) - len(tail) + place
        return len(self._held)


def _is_end(rest: str) -> bool:
    """Return whether behind a mark of the end stand such marks only, or the beginning of one."""
    rest = _ENDED.sub("", rest, count=1).lower()
    return any(tag.startswith(rest) for tag in _ENDS)


def _is_quoted(place: _Place, after: str) -> bool:
    """Return whether a closing tag that nothing opened is a word of a sentence, or of code."""
    return place.is_quoted or (place.head != "" and after != "" and after[0] in _MENTIONED)


def _begun(text: str, tag: str) -> int:
    """Return how many characters at the end of a text may begin a tag."""
    text = text[-len(tag) :].lower()
    return next((size for size in range(len(tag) - 1, 0, -1) if text.endswith(tag[:size])), 0)


def split_reasoning(text: str, *, is_cut: bool = False) -> tuple[str, str]:
    """Return the text of a whole answer, and its reasoning."""
    sifter = ReasoningSifter()
    said, thought, _ = sifter.sift(text, last=True, is_cut=is_cut)
    return said, thought
