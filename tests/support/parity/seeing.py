"""Send one case by one client, through the real money path: what was on the wire, what came back, what it cost."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from agentctl.core.errors import AgentctlError
from agentctl.core.events import CallDoubted, CallSettled, CallVoided, Event
from agentctl.core.limits import CostLimit
from agentctl.core.messages import Completion, Delta, Reported, Request, Usage
from agentctl.core.pricing import ModelFacts, Price
from agentctl.ledger import SqliteLedger
from agentctl.providers.remote import RemoteProvider
from agentctl.providers.routes import Client
from agentctl.runner.model_calls import ModelCalls
from tests.support.ledger.process import IN_MEMORY
from tests.support.parity.cases import Case
from tests.support.wire.server import Answer, Heard, WireServer

#: The headers that the providers' documents ask for.
_ASKED_FOR = ("authorization", "x-api-key", "api-key", "anthropic-version", "anthropic-beta", "content-type")
_MADE_UP = re.compile(r"(call_)?[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|call_\d{1,3}")
_UNLIMITED = CostLimit(max_cost_per_task=None, max_cost_per_hour=None, max_tokens_per_task=None)

Seen = Mapping[str, Any]


@dataclass(slots=True)
class _Listener:
    """A provider that passes everything on and remembers the pieces; it changes a request as the case says."""

    provider: RemoteProvider
    case: Case
    text: str = ""
    completion: Completion | None = None
    error: BaseException | None = None

    @property
    def facts(self) -> ModelFacts:
        return self.provider.facts

    def price_of(self, model: str, /, *, tier: str = "") -> Price | None:
        return self.provider.price_of(model, tier=tier)

    async def stream(self, request: Request) -> AsyncIterator[Delta | Reported | Completion]:
        request = replace(request, followed=self.case.followed, writes=self.case.writes)
        try:
            async for piece in self.provider.stream(request):
                if isinstance(piece, Delta):
                    self.text += piece.text
                elif isinstance(piece, Completion):
                    self.completion = piece
                yield piece
        except AgentctlError as error:
            self.error = error
            raise


async def see(case: Case, format: str, via: Client, name: str = "") -> Seen:
    """Send the case by one client to a server of its own; return what can be compared, as plain values by name.

    ``name`` is another provider than the format's own.
    ``wire`` has each request as it arrived, ``answer`` the completion, ``error`` what was raised instead, ``charge``
    what the ledger wrote, in nano-dollars. ``billed`` are the tokens by class that the server reported, None where the
    case has no such report.
    """
    with WireServer(case.step(format), repeat=True) as server:
        return await _send(server, case, case.provider(server, format, via, name), format)


async def _send(server: WireServer, case: Case, provider: RemoteProvider, format: str) -> Seen:
    heard = _Listener(provider, case)
    events: list[Event] = []

    async def emit(event: Event) -> None:
        events.append(event)

    with tempfile.TemporaryDirectory(dir=IN_MEMORY) as folder:
        ledger = SqliteLedger(Path(folder) / "ledger.db", pause_s=0.01)
        await ledger.open_run("run", _UNLIMITED, task="t", agent="a", labels={})
        calls = ModelCalls(
            provider=heard,
            ledger=ledger,
            run_id="run",
            limits=_UNLIMITED,
            emit=emit,
            max_output_tokens=case.clamp,
            retries=0,
            silence_s=20.0,
        )
        raised: BaseException | None = None
        try:
            await calls.ask(case.messages, case.tools)
        except AgentctlError as error:
            raised = error
        finally:
            await ledger.aclose()
            await provider.aclose()
    return {
        "client": provider.client,
        "wire": [_request(one) for one in server.books.requests],
        "text": heard.text,
        "answer": _answer(heard.completion),
        "error": _error(heard.error),
        "raised": _error(raised),
        "billed": _billed(server, case, format),
        "charge": [_charge(event) for event in events if isinstance(event, CallSettled | CallVoided | CallDoubted)],
    }


def _request(heard: Heard) -> Mapping[str, object]:
    """Return a request as it arrived: its body parsed, so that spaces and the order of fields do not count."""
    headers = {name: value for name, value in heard.headers.items() if name in _ASKED_FOR}
    body: object = heard.raw.decode("utf-8", "replace")
    with suppress(ValueError):
        body = json.loads(heard.raw)
    return {"method": heard.method, "path": heard.path, "headers": headers, "body": body}


def _answer(completion: Completion | None) -> Mapping[str, object] | None:
    """Return a completion's fields; the ids of calls that the answer left out are numbered alike."""
    if completion is None:
        return None
    found = {field.name: getattr(completion, field.name) for field in fields(completion)}
    found["tool_calls"] = [
        (f"made up {number}" if _MADE_UP.fullmatch(call.id) else call.id, call.name, call.arguments)
        for number, call in enumerate(completion.tool_calls, 1)
    ]
    return found


def _billed(server: WireServer, case: Case, format: str) -> Usage | None:
    """Return what the server reported; Ollama reports neither what it cached nor what it thought."""
    step = case.step(format)
    if not (isinstance(step, Answer) and step.garbage is None and step.usage == "report" and server.books.entries):
        return None
    tokens = server.books.entries[0].tokens
    if format == "ollama":
        return Usage(tokens.input, tokens.output)
    return Usage(tokens.input, tokens.output, tokens.cached, tokens.cache_write, tokens.reasoning)


def _error(error: BaseException | None) -> Mapping[str, object] | None:
    if error is None:
        return None
    names = ("kind", "status", "message", "hint", "billed", "unsent", "retryable", "retry_after", "window", "prompt")
    found = {name: _portless(getattr(error, name, None)) for name in (*names, "affordable")}
    return {"type": type(error).__name__, **found}


def _charge(event: CallSettled | CallVoided | CallDoubted) -> tuple[object, ...]:
    match event:
        case CallSettled():
            return ("settled", event.usage, event.cost_nano, event.overrun)
        case CallVoided():
            return ("void", _portless(event.reason))
        case CallDoubted():
            return ("doubt", event.nano, event.tokens, _portless(event.reason))


def _portless(value: object) -> object:
    """Return a text without the port of the server, which is another one each time."""
    return re.sub(r"(127\.0\.0\.1):\d+", r"\1", value) if isinstance(value, str) else value
