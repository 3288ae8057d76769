"""Find the names in messages that a later turn may need again, verbatim: identifiers, paths, numbers. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence, Set

from agentctl.core.messages import Message

_WORD = re.compile(r"[\w@~$#][\w@~$#./:+-]*")
_INSIDE = re.compile(r"\d|_|/\w|\w[.:@#-]\w|[a-z][A-Z]")
_JOINTS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_/:-@#")
_LEAST, _MOST = 3, 60  # characters of a name
_HEAD, _TAIL = 8_000, 4_000  # characters of a text that are read: all of most
_SAID = 8  # a name in the assistant's words or calls counts as much as this many in results
_KEPT = 2  # a name of the notes, as such a word


def names_in(text: str) -> set[str]:
    """Return the names in ``text``: words with a digit, an underscore, a separator or a capital inside.

    >>> sorted(names_in("see src/app.py:12, get_user and getUser; retry 3 of req-4f2a. And so on"))
    ['getUser', 'get_user', 'req-4f2a', 'src/app.py:12']
    """
    if len(text) > _HEAD + _TAIL:
        text = f"{text[:_HEAD]}\n{text[-_TAIL:]}"
    found: set[str] = set()
    for piece in set(text.split()):  # most pieces are plain words, or were seen before
        if not piece.isalpha() or not (piece.islower() or piece.istitle()):
            for word in _WORD.findall(piece):
                word = word.rstrip("./:+-")
                if _LEAST <= len(word) <= _MOST and _INSIDE.search(word):
                    found.add(word)
    return found


def names_of(message: Message) -> set[str]:
    """Return the names in the text of a message and in its calls."""
    return set().union(*map(names_in, _texts(message)))


def best_names(
    gone: Sequence[Message],
    known: Sequence[str],
    left: Iterable[Message],
    names: Callable[[Message], Set[str]] = names_of,
) -> Iterator[str]:
    """Yield the names of ``gone`` (oldest first) and those ``known`` before that are not in ``left``, the best first.

    The more often and the later a name was used, and above all by the assistant itself, the better. ``names`` returns
    those of a message.
    """
    worth: dict[str, float] = {name: _KEPT * (1.5 - at / len(known)) for at, name in enumerate(known)}
    for at, message in enumerate(gone):
        each = (_SAID if message.role == "assistant" else 1) * (0.5 + at / len(gone))
        for name in names(message):
            worth[name] = worth.get(name, 0) + each
    there = "\n" + "\n".join([text for message in left for text in _texts(message)])
    for name, _ in sorted(worth.items(), key=lambda one: (-one[1], one[0])):
        if not _stands(name, there):
            yield name


def _stands(name: str, text: str) -> bool:
    """Return whether ``name`` stands in ``text``, not as a part of a longer one."""
    at = text.find(name)
    while at >= 0:
        end = at + len(name)
        if text[at - 1 : at] not in _JOINTS and text[end : end + 1] not in _JOINTS:
            return True
        at = text.find(name, at + 1)
    return False


def _texts(message: Message) -> list[str]:
    calls = [
        f"{call.name} {' '.join([f'{key} {value}' for key, value in call.arguments.items()])}"
        for call in message.tool_calls
    ]
    return [message.text, *calls]
