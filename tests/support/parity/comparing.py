"""Where two things that were seen differ, and which of these differences are meant. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import NamedTuple

from tests.support.parity.seeing import Seen

MISSING = "(missing)"


class Difference(NamedTuple):
    """One place where the clients differ: its path, such as ``wire.0.body.max_tokens``, and both values."""

    path: str
    lean: object
    litellm: object

    def __str__(self) -> str:
        return f"{self.path}: lean {_short(self.lean)}, litellm {_short(self.litellm)}"


class Meant(NamedTuple):
    """A difference that is meant: in which cases, at which path, and what the provider's document says.

    ``cases`` is a pattern of names. So is each part of ``path``; a last ``**`` is everything below. ``right`` is the
    client that keeps to the document at ``source``.
    """

    cases: str
    path: str
    right: str
    why: str
    source: str

    def covers(self, case: str, difference: Difference) -> bool:
        """Return whether this is about the difference of a case."""
        wanted, found = self.path.split("."), difference.path.split(".")
        if wanted[-1] == "**":
            wanted, found = wanted[:-1], found[: len(wanted) - 1]
        fits = len(wanted) == len(found) and all(map(fnmatchcase, found, wanted))
        return fits and fnmatchcase(case, self.cases)


def differences(lean: Seen, litellm: Seen) -> tuple[Difference, ...]:
    """Return every place where two sendings of one case differ; the client's own name does not count."""
    without = ({name: value for name, value in seen.items() if name != "client"} for seen in (lean, litellm))
    return tuple(_differences("", *without))


def _differences(path: str, one: object, other: object) -> Iterator[Difference]:
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        for name in sorted({*one, *other}, key=str):
            yield from _differences(f"{path}.{name}".lstrip("."), one.get(name, MISSING), other.get(name, MISSING))
    elif isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)) and len(one) == len(other):
        for place, (left, right) in enumerate(zip(one, other, strict=True)):
            yield from _differences(f"{path}.{place}".lstrip("."), left, right)
    elif (one != other or type(one) is not type(other)) and not (one != one and other != other):
        yield Difference(path, one, other)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:120]}…{text[-60:]}"
