"""How much of a conversation's past the present still needs: word overlap, errors and decisions. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from math import log

from agentctl.messages import Message
from agentctl.tokens import as_json

_WORD = r"[^\W_]+"
_ERROR = (
    r"\b(?:errors?|fail(?:ed|ure|s)?|exception|traceback|denied|refused|fatal|panic|cannot|can't|killed|unhealthy"
    r"|not found|no such|timed out|exit(?:ed)?(?: with)?(?: code| status)? \(?[1-9])"
)
_DECISION = (
    r"\b(?:decid(?:e|ed|ing)|decision|chose|choose|must|never|always|instead|because|root cause|cause[ds]?"
    r"|conclu(?:de|ded|sion)|turns out|plan|agreed|prefer)\b"
)
_HEAD, _TAIL = 2_000, 1_000  # characters of a message that are looked at
_UNSPACED = "\u0e00"  # from here on scripts that put no spaces between words: pairs of letters are the words
_SATURATION, _LENGTH = 1.2, 0.75  # BM25's k1 and b
_TASK_WEIGHT = 2.0
_BONUS = 0.5  # beside the best match, which counts 1


def relevances(
    groups: Sequence[Sequence[Message]], *, task: Iterable[Message], latest: Iterable[Message]
) -> tuple[float, ...]:
    """Return how relevant each group of messages is to the task and the latest messages, from 0 on.

    BM25 over words, 1 for the best match; half a point more for an error, a decision, the user's own words. Rounded,
    so that what is about as relevant ties.
    """
    bags = [Counter(word for message in group for word in words(message)) for group in groups]
    wanted: dict[str, float] = dict.fromkeys((word for message in latest for word in words(message)), 1.0)
    wanted |= dict.fromkeys((word for message in task for word in words(message)), _TASK_WEIGHT)
    matches = _bm25(bags, wanted)
    best = max(matches, default=0.0) or 1.0
    return tuple(round(match / best + _weight(group), 2) for match, group in zip(matches, groups, strict=True))


def words(message: Message) -> list[str]:
    """Return the words of a message and of the calls in it; of a long text those of its head and tail."""
    calls = "".join(f" {call.name} {as_json(call.arguments)[:_HEAD]}" for call in message.tool_calls)
    found: list[str] = []
    for word in re.findall(_WORD, f"{_ends(message.text)}{calls}".lower()):
        if word[-1] < _UNSPACED or len(word) < 3:
            found.append(word)
        else:
            found += [word[place : place + 2] for place in range(len(word) - 1)]
    return found


def is_error(text: str) -> bool:
    """Return whether ``text`` tells of something that went wrong."""
    return re.search(_ERROR, _ends(text), re.IGNORECASE) is not None


def _ends(text: str) -> str:
    return text if len(text) <= _HEAD + _TAIL else f"{text[:_HEAD]} {text[-_TAIL:]}"


def _weight(group: Sequence[Message]) -> float:
    told = any(is_error(message.text) for message in group if message.role in ("assistant", "tool"))
    decided = any(
        re.search(_DECISION, _ends(message.text), re.IGNORECASE) for message in group if message.role == "assistant"
    )
    asked = any(message.role == "user" for message in group)
    return _BONUS * (told + decided + asked)


def _bm25(bags: Sequence[Counter[str]], wanted: Mapping[str, float]) -> list[float]:
    """Score each bag of words; the order of ``wanted`` is the order of the sums, so that they are always the same."""
    spread = Counter(word for bag in bags for word in bag if word in wanted)
    worth = {
        word: weight * log(1 + (len(bags) - spread[word] + 0.5) / (spread[word] + 0.5))
        for word, weight in wanted.items()
    }
    lengths = [bag.total() for bag in bags]
    mean = (sum(lengths) / len(bags) if bags else 0.0) or 1.0
    scores = []
    for bag, length in zip(bags, lengths, strict=True):
        damp = _SATURATION * (1 - _LENGTH + _LENGTH * length / mean)
        scores.append(sum(worth[w] * n * (_SATURATION + 1) / (n + damp) for w, n in bag.items() if w in worth))
    return scores
