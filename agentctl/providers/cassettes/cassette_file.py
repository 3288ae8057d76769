"""The file of a cassette, ``agentctl.cassette/1``: JSON lines, a head first, which hold no key.

A line is an object with a ``kind``: the head, a ``run``, a ``provider`` of it, a ``fact`` that a server told of a
model, an ``attempt`` (one request and its answer), a ``tool`` (one call and its result), or the ``end`` of a run. Each
but the head names its ``lane``, the run that it belongs to: "" is the first one.
"""

from __future__ import annotations

import errno
import json
import os
import shlex
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from agentctl.core.errors import ProviderError, UsageError
from agentctl.core.key_shapes import find_keys
from agentctl.core.text import safe_text
from agentctl.providers.cassettes.answer_redaction import joined_texts
from agentctl.providers.cassettes.normal_form import digest

FORMAT = "agentctl.cassette/1"
_FAMILY = "agentctl.cassette/"
MOST_BYTES = 256 * 1024 * 1024
_MOST_MS = 7 * 24 * 3600 * 1000  # of one answer

Line = Mapping[str, object]


class CassetteError(ProviderError):
    """A request, or a tool call, that the cassette does not hold; nothing is sent in its place."""

    status = "unavailable"
    kind = "cassette"

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message, hint=hint, billed="no", unsent=True)


class Cassette(NamedTuple):
    """A cassette that was read: its lines by kind, and what is wrong with its end, "" if nothing is."""

    path: Path
    head: Line
    lines: tuple[Line, ...]
    flaw: str = ""

    def of(self, kind: str) -> Iterator[Line]:
        """Yield the lines of one kind, in their order."""
        return (line for line in self.lines if line["kind"] == kind)

    @property
    def end(self) -> Line | None:
        """How the recorded run ended, None if that is not known."""
        return next((line for line in self.of("end") if line["lane"] == ""), None)


def read_cassette(name: str | Path) -> Cassette:
    """Return the cassette in a file. One that was cut off is used up to there, and has a ``flaw``.

    Raises:
        UsageError: there is no such file, it is no cassette, a newer one, damaged, or it holds a key.
    """
    path = Path(name)
    first, *texts = _read(path).split("\n")
    head = _checked_head(_object(first), path)
    rest = texts.pop() if texts else ""
    lines: list[Line] = []
    for number, text in enumerate(texts, 2):
        if text.strip():
            lines.append(_checked(_parse(text, number, path), number, path))
            _refuse_keys(text, number, path)
    _refuse_keys(first, 1, path)
    flaw = f"line {len(texts) + 2} is cut off" if rest.strip() else ""
    found = Cassette(path, head, tuple(lines))
    if not flaw and found.end is None:
        flaw = "the end of the run is missing: it was killed, or its recording was stopped"
    return found._replace(flaw=flaw)


def begins_as_cassette(path: Path) -> bool:
    """Return whether a path names a regular file, itself and not by a link, whose first line is that of a cassette."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
        with os.fdopen(file, "rb") as opened:
            text = opened.readline(1024).decode("utf-8", "replace") if stat.S_ISREG(os.fstat(file).st_mode) else ""
    except (OSError, ValueError):
        return False
    head = _object(text)
    return head is not None and str(head.get("format")).startswith(_FAMILY)


def shell_name(path: Path) -> str:
    """Return a path for a command to be pasted."""
    return shlex.quote(safe_text(str(path)))


def _read(path: Path) -> str:
    named = safe_text(str(path))
    try:
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        hint = {
            errno.ENOENT: f"record it: --record {shell_name(path)}",
            errno.EACCES: f"see who may read it: ls -l {shell_name(path)}",
        }.get(getattr(error, "errno", None) or 0, "name a file that --record wrote")
        raise UsageError(f"the cassette {named} cannot be read: {why}", hint=hint) from error
    facts = os.fstat(file)
    if not stat.S_ISREG(facts.st_mode):
        os.close(file)
        raise UsageError(f"the cassette {named} is not a regular file", hint="name a file that --record wrote")
    with os.fdopen(file, "rb") as opened:
        if facts.st_size > MOST_BYTES:
            raise UsageError(
                f"the cassette {named} is larger than {MOST_BYTES // 1024**2} MiB", hint="record a shorter run"
            )
        data = opened.read(MOST_BYTES + 1)
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise _no_cassette(path) from error


def _no_cassette(path: Path) -> UsageError:
    return UsageError(f"{safe_text(str(path))} is no cassette", hint="name a file that --record wrote")


def _object(text: str) -> Line | None:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _parse(text: str, number: int, path: Path) -> Line:
    found = _object(text)
    if found is None:
        raise _damaged(path, number, "it holds no JSON object")
    if found.get("kind") == "head":
        raise UsageError(
            f"the cassette {safe_text(str(path))} holds a second recording, from line {number} on",
            hint="keep each recording in a file of its own",
        )
    return found


def _checked_head(head: Line | None, path: Path) -> Line:
    found = None if head is None else head.get("format")
    if head is None or not isinstance(found, str) or not found.startswith(_FAMILY):
        raise _no_cassette(path)
    if found != FORMAT:
        said = (
            f"the cassette {safe_text(str(path))} has the format {safe_text(found[:60])}; this agentctl reads {FORMAT}"
        )
        raise UsageError(said, hint="update agentctl, or record it again")
    return head


_FIELDS: Mapping[str, Mapping[str, type | tuple[type, ...]]] = {
    "run": {"lane": str},
    "provider": {"lane": str, "provider": str, "model": str, "base_url": str},
    "fact": {"lane": str, "name": str},
    "attempt": {"lane": str, "request": dict, "sha256": str, "headers": dict, "chunks": list, "end": str},
    "tool": {"lane": str, "tool": str, "arguments": dict, "text": str},
    "end": {"lane": str, "status": str},
}


def _checked(line: Line, number: int, path: Path) -> Line:
    """Return a line whose fields have their types; one of an unknown kind is left to later versions.

    Raises:
        UsageError: a field is missing, or of another type.
    """
    kind = line.get("kind")
    if not isinstance(kind, str):
        raise _damaged(path, number, "it has no kind")
    for name, wanted in _FIELDS.get(kind, {"lane": str}).items():
        if not isinstance(line.get(name), wanted):
            raise _damaged(path, number, f"{name} is missing or wrong")
    if kind == "attempt":
        status, error = line.get("status"), line.get("error")
        if not (status is None or (isinstance(status, int) and 100 <= status <= 999)):
            raise _damaged(path, number, "status is wrong")
        if not (error is None or isinstance(error, dict)) or (status is None and not error and line["end"] != "closed"):
            raise _damaged(path, number, "it has neither an answer nor an error")
        if line["sha256"] != digest(line["request"]):
            raise _damaged(path, number, "its SHA-256 is not that of its request")
        for chunk in chunks_of(line):
            if chunk is None:
                raise _damaged(path, number, "a chunk is wrong")
    return line


def _damaged(path: Path, number: int, why: str) -> UsageError:
    said = f"the cassette {safe_text(str(path))} is damaged: line {number}: {why}"
    return UsageError(said, hint=f"record it again: rm {shell_name(path)}")


class Chunk(NamedTuple):
    """A piece of an answer's body, and when it came, in milliseconds after its request."""

    ms: int
    data: bytes


def chunks_of(attempt: Line) -> Iterator[Chunk | None]:
    """Yield the pieces of an attempt's answer; None for one that is damaged."""
    chunks = attempt["chunks"]
    for chunk in chunks if isinstance(chunks, list) else ():
        match chunk:
            case [int(ms), str(text)] if 0 <= ms <= _MOST_MS:
                yield Chunk(ms, text.encode("utf-8", "surrogatepass"))
            case [int(ms), {"base64": str(text)}] if 0 <= ms <= _MOST_MS:
                yield _from_base64(ms, text)
            case _:
                yield None


def _from_base64(ms: int, text: str) -> Chunk | None:
    from base64 import b64decode  # noqa: PLC0415 - few answers are no text

    try:
        return Chunk(ms, b64decode(text, validate=True))
    except ValueError:
        return None


def key_in(text: str) -> str:
    """Return the kind of the first key of a well-known shape in a line of a cassette, "" if there is none.

    The pieces of an answer are decoded and joined before the search, and so are the texts of its events.
    """
    found = next(find_keys(text), None)
    if found is not None:
        return found.kind
    line = _object(text)
    if line is None or line.get("kind") != "attempt":
        return ""
    body = b"".join(chunk.data for chunk in chunks_of(line) if chunk)
    for whole in (body.decode("utf-8", "replace"), *joined_texts(body)):
        if (found := next(find_keys(whole), None)) is not None:
            return found.kind
    return ""


def _refuse_keys(text: str, number: int, path: Path) -> None:
    if kind := key_in(text):
        named = safe_text(str(path))
        raise UsageError(
            f"line {number} of the cassette {named} holds what looks like a key ({kind}), and is not used",
            hint="replace that key with a new one, as others may have read it, and record again: "
            f"rm {shell_name(path)}",
        )
