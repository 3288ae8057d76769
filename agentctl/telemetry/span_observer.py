"""The observer that sends a live run's spans and metrics, and tells its tools which span they work in.

Loaded only if a variable of OpenTelemetry asks for it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

import anyio.to_thread

from agentctl.core.events import AnswerStreamed, Record, RunFinished, RunResumed, RunStarted, ToolFinished, ToolStarted
from agentctl.core.redaction import redact
from agentctl.core.text import map_texts
from agentctl.core.trace_context import TraceContext, current_trace
from agentctl.core.version import __version__
from agentctl.journal.reader import read_with_origin
from agentctl.journal.writer import ENDING, encode_record
from agentctl.protocols import Observer
from agentctl.settings.telemetry import GRPC_PORT, HTTP_PORT, INSTALL, TelemetrySettings, TraceShare, has_extra
from agentctl.telemetry.message_content import Fields
from agentctl.telemetry.otlp_document import resource_attributes
from agentctl.telemetry.sender import Sender
from agentctl.telemetry.span_builder import SpanBuilder

LAST_S = 2.0  # how long a run may take longer for telemetry at its end


class LiveTelemetry:
    """What a run and those that it delegates to share: one thread that sends, None if nothing is sent."""

    def __init__(
        self, settings: TelemetrySettings, sender: Sender | None, secrets: Sequence[str], warn: Callable[[str], None]
    ) -> None:
        self._settings, self._sender, self._secrets, self._warn = settings, sender, tuple(secrets), warn
        self._run_id = ""

    def observers(self, runs_dir: Path, run_id: str) -> tuple[Observer, ...]:
        """Return the observer of a run, whose journal must come before it."""
        if self._sender is None:
            return ()
        self._run_id = self._run_id or run_id
        builder = SpanBuilder(
            run_id, with_content=self._settings.with_content, sample=partial(is_recorded, self._settings.sampling)
        )
        return (SpanObserver(builder, self._sender, runs_dir / f"{run_id}{ENDING}", self._secrets),)

    @property
    def closing(self) -> tuple[Callable[[], Awaitable[object]], ...]:
        """What is to be awaited at the end of the run that it was opened for."""
        return () if self._sender is None else (self.aclose,)

    async def aclose(self) -> None:
        """Wait until all is sent, at most ``LAST_S`` seconds; say it if some was not."""
        if self._sender is None:
            return
        why = await anyio.to_thread.run_sync(self._sender.finish, LAST_S)
        if why:
            places = " and ".join(dict.fromkeys(self._settings.endpoints.values()))
            grpc = f"; port {GRPC_PORT} is that of grpc, try {HTTP_PORT}" if f":{GRPC_PORT}" in places else ""
            later = f"agentctl runs export {self._run_id} --format otlp   has the spans"
            said = f"not all spans and metrics were sent to {places}: {why}{grpc} ({later})"
            self._warn(redact(said, self._secrets))


class SpanObserver:
    """Hands the spans of a run's records to ``sender``, and each tool call its own span as the current one."""

    def __init__(self, builder: SpanBuilder, sender: Sender, journal: Path, secrets: Sequence[str]) -> None:
        self._builder, self._sender, self._journal, self._secrets = builder, sender, journal, tuple(secrets)
        self._outside: TraceContext | None = None

    async def observe(self, record: Record) -> None:
        """Take a record; a fault of ours costs spans, never the run.

        It is awaited within the task that emits the record, so what it sets as current holds for what follows there.
        """
        event = record.event
        if isinstance(event, AnswerStreamed):
            return
        if isinstance(event, (RunStarted, RunResumed)) and self._builder.current is None:
            self._outside = current_trace.get()
        try:
            if isinstance(event, RunResumed):
                await anyio.to_thread.run_sync(self._read_past, record.seq)
            fields = map_texts(encode_record(record), partial(redact, secrets=self._secrets))
            self._sender.put(self._builder.add(fields if isinstance(fields, dict) else {}))
        except Exception:  # noqa: BLE001 - see above
            return
        finally:
            match event:
                case ToolStarted(call=call):
                    current_trace.set(self._builder.tool_context(call.id))
                case RunFinished():
                    current_trace.set(self._outside)
                case RunStarted() | RunResumed() | ToolFinished():
                    current_trace.set(self._builder.current)
                case _:
                    pass

    def _read_past(self, until: int) -> None:
        """Read what the journal has of the run so far; its spans were sent by the process that it was in."""
        for record in _before(read_with_origin(self._journal), self._journal.stem, until):
            self._builder.add(record)


def open_telemetry(
    settings: TelemetrySettings, run_id: str, secrets: Sequence[str], warn: Callable[[str], None]
) -> LiveTelemetry:
    """Return the telemetry of a run; ``warn`` gets a sentence about what is asked for and cannot be done."""
    sender = None
    for problem in settings.problems:
        warn(problem)
    if settings.sends and not has_extra():
        warn(f"spans and metrics are not sent: the extra otel is not installed ({INSTALL})")
    elif settings.sends:
        sender = Sender(settings, resource_attributes(settings.resource, __version__), instance=run_id)
    return LiveTelemetry(settings, sender, secrets, warn)


def is_recorded(sampling: TraceShare, trace_id: str, parent: TraceContext | None) -> bool:
    """Return whether a trace is recorded; a share of all is chosen by the trace's id, as the SDKs do."""
    if sampling.follows_parent and parent is not None:
        return parent.is_sampled
    return int(trace_id[16:], 16) < round(sampling.share * 2**64)


def _before(records: Iterable[Fields], run_id: str, until: int) -> Iterable[Fields]:
    for record in records:
        seq = record.get("seq")
        if record.get("run_id") == run_id and isinstance(seq, int) and seq >= until:
            return
        yield record
