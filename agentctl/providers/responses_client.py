"""Call models that speak only OpenAI's Responses format: litellm writes and posts a request, and we read the answer.

litellm's own bridge from chat completions is not used: it posts by a client of its own, past our gate. Neither are the
events that it makes of an answer: it invents a usage that is missing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING

from agentctl.providers import litellm_loader
from agentctl.providers.endpoints import auth_headers
from agentctl.providers.lean_client import LeanAnswer
from agentctl.providers.litellm_client import TIMEOUT_S, LiteLLMClient
from agentctl.providers.routes import Outgoing, Route
from agentctl.providers.stream_readers import OpenAIReader
from agentctl.providers.usage_fields import OPENAI, FieldTable
from agentctl.providers.wires.exchange import Piece, mapping_of, mappings_of, text_of
from agentctl.providers.wires.openai_responses import HOSTED, AnswerItems, end_of, fields, reason_of, response_of
from agentctl.providers.wires.server_sent_events import JsonEvents, ServerSentEventDecoder

if TYPE_CHECKING:
    import httpx

    from agentctl.providers.http_gate import Attempt, RequestTerms

#: Its usage has the classes of the chat format under other names.
RESPONSES: FieldTable = dict(OPENAI) | {
    path.replace("prompt_tokens", "input_tokens").replace("completion_tokens", "output_tokens"): kind
    for path, kind in OPENAI.items()
    if path != "input_tokens"  # it counts what was cached, too
}
#: Events that hold no part of an answer, whatever they repeat of the request.
_BEFORE = frozenset({"response.created", "response.queued", "response.in_progress", "keepalive"})


class ResponsesReader(OpenAIReader):
    """Responses: the usage is in the response that the last event carries, or in the document that is not streamed."""

    table = RESPONSES

    def read(self, event: Mapping[str, object]) -> None:
        """Read one parsed event."""
        self.events += 1
        end, kind, response = end_of(event), text_of(event.get("type")), response_of(event)
        output, usage = mappings_of(response.get("output")), response.get("usage")
        self.model = text_of(response.get("model")) or self.model
        self.tier = text_of(response.get("service_tier")) or self.tier
        if output or (not response and end != "failed" and not _is_empty(kind, event)):
            self.spoken = True
            self._note_answer()
        error = self.error_in(event)
        if not self.finished:  # an answer that was whole stays one
            self.error = self.error or error
        self._report(usage)
        self.read_refusal(event, error)
        self.spoken = self.spoken or bool(usage) or self.has_counts
        for item in (*output, mapping_of(event.get("item"))):
            if (name := text_of(item.get("type"))) in HOSTED:
                self._fees[name] = "1"
        if end == "incomplete":
            self._finish(reason_of(response))
        self.finished = self.finished or end == "completed"
        self.over = self.over or bool(end)

    def error_in(self, event: Mapping[str, object]) -> Mapping[str, object] | None:
        """Return the error document that an event is or holds, None if there is none."""
        if end_of(event) != "failed":
            return super().error_in(event)
        found = response_of(event).get("error") or event.get("error")
        return found if isinstance(found, dict) else {"message": found} if found else event


def _is_empty(kind: str, event: Mapping[str, object]) -> bool:
    """Return whether an event has no part of an answer: it comes before one, or opens a message without a text."""
    if kind in ("response.output_item.added", "response.content_part.added"):
        opened = mapping_of(event.get("item")) or mapping_of(event.get("part"))
        return text_of(opened.get("type")) in ("message", "output_text") and not opened.get(
            "content" if "item" in event else "text"
        )
    return kind in _BEFORE


class ResponsesClient(LiteLLMClient):
    """Calls the models of one provider that speak only the Responses format; ``reasons``: the model thinks."""

    def __init__(self, route: Route, *, reasons: bool) -> None:
        super().__init__(route)
        self._reasons = reasons

    def attempt(self, terms: RequestTerms) -> Attempt:
        """Return the attempt for a request."""
        from agentctl.providers.http_gate import Attempt  # noqa: PLC0415 - httpx comes with litellm

        return Attempt(terms, ResponsesReader(), decoder=JsonEvents(ServerSentEventDecoder()))

    def send(self, outgoing: Outgoing, attempt: Attempt, network: httpx.AsyncBaseTransport) -> ResponsesAnswer:
        """Return the answer to a request, which is sent as soon as its first piece is asked for."""
        auth = auth_headers("openai", outgoing.key, outgoing.base_url)
        attempt.terms = attempt.terms._replace(asks_for_usage=False, auth=auth)  # it reports the usage unasked
        left_out = outgoing.facts.refusals.left_out
        usual = {**self._route.extra, **outgoing.facts.options}
        options = {name: value for name, value in usual.items() if name not in left_out}
        reasons = self._reasons and "include" not in left_out
        said = fields(outgoing.request, outgoing.facts._replace(options=options), reasons=reasons)
        return ResponsesAnswer(f"{self._route.prefix}/{outgoing.facts.model}", said, outgoing, attempt, network)


class ResponsesAnswer(LeanAnswer):
    """The pieces of an answer, read by our own decoder from the bytes that litellm's request brought."""

    def __init__(
        self,
        model: str,
        said: Mapping[str, object],
        outgoing: Outgoing,
        attempt: Attempt,
        network: httpx.AsyncBaseTransport,
    ) -> None:
        super().__init__(outgoing.base_url, {}, attempt, network, AnswerItems(outgoing.facts.model).piece)
        self._model, self._said, self._outgoing = model, said, outgoing

    async def __anext__(self) -> Piece:
        try:
            return await super().__anext__()
        finally:
            litellm_loader.resume_gc()

    async def _post(self) -> AsyncIterator[bytes]:
        """Send the request by litellm; return the bytes of its answer.

        Raises:
            Exception: no answer; the attempt says why.
        """
        from agentctl.providers.http_gate import Gate  # noqa: PLC0415 - httpx comes with litellm

        litellm = await litellm_loader.wait_for_litellm()
        answer = await litellm.aresponses(
            model=self._model,
            max_retries=0,
            num_retries=0,
            timeout=TIMEOUT_S,
            client=litellm_loader.make_client(Gate(self._network, self._attempt)),
            api_key=self._outgoing.key or "none",  # litellm wants one; the gate sends what is due
            api_base=self._outgoing.base_url or None,
            **self._said,
        )
        response: httpx.Response = answer.response
        return response.aiter_raw()
