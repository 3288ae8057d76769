"""Take the engine's JSON apart without trust: a field that is missing or of another kind is simply not there."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from agentctl.core.errors import EngineUnavailable
from agentctl.core.text import did_you_mean

Doc = Mapping[str, object]


def documents(answer: object) -> list[Doc]:
    """Return the objects of a list.

    Raises:
        EngineUnavailable: the answer is no list.
    """
    if not isinstance(answer, list):
        raise EngineUnavailable("The container engine answered in a form that is not understood (no list).")
    return [entry for entry in answer if isinstance(entry, dict)]


def document(answer: object) -> Doc:
    """Return the answer as one object.

    Raises:
        EngineUnavailable: it is none.
    """
    if not isinstance(answer, dict):
        raise EngineUnavailable("The container engine answered in a form that is not understood (no object).")
    return answer


def at(doc: object, *path: str) -> object:
    """Return what lies at ``path``, or None."""
    for name in path:
        if not isinstance(doc, Mapping):
            return None
        doc = doc.get(name)
    return doc


def text(doc: object, *path: str) -> str:
    """Return the text at ``path``, or an empty one."""
    value = at(doc, *path)
    return value if isinstance(value, str) else ""


def number(doc: object, *path: str) -> int:
    """Return the whole number at ``path``, or 0."""
    value = at(doc, *path)
    return int(value) if isinstance(value, int | float) and abs(value) < 2**64 else 0


def many(doc: object, *path: str) -> list[Doc]:
    """Return the objects of the list at ``path``."""
    value = at(doc, *path)
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def texts(doc: object, *path: str) -> list[str]:
    """Return the texts of the list at ``path``."""
    value = at(doc, *path)
    return [entry for entry in value if isinstance(entry, str)] if isinstance(value, list) else []


def fields(doc: object, *path: str) -> Doc:
    """Return the object at ``path``, or an empty one."""
    value = at(doc, *path)
    return value if isinstance(value, dict) else {}


def moment(doc: object, *path: str) -> datetime | None:
    """Return the time at ``path`` (seconds, or RFC 3339 with up to nine decimals), or None; year 1 means never."""
    value = at(doc, *path)
    try:
        if isinstance(value, int | float):
            return datetime.fromtimestamp(value, UTC)
        if isinstance(value, str) and not value.startswith("0001-"):
            found = datetime.fromisoformat(value)
            return found if found.tzinfo else found.replace(tzinfo=UTC)
    except (ValueError, OverflowError, OSError):
        pass
    return None


def names_of(container: Doc) -> list[str]:
    """Return a listed container's names without the slash; names of links to it are left out."""
    names = [name.removeprefix("/") for name in texts(container, "Names")]
    return [name for name in names if "/" not in name] or [text(container, "Id")[:12]]


def nearest(word: str, known: list[str]) -> str:
    """Return ``did you mean "x"?``: by likeness, else the only name that holds the word; or an empty string."""
    if near := did_you_mean(word, known):
        return near
    holding = sorted(name for name in known if word.lower() in name.lower())
    return f'did you mean "{holding[0]}"?' if word and len(holding) == 1 else ""
