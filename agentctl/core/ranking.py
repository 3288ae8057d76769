"""Rank documents by a query: BM25 over weighted fields, with synonyms, and character n-grams for unknown words. Pure.

Agents, tools and the tools of servers are found with it. A word of the query stands for its synonyms, too, at a lower
weight; of these only the best match in a document counts. A word that neither a document nor the list of synonyms has
stands for the known words with the most character n-grams in common, as misspelled and compound words have.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from math import log
from typing import NamedTuple

_PIECES = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+|[^\W\d_A-Za-z]+")
_UNSPACED = "\u0e00"  # the first script without spaces between words: from here on pairs of letters count as words
_SATURATION, _LENGTH = 1.2, 0.6  # BM25's k1 and b
_BY_MEANING = 0.6  # the weight of a synonym
_BY_SHAPE = 0.8  # the weight of a word that looks alike, times the similarity
_BY_BEGINNING = 0.7  # the weight of a word that begins with an unknown one
_LEAST_ALIKE, _MOST_ALIKE = 0.5, 3
_VOWELS = frozenset("aeiouy")
_SHORTEST = 4  # letters; a shorter unknown word is not compared


class Field(NamedTuple):
    """A text of a document, and how much a word in it counts."""

    text: str
    weight: float = 1.0


class Ranking(NamedTuple):
    """The place of a document among those that were given, and its score, above 0."""

    place: int
    score: float


class Ranker:
    """Ranks the same documents by any number of queries; each document is a list of fields.

    Fields at the same position in two documents are compared in length. ``meanings`` maps a word, as ``stem`` returns
    it, to words that mean the same.
    """

    def __init__(
        self, documents: Iterable[Sequence[Field]], *, meanings: Mapping[str, frozenset[str]] | None = None
    ) -> None:
        self._meanings = meanings or {}
        read = [[(Counter(split_words(text)), weight) for text, weight in fields] for fields in documents]
        most = max(map(len, read), default=0)
        sizes = [[sum(fields[at][0].values()) for fields in read if at < len(fields)] for at in range(most)]
        means = [sum(some) / len(some) or 1.0 for some in sizes]
        self._count = len(read)
        self._within: dict[str, dict[int, float]] = {}
        for place, fields in enumerate(read):
            for (words, weight), mean in zip(fields, means, strict=False):
                norm = weight / (1 - _LENGTH + _LENGTH * sum(words.values()) / mean)
                for word, times in words.items():
                    found = self._within.setdefault(word, {})
                    found[place] = found.get(place, 0.0) + times * norm

    def rank(self, query: str, most: int | None = None) -> tuple[Ranking, ...]:
        """Return the documents with a word of ``query``, the best first; equal ones in the order they were given."""
        scores: dict[int, float] = {}
        for word in dict.fromkeys(split_words(query)):
            for place, score in self._matches(word).items():
                scores[place] = scores.get(place, 0.0) + score
        ranked = sorted(scores.items(), key=lambda item: (-round(item[1], 9), item[0]))
        return tuple(Ranking(*item) for item in ranked[:most])

    def _matches(self, word: str) -> dict[int, float]:
        """Return the score that a word of a query gives to each document."""
        weights = self._expand(word)
        best: dict[int, float] = {}
        for other, weight in weights.items():
            for place, frequency in self._within.get(other, {}).items():
                best[place] = max(best.get(place, 0.0), weight * frequency / (_SATURATION + frequency))
        rarity = log(1 + (self._count - len(best) + 0.5) / (len(best) + 0.5))
        return {place: rarity * score for place, score in best.items()}

    def _expand(self, word: str) -> dict[str, float]:
        """Return the words that a word of a query stands for, and how much each counts."""
        if word not in self._within and word not in self._meanings:
            return self._guess(word)
        return {**dict.fromkeys(self._meanings.get(word, ()), _BY_MEANING), word: 1.0}

    def _guess(self, word: str) -> dict[str, float]:
        """Return the words that an unknown word may be: those that begin with it, else those that look most alike."""
        if len(word) < _SHORTEST or word.isdigit():
            return {}
        known = (*self._within, *(other for other in self._meanings if other not in self._within))
        found = {other: _BY_BEGINNING for other in known if other.startswith(word)}
        if not found:
            pieces = _grams(word)
            alike = [(similarity, other) for other in known if (similarity := _dice(pieces, _grams(other)))]
            best = sorted(alike, reverse=True)[:_MOST_ALIKE]
            found = {other: _BY_SHAPE * similarity for similarity, other in best if similarity >= _LEAST_ALIKE}
        weights: dict[str, float] = {}
        for other, weight in found.items():
            weights[other] = max(weights.get(other, 0.0), weight)
            for same in self._meanings.get(other, ()):
                weights[same] = max(weights.get(same, 0.0), weight * _BY_MEANING)
        return weights


def group_meanings(groups: Iterable[str]) -> dict[str, frozenset[str]]:
    """Return for each word of ``groups``, each a text of words with the same meaning, the others of its groups."""
    found: dict[str, frozenset[str]] = {}
    for group in groups:
        members = frozenset(stem(fold(word)) for word in group.split())
        for word in members:
            found[word] = found.get(word, frozenset()) | members - {word}
    return found


def split_words(text: str) -> list[str]:
    """Return the stems of the words of a text, also of names like ``listFiles`` and ``list_files``; no stop words."""
    found: list[str] = []
    for piece in _PIECES.findall(_without_marks(text)):
        word = piece.lower()
        if word[-1] >= _UNSPACED and len(word) > 2:
            found += [word[at : at + 2] for at in range(len(word) - 1)]
        elif word not in _SILENT:
            found.append(stem(word))
    return found


def fold(word: str) -> str:
    """Return a word in lower case and without accents."""
    return _without_marks(word).lower()


@cache
def stem(word: str) -> str:
    """Return an English word of lower case without its ending, so that its forms are equal: ``list`` for ``listing``.

    >>> [stem(word) for word in ("files", "copies", "creating", "created", "running", "status")]
    ['fil', 'copi', 'creat', 'creat', 'run', 'status']
    """
    if len(word) > 4 and word.endswith("ies"):
        word = f"{word[:-3]}y"
    elif len(word) > 4 and word.endswith(("ches", "shes", "sses", "xes", "zes")):
        word = word[:-2]
    elif len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        word = word[:-1]
    for ending in ("ing", "ed"):
        if word.endswith(ending) and len(word) > len(ending) + 2 and _VOWELS & set(word[: -len(ending)]) and word[-3:] != "eed":
            word = word[: -len(ending)]
            if word[-1] == word[-2] and word[-1] not in "lsz":
                word = word[:-1]
            break
    if len(word) > 3 and word.endswith("e"):
        word = word[:-1]
    return f"{word[:-1]}i" if len(word) > 3 and word.endswith("y") else word


def _without_marks(text: str) -> str:
    if text.isascii():
        return text
    parts = unicodedata.normalize("NFKD", text.replace("ß", "ss"))
    return unicodedata.normalize("NFC", "".join(c for c in parts if not "\u0300" <= c <= "\u036f"))


@cache
def _grams(word: str) -> frozenset[str]:
    """Return the pairs and triples of letters of a word, with a mark at its ends."""
    padded = f"^{word}$"
    return frozenset(padded[at : at + size] for size in (2, 3) for at in range(len(padded) - size + 1))


def _dice(one: frozenset[str], other: frozenset[str]) -> float:
    return 2 * len(one & other) / (len(one) + len(other))


_SILENT = frozenset(
    re.findall(
        "[a-z]+",
        "a about all also an and any are as at be been but by can could did do does each every for from had has have "
        "he her him his how i if in into is it its just let like me more most much my need now of on or our out "
        "please s she should so some t than that the their them then there these they this those through to too up "
        "us very want was way we were what when where which while who whose why will with without would you your "
        "der das den dem des ein eine einen einem einer und oder ist sind im ins vom von zu zum zur mir mich "
        "el la los las un una unos unas de del y o que en es por para con lo se mi me "
        "le les du une et ou est sont dans sur pour avec je mon ma mes au aux il",
    )
)
