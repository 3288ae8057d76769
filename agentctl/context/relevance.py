"""Rank the groups of a conversation by relevance: word overlap (BM25), age, errors and decisions. Pure."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence, Set
from itertools import chain
from math import log
from typing import NamedTuple

from agentctl.core.messages import Message

_WORD = re.compile(r"[^\W_]+")
_ASCII = "".join(chr(n).lower() if chr(n).isalnum() else " " for n in range(128))  # each character as part of a word
_UNSPACED = "\u0e00"  # the first script without spaces between words: from here on pairs of letters count as words
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
_BINDING = frozenset(
    re.findall(
        "[a-z]+",
        "a about after all an and any are as at be been before both but by can could did do does each every few first "
        "for from get had has have he her him his how i if in into is it its just last let like may me more most my "
        "next no not now of off on one only or other our out over own please same see she should so some such tell "
        "than that the their them then there these they this those through to too two under up us very was way we "
        "were what when where which while who why will with would you your",
    )
)  # English; in other languages stop words are found by their frequency
_PHRASE_WORDS = frozenset(("can", "found", "such", "timed", "exit", "exited"))  # a phrase needs one of these
_PHRASE = re.compile(
    r"\b(?:can't|not found|no such|timed out|exit(?:ed)?(?: with)?(?: code| status)? \(?[1-9])", re.IGNORECASE
)
_CIRCUMSTANCES = re.compile(r"\n\n\[It is \d{4}-\d\d-\d\d \d\d:\d\d UTC\.[^\n]*\](?=\n\n\[|\Z)")
_FACT = re.compile(r"\d|[^\W_]/[^\W_]|\w_\w|[^\W\d_]\.[^\W\d_]|[a-z][A-Z]|`|\A\W*[A-Z]{4,}\W*\Z")  # in a word
_SAYS = re.compile(r"[\d/_`]\S*")
_NAMED_ERROR = re.compile(r"\w(?:Error|Exception)\b")
_UNBROKEN = re.compile(r"\S+")
_A_FACT = 0.2
_FEW = 3  # words; and facts of a line that count
_WORDS_READ, _LINES_READ = 40, 12
_GAP, _LEAST_PART = " … ", 16
_HEAD, _TAIL = 2_000, 1_000  # characters of a message that are read
_SATURATION, _LENGTH = 1.2, 0.75  # BM25's k1 and b
_HEARD = 4  # this many words of the task count as much as all of the latest messages
_TOLD = 4  # the divisor for a word that was already shown
_BONUS = 0.5  # compared to the best match, which counts 1
_RECENT = 0.2  # for the newest; the oldest gets nothing
_SAMPLE = 256
_WHOLE = 1_000_000  # worth is counted in whole numbers: their sum is the same in any order


class GroupFeatures(NamedTuple):
    """The words of a group of messages, and the group's weight for any query."""

    words: Set[str]
    weight: float


def extract_features(group: Iterable[Message]) -> GroupFeatures:
    """Return the words of a group, and half a point each for an error, a decision and the user's own words."""
    found: set[str] = set()
    told = decided = asked = False
    for message in group:
        said = message_words(message)
        found.update(said)
        if message.role == "user":
            asked = True
        elif message.role != "system":
            told = told or _tells_error(message.text, said)
            decided = decided or (message.role == "assistant" and not _DECISIONS.isdisjoint(said))
    return GroupFeatures(found, _BONUS * (told + decided + asked))


def word_weights(
    features: Sequence[GroupFeatures], *, task: Iterable[Message], latest: Iterable[Message]
) -> dict[str, int]:
    """Return the worth of each word of the task and of the latest messages: the rarer in ``features``, the more.

    Words of the user count in full; all other words together count as much as a few of those. Words in more than half
    of the groups, and stop words, do not count.
    """
    asked = {word: 1.0 for message in (*task, *_of_user(latest)) for word in message_words(message)}
    heard = {word for message in latest if message.role != "user" for word in message_words(message)} - asked.keys()
    weights = asked | dict.fromkeys(heard, _HEARD / (_HEARD + len(heard)))
    for word in weights.keys() & _BINDING | _everywhere(features) & weights.keys():
        del weights[word]
    wanted = frozenset(weights)
    spread = Counter(chain.from_iterable(wanted & one.words for one in features))
    many = len(features)
    return {
        word: round(_WHOLE * weight * log(1 + (many - spread[word] + 0.5) / (spread[word] + 0.5)))
        for word, weight in weights.items()
    }


def relevances(
    features: Sequence[GroupFeatures], worth: Mapping[str, int], *, recent: float = _RECENT
) -> tuple[float, ...]:
    """Return the relevance of each group, at least 0; the groups are oldest first.

    It is BM25 over the presence of words, scaled to 1 for the best match, plus the group's own weight; newer groups get
    up to ``recent`` more.
    """
    wanted, count = frozenset(worth), worth.__getitem__
    lengths = [len(one.words) for one in features]
    still, by_length = 1 + _SATURATION * (1 - _LENGTH), _SATURATION * _LENGTH * len(features) / (sum(lengths) or 1)
    matches = [
        sum(map(count, wanted & one.words)) / (still + by_length * size)
        for one, size in zip(features, lengths, strict=True)
    ]
    best = max(matches, default=0.0) or 1.0
    step = recent / (len(features) or 1)
    return tuple(
        match / best + one.weight + step * place
        for place, (match, one) in enumerate(zip(matches, features, strict=True))
    )


def rank_groups(features: Sequence[GroupFeatures], worth: Mapping[str, int]) -> Iterator[int]:
    """Yield the places of groups, the most relevant first; a word counts less each time that it occurred before."""
    hits = [worth.keys() & one.words for one in features]
    step = _RECENT / (len(features) or 1)
    fixed = [one.weight / 2 + step * place for place, one in enumerate(features)]
    told = dict(worth)
    best = max((sum(map(told.__getitem__, hit)) for hit in hits), default=0) or 1
    left = list(range(len(features)))
    values = [sum(map(told.__getitem__, hit)) / best + more for hit, more in zip(hits, fixed, strict=True)]
    while left:
        place = max(left, key=values.__getitem__)
        left.remove(place)
        if hit := hits[place]:
            told |= {word: told[word] // _TOLD for word in hit}
            for at in left:
                if not hits[at].isdisjoint(hit):
                    values[at] = sum(map(told.__getitem__, hits[at])) / best + fixed[at]
        yield place


def passage(text: str, worth: Mapping[str, int], most: int, *, reads_on: bool = False) -> str:
    """Return the line of ``text`` with the most valuable words or, if it is too long, the part with those words.

    A line that reports an error counts like one with one more good word; of equal lines the first is taken. A line that
    only announces something ("Your reservations:") is followed by what it announces, as far as that fits; with
    ``reads_on`` any line is followed by others. Of these, errors and lines with identifiers, paths and numbers come
    first.
    """
    lines = [line for line in _head_and_tail(text).splitlines() if line.strip()]
    if not lines:
        return ""
    a_word = sorted(worth.values())[-len(worth) // 4] if worth else 1

    def value(line: str) -> int:
        said = set(_split_words(line))
        return sum(map(worth.__getitem__, worth.keys() & said)) + a_word * _tells_error(line, said)

    best = max(lines, key=value)
    plain = " ".join(best.split())
    if len(plain) > most:
        return _best_part(plain, worth, most)
    if len(lines) == 1 or not (reads_on or _announces(plain)):
        return plain
    return _read_on(lines, lines.index(best), most)


def _announces(plain: str) -> bool:
    """Return whether a line says nothing by itself: it ends with a colon, or has few words and no facts."""
    return plain.endswith(":") or (plain.count(" ") < _FEW and not _SAYS.search(plain))


def _count_facts(line: str) -> int:
    """Return how many words of a line are identifiers, paths or numbers."""
    return sum(_FACT.search(word) is not None for word in line.split()[:_WORDS_READ])


def fact_weight(line: str) -> float:
    """Return what identifiers, paths and numbers add to the weight of a line: a little for each of the first few."""
    return _A_FACT * min(_FEW, len(_SAYS.findall(line, line.find(" -> ") + 1)))


def _read_on(lines: Sequence[str], best: int, most: int) -> str:
    """Return a line with those after it, or before it if it is among the last ones, as far as they fit."""
    first = best if best + 1 < len(lines) else max(0, best - _LINES_READ)
    near = {place: " ".join(lines[place].split()) for place in range(first, min(len(lines), best + _LINES_READ))}
    left = most - len(near[best])
    kept = {best}

    def rank(place: int) -> tuple[int, int]:
        line = near[place]
        is_error = _NAMED_ERROR.search(line) is not None or _tells_error(line, _split_words(line))
        return -min(_FEW, _FEW * is_error or _count_facts(line)), abs(place - best)

    for place in sorted(near.keys() - kept, key=rank):
        room = left - len(_GAP)
        if len(near[place]) > room >= _LEAST_PART:
            near[place] = f"{near[place][: room - 1]}…"
        if len(near[place]) <= room:
            kept.add(place)
            left = room - len(near[place])
    text, before = "", -1
    for place in sorted(kept):
        text += ("" if not text else " " if place == before + 1 else _GAP) + near[place]
        before = place
    return text


def _best_part(line: str, worth: Mapping[str, int], most: int) -> str:
    """Return the part of a long line with the most valuable words, and what follows it: often the answer.

    Without any of these it is the part with the most identifiers, paths and numbers.
    """
    found = [(word.start(), said) for word in _WORD.finditer(line) if (said := word[0].lower()) in worth]
    is_asked = bool(found)
    if not is_asked:
        facts = [(word.start(), word[0]) for word in _UNBROKEN.finditer(line) if _FACT.search(word[0])]
        found, worth = facts, dict.fromkeys((said for _, said in facts), 1)
    best = start = 0
    for first, (at, _) in enumerate(found):
        end = at + most // 2
        here = {said for _, said in found[first : bisect_left(found, (end, ""))]}
        total = sum(map(worth.__getitem__, here))
        if total > best or (is_asked and total == best):  # of two equal ones the later is the shorter
            best, start = total, at
    start = max(0, min(start - most // 8, len(line) - most))
    front, back = "…" if start else "", "…" if start + most < len(line) else ""
    return f"{front}{line[start + len(front) : start + most - len(back)]}{back}"


def _of_user(messages: Iterable[Message]) -> list[Message]:
    return [message for message in messages if message.role == "user"]


def _everywhere(features: Sequence[GroupFeatures]) -> set[str]:
    """Return the words in more than half of the groups, or, of very many groups, of an evenly spread sample."""
    some = features[:: -(-len(features) // _SAMPLE) or 1]
    within = Counter(chain.from_iterable(one.words for one in some))
    return {word for word, times in within.items() if 2 * times > max(len(some), 2)}


def message_words(message: Message) -> list[str]:
    """Return the words of a message and of its calls; of a long text those of its head and tail.

    Of a task's message, the line with the clock and the workspace does not count.
    """
    text = _head_and_tail(message.text)
    if message.role == "user":
        text = _CIRCUMSTANCES.sub("", text)
    for call in message.tool_calls:
        asked = " ".join([f"{key} {value}" for key, value in call.arguments.items()])
        text = f"{text} {call.name} {asked[:_HEAD]}"
    return _split_words(text)


def is_error(text: str) -> bool:
    """Return whether ``text`` reports an error."""
    text = _head_and_tail(text)
    return _tells_error(text, _split_words(text))


def _tells_error(text: str, said: Collection[str]) -> bool:
    if not _ERRORS.isdisjoint(said):
        return True
    return not _PHRASE_WORDS.isdisjoint(said) and _PHRASE.search(_head_and_tail(text)) is not None


def _split_words(text: str) -> list[str]:
    if text.isascii():
        return text.translate(_ASCII).split()
    found: list[str] = []
    for word in _WORD.findall(text.lower()):
        if word[-1] < _UNSPACED or len(word) < 3:
            found.append(word)
        else:
            found += [word[place : place + 2] for place in range(len(word) - 1)]
    return found


def _head_and_tail(text: str) -> str:
    return text if len(text) <= _HEAD + _TAIL else f"{text[:_HEAD]}\n{text[-_TAIL:]}"
