"""Send requests by litellm: each passes the gate, and its chunks come back as pieces.

litellm itself is loaded in the background, before the first request.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from types import ModuleType
from typing import TYPE_CHECKING, Any

from agentctl.core.pricing import ModelFacts
from agentctl.providers import litellm_loader
from agentctl.providers.chat_format import add_cache_marks, as_messages, as_tools
from agentctl.providers.routes import Outgoing, Route
from agentctl.providers.wires import anthropic_messages, ollama_chat, openai_chat
from agentctl.providers.wires.exchange import CallPiece, Piece

if TYPE_CHECKING:
    import httpx

    from agentctl.providers.http_gate import Attempt, RequestTerms
    from agentctl.providers.responses_client import ResponsesAnswer

_WIRES = {"openai_chat": openai_chat, "anthropic_messages": anthropic_messages, "ollama_chat": ollama_chat}
TIMEOUT_S = 900.0  # longer than any answer: the caller keeps the deadlines


def make_litellm_client(route: Route, facts: ModelFacts, *, is_own: bool = False) -> LiteLLMClient:
    """Return the client for a model: a special one if that speaks only the Responses format."""
    if facts.responses:
        from agentctl.providers.responses_client import ResponsesClient  # noqa: PLC0415 - few models need it

        return ResponsesClient(route, reasons=facts.reasoning)
    return LiteLLMClient(route, is_own=is_own)


class LiteLLMClient:
    """Calls the models of one provider by litellm; ``is_own``: it is one of the user's own."""

    def __init__(self, route: Route, *, is_own: bool = False) -> None:
        self._route, self._is_own = route, is_own

    async def prepare(self) -> None:
        """Wait until litellm is loaded.

        Raises:
            UsageError: it cannot be loaded.
        """
        await litellm_loader.wait_for_litellm()

    async def address(self, model: str, key: str | None, base_url: str) -> tuple[str | None, str]:
        """Return the key and the address to use; litellm reads missing ones from the environment."""
        litellm = await litellm_loader.wait_for_litellm()
        name = f"{self._route.prefix}/{model}"
        _, _, found_key, found_url = litellm.get_llm_provider(name, api_base=base_url or None, api_key=key)
        return key or found_key, base_url or found_url or ""

    def attempt(self, terms: RequestTerms) -> Attempt:
        """Return the attempt for a request."""
        from agentctl.providers.http_gate import Attempt  # noqa: PLC0415 - httpx comes with litellm

        return Attempt(terms, self._route.reader())

    def send(
        self, outgoing: Outgoing, attempt: Attempt, network: httpx.AsyncBaseTransport
    ) -> LiteLLMAnswer | ResponsesAnswer:
        """Return the answer to a request, which is sent as soon as its first piece is asked for."""
        key = outgoing.key or "none" if self._is_own else outgoing.key  # litellm wants one; the gate sends what is due
        return LiteLLMAnswer(self._route, outgoing._replace(key=key), attempt, network)


class LiteLLMAnswer(AsyncIterator[Piece]):
    """The pieces of an answer as litellm reads it."""

    def __init__(self, route: Route, outgoing: Outgoing, attempt: Attempt, network: httpx.AsyncBaseTransport) -> None:
        self._route, self._outgoing, self._attempt, self._network = route, outgoing, attempt, network
        self._chunks: Any = None
        self._thought = ""  # by the wire's own module, and not passed on yet
        self._said = self._ours = ""  # the text so far: as litellm reads it, and as the wire's own module does
        self._calls = list[CallPiece]()
        self._places, self._filled = dict[str, int | None](), set[int | None]()  # of litellm's calls
        self._has_more = self._is_over = False  # litellm gave a thought or a call

    async def __anext__(self) -> Piece:
        if self._is_over:
            raise StopAsyncIteration
        try:
            if self._chunks is None:
                self._chunks = await self._send(await litellm_loader.wait_for_litellm())
            piece = piece_of(await anext(self._chunks))
        except Exception:
            self._is_over = True
            if (lost := await self._lost()) is None:
                raise
            return lost
        litellm_loader.resume_gc()
        self._read_along()
        if self._route.wire == "ollama_chat":  # litellm takes the tags of reasoning away, and leaves what is in them
            piece = piece._replace(text=self._ours[len(self._said) :], thought=self._thought)
            self._thought = ""
        self._said += piece.text
        self._has_more = self._has_more or bool(piece.thought or piece.calls)
        for call in piece.calls:
            self._places.update({call.id: call.place} if call.id else {})
            self._filled |= {call.place} if call.arguments else set()
        if not piece.stop:
            return piece
        self._is_over = True  # otherwise litellm would invent missing fields, which takes a second
        lost = await self._lost()
        if lost is None:
            return piece
        return piece._replace(text=piece.text + lost.text, calls=piece.calls + lost.calls)

    def _read_along(self) -> None:
        """Read the events that came by the module of their wire."""
        wire = _WIRES.get(self._route.wire or "")
        while self._attempt.events:
            event = self._attempt.events.popleft()
            piece = None if wire is None or event is None else wire.piece(event)
            if piece is not None:
                is_again = piece.is_whole and bool(self._ours)
                self._ours += "" if is_again else piece.text
                self._calls += piece.calls
                self._thought += piece.thought

    async def _lost(self) -> Piece | None:
        """Return what litellm leaves out of an answer, None if that is nothing.

        It knows no text behind a finish reason, no answer that is not streamed, and no data over several lines.
        """
        if self._attempt.is_error or self._attempt.reader.error is not None:
            return None
        while await self._attempt.read_late():
            self._read_along()
        self._read_along()
        if missing := tuple(self._missing_arguments()):
            return Piece(calls=missing)
        if self._has_more or not self._ours.startswith(self._said):
            return None
        text, calls = self._ours[len(self._said) :], tuple(self._calls)
        return Piece(text, calls=calls) if text or calls else None

    def _missing_arguments(self) -> Iterator[CallPiece]:
        """Yield the arguments that came whole at the beginning of a call, where litellm expects none."""
        for call in self._calls:
            place = self._places.get(call.id)
            if call.arguments and place is not None and place not in self._filled:
                yield CallPiece(place, arguments=call.arguments, opens=False)

    async def aclose(self) -> None:
        """Close litellm's stream."""
        litellm_loader.resume_gc()
        if self._chunks is not None:
            await self._chunks.aclose()

    async def _send(self, litellm: ModuleType) -> Any:  # noqa: ANN401 - litellm's
        """Return litellm's stream of an answer."""
        from agentctl.providers.http_gate import Gate  # noqa: PLC0415 - httpx comes with litellm

        route, (request, facts, key, base_url) = self._route, self._outgoing
        options: dict[str, object] = {**route.extra, **facts.model_options}
        if facts.temperature is not None:
            options["temperature"] = facts.temperature
        left_out, clamp_name = facts.refusals.left_out, facts.refusals.clamp_name or "max_tokens"
        options = {name: value for name, value in options.items() if name not in left_out}
        extra_body = {name: value for name, value in facts.options.items() if name not in left_out}
        messages = as_messages(request.messages)
        if request.tools:
            options["tools"] = as_tools(request.tools)
        elif route.wire == "anthropic_messages" and any(message.tool_calls for message in request.messages):
            options["tools"] = as_tools([anthropic_messages.NO_TOOL])
        if request.answer_format is not None:
            options["response_format"] = openai_chat.format_of(request.answer_format)
        if facts.marks:
            messages = add_cache_marks(messages, followed=request.followed)
        if facts.asks_for_usage:
            known = litellm.get_supported_openai_params(model=facts.model, custom_llm_provider=route.prefix) or ()
            usage = {"stream_options": {"include_usage": True}}
            (options if "stream_options" in known else extra_body).update(usage)
        if extra_body:
            options["extra_body"] = extra_body
        return await litellm.acompletion(
            model=f"{route.prefix}/{facts.model}",
            messages=messages,
            stream=True,
            max_retries=0,
            num_retries=0,
            timeout=TIMEOUT_S,
            client=litellm_loader.make_client(Gate(self._network, self._attempt)),
            api_key=key,
            api_base=base_url or None,
            _skip_responses_api_bridge=True,  # it posts by a client of its own, past our gate
            **{**options, clamp_name: facts.clamp},
        )


def piece_of(chunk: Any) -> Piece:  # noqa: ANN401 - litellm's
    """Return litellm's chunk as a piece."""
    if not chunk.choices:
        return Piece()
    choice = chunk.choices[0]
    delta = choice.delta
    calls = getattr(delta, "tool_calls", None) or ()
    return Piece(
        text=getattr(delta, "content", None) or "",
        thought=getattr(delta, "reasoning_content", None) or "",
        calls=tuple(_call_of(place, call) for place, call in enumerate(calls)),
        stop=choice.finish_reason or "",
    )


def _call_of(place: int, call: Any) -> CallPiece:  # noqa: ANN401 - litellm's
    index = getattr(call, "index", None)
    return CallPiece(
        index if isinstance(index, int) else place,
        getattr(call, "id", None) or "",
        getattr(call.function, "name", None) or "",
        getattr(call.function, "arguments", None) or "",
    )
