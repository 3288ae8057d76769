"""Providers and requests of the three formats."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeAlias

from agentctl.core.messages import Completion, Delta, Message, Request, ToolSpec
from agentctl.providers.factory import AnthropicProvider, OllamaProvider, OpenAIProvider
from agentctl.providers.remote import RemoteProvider
from tests.support.wire.server import WireServer

KEY = "sk-test-0123456789abcdef"
MODELS = {"openai": "gpt-4o", "anthropic": "claude-haiku-4-5", "ollama": "llama3.1:latest"}
FORMATS = tuple(MODELS)
#: A model of OpenAI's that does not chat: it speaks only Responses.
MODELS_AND_RESPONSES = MODELS | {"responses": "gpt-5-codex"}

PS = ToolSpec("docker_ps", "List containers.", {"type": "object", "properties": {"all": {"type": "boolean"}}})
IMAGES = ToolSpec("docker_images", "List images.", {"type": "object", "properties": {}})

Wire: TypeAlias = Callable[..., WireServer]


def provider_at(server: WireServer, format: str, *, key: str | None = KEY, model: str = "") -> RemoteProvider:
    """Return the provider of a format, pointed at the server."""
    model = model or MODELS_AND_RESPONSES[format]
    if format in ("openai", "responses"):
        return OpenAIProvider(model, api_key=key, base_url=server.openai_url)
    if format == "anthropic":
        return AnthropicProvider(model, api_key=key, base_url=server.url)
    return OllamaProvider(model, base_url=server.url)


@asynccontextmanager
async def open_provider(server: WireServer, format: str, **named: str) -> AsyncIterator[RemoteProvider]:
    """Give the provider and close its connections."""
    provider = provider_at(server, format, **named)
    try:
        yield provider
    finally:
        await provider.aclose()


def asked(*tools: ToolSpec, text: str = "List all containers", clamp: int = 321) -> Request:
    """Return a request of one question."""
    return Request("m", (Message("system", "You help."), Message("user", text)), tools, max_output_tokens=clamp)


async def answer_of(provider: RemoteProvider, request: Request) -> tuple[str, Completion]:
    """Return the pieces of an answer, and the complete answer."""
    text, whole = "", None
    async for piece in provider.stream(request):
        if isinstance(piece, Delta):
            text += piece.text
        elif isinstance(piece, Completion):
            whole = piece
    assert whole is not None
    return text, whole
