"""How much of a conversation's past the present still needs: word overlap, age, errors and decisions. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from itertools import chain
from math import log
from typing import NamedTuple

from agentctl.messages import Message

_WORD = re.compile(r"[^\W_]+")
_ASCII = "".join(chr(n).lower() if chr(n).isalnum() else " " for n in range(128))  # what stands for each in a word
_UNSPACED = "\u0e00"  # from here on scripts that put no spaces between words: pairs of letters are the words
_ERRORS = frozenset(
    re.findall(
        "[a-z]+",
        "error errors errored fail failed failure failures fails failing exception exceptions traceback denied refused "
        "fatal panic cannot killed unhealthy",
    )
)
_DECISIONS = frozenset(
    re.findall(
        "[a-z]+",
        "decide decided decides deciding decision chose choose chosen must never always instead because cause caused "
        "causes conclude concluded conclusion plan agreed prefer",
    )
)
_PHRASE_WORDS = frozenset(("can", "found", "such", "timed", "exit", "exited"))  # without these no phrase is looked for
_PHRASE = re.compile(
    r"\b(?:can't|not found|no such|timed out|exit(?:ed)?(?: with)?(?: code| status)? \(?[1-9])", re.IGNORECASE
)
_HEAD, _TAIL = 2_000, 1_000  # characters of a message that are looked at
_SATURATION, _LENGTH = 1.2, 0.75  # BM25's k1 and b
_TASK_WEIGHT = 2
_BONUS = 0.5  # beside the best match, which counts 1
_RECENT = 0.2  # for the newest; the oldest gets nothing
_SAMPLE = 256
_WHOLE = 1_000_000  # worth is counted in whole numbers: their sum is the same in any order


class Look(NamedTuple):
    """What is seen of a few messages: their words, and what they weigh whatever is asked."""

    words: frozenset[str]
    weight: float


def look(group: Iterable[Message]) -> Look:
    """Return the words of a group of messages; half a point each for an error, a decision, the user's own words."""
    found: set[str] = set()
    told = decided = asked = False
    for message in group:
        said = words(message)
        found.update(said)
        if message.role == "user":
            asked = True
        elif message.role != "system":
            told = told or _tells_error(message.text, said)
            decided = decided or (message.role == "assistant" and not _DECISIONS.isdisjoint(said))
    return Look(frozenset(found), _BONUS * (told + decided + asked))


def relevances(
    looks: Sequence[Look], *, task: Iterable[Message], latest: Iterable[Message], recent: float = _RECENT
) -> tuple[float, ...]:
    """Return how relevant each group is to the task and the latest messages, from 0 on; the groups are oldest first.

    BM25 over whether a word is there, 1 for the best match, and the group's own weight; of two that are alike the
    newer counts more, up to ``recent``.
    """
    weights = dict.fromkeys((word for message in latest for word in words(message)), 1)
    weights |= dict.fromkeys((word for message in task for word in words(message)), _TASK_WEIGHT)
    wanted = frozenset(weights) - _everywhere(looks)
    hits = [wanted & one.words for one in looks]
    many = len(looks)
    spread = Counter(chain.from_iterable(hits))
    worth = {
        word: round(_WHOLE * weights[word] * log(1 + (many - within + 0.5) / (within + 0.5)))
        for word, within in spread.items()
    }
    lengths = [len(one.words) for one in looks]
    still, by_length = 1 + _SATURATION * (1 - _LENGTH), _SATURATION * _LENGTH * many / (sum(lengths) or 1)
    count = worth.__getitem__
    matches = [sum(map(count, hit)) / (still + by_length * size) for hit, size in zip(hits, lengths, strict=True)]
    best = max(matches, default=0.0) or 1.0
    step = recent / (many or 1)
    return tuple(
        match / best + one.weight + step * place for place, (match, one) in enumerate(zip(matches, looks, strict=True))
    )


def _everywhere(looks: Sequence[Look]) -> set[str]:
    """Return the words that are in more than half of the groups, or of some spread evenly over very many."""
    some = looks[:: -(-len(looks) // _SAMPLE) or 1]
    return {
        word
        for word, within in Counter(chain.from_iterable(one.words for one in some)).items()
        if 2 * within > len(some)
    }


def words(message: Message) -> list[str]:
    """Return the words of a message and of the calls in it; of a long text those of its head and tail."""
    text = _ends(message.text)
    for call in message.tool_calls:
        asked = " ".join([f"{key} {value}" for key, value in call.arguments.items()])
        text = f"{text} {call.name} {asked[:_HEAD]}"
    return _split(text)


def is_error(text: str) -> bool:
    """Return whether ``text`` tells of something that went wrong."""
    text = _ends(text)
    return _tells_error(text, _split(text))


def _tells_error(text: str, said: Collection[str]) -> bool:
    if not _ERRORS.isdisjoint(said):
        return True
    return not _PHRASE_WORDS.isdisjoint(said) and _PHRASE.search(_ends(text)) is not None


def _split(text: str) -> list[str]:
    if text.isascii():
        return text.translate(_ASCII).split()
    found: list[str] = []
    for word in _WORD.findall(text.lower()):
        if word[-1] < _UNSPACED or len(word) < 3:
            found.append(word)
        else:
            found += [word[place : place + 2] for place in range(len(word) - 1)]
    return found


def _ends(text: str) -> str:
    return text if len(text) <= _HEAD + _TAIL else f"{text[:_HEAD]} {text[-_TAIL:]}"
