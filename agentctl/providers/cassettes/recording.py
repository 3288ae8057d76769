"""Record a run: its requests and answers, what servers told of their models, and the results of its tools.

A recording that cannot be written, or would hold a key, stops, is told of at the end of the run, and costs the run
nothing. What was written until then can be replayed.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Self, TypeVar

from agentctl.core.errors import StateError, UsageError
from agentctl.core.events import (
    CallDoubted,
    CallSettled,
    MessageAdded,
    Record,
    RunFinished,
    RunResumed,
    RunStarted,
    ToolDenied,
    ToolFinished,
)
from agentctl.core.messages import ToolCall
from agentctl.core.redaction import mask
from agentctl.core.results import ErrorInfo, LimitUse
from agentctl.core.text import map_texts, safe_text
from agentctl.core.version import __version__
from agentctl.providers.cassettes.answer_redaction import hide_secrets
from agentctl.providers.cassettes.cassette_file import FORMAT, begins_as_cassette, key_in, shell_name
from agentctl.providers.cassettes.lane import Lane
from agentctl.providers.cassettes.normal_form import digest
from agentctl.providers.network import Network

if TYPE_CHECKING:
    import httpx

T = TypeVar("T")

#: The headers of an answer that decide what a run does; no other is recorded.
HEADERS = frozenset({"content-type", "retry-after", "retry-after-ms", "cf-mitigated", "x-amzn-waf-action", "location"})


class Recording:
    """A new cassette in a file, of mode 0600. ``trouble`` says why it has stopped, "" if it has not."""

    def __init__(self, name: str) -> None:
        self.path, self.trouble, self.secrets = Path(name).absolute(), "", tuple[str, ...]()
        self.spent_nano = 0  # by the runs in it, and by what went before them
        self._file: int | None = None
        self._size = 0
        self._is_empty = True

    def open(self) -> None:
        """Create the file.

        Raises:
            UsageError: it exists.
            StateError: it cannot be created.
        """
        named = safe_text(str(self.path))
        try:
            self._file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except FileExistsError as error:
            hint = "name a file that does not exist yet"
            if begins_as_cassette(self.path):  # of nothing else it is suggested that it be removed
                given = shell_name(self.path)
                hint = f"replay it: --replay {given}   (or remove it, to record again: rm {given})"
            raise UsageError(f"the cassette {named} exists, and is not overwritten", hint=hint) from error
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or str(error)
            raise StateError(
                f"the cassette {named} cannot be created: {why}", hint="name a file in a folder that can be written to"
            ) from error
        head = {"kind": "head", "format": FORMAT, "agentctl": __version__, "recorded_at": f"{datetime.now(UTC):%FT%TZ}"}
        self.write(head)
        if self.trouble:
            self.close()
            raise StateError(
                f"the cassette {named} cannot be written: {self.trouble}", hint="name a file on another disk"
            )

    def write(self, line: Mapping[str, object]) -> None:
        """Write one line, without the user's secrets; a line that holds a key, or cannot be written, is the end."""
        if self._file is None or self.trouble:
            return
        self._is_empty = self._is_empty and line["kind"] != "run"
        hidden = map_texts({name: value for name, value in line.items() if name != "chunks"}, self._mask)
        whole = {**hidden, "chunks": line["chunks"]} if "chunks" in line and isinstance(hidden, dict) else hidden
        text = json.dumps(whole, ensure_ascii=False)
        if kind := key_in(text):
            self.trouble = f"it would hold what looks like a key ({kind})"
            return
        data = f"{text}\n".encode("utf-8", "surrogatepass")
        try:
            self._write(data)
            self._size += len(data)
        except OSError as error:
            self.trouble = error.strerror or str(error)
            with suppress(OSError):  # half a line would be in the way of the next reader
                os.ftruncate(self._file, self._size)

    def _write(self, data: bytes) -> None:
        left = memoryview(data)
        while left and self._file is not None:
            left = left[os.write(self._file, left) :]

    def _mask(self, text: str) -> str:
        return mask(text, self.secrets)

    def close(self) -> None:
        """Close the file; one of a run that did not begin is removed."""
        if self._file is None:
            return
        file, self._file = self._file, None
        with suppress(OSError):
            os.fsync(file)
        os.close(file)
        if self._is_empty:
            with suppress(OSError):
                self.path.unlink()


def _as_text(data: bytes) -> object:
    try:
        return data.decode()
    except UnicodeDecodeError:
        from base64 import b64encode  # noqa: PLC0415 - few answers are cut within a character

        return {"base64": b64encode(data).decode("ascii")}


class RecordingLane(Lane):
    """One run of a recording."""

    def __init__(self, recording: Recording, name: str = "", *, parent: Lane | None = None) -> None:
        super().__init__(name, parent=parent)
        self.recording = recording
        self._asked: dict[str, Mapping[str, object]] = {}
        self._denied: dict[str, ToolDenied] = {}

    @property
    def path(self) -> Path:
        """The file."""
        return self.recording.path

    def begin(self, run_id: str, loaded: object, workdir: str) -> None:
        """Begin with a run; the first one creates the file.

        Raises:
            UsageError: the file exists.
            StateError: it cannot be created.
        """
        super().begin(run_id, loaded, workdir)  # type: ignore[arg-type]
        self.recording.secrets = tuple(dict.fromkeys((*self.recording.secrets, *loaded.secrets)))  # type: ignore[attr-defined]
        if not self.name:
            self.recording.open()

    def _open(self, name: str) -> Self:
        return type(self)(self.recording, name, parent=self)

    def network(self, provider: str, model: str | None, base_url: str, client: str | None) -> Network:
        """Return the network of a provider, which is noted."""
        facts = {"provider": provider, "model": model, "base_url": base_url, "client": client}
        self.write("provider", **facts)
        return RecordingNetwork(self, provider, model)

    def write(self, kind: str, **fields: object) -> None:
        """Write a line of this lane."""
        self.recording.write({"kind": kind, "lane": self.name, **fields})

    async def observe(self, record: Record) -> None:
        """Write the beginning and the end of the run, and the results of its tools."""
        match record.event:
            case RunStarted() | RunResumed() as event:
                used = {use.name: use.used for use in event.limits}
                self.recording.spent_nano += 0 if self.name else _used_of_task(event.limits)
                sandbox = event.sandbox if isinstance(event, RunStarted) else None
                self.write(
                    "run",
                    task=event.task,
                    agent=event.agent,
                    sandbox=sandbox,
                    hour_nano=used.get("max_cost_per_hour", 0),
                )
            case CallSettled(cost_nano=nano) | CallDoubted(nano=nano):
                self.recording.spent_nano += nano or 0
            case MessageAdded(message=message):
                self._asked |= {call.id: call.arguments for call in message.tool_calls}
                if (denied := self._denied.pop(message.tool_call_id or "", None)) is not None:
                    hint = message.text.partition("\nhint: ")[2]
                    self._write_tool(denied.call, message.text, ErrorInfo("denied", denied.reason, hint))
            case ToolDenied() as event:
                self._denied[event.call.id] = event
            case ToolFinished(call=call, text=text, error=error):
                self._write_tool(call, text, error)
            case RunFinished(result=result):
                self.write("end", status=result.status, cost_nano=result.cost_nano)
                if not self.name:
                    self.recording.close()
            case _:
                pass

    def _write_tool(self, call: ToolCall, text: str, error: ErrorInfo | None) -> None:
        """Write a call as the model asked for it, and its result."""
        arguments = self.normal.arguments(self._asked.get(call.id, call.arguments))
        said = None if error is None else error._asdict()
        self.write("tool", tool=call.name, arguments=arguments, text=text, error=said)

    def notes(self, limits: Sequence[LimitUse] = ()) -> tuple[str, ...]:
        """Return the warnings about a recording that has stopped, and about runs that are not in it."""
        if self.name:
            return ()
        found = [f"the cassette {self.path} is incomplete: {self.recording.trouble}"] if self.recording.trouble else []
        if _used_of_task(limits) > self.recording.spent_nano:
            said = "a command of this run started runs with calls of their own, which are not in the cassette"
            found.append(f"{said}: replay it with --replay-tools")
        return tuple(found)


class RecordingNetwork(Network):
    """The network of one provider, of whose answers a recording is made."""

    def __init__(self, lane: RecordingLane, provider: str, model: str | None) -> None:
        self._lane, self._provider, self._model = lane, provider, model

    def connect(self, url: str) -> httpx.AsyncBaseTransport:
        """Return connections that record."""
        from agentctl.providers.cassettes.transports import RecordingTransport  # noqa: PLC0415 - needs httpx

        return RecordingTransport(url, self)

    def ask(self, name: str, question: Callable[[], T], *, missing: T) -> T:
        """Ask, and record the answer."""
        answer = question()
        self._lane.write("fact", name=name, value=answer)
        return answer

    def begin(self, body: bytes) -> RecordedAttempt:
        """Return the recording of an attempt, whose request is about to be sent."""
        return RecordedAttempt(self._lane, self._provider, self._model, body)


class RecordedAttempt:
    """The recording of one attempt, which is written once: when its answer is whole, broken, or not wanted any more."""

    def __init__(self, lane: RecordingLane, provider: str, model: str | None, body: bytes) -> None:
        self._lane, self._provider, self._model = lane, provider, model
        self._request = lane.normal.request(json.loads(body))
        self._began = time.monotonic()
        self._status: int | None = None
        self._headers: dict[str, str] = {}
        self._answered_ms: int | None = None
        self._pieces: list[tuple[int, bytes]] = []
        self._is_written = False

    @property
    def _ms(self) -> int:
        return round((time.monotonic() - self._began) * 1000)

    def answer(self, status: int, headers: Mapping[str, str]) -> None:
        """Take the status and the headers of the answer."""
        self._status, self._answered_ms = status, self._ms
        self._headers = {name: _as_seconds(value) for name in sorted(HEADERS) if (value := headers.get(name))}

    def add(self, data: bytes) -> None:
        """Take a piece of the answer's body."""
        self._pieces.append((self._ms, data))

    def end(self) -> None:
        """Write it: the whole answer came."""
        self._write("complete")

    def fail(self, error: Mapping[str, object]) -> None:
        """Write it: the connection failed."""
        self._write("error", error)

    def close(self) -> None:
        """Write it, if that is not done: its client went away."""
        self._write("closed")

    def _write(self, end: str, error: Mapping[str, object] | None = None) -> None:
        if self._is_written:
            return
        self._is_written = True
        pieces = hide_secrets(self._pieces, self._lane.recording.secrets)
        self._lane.write(
            "attempt",
            provider=self._provider,
            model=self._model,
            sha256=digest(self._request),
            request=self._request,
            status=self._status,
            headers=self._headers,
            answered_ms=self._answered_ms,
            chunks=[[ms, _as_text(data)] for ms, data in pieces],
            end=end,
            end_ms=self._ms,
            error=error,
        )


def _used_of_task(limits: Sequence[LimitUse]) -> int:
    return next((use.used for use in limits if use.name == "max_cost_per_task"), 0)


def _as_seconds(value: str) -> str:
    """Return the value of a header; a date to wait for, which would be past in a replay, in seconds from now."""
    try:
        at = parsedate_to_datetime(value)
    except ValueError:
        return value
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return str(max(0, round((at - datetime.now(UTC)).total_seconds())))
