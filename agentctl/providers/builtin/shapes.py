"""What a word is by its shape: a path, a file's name, a pattern, a number, a size, a span of time."""

from __future__ import annotations

import re
import unicodedata
from typing import NamedTuple

from agentctl.providers.builtin.lexicon import ENDINGS, FILE_NAMES, NUMBERS, word_set

_SHORT = word_set("what how where who that there it which")  # what's: what is
_TOKEN = re.compile(r"\"([^\"\n]+)\"|(?<!\S)'([^'\n]+)'(?=[\s.,;:!?)]|$)|`([^`\n]+)`|(\S+)")
_QUOTES = str.maketrans(dict.fromkeys("\u201c\u201d\u201e\u00ab\u00bb", '"') | dict.fromkeys("\u2018\u2019\u00b4", "'"))
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt])(?:i?b)?", re.ASCII)
_UNITS = {"kilobyte": "KB", "megabyte": "MB", "gigabyte": "GB", "terabyte": "TB", "meg": "MB", "gig": "GB"}
_UNITS |= {unit: unit.upper() for unit in ("kb", "mb", "gb", "tb", "kib", "mib", "gib", "tib")}
_SPAN = re.compile(r"(\d+)(s|sec|secs|m|min|mins|h|hr|hrs|d)", re.ASCII)
_SPANS = {
    word: letter
    for letter, words in {
        "s": "s sec secs second seconds",
        "m": "m min mins minute minutes",
        "h": "h hr hrs hour hours",
        "d": "d day days",
    }.items()
    for word in words.split()
}
_ENDING = re.compile(r"\*?\.([a-z0-9]{1,10})(\.[a-z0-9]{1,5})?", re.ASCII)
_FILE = re.compile(r"[\w.@+-]*\w\.([a-z0-9]{1,10})", re.ASCII | re.IGNORECASE)
_HOST = re.compile(r"\d+\.\d+\.\d+\.\d+(:\d+)?|.*\.(com|org|net|io|de|eu|gov|edu)|.*://.*|\S+@\S+\.\S+")

Words = list[tuple[str, bool]]


class Word(NamedTuple):
    """One word: ``text`` as the table knows it, ``kind`` when it can fill a slot, ``value`` as the user wrote it."""

    text: str
    value: str
    kind: str = ""


def normalize(task: str) -> str:
    """Return the task with straight quotes, composed letters and single spaces."""
    return " ".join(unicodedata.normalize("NFKC", task.translate(_QUOTES)).split())


def split(task: str) -> Words:
    """Return the words of a plain task in order, each with whether it was quoted."""
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


def is_path(word: str) -> bool:
    """Whether an unquoted word is the path or the name of a file."""
    found = kind_of(word, word.lower())
    return found is not None and found.kind in {"path", "file", "host"}


def kind_of(word: str, lower: str) -> Word | None:
    """Read one unquoted word by its shape alone."""
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
    """Read ``100MB`` or ``100 megabytes``; the count is how many words it took."""
    lower = words[at][0].lower()
    match = _SIZE.fullmatch(lower)
    if match:
        return Word("{size}", match[1] + match[2].upper() + "B", "size"), 1
    if lower.replace(".", "", 1).isdigit() and lower.isascii() and at + 1 < len(words):
        unit = _UNITS.get(words[at + 1][0].lower().removesuffix("s"))
        if unit:
            return Word("{size}", lower + unit, "size"), 2
    return None


def since_at(words: Words, at: int) -> tuple[Word, int] | None:
    """Read ``since 10m``, ``in the last 10 minutes``, ``past hour``; the count is how many words it took."""
    lowers = [word.lower() for word, _ in words[at : at + 5]]
    took = 0
    while took < len(lowers) and lowers[took] in {"in", "for", "from", "over", "during", "within", "of", "the"}:
        took += 1
    if took == len(lowers) or lowers[took].lstrip("-") not in {"since", "last", "past"} or took > 2:
        return None
    took += 1
    rest = lowers[took : took + 2]
    if not rest:
        return None
    match = _SPAN.fullmatch(rest[0])
    number = str(NUMBERS.get(rest[0], rest[0]))
    if match:
        count, unit = match[1], _SPANS[match[2]]
        took += 1
    elif len(rest) == 2 and number.isascii() and number.isdigit() and rest[1] in _SPANS:
        count, unit = number, _SPANS[rest[1]]
        took += 2
    elif rest[0] in {"minute", "hour", "day"}:
        count, unit = "1", _SPANS[rest[0]]
        took += 1
    else:
        return None
    value = f"{int(count[:9]) * 24}h" if unit == "d" else f"{int(count[:9])}{unit}"
    return Word("{since}", value, "since"), took
