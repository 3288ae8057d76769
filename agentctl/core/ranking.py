"""Rank documents by a query: BM25 over weighted fields, with synonyms, and character n-grams for unknown words. Pure.

Agents, tools and the tools of servers are found with it. A word of the query stands for its synonyms, too, at a lower
weight; of these the best match in a document counts most. A word that neither a document nor the list of synonyms has
stands for the known words with the most character n-grams in common, as misspelled and compound words have.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property, lru_cache
from math import log
from typing import NamedTuple

_WORDS = re.compile(r"[^\W_]+")
_PIECES = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[^A-Za-z]+")
_UNSPACED = "\u0e00"  # the first script without spaces between words: from here on pairs of letters count as words
_SATURATION, _LENGTH = 1.6, 0.6  # BM25's k1 and b
_BY_MEANING = 0.6  # the weight of a synonym
_BESIDE = 0.3  # how much other synonyms in the same document add to the best one
_BY_SHAPE = 0.8  # the weight of a word that looks alike, times the similarity
_BY_PART = 0.6  # the weight of a known word at either end of an unknown one
_LEAST_PART = 4  # letters
_BY_BEGINNING = 0.7  # the weight of a word that begins with an unknown one
_LEAST_ALIKE, _LEAST_ALIKE_SHORT, _MOST_ALIKE = 0.5, 0.6, 3
_SHORT = 4
_MOST_GUESSED = 32  # unknown words of one query that are compared with all known ones
_CACHED = 8192
_VOWELS = frozenset("aeiouy")
_SHORTEST, _LONGEST = 3, 64  # letters; a shorter unknown word is not compared, a longer word is none


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
        self, documents: Iterable[Sequence[Field]], *, meanings: Mapping[str, Sequence[str]] | None = None
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
        said = dict.fromkeys(split_words(query))
        unknown = [word for word in said if word not in self._within and word not in self._meanings]
        skipped = frozenset(unknown[_MOST_GUESSED:])
        for word in (word for word in said if word not in skipped):
            for place, score in self._matches(word).items():
                scores[place] = scores.get(place, 0.0) + score
        ranked = sorted(scores.items(), key=lambda item: (-round(item[1], 9), item[0]))
        return tuple(Ranking(*item) for item in ranked[:most])

    def _matches(self, word: str) -> dict[int, float]:
        """Return the score that a word of a query gives to each document."""
        weights = self._expand(word)
        best: dict[int, float] = {}
        total: dict[int, float] = {}
        for other, weight in weights.items():
            for place, frequency in self._within.get(other, {}).items():
                score = weight * frequency / (_SATURATION + frequency)
                best[place] = max(best.get(place, 0.0), score)
                total[place] = total.get(place, 0.0) + score
        rarity = log(1 + (self._count - len(best) + 0.5) / (len(best) + 0.5))
        return {place: rarity * (score + _BESIDE * (total[place] - score)) for place, score in best.items()}

    def _expand(self, word: str) -> dict[str, float]:
        """Return the words that a word of a query stands for, and how much each counts."""
        if word not in self._within and word not in self._meanings:
            return self._guess(word)
        return {**dict.fromkeys(self._meanings.get(word, ()), _BY_MEANING), word: 1.0}

    def _guess(self, word: str) -> dict[str, float]:
        """Return the words that an unknown word may be: a longer or a shorter one, else those that look most alike."""
        if len(word) < _SHORTEST or word.isdigit():
            return {}
        known = self._known
        found = {other: _BY_PART for other in known if _is_part(other, word)}
        if len(word) >= _LEAST_PART:
            found |= {other: _BY_BEGINNING for other in known if other.startswith(word) and len(other) <= 2 * len(word)}
        if not found:
            least = _LEAST_ALIKE if len(word) > _SHORT else _LEAST_ALIKE_SHORT
            alike = sorted(((similarity, other) for other, similarity in self._alike(word)), reverse=True)
            found = {other: _BY_SHAPE * similarity for similarity, other in alike[:_MOST_ALIKE] if similarity >= least}
        weights: dict[str, float] = {}
        for other, weight in found.items():
            weights[other] = max(weights.get(other, 0.0), weight)
            for same in self._meanings.get(other, ()):
                weights[same] = max(weights.get(same, 0.0), weight * _BY_MEANING)
        return weights

    @cached_property
    def _known(self) -> tuple[str, ...]:
        """The words of the documents and of the list of synonyms."""
        return (*self._within, *(word for word in self._meanings if word not in self._within))

    @cached_property
    def _words_with(self) -> Mapping[str, Sequence[str]]:
        """The known words with each n-gram."""
        found: dict[str, list[str]] = {}
        for word in self._known:
            for gram in _grams(word):
                found.setdefault(gram, []).append(word)
        return found

    def _alike(self, word: str) -> Iterator[tuple[str, float]]:
        """Yield the known words that share n-grams with a word, and Dice's coefficient of their n-grams."""
        grams = _grams(word)
        shared = Counter(other for gram in grams for other in self._words_with.get(gram, ()))
        for other, count in shared.items():
            yield other, 2 * count / (len(grams) + len(_grams(other)))


def _is_part(known: str, word: str) -> bool:
    """Return whether a compound word begins or ends with a known one."""
    return len(known) >= _LEAST_PART and (word.startswith(known) or word.endswith(known))


def group_meanings(groups: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Return for each word of ``groups``, each a text of words with the same meaning, the others of its groups."""
    found: dict[str, set[str]] = {}
    for group in groups:
        members = {stem(fold(word)) for word in group.split()}
        for word in members:
            found.setdefault(word, set()).update(members - {word})
    return {word: tuple(sorted(others)) for word, others in found.items()}  # sorted: sums are the same in each process


def split_words(text: str) -> list[str]:
    """Return the stems of the words of a text, without stop words; ``listFiles`` and ``list_files`` are two words.

    A word that begins with a capital is one, as ``GitHub`` is; ``split_name`` takes it apart.
    """
    found: list[str] = []
    for whole in _WORDS.findall(_without_marks(text)):
        for piece in _PIECES.findall(whole) if whole[0].islower() and not whole.islower() else (whole,):
            word = piece.lower()
            if word[-1] >= _UNSPACED and len(word) > 2:
                found += [word[at : at + 2] for at in range(len(word) - 1)]
            elif word not in _SILENT and len(word) <= _LONGEST:
                found.append(stem(word))
    return found


def split_name(name: str) -> str:
    """Return a name with its words apart: ``List HTTP Requests`` for ``ListHTTPRequests``."""
    return " ".join(piece for word in _WORDS.findall(name) for piece in _PIECES.findall(word))


def fold(word: str) -> str:
    """Return a word in lower case and without accents."""
    return _without_marks(word).lower()


@lru_cache(_CACHED)
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
        left = word.removesuffix(ending)
        if 2 < len(left) < len(word) and _VOWELS & set(left) and word[-3:] != "eed":
            word = left[:-1] if left[-1] == left[-2] and left[-1] not in "lsz" else left
            break
    if len(word) > 6 and word.endswith(("tion", "sion")):
        word = word[:-3]
    elif len(word) > 8 and word.endswith("ment"):
        word = word[:-4]
    if len(word) > 3 and word.endswith("e"):
        word = word[:-1]
    return f"{word[:-1]}i" if len(word) > 3 and word.endswith("y") else word


def _without_marks(text: str) -> str:
    if text.isascii():
        return text
    parts = unicodedata.normalize("NFKD", text.replace("ß", "ss"))
    return unicodedata.normalize("NFC", "".join(c for c in parts if not "\u0300" <= c <= "\u036f"))


@lru_cache(_CACHED)
def _grams(word: str) -> frozenset[str]:
    """Return the pairs and triples of letters of a word, with a mark at its ends."""
    padded = f"^{word}$"
    return frozenset(padded[at : at + size] for size in (2, 3) for at in range(len(padded) - size + 1))


_SILENT = frozenset(
    re.findall(
        "[a-z]+",
        "a about all also an and any are as at be been but by can could did do does each every for from had has have "
        "he her him his how i if in into is it its just let like me more most my need now of on or our out "
        "please s she should so some t than that the their them then there these they this those through to too up "
        "us very want was way we were while whose why will with without would you your "
        "der das den dem des ein eine einen einem einer und oder ist sind im ins vom von zu zum zur mir mich "
        "el la los las un una unos unas de del y o que en es por para con lo se mi me "
        "le les du une et ou est sont dans sur pour avec je mon ma mes au aux il",
    )
)
