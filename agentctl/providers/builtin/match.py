"""Which row of the table a task asks for: TF-IDF over words and pairs, and no word left over.

Command lines that mean one of the lookups: ``docker ps -a``, ``tail -n 30 app.log``.

The table of all lookups: about 40 read-only questions that are answered without a model.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cache
from itertools import pairwise
from typing import NamedTuple

from agentctl.providers.builtin.docker_lookups import DOCKER_LOOKUPS
from agentctl.providers.builtin.file_lookups import FILE_LOOKUPS
from agentctl.providers.builtin.lexicon import CHANGES, DESCRIBING, LIGHT, PLAIN, POLITE, STATES, word_set
from agentctl.providers.builtin.lookup import Lookup
from agentctl.providers.builtin.parse import (
    KnownWords,
    Word,
    Words,
    example_words,
    is_path,
    parse_words,
    split_words,
    stem,
)
from agentctl.providers.builtin.system_lookups import SYSTEM_LOOKUPS
from agentctl.providers.builtin.text_lookups import TEXT_LOOKUPS

LEAST_SCORE = 0.55  # of 1: how like the nearest example a task must be
LEAST_MARGIN = 0.03  # how much nearer than the nearest example of another call
_LOOKED_AT = 8  # rows with the most telling words in common, when the nearest are sought
_NEAR_ENOUGH = 0.2  # to be named as one of the nearest things
_PAIR = 0.5  # the weight of two words in a row, beside that of the two words
_CONTEXT = frozenset({"{name}", "{number}"})  # kinds that count only between words that an example has there
_COUNTLESS = word_set("any all some every each which what find have do does got anything")  # say nothing of a name
_CAUSE = word_set("why explain should worry wrong problem normal slow filling slowing")
_COMPARING = word_set("more than bigger most")  # no row is near for these words alone
_LIGHT = frozenset(stem(word) for word in LIGHT)

Sequence = tuple[str, ...]


class Match(NamedTuple):
    """A row and the arguments that the task's words give it; ``score`` is between 0 and 1."""

    lookup: Lookup
    arguments: Mapping[str, object]
    score: float
    is_cause: bool = False


class LookupResult(NamedTuple):
    """What was found: the call to make if one is sure, and the nearest rows in any case."""

    match: Match | None
    nearest: tuple[Lookup, ...]
    words: tuple[Word, ...] = ()


class _Entry(NamedTuple):
    """One row as it is searched: either its questions or, for ``is_cause``, its questions of cause."""

    lookup: Lookup
    is_cause: bool
    words: frozenset[str]

    @property
    def sequences(self) -> list[Sequence]:
        """The examples as words; read only for rows that may match, for there are many."""
        text = self.lookup.causes if self.is_cause else self.lookup.examples
        return [example_words(example) for example in text.split("|")]


class _Index(NamedTuple):
    entries: tuple[_Entry, ...]
    known: KnownWords
    weights: Mapping[str, float]  # how telling a word is: few rows have it


def _contexts(sequence: Sequence) -> Iterable[tuple[str, str, str]]:
    padded = ("^", *(word for word in sequence if word not in _COUNTLESS), "$")
    for at in range(1, len(padded) - 1):
        if padded[at] in _CONTEXT:
            yield padded[at - 1], padded[at], padded[at + 1]


@cache
def _index() -> _Index:
    """Read the table (once a process)."""
    entries: list[_Entry] = []
    for lookup in LOOKUPS:
        for text, is_cause in ((lookup.examples, False), (lookup.causes, True)):
            if text:
                words = frozenset(example_words(" ".join(set(text.replace("|", " ").split()))))
                entries.append(_Entry(lookup, is_cause, words))
    counts = Counter(word for entry in entries for word in entry.words)
    weights = {word: math.log((1 + len(entries)) / count) for word, count in counts.items()}
    weights |= {word: min(weights.get(word, 1.0), 1.0) for word in _LIGHT}
    table = {word for word in counts if word[0] != "{"}
    plain = PLAIN | POLITE | CHANGES | DESCRIBING | STATES.keys()
    mendable = sorted(word for word in (table | _LIGHT | {"list", "show"}) - CHANGES if len(word) > 3)
    return _Index(
        tuple(entries), KnownWords(frozenset(table | _LIGHT | plain), frozenset(table), tuple(mendable)), weights
    )


def _vector(sequence: Sequence, weights: Mapping[str, float]) -> dict[str, float]:
    """Weigh words and pairs of words."""
    most = max(weights.values(), default=1.0)
    vector: dict[str, float] = {}
    for word in sequence:
        vector[word] = vector.get(word, 0.0) + weights.get(word, most)
    for left, right in pairwise(sequence):
        pair = f"{left} {right}"
        vector[pair] = vector.get(pair, 0.0) + _PAIR * min(weights.get(left, most), weights.get(right, most))
    return vector


def _likeness(one: Mapping[str, float], other: Mapping[str, float]) -> float:
    dot = sum(weight * other.get(term, 0.0) for term, weight in one.items())
    square = sum(w * w for w in one.values()) * sum(w * w for w in other.values())
    return dot / math.sqrt(square) if square else 0.0


def _arguments(entry: _Entry, words: tuple[Word, ...], sequence: Sequence) -> dict[str, object] | None:
    """Return the row's arguments, or None if a word is left over, or one that is needed is missing."""
    lookup = entry.lookup
    present = set(sequence)
    if entry.is_cause and not _CAUSE & present:
        return None
    if not entry.is_cause and not all(present.intersection(group.split("/")) for group in lookup.must):
        return None
    arguments = dict(lookup.fixed)
    filled: set[str] = set()
    for word in words:
        if word.text not in entry.words and (word.kind or word.text not in _LIGHT):
            return None
        if word.kind in lookup.slots:
            name = lookup.slots[word.kind]
            if name in filled:
                return None
            filled.add(name)
            arguments[name] = int(word.value) if word.kind == "number" else word.value
    return arguments if all(name in arguments for name in lookup.needs) else None


def _fits(sequence: Sequence, examples: list[Sequence]) -> bool:
    """Whether each name and number stands between words that some example has at its sides."""
    wanted = list(_contexts(sequence))
    if not wanted:
        return True
    seen = [context for example in examples for context in _contexts(example)]
    before = {(left, mask) for left, mask, _ in seen}
    after = {(mask, right) for _, mask, right in seen}
    return all((left, mask) in before and (mask, right) in after for left, mask, right in wanted)


def _nearest(index: _Index, sequence: Sequence) -> tuple[Lookup, ...]:
    """Return the rows whose examples are most like the task, whether or not they can act."""
    words = {word for word in sequence if word in index.weights and word[0] != "{"} - _COMPARING
    vector = _vector(tuple(word for word in sequence if word in words), index.weights)
    shares = [(sum(index.weights[word] for word in words & entry.words), entry) for entry in index.entries]
    likely = sorted((item for item in shares if item[0] > 0), key=lambda item: -item[0])[:_LOOKED_AT]
    scored = [(_score(entry, vector, index.weights), entry.lookup) for _, entry in likely]
    ranked = sorted((item for item in scored if item[0] >= _NEAR_ENOUGH), key=lambda item: -item[0])
    return tuple(dict.fromkeys(lookup for score, lookup in ranked if score >= 0.3 * ranked[0][0]))[:3]


def _score(entry: _Entry, vector: Mapping[str, float], weights: Mapping[str, float]) -> float:
    return max(_likeness(vector, _vector(example, weights)) for example in entry.sequences)


def find_lookup(task: str) -> LookupResult:
    """Return what a plain task asks for, by its words alone; the same for the same task, always."""
    line = match_command(task)
    if line is not None:
        return LookupResult(Match(line[0], line[1], 1.0), (line[0],))
    index = _index()
    words = parse_words(task, index.known)
    sequence = tuple(word.text for word in words)
    vector = _vector(sequence, index.weights)
    matches: list[Match] = []
    for entry in index.entries:
        arguments = _arguments(entry, words, sequence)
        if arguments is None:
            continue
        if _fits(sequence, entry.sequences):
            matches.append(Match(entry.lookup, arguments, _score(entry, vector, index.weights), entry.is_cause))
    matches.sort(key=lambda match: -match.score)
    if not matches or matches[0].score < LEAST_SCORE:
        return LookupResult(None, _nearest(index, sequence), words)
    best = matches[0]
    rivals = (
        match.score for match in matches if (match.lookup.tool, match.arguments) != (best.lookup.tool, best.arguments)
    )
    if best.score - max(rivals, default=0.0) < LEAST_MARGIN:
        return LookupResult(None, _nearest(index, sequence), words)
    return LookupResult(best, (best.lookup,), words)


_NO_VALUE = POLITE | LIGHT | {"it", "them", "everything"}
_SPECIAL = frozenset("|;&<>$`")


def match_command(task: str) -> tuple[Lookup, dict[str, object]] | None:
    """Return the row and its arguments if the task is, word by word, a command line of the table."""
    words = split_words(task)
    if not words or len(words) > 6:
        return None
    start = words[0][0]
    for lookup in LOOKUPS:
        if start not in lookup.commands:
            continue
        for command in lookup.commands.split("|"):
            pattern = command.split()
            found = _fit(pattern, words, lookup) if pattern[0] == start else None
            if found is not None:
                return lookup, {**lookup.fixed, **found}
    return None


def _fit(pattern: list[str], words: Words, lookup: Lookup) -> dict[str, object] | None:
    if len(pattern) != len(words):
        return None
    found: dict[str, object] = {}
    for wanted, (given, is_quoted) in zip(pattern, words, strict=True):
        head, brace, rest = wanted.partition("{")
        if not brace:
            if wanted != given or is_quoted:
                return None
            continue
        kind, _, tail = rest.partition("}")
        value = given.removeprefix(head).removesuffix(tail)
        if not given.startswith(head) or not given.endswith(tail) or not _is_kind(kind, value, is_quoted=is_quoted):
            return None
        name = "path" if kind == "where" else lookup.slots[kind]
        found[name] = int(value) if kind == "number" else value
    return found


def _is_kind(kind: str, value: str, *, is_quoted: bool) -> bool:
    """Whether a word of a command line can be what the pattern wants there."""
    if not is_quoted and (not value or value[0] == "-" or _SPECIAL & set(value) or value.lower() in _NO_VALUE):
        return False
    if kind == "number":
        return value.isascii() and value.isdigit() and len(value) < 10
    if kind == "pattern":
        return bool(set("*?") & set(value))
    return is_quoted or kind not in {"file", "path"} or is_path(value)


LOOKUPS: tuple[Lookup, ...] = DOCKER_LOOKUPS + SYSTEM_LOOKUPS + FILE_LOOKUPS + TEXT_LOOKUPS
