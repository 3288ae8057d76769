"""What a case is: a conversation, what the server does with it, and the model that is asked; and how cases are made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import Decimal

from agentctl.core.messages import Message, ToolSpec
from agentctl.providers.factory import AnthropicProvider, OllamaProvider, OpenAIProvider
from agentctl.providers.remote import RemoteProvider
from agentctl.providers.routes import Client
from agentctl.settings import PriceLine
from tests.support.formats import FORMATS, KEY, MODELS
from tests.support.parity.streams import Event, calling, spoken, written
from tests.support.wire.server import Answer, Fault, Step, WireServer

INPUT_TOKENS = 90
SSE = ("openai", "anthropic")
SCRIPTS = "Grüße, 日本語, עברית, हिन्दी, 👩‍👩‍👧, e\u0301, \x00\x1b[31m\x7f, \u2028\u2029\x85, \\u0041 \"'`${}"
HELLO = (Message("system", "You help."), Message("user", "List all containers"))
FINE = Answer("Fine.", input_tokens=90, output_tokens=20)
#: Ollama at a price, so that a wrong count is a wrong charge.
_LLAMA = PriceLine(Decimal(4), Decimal(12))


@dataclass(frozen=True, slots=True)
class Case:
    """One request and its answer: ``does`` is what the server does, by format if it is a function.

    ``model`` is asked instead of the format's usual one; ``formats`` are those that can have the case at all.
    """

    name: str
    messages: tuple[Message, ...] = HELLO
    tools: tuple[ToolSpec, ...] = ()
    does: Step | Callable[[str], Step] = FINE
    clamp: int = 321
    followed: bool = True
    writes: bool = True
    formats: tuple[str, ...] = FORMATS
    model: str = ""

    def step(self, format: str) -> Step:
        """Return what the server does with a request in this format; it counts the same input whatever came."""
        step = self.does if isinstance(self.does, Answer | Fault) else self.does(format)
        counts = isinstance(step, Answer) and step.input_tokens is None
        return replace(step, input_tokens=INPUT_TOKENS) if counts else step

    def provider(self, server: WireServer, format: str, via: Client, name: str = "") -> RemoteProvider:
        """Return the provider that is asked: the format's own, or ``name``, which speaks the format of OpenAI."""
        model = self.model or MODELS[format]
        if name:
            url = server.url if name == "azure" else server.openai_url
            return RemoteProvider(name, model, api_key=KEY, base_url=url, via=via)
        if format == "openai":
            return OpenAIProvider(model, api_key=KEY, base_url=server.openai_url, via=via)
        if format == "anthropic":
            return AnthropicProvider(model, api_key=KEY, base_url=server.url, via=via)
        return OllamaProvider(model, base_url=server.url, via=via, prices={f"ollama/{model}": _LLAMA})


def raw(events: Callable[[str], list[Event]], *, escaped: bool = False) -> Callable[[str], Step]:
    """Return a step that sends these events, in the format that is asked for."""
    return lambda format: Answer(garbage=written(format, events(format), escaped=escaped))


def changed(
    change: Callable[[bytes], bytes], events: Callable[[str], list[Event]] | None = None
) -> Callable[[str], Step]:
    """Return a step that sends an answer whose bytes were changed."""
    made = events or said("One, ", "two.")
    return lambda format: Answer(garbage=change(written(format, made(format))))


def said(*texts: str) -> Callable[[str], list[Event]]:
    return lambda format: spoken(format, *texts)


def called(*calls: tuple[str, list[str]], text: str = "") -> Callable[[str], list[Event]]:
    return lambda format: calling(format, *calls, text=text)
