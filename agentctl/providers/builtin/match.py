"""The table of lookups, and the match of a task to one of them.

A task is matched by TF-IDF over words and pairs of words, and only if no word is left over. A task that equals a
command line of the table word by word (``docker ps -a``, ``tail -n 30 app.log``) is not scored.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cache
from itertools import pairwise
from typing import NamedTuple

from agentctl.providers.builtin.docker_lookups import DOCKER_LOOKUPS
from agentctl.providers.builtin.engine_lookups import ENGINE_LOOKUPS
from agentctl.providers.builtin.file_lookups import FILE_LOOKUPS
from agentctl.providers.builtin.lexicon import (
    CHANGES,
    DESCRIBING,
    HEALTH,
    LIGHT,
    PLAIN,
    POLITE,
    STATES,
    UNHEALTHY,
    word_set,
)
from agentctl.providers.builtin.lookup import Lookup, quote
from agentctl.providers.builtin.parse import (
    KnownWords,
    Word,
    Words,
    example_words,
    is_path,
    parse_words,
    split_words,
    stem,
    table_word,
)
from agentctl.providers.builtin.service_lookups import SERVICE_LOOKUPS
from agentctl.providers.builtin.system_lookups import SYSTEM_LOOKUPS
from agentctl.providers.builtin.text_lookups import TEXT_LOOKUPS

#: All lookups, in the order of the help.
LOOKUPS: tuple[Lookup, ...] = (
    DOCKER_LOOKUPS + ENGINE_LOOKUPS + SYSTEM_LOOKUPS + SERVICE_LOOKUPS + FILE_LOOKUPS + TEXT_LOOKUPS
)

LEAST_SCORE = 0.55  # of 1: how similar a task must be to its nearest example
LEAST_MARGIN = 0.03  # how much more similar than to the nearest example of another call
_MOST_CANDIDATES = 8  # lookups that are scored in the search for the nearest
_LEAST_NEAR_SCORE = 0.2  # of a lookup that a hint names as near
_PAIR_WEIGHT = 0.5  # of two adjacent words, relative to the lower weight of the two
_CONTEXT = frozenset({"{name}", "{number}"})  # these count only between words of an example
_COUNTLESS = word_set("any all some every each which what find have do does got anything")  # not about a name
_CAUSE = word_set(
    "why explain should worry wrong problem normal slow filling slowing error looping loop too happened killed"
)
#: The least and the most of a number that a tool takes, by the tool and its argument, or by the argument alone.
RANGES: Mapping[str, tuple[int, int]] = {
    "port": (1, 65_535),
    "tail": (1, 10_000),
    "first": (1, 100_000),
    "last": (1, 100_000),
    "system_processes.limit": (1, 200),
    "limit": (1, 1000),
}
_LAST_LINES = 20  # of a log below the state of its container
_OF_CONTAINERS = word_set("container docker compose image healthy health {health}")
_COMPARING = word_set("more than bigger most")  # words that do not make a lookup near by themselves
_LIGHT = frozenset(stem(word) for word in LIGHT)
_NO_VALUE = POLITE | LIGHT | {"it", "them", "everything"}
_SPECIAL = frozenset("|;&<>$`")

Sequence = tuple[str, ...]


class Match(NamedTuple):
    """A lookup with the arguments from the task's words; ``score`` is between 0 and 1.

    ``note`` is what else the words could mean.
    """

    lookup: Lookup
    arguments: Mapping[str, object]
    score: float
    is_cause: bool = False
    note: str = ""

    @property
    def calls(self) -> tuple[tuple[str, Mapping[str, object]], ...]:
        """The tool calls, in the order in which their results are shown."""
        own = (self.lookup.tool, self.arguments)
        if not (self.is_cause and self.lookup.state_first):
            return (own,)
        return ("docker_inspect", {"name": self.arguments["name"]}), own

    @property
    def command(self) -> str:
        """The command line that shows the same as the calls."""
        state = f"docker inspect {quote(str(self.arguments['name']))}; " if len(self.calls) > 1 else ""
        return state + self.lookup.command(self.arguments)


class LookupResult(NamedTuple):
    """The result of a search: the match if one is certain, and the nearest lookups in any case."""

    match: Match | None
    nearest: tuple[Lookup, ...]
    words: tuple[Word, ...] = ()


def find_lookup(task: str) -> LookupResult:
    """Return the lookup that a normalized task asks for; the same words always give the same one."""
    line = match_command(task)
    if line is not None:
        return LookupResult(Match(line[0], line[1], 1.0), (line[0],))
    index = _index()
    words = parse_words(task, index.known)
    sequence = tuple(word.text for word in words)
    found = [(entry, _arguments(entry, words, sequence)) for entry in index.entries]
    able = [(entry, arguments) for entry, arguments in found if arguments is not None]
    exact = [
        Match(entry.lookup, arguments, 1.0, entry.is_cause) for entry, arguments in able if sequence in entry.sequences
    ]
    if exact and all(match.calls == exact[0].calls for match in exact):
        return LookupResult(exact[0], (exact[0].lookup,), words)  # the words of an example are certain
    vector = _vector(sequence, index.weights)
    matches = [
        Match(entry.lookup, arguments, _score(entry, vector, index.weights), entry.is_cause)
        for entry, arguments in able
        if _fits(sequence, entry.sequences)
    ]
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


class _Entry(NamedTuple):
    """One lookup in the index: its questions or, if ``is_cause``, its questions about a cause."""

    lookup: Lookup
    is_cause: bool
    words: frozenset[str]

    @property
    def sequences(self) -> tuple[Sequence, ...]:
        """The examples as words; parsed only for lookups that may match, as there are many."""
        return _sequences(self.lookup.causes if self.is_cause else self.lookup.examples)


@cache
def _sequences(text: str) -> tuple[Sequence, ...]:
    return tuple([example_words(example) for example in text.split("|")])


class _Index(NamedTuple):
    entries: tuple[_Entry, ...]
    known: KnownWords
    weights: Mapping[str, float]  # the fewer lookups have a word, the higher its weight


def _contexts(sequence: Sequence) -> Iterable[tuple[str, str, str]]:
    padded = ("^", *(word for word in sequence if word not in _COUNTLESS), "$")
    for at in range(1, len(padded) - 1):
        if padded[at] in _CONTEXT:
            yield padded[at - 1], padded[at], padded[at + 1]


@cache
def _index() -> _Index:
    """Build the index of the table, once a process."""
    entries: list[_Entry] = []
    for lookup in LOOKUPS:
        for text, is_cause in ((lookup.examples, False), (lookup.causes, True)):
            if text:
                words = frozenset(map(table_word, {*text.lower().replace("|", " ").split()})) - {""}
                entries.append(_Entry(lookup, is_cause, words))
    counts = Counter(word for entry in entries for word in entry.words)
    weights = {word: math.log((1 + len(entries)) / count) for word, count in counts.items()}
    weights |= {word: min(weights.get(word, 1.0), 1.0) for word in _LIGHT}
    table = {word for word in counts if word[0] != "{"}
    plain = PLAIN | POLITE | CHANGES | DESCRIBING | STATES.keys() | UNHEALTHY
    mendable = sorted(word for word in (table | _LIGHT | {"list", "show"}) - CHANGES if len(word) > 3)
    return _Index(
        tuple(entries), KnownWords(frozenset(table | _LIGHT | plain), frozenset(table), tuple(mendable)), weights
    )


def _vector(sequence: Sequence, weights: Mapping[str, float]) -> dict[str, float]:
    """Return the weights of the words and pairs of words of a sequence."""
    most = max(weights.values(), default=1.0)
    vector: dict[str, float] = {}
    for word in sequence:
        vector[word] = vector.get(word, 0.0) + weights.get(word, most)
    for left, right in pairwise(sequence):
        pair = f"{left} {right}"
        vector[pair] = vector.get(pair, 0.0) + _PAIR_WEIGHT * min(weights.get(left, most), weights.get(right, most))
    return vector


def _similarity(one: Mapping[str, float], other: Mapping[str, float]) -> float:
    dot = sum(weight * other.get(term, 0.0) for term, weight in one.items())
    square = sum(w * w for w in one.values()) * sum(w * w for w in other.values())
    return dot / math.sqrt(square) if square else 0.0


def _arguments(entry: _Entry, words: tuple[Word, ...], sequence: Sequence) -> dict[str, object] | None:
    """Return the lookup's arguments, or None if a word is left over or a required one is missing."""
    lookup = entry.lookup
    present = set(sequence)
    if entry.is_cause and not _CAUSE & present:
        return None
    if not entry.is_cause and not all(present.intersection(group.split("/")) for group in lookup.must):
        return None
    arguments = dict(lookup.fixed)
    if entry.is_cause and lookup.state_first:
        arguments["tail"] = _LAST_LINES
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


def as_unit(match: Match, words: Iterable[str]) -> Match | None:
    """Return a match about a name as one about the systemd unit of that name; None if it cannot be about one."""
    tool, name = match.lookup.of_unit, match.arguments.get("name")
    if not tool or not isinstance(name, str) or match.is_cause or _OF_CONTAINERS.intersection(words):
        return None
    lookup = next(lookup for lookup in LOOKUPS if lookup.tool == tool and "unit" in lookup.needs)
    kept = {key: value for key, value in match.arguments.items() if key in lookup.slots.values()}
    what = "is the container {} running?" if tool == "service_status" else "logs of the container {}"
    note = f'systemd has a unit of this name; a container is asked for so: "{what.format(name)}"'
    return Match(lookup, {"unit": name, **kept}, match.score, note=note)


def range_of(tool: str, name: str) -> tuple[int, int]:
    """Return the least and the most that a tool takes for a number."""
    return RANGES.get(f"{tool}.{name}") or RANGES.get(name, (0, 10**9))


def _fits(sequence: Sequence, examples: tuple[Sequence, ...]) -> bool:
    """Return whether each name and number has neighbours as in some example."""
    wanted = list(_contexts(sequence))
    if not wanted:
        return True
    seen = [context for example in examples for context in _contexts(example)]
    before = {(left, mask) for left, mask, _ in seen}
    after = {(mask, right) for _, mask, right in seen}
    return all((left, mask) in before and (mask, right) in after for left, mask, right in wanted)


def _nearest(index: _Index, sequence: Sequence) -> tuple[Lookup, ...]:
    """Return the lookups whose examples are most similar to the task, whether or not they can run."""
    words = {word for word in sequence if word in index.weights and word[0] != "{"} - _COMPARING
    vector = _vector(tuple(word for word in sequence if word in words), index.weights)
    shares = [(sum(index.weights[word] for word in words & entry.words), entry) for entry in index.entries]
    likely = sorted((item for item in shares if item[0] > 0), key=lambda item: -item[0])[:_MOST_CANDIDATES]
    scored = [(_score(entry, vector, index.weights), entry.lookup) for _, entry in likely]
    ranked = sorted((item for item in scored if item[0] >= _LEAST_NEAR_SCORE), key=lambda item: -item[0])
    return tuple(dict.fromkeys(lookup for score, lookup in ranked if score >= 0.3 * ranked[0][0]))[:3]


def _score(entry: _Entry, vector: Mapping[str, float], weights: Mapping[str, float]) -> float:
    return max(_similarity(vector, _vector(example, weights)) for example in entry.sequences)


def match_command(task: str) -> tuple[Lookup, dict[str, object]] | None:
    """Return the lookup and its arguments if the task is, word by word, a command line of the table."""
    words = _docker_words(split_words(task))
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


def _docker_words(words: Words) -> Words:
    """Return a command line of podman, docker-compose or podman-compose as the same one of docker."""
    first, _, more = words[0][0].partition("-") if words else ("", "", "")
    if first not in {"docker", "podman"} or more not in {"", "compose"}:
        return words
    return [("docker", False), *([(more, False)] if more else []), *words[1:]]


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
    """Return whether a word of a command line fits the pattern's kind."""
    if not is_quoted and (not value or value[0] == "-" or _SPECIAL & set(value) or value.lower() in _NO_VALUE):
        return False
    if kind == "number":
        return value.isascii() and value.isdigit() and len(value) < 10
    if kind == "health":
        return value in HEALTH
    if kind == "name" and not is_quoted and value.lower() in CHANGES:
        return False  # "docker images prune" is no list of images
    if kind == "pattern":
        return bool(set("*?") & set(value))
    if kind in {"name", "path", "file", "where"} and not is_quoted and set("*?") & set(value):
        return False
    return is_quoted or kind not in {"file", "path"} or is_path(value)
