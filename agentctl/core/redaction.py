"""Replace secrets in a text.

``redact`` writes the same mark for every secret, in text that is stored or shown. ``Redactor`` writes marks with ids,
in text that a model reads, and restores the secret if a tool call of the model contains the mark.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache

from agentctl.core.errors import ToolError
from agentctl.core.key_shapes import FoundSecret, find_keys
from agentctl.core.spellings import find_learned, find_spellings

PLAIN_MARK = "[redacted]"
_MARK = re.compile(r"\[redacted(?::[a-z0-9-]{2,40}:[0-9a-f]{6})?\]")
_NAMING_MARK = re.compile(r"\[redacted:[a-z0-9-]{2,40}:[0-9a-f]{6}\]")
_LIKE_A_MARK = re.compile(r"\[redacted[^\]\n]{0,80}\]", re.IGNORECASE)
_REMEMBERED = 256  # characters
_MOST_ROUNDS = 4
_MOST_LEARNED = 32
_SHORTEST_LEARNED = 20
_KNOWN = "known-secret"
_FOREIGN = "quoted-mark"
_NOT_LEARNED = frozenset({_FOREIGN, "private-key", "url-password", "aws-key-id", "twilio-key"})

_MakeMark = Callable[[str, str], str]


def mask(text: str, secrets: Iterable[str]) -> str:
    """Replace secrets of eight characters or more by ``[redacted]``, in each of their spellings."""
    known = tuple(secrets)
    if not known:
        return text
    return _replace(text, lambda piece: _find_known(piece, known), lambda kind, value: PLAIN_MARK)


def redact(text: str, secrets: Iterable[str]) -> str:
    """Replace ``secrets`` as ``mask`` does, and parts with the shape of a well-known key, by ``[redacted]``."""
    known = tuple(secrets)
    return _redact_cached(text, known) if len(text) <= _REMEMBERED else _redact(text, known)


@lru_cache(maxsize=1024)
def _redact_cached(text: str, known: tuple[str, ...]) -> str:
    """Redact a short text with a cache: names and short values recur with each event and each frame."""
    return _redact(text, known)


def _redact(text: str, known: tuple[str, ...]) -> str:
    def find(piece: str) -> Iterator[FoundSecret]:
        yield from _find_known(piece, known)
        yield from find_keys(piece)

    return _replace(text, find, lambda kind, value: PLAIN_MARK)


def has_mark(value: object) -> str:
    """Return the first mark of a ``Redactor`` in a JSON value, or ""."""
    if isinstance(value, str):
        found = _NAMING_MARK.search(value) if "[redacted:" in value else None
        return found[0] if found else ""
    if isinstance(value, Mapping):
        return next(filter(None, (has_mark(part) for pair in value.items() for part in pair)), "")
    if isinstance(value, (list, tuple)):
        return next(filter(None, map(has_mark, value)), "")
    return ""


class Redactor:
    """Replaces the secrets in the requests of one run to a provider; each mark identifies its secret.

    A mark is ``[redacted:KIND:ID]``. The id is derived from the secret's spelling and a number that only this object
    knows, so a guess cannot be tested against it. Text that looks like a mark of another object is replaced, too, so
    that it cannot be passed on. Keys found by their shape are then also searched for in other spellings. Several
    threads may use it at once.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._secrets = tuple(secrets)
        self._learned: dict[str, str] = {}
        self._issued: set[str] = set()
        self._salt = os.urandom(16)

    def redact(self, text: str) -> str:
        """Replace each secret in ``text`` by its mark; takes about 50 ms for a MiB."""
        return self._mark_all(text)[0]

    def count(self, text: str) -> tuple[str, int]:
        """Redact ``text``, and return it with the number of secrets."""
        redacted, found = self._mark_all(text)
        return redacted, len(found)

    def restore(self, text: str, original: str) -> str:
        """Replace the marks in ``text`` by the secrets of ``original``, the text that it replaces.

        Raises:
            ToolError: a mark does not name exactly one secret of ``original``.
        """
        if not _LIKE_A_MARK.search(text):
            return text
        _, values = self._mark_all(original)

        def secret(match: re.Match[str]) -> str:
            mark = match[0]
            found = values.get(mark, set())
            if len(found) == 1:
                return next(iter(found))
            if text.count(mark) <= original.count(mark) or not (found or values or _NAMING_MARK.fullmatch(mark)):
                return mark  # text of the file itself, or of a file without secrets
            which = "more than one secret" if found else "no secret"
            raise ToolError(
                f"nothing was written: the text holds {mark}, which stands for {which} of the old file",
                hint="keep each mark of this file as read_file shows it, and remove marks of other files",
            )

        return _LIKE_A_MARK.sub(secret, text)

    def _mark_all(self, text: str) -> tuple[str, dict[str, set[str]]]:
        """Return the redacted text, and the meaning of each of its new marks."""
        values: dict[str, set[str]] = {}

        def mark(kind: str, value: str) -> str:
            made = self._mark(kind, value)
            values.setdefault(made, set()).add(value)
            return made

        return _replace(text, self._find, mark, is_ours=self._issued.__contains__), values

    def _find(self, text: str) -> Iterator[FoundSecret]:
        yield from _find_known(text, self._secrets)
        for value, start, end in find_learned(text, tuple(self._learned)):
            yield FoundSecret(start, end, self._learned[value])
        yield from find_keys(text)
        for match in _NAMING_MARK.finditer(text):
            if match[0] not in self._issued:
                yield FoundSecret(*match.span(), _FOREIGN)

    def _mark(self, kind: str, value: str) -> str:
        import hashlib  # noqa: PLC0415 - most texts have no secret

        identity = hashlib.blake2b(value.encode("utf-8", "surrogatepass"), key=self._salt, digest_size=3).hexdigest()
        made = f"[redacted:{kind}:{identity}]"
        self._issued.add(made)
        if kind not in _NOT_LEARNED and len(value) >= _SHORTEST_LEARNED and len(self._learned) < _MOST_LEARNED:
            self._learned.setdefault(value, kind)
        return made


def _find_known(text: str, secrets: Iterable[str]) -> Iterator[FoundSecret]:
    return (FoundSecret(start, end, _KNOWN) for start, end in find_spellings(text, secrets))


def _replace(
    text: str,
    find: Callable[[str], Iterable[FoundSecret]],
    make_mark: _MakeMark,
    *,
    is_ours: Callable[[str], bool] = lambda mark: True,
) -> str:
    """Replace the matches of ``find``, and search again where a key may begin at the end of another.

    A match that overlaps a mark for which ``is_ours`` is true stays.
    """
    for _ in range(_MOST_ROUNDS):
        spans = _merge_overlaps(find(text))
        if not spans:
            break
        ours = [match.span() for match in _MARK.finditer(text) if match[0] == PLAIN_MARK or is_ours(match[0])]
        pieces: list[str] = []
        done, again = 0, False
        for span in _outside_marks(spans, ours):
            pieces += (text[done : span.start], make_mark(span.kind, text[span.start : span.end]))
            done = span.end
            again = again or text[done : done + 1].isalnum()
        text = "".join((*pieces, text[done:])) if done else text
        if not again:
            break
    return text


def _merge_overlaps(found: Iterable[FoundSecret]) -> list[FoundSecret]:
    """Merge overlapping spans into one of the kind of the longest."""
    spans = sorted(found, key=lambda span: (span.start, -span.end))
    united: list[FoundSecret] = []
    longest = 0
    for span in spans:
        size = span.end - span.start
        if united and span.start < united[-1].end:
            last = united[-1]
            kind = span.kind if size > longest else last.kind
            united[-1] = FoundSecret(last.start, max(last.end, span.end), kind)
            longest = max(longest, size)
        else:
            united.append(span)
            longest = size
    return united


def _outside_marks(spans: Iterable[FoundSecret], marks: list[tuple[int, int]]) -> Iterator[FoundSecret]:
    """Yield the spans that overlap none of the marks; both are sorted."""
    place = 0
    for span in spans:
        while place < len(marks) and marks[place][1] <= span.start:
            place += 1
        if place == len(marks) or marks[place][0] >= span.end:
            yield span
