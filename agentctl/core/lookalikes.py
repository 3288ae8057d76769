"""Escape characters that look like others, in names that a user must judge.

A name in any one script stays readable. Escaped are blanks other than a space, combining marks, signs that look like
ASCII ones, and letters of another script in a word that is Latin, or could be read as Latin as a whole.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from agentctl.core.text import safe_text

_LIKE_LATIN = frozenset(
    {"CYRILLIC", "GREEK", "ARMENIAN", "CHEROKEE", "COPTIC", "LISU", "GOTHIC", "DESERET", "GEORGIAN"}
)
#: The scripts without marks of their own; "COMBINING" are the marks for the letters of all.
_MARKS_OF_NO_LETTER = frozenset({"LATIN", "COMBINING", *_LIKE_LATIN})
#: Letters that look the same as Latin ones, or nearly, in most fonts.
_TWINS = frozenset(
    "аеорсухѕіјԁԛԝһӏѵкАВЕКМНОРСТХУЅІЈԌѴӀҮүԚԜ"  # Cyrillic
    "αινορυκγηωΑΒΕΖΗΙΚΜΝΟΡΤΥΧϲϹϳͿ"  # Greek
    "օոսհցզԼՕՏՍց"  # Armenian
)
#: Signs that look like an ASCII sign and are not normalized to it.
_SIGNS = frozenset("\u2010\u2012\u2212\u2796\u2044\u2215\u29f8\u2571\u29f5\u2216\u29f9\ua789\u2236\u0589\u02d0"
                   "\u01c0\u01c3\u2223\u2758\u201a\u02b9\u02bc\u02c8\u2032\u02cb\u2039\u203a\u2217\u204e\u066d\u22c6"
                   "\u223c\u02dc\u066a\u2052\u0251\u0261\u0269\u2800\ufffc\u27ea\u27eb\u2043\u30a0"
                   "\u2e40\u2cba\ua4f8\ua4fa\u037e\u1427\u0387")  # fmt: skip
_PLAIN_SIGNS = frozenset(
    "\u00b2\u00b3\u00b9\u00aa\u00ba\u2122\u2026"
)  # normalized to ASCII, but visibly different signs
_MOST_MARKS = 3  # on one letter, as in pointed Hebrew; a higher stack is painted over the rows around it
_PART = re.compile(r"[^/\"'\\\n]+")
_WORD = re.compile(r"[^\W\d_]+")


def escape_lookalikes(text: str) -> str:
    """Escape every character of ``text`` that looks like another one; the result is one line."""
    if text.isascii() and text.isprintable():
        return text
    hidden: set[int] = set()
    for part in _PART.finditer(text):
        hidden |= {part.start() + at for at in _posing_letters(part[0])}
    shown, before, marks = [], "", 0
    for at, char in enumerate(text):
        marks = marks + 1 if not char.isascii() and _is_mark(char) else 0
        is_plain = at not in hidden and marks <= _MOST_MARKS and _is_plain(char, before)
        shown.append(char if is_plain else _escape(char))
        before = char
    return "".join(shown)


def _posing_letters(part: str) -> set[int]:
    """Return the places of the letters that imitate Latin ones in a part of a path, or in a sentence."""
    places: set[int] = set()
    real = {_script(char) for char in part if char not in _TWINS}
    for word in _WORD.finditer(part):
        foreign = [at for at, char in enumerate(word[0], word.start()) if _script(char) in _LIKE_LATIN]
        if not foreign:
            continue
        is_mixed = any(_script(char) == "LATIN" for char in word[0])
        if is_mixed or (all(char in _TWINS for char in word[0]) and not {_script(part[at]) for at in foreign} & real):
            places.update(foreign)
    return places


def _is_plain(char: str, before: str) -> bool:
    """Return whether a character cannot be mistaken for another; ``before`` is the previous one."""
    if char.isascii():
        return char.isprintable()
    if not char.isprintable() or char in _SIGNS or safe_text(char) != char:
        return False
    if _is_mark(char):  # a mark belongs to the letters of its own script, as in Thai
        return before != "" and _script(char) == _script(before) and _script(char) not in _MARKS_OF_NO_LETTER
    if _name(char).startswith("LATIN LETTER "):  # small capitals, clicks
        return False
    return (
        char in _PLAIN_SIGNS or not unicodedata.normalize("NFKC", char).isascii()
    )  # fullwidth, mathematical, ligatures


def _is_mark(char: str) -> bool:
    return unicodedata.category(char) in ("Mn", "Me")


def _escape(char: str) -> str:
    code = ord(char)
    return {"\n": "\\n", "\t": "\\t", "\r": "\\r"}.get(char) or (
        f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
    )


@lru_cache(maxsize=1024)
def _name(char: str) -> str:
    return unicodedata.name(char, "")


def _script(char: str) -> str:
    """Return the script of a character, approximated by the first word of its name."""
    return _name(char).partition(" ")[0]
