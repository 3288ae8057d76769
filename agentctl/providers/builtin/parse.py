"""A task as words with meanings: words of the table, and words that fill its slots.

The shape of a word tells a path, a file's name, a pattern, a number, a size or a span of time; its place among the
others tells a name or the text to search for.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from typing import NamedTuple

from agentctl.providers.builtin.lexicon import (
    ADJECTIVES,
    ASKING,
    CHANGES,
    DAEMONS,
    ENDINGS,
    FILE_NAMES,
    KINDS,
    NUMBERS,
    POLITE,
    SAME,
    STATES,
    UNHEALTHY,
    word_set,
)
from agentctl.providers.builtin.since import since_at

_NAME = re.compile(r"\w[\w.@:-]*")
_BELOW = word_set("under below beneath less smaller fewer most to")
_SEARCH = word_set(
    """
    search grep find word text string phrase term expression pattern contain contains occurrences
    occurrence
    """
)
_NO_TEXT = word_set(
    """
    file files folder folders directory directories container containers image images process
    processes port ports line lines here disk memory it them this that all any the a an for in
    """
)
_QUOTED = word_set("line lines where which mentioned uses")
_AFTER_QUOTE = word_set("in inside within anywhere")
_NO_TEXT_AFTER = word_set("file files called named folder directory in inside under of container")
_AFTER_TEXT = word_set("in inside within under across ignoring case ignore regardless used mentioned defined")
_OWNED = (["log"], ["logs"], ["stats"], ["output"], ["status"], ["health"])
_NO_DAEMON = word_set("containers logs image images")  # before these its name is that of a container
_SHORT = word_set("what how where who that there it which")  # what's: what is
_TOKEN = re.compile(r"\"([^\"\n]+)\"|(?<!\S)'([^'\n]+)'(?=[\s.,;:!?)]|$)|`([^`\n]+)`|(\S+)")
_QUOTES = str.maketrans(dict.fromkeys("\u201c\u201d\u201e\u00ab\u00bb", '"') | dict.fromkeys("\u2018\u2019\u00b4", "'"))
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt])(?:i?b)?", re.ASCII)
_UNITS = {"kilobyte": "KB", "megabyte": "MB", "gigabyte": "GB", "terabyte": "TB", "meg": "MB", "gig": "GB"}
_UNITS |= {unit: unit.upper() for unit in ("kb", "mb", "gb", "tb", "kib", "mib", "gib", "tib")}
_ENDING = re.compile(r"\*?\.([a-z0-9]{1,10})(\.[a-z0-9]{1,5})?", re.ASCII)
_FILE = re.compile(r"[\w.@+-]*\w\.([a-zA-Z0-9]{1,10})")
_HOST = re.compile(r"\d+\.\d+\.\d+\.\d+(:\d+)?|.*\.(com|org|net|io|de|eu|gov|edu)|.*://.*|\S+@\S+\.\S+")

Words = list[tuple[str, bool]]


class Word(NamedTuple):
    """One word: ``text`` as the table knows it, ``kind`` when it can fill a slot, ``value`` as the user wrote it."""

    text: str
    value: str
    kind: str = ""


class KnownWords(NamedTuple):
    """The words that are not names, those of the ``table`` included; misspelt ``mendable`` ones are corrected."""

    words: frozenset[str]
    table: frozenset[str]
    mendable: tuple[str, ...]


def normalize(task: str) -> str:
    """Normalize a task: straight quotes, composed letters (NFKC), single spaces."""
    return " ".join(unicodedata.normalize("NFKC", task.translate(_QUOTES)).split())


def split_words(task: str) -> Words:
    """Split a normalized task into its words, each with whether it was quoted."""
    found: Words = []
    for match in _TOKEN.finditer(task):
        quote = match[1] or match[2] or match[3]
        if quote:
            found.append((quote.strip() or quote, True))
            continue
        bare = match[4].strip("()[]{}<>,;!?\"'")
        stripped = bare.rstrip(".:!?,;")
        if bare in {".", ".."}:
            stripped = bare
        owner, is_short, _ = stripped.partition("'s")
        if is_short and stripped.lower().endswith("'s"):
            stripped = owner
        if stripped.strip("-\u2013\u2014"):
            found.append((stripped, False))
        if is_short and owner.lower() in _SHORT:
            found.append(("is", False))
    return found


@cache
def stem(word: str) -> str:
    """Return the table's word for ``word``: its singular, or a synonym."""
    if word in SAME:
        return SAME[word]
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        if word.endswith("sses"):
            word = word[:-2]
        elif word.endswith("ies"):
            word = word[:-3] + "y"
        else:
            word = word[:-1]
    return SAME.get(word, word)


@cache
def table_word(word: str) -> str:
    """Return a lower-case word of an example as the table has it, or its mask in braces; "" if it is only polite."""
    known = word if word[0] == "{" or word in POLITE else stem(word)
    return "" if known in POLITE else known


def example_words(example: str) -> tuple[str, ...]:
    """Return the words of an example of the table, with the masks in braces."""
    return tuple(filter(None, map(table_word, example.lower().split())))


def is_near(word: str, known: str) -> bool:
    """Return whether ``word`` is ``known`` except for one letter added, missing, wrong or swapped."""
    if word == known:
        return True
    short, long = sorted((word, known), key=len)
    if len(long) - len(short) > 1:
        return False
    head = 0
    while head < len(short) and short[head] == long[head]:
        head += 1
    if len(short) < len(long):
        return short[head:] == long[head + 1 :]
    rest, other = word[head:], known[head:]
    return rest[1:] == other[1:] or (rest[:2] == other[1::-1] and rest[2:] == other[2:])


def parse_words(task: str, known: KnownWords) -> tuple[Word, ...]:
    """Parse a normalized task into the words that matter, by the table's ``known`` words.

    A word that the table does not know is corrected if one letter is wrong, else it is a ``name``.
    """
    words = split_words(task)
    read_words: list[Word] = []
    at = 0
    while at < len(words):
        word, is_quoted = words[at]
        lower = word.lower()
        span = None if is_quoted else since_at(words, at)
        size = None if is_quoted or span else size_at(words, at)
        if span is not None:
            read_words.append(Word("{since}", span[0], "since"))
            at += span[1]
            continue
        if size is not None:
            read_words.append(_below(words, at, size[0]))
            at += size[1]
            continue
        following = words[at + 1][0].lower() if at + 1 < len(words) else ""
        read_words.append(_word(words, at, word, lower, is_quoted, following, known))
        at += 1
    return tuple(word for word in read_words if word.kind or word.text not in POLITE)


def _below(words: Words, at: int, word: Word) -> Word:
    """Return a size that is an upper limit (``under 10MB``) as a word that no lookup knows."""
    before = {found.lower() for found, _ in words[max(0, at - 2) : at]}
    return Word("{ceiling}", word.value, "ceiling") if word.kind == "size" and before & _BELOW else word


def _word(words: Words, at: int, word: str, lower: str, is_quoted: bool, following: str, known: KnownWords) -> Word:
    """Return the meaning of one word at its place."""
    shape = None if is_quoted and " " in word else kind_of(word, lower)
    if not word.isprintable():
        return Word("{odd}", word, "odd")
    if shape and shape.kind in {"file", "host"} and _is_container(words, at, known) and _NAME.fullmatch(word):
        return Word("{name}", word, "name")
    if _text_at(words, at, known) and (is_quoted or shape is None or shape.kind == "number"):
        return Word("{text}", word, "text")
    if shape is not None:
        return shape
    if is_quoted:
        if lower.rpartition(".")[2] in ENDINGS and "." in lower:
            return Word("{file}", word, "file")
        return Word("{name}", word, "name") if _NAME.fullmatch(word) else Word("{quote}", word, "quote")
    if following in {"file", "files", "script", "scripts", "source", "sources"}:
        if lower in KINDS:
            return Word("{pattern}", KINDS[lower], "pattern")
        if lower in ENDINGS and lower not in {
            "key",
            "list",
            "old",
            "out",
            "config",
            "data",
            "db",
            "target",
            "img",
            "lock",
        }:
            return Word("{pattern}", "*." + lower, "pattern")
    if lower in UNHEALTHY and (lower == "unhealthy" or not _is_named(words, at, known)):
        return Word("{health}", "unhealthy", "health")
    if lower in STATES:
        return Word("{state}", STATES[lower], "state")
    stemmed = stem(lower)
    is_named = _is_named(words, at, known)
    if lower in ADJECTIVES and is_named and _ends_order(words, at):
        return Word("{name}", word, "name")
    is_kind = lower == "systemd" and following in {"unit", "units", "service", "services", "journal"}
    if lower in DAEMONS and not is_named and not is_kind and following not in _NO_DAEMON:
        return Word("{daemon}", word, "name")
    if stemmed in known.table or stemmed in POLITE or (stemmed in known.words and not is_named):
        return Word(stemmed, word)
    if lower in known.words and not is_named:
        return Word(lower, word)
    if len(lower) > 3 and lower.isalpha() and not is_named and not _is_owner(words, at):
        for candidate in known.mendable:
            if _is_misspelling(lower, candidate) or _is_misspelling(stemmed, candidate):
                return Word(stem(candidate), word)
    return Word("{name}", word, "name") if _NAME.fullmatch(word) else Word("{odd}", word, "odd")


def _is_named(words: Words, at: int, known: KnownWords) -> bool:
    """Return whether the place of a word makes it a name: ``named WORD``, or that of a container."""
    return (at > 0 and words[at - 1][0].lower() in {"named", "called"}) or _is_container(words, at, known)


def _is_container(words: Words, at: int, known: KnownWords) -> bool:
    """Return whether the place of a word makes it the name of a container: ``container WORD``, ``WORD container``."""
    if at > 0 and words[at - 1][0].lower() == "container":
        before = words[at - 2][0].lower() if at > 1 else "the"
        return {before, stem(before)} & known.words != set() or before in POLITE  # "web container stop" names web
    following = words[at + 1][0].lower() if at + 1 < len(words) else ""
    return following in {"container", "container's"} and words[at][0].lower() not in ADJECTIVES | UNHEALTHY


def _is_owner(words: Words, at: int) -> bool:
    """Return whether an unknown word is a name by its place: ``logs of WORD``, ``WORD service``."""
    following = words[at + 1][0].lower() if at + 1 < len(words) else ""
    before = [word.lower() for word, _ in words[max(0, at - 3) : at] if word.lower() not in POLITE]
    return following == "service" or (before[-1:] in (["of"], ["for"], ["from"]) and before[-2:-1] in _OWNED)


def _ends_order(words: Words, at: int) -> bool:
    """Return whether an order ends in this word: ``unpause the container busy``, not ``is the container busy``."""
    before = [word.lower() for word, _ in words[:at]]
    return at + 1 == len(words) and before[0] not in ASKING and before[-1] == "container" and bool(CHANGES & {*before})


def _is_misspelling(word: str, known: str) -> bool:
    """Return whether ``word`` is a misspelt ``known`` one; with four letters only if two are swapped."""
    if word[:-1] == known or not is_near(word, known):  # sshd is not a misspelt ssh
        return False
    if known == f"{word}d":  # nor store a misspelt stored
        return False
    return len(word) > 4 < len(known) or sorted(word) == sorted(known)


def _ends_in_file(lowers: list[str]) -> bool:
    last = lowers[-1].rpartition("/")[2]
    return "." in last.strip(".") and last.rpartition(".")[2] in ENDINGS


def _is_search(word: str) -> bool:
    return word in _SEARCH or word == "look" or word.startswith(("containing", "mention", "grep", "search"))


def _text_at(words: Words, at: int, known: KnownWords) -> bool:
    """Return whether the word at ``at`` is the text of a search: ``search for WORD in …``."""
    lowers = [word.lower() for word, _ in words]
    before = lowers[at - 1] if at else ""
    if before in {"the", "a", "an"} and at > 1:
        before = lowers[at - 2]
    if words[at][1]:
        follows = lowers[at + 1] if at + 1 < len(lowers) else ""
        is_sought = any(word in _QUOTED or _is_search(word) for word in lowers) or follows in _AFTER_QUOTE
        is_of = before == "of" and lowers[at - 2].startswith("occurrence")
        return is_sought and (is_of or before not in _NO_TEXT_AFTER)
    if before in {"contains", "containing"} and at > 1 and lowers[at - 2] in {"name", "names"}:
        return False  # a part of a name
    if "where" not in lowers and not any(_is_search(word) for word in lowers):
        return False
    asks = before in _SEARCH - {"pattern"} or before in {"containing", "mention", "mentions", "mentioning"}
    if before in {"is", "are"} and "where" in lowers:
        return at + 1 < len(lowers) and lowers[at + 1] in {"used", "mentioned", "defined", "referenced"}
    if before == "for":
        asks = (
            at > 1 and lowers[at - 2] in {"search", "grep", "look", "searching", "looking", "grepping"}
        ) or "search" in lowers
    if not asks or lowers[at] in _NO_TEXT or stem(lowers[at]) in known.table:
        return False
    if before == "find" and (stem(lowers[at]) in known.words or not _ends_in_file(lowers)):
        return False  # "find hosts in /etc" may mean a file of that name
    following = lowers[at + 1] if at + 1 < len(lowers) else "in"
    return following in _AFTER_TEXT and (before != "find" or at + 1 < len(lowers))


def is_path(word: str) -> bool:
    """Return whether an unquoted word is the path or the name of a file."""
    found = kind_of(word, word.lower())
    return found is not None and found.kind in {"path", "file", "host"}


def kind_of(word: str, lower: str) -> Word | None:
    """Return the meaning of an unquoted word by its shape alone, or None."""
    if not word.isprintable() or "//" in word.rstrip("/"):
        return None
    if lower in {".", ".."} or lower.startswith(("/", "./", "../", "~/")) or lower == "~":
        return Word("{path}", word, "path")
    if "*" in lower or "?" in lower:
        return Word("{pattern}", word, "pattern")
    if _HOST.fullmatch(lower):
        return Word(lower, word, "host")
    if "/" in lower and "//" not in lower and not lower.startswith("-"):
        return Word("{path}", word, "path") if lower.strip("/") else None
    ending = _ENDING.fullmatch(lower)
    if ending and ending[1] in ENDINGS - {"env"}:
        return Word("{pattern}", "*" + word.lstrip("*"), "pattern")
    if lower in FILE_NAMES:
        return Word("{file}", word, "file")
    named = _FILE.fullmatch(word)
    if (named and named[1].lower() in ENDINGS) or (lower.startswith(".") and len(lower) > 2 and lower[1:].isalnum()):
        return Word("{file}", word, "file")
    if lower.lstrip(":").isascii() and lower.lstrip(":").isdigit() and len(lower) < 10:
        return Word("{number}", lower.lstrip(":"), "number")
    if lower in NUMBERS:
        return Word("{number}", str(NUMBERS[lower]), "number")
    return None


def size_at(words: Words, at: int) -> tuple[Word, int] | None:
    """Parse ``100MB`` or ``100 megabytes``; return the word and how many words it took."""
    lower = words[at][0].lower()
    match = _SIZE.fullmatch(lower)
    if match:
        return Word("{size}", match[1] + match[2].upper() + "B", "size"), 1
    if lower.replace(".", "", 1).isdigit() and lower.isascii() and at + 1 < len(words):
        unit = _UNITS.get(words[at + 1][0].lower().removesuffix("s"))
        if unit:
            return Word("{size}", lower + unit, "size"), 2
    return None
