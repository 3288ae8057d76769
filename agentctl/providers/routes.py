"""The way to each provider: the format on its wire, the reader of its answers, and the client that calls it. Pure.

Two clients send requests. The lean one is ours: it loads in a tenth of a second and speaks a few wire formats. litellm
takes seconds and knows every provider. A route with a ``wire`` can be called by either.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, NamedTuple

from agentctl.core.errors import UsageError
from agentctl.core.messages import Request
from agentctl.core.pricing import ModelFacts, NativeFormat
from agentctl.core.text import safe_text
from agentctl.providers.stream_readers import (
    AnthropicReader,
    GeminiReader,
    OllamaReader,
    OpenAIReader,
    OpenRouterReader,
    UsageReader,
)
from agentctl.providers.wires.exchange import BodyFacts
from agentctl.settings.provider_names import title_of

Via = Literal["auto", "lean", "litellm"]
Client = Literal["lean", "litellm"]
Wire = Literal["openai_chat", "anthropic_messages", "ollama_chat"]


class Route(NamedTuple):
    """How a provider is reached.

    ``prefix`` is litellm's name for it ("": its requests by litellm do not pass our gate). ``reader`` reads the usage
    of its answers, ``extra`` are options of each request by either client. ``wire`` is the format by which the lean
    client calls it, None if only litellm does. ``fields`` are further fields of the body that litellm adds by itself,
    ``model_prefix`` belongs before a bare name. ``native_format`` is how it holds an answer to a JSON schema: a model
    whose row in the price table has ``format_flag``, "": any model.
    """

    prefix: str
    reader: type[UsageReader] = OpenAIReader
    asks_for_usage: bool = True
    extra: Mapping[str, object] = MappingProxyType({})
    wire: Wire | None = None
    fields: Mapping[str, object] = MappingProxyType({})
    model_prefix: str = ""
    native_format: NativeFormat | None = None
    format_flag: str = "supports_response_schema"


class Outgoing(NamedTuple):
    """A request about to be sent, with the facts for its body, the key and the address ("": litellm's own)."""

    request: Request
    facts: BodyFacts
    key: str | None
    base_url: str


_SPECIAL_ROUTES = {
    "openai": Route(
        "openai",
        extra=MappingProxyType({"service_tier": "default"}),
        wire="openai_chat",
        native_format=NativeFormat("openai", with_tools=True),
    ),
    "anthropic": Route(
        "anthropic",
        AnthropicReader,
        asks_for_usage=False,
        extra=MappingProxyType({"service_tier": "standard_only", "allowed_openai_params": ["service_tier"]}),
        wire="anthropic_messages",
        native_format=NativeFormat("anthropic", with_tools=True),
        format_flag="supports_native_structured_output",
    ),
    "ollama": Route(
        "ollama_chat",
        OllamaReader,
        asks_for_usage=False,
        wire="ollama_chat",
        native_format=NativeFormat("ollama"),  # its grammar would leave no room for a call
        format_flag="",
    ),
    "gemini": Route("gemini", GeminiReader, asks_for_usage=False),
    "openrouter": Route(
        "openrouter", OpenRouterReader, wire="openai_chat", fields=MappingProxyType({"usage": {"include": True}})
    ),
    "mistral": Route("mistral", asks_for_usage=False, wire="openai_chat"),  # reports it unasked
    "azure": Route("", wire="openai_chat", native_format=NativeFormat("openai", with_tools=True)),
    "fireworks_ai": Route("fireworks_ai", wire="openai_chat", model_prefix="accounts/fireworks/models/"),
}

_IN_THE_CHAT_FORMAT = (
    "ai21", "baseten", "cerebras", "codestral", "cometapi", "compactifai", "custom_openai", "dashscope",
    "databricks", "deepinfra", "deepseek", "docker_model_runner", "edenai", "empower", "fireworks_ai", "friendliai",
    "galadriel", "github", "groq", "heroku", "hosted_vllm", "huggingface", "hyperbolic", "inception", "lambda_ai",
    "lemonade", "litellm_proxy", "llamafile", "lm_studio", "meta_llama", "minimax", "modelscope", "moonshot", "nebius",
    "novita", "nvidia_nim", "ovhcloud", "sail", "tencent", "together_ai", "vercel_ai_gateway",
    "volcengine", "wandb", "xai", "zai",
)  # fmt: skip

#: Those of them with a path or a habit of their own, which litellm knows. A test compares both clients for the others.
_BY_LITELLM = frozenset({"databricks", "docker_model_runner", "heroku", "huggingface", "litellm_proxy"})

#: The providers whose every request passes our gate: a test sends each of them against a closed one.
ROUTES: Mapping[str, Route] = MappingProxyType(
    {
        **{name: Route(name, wire=None if name in _BY_LITELLM else "openai_chat") for name in _IN_THE_CHAT_FORMAT},
        **_SPECIAL_ROUTES,
    }
)


_RESPONSES: Mapping[str, str] = {
    "": "",
    "only": "speaks only the Responses format",
    "tools": "takes tools only in the Responses format",
}


def choose_client(provider: str, via: Via = "auto", facts: ModelFacts | None = None) -> Client:
    """Return the client that calls a provider: the lean one if it speaks the format, unless ``via`` says litellm.

    ``facts`` are those of the model, if one is named: some must be called in a format of their own.

    Raises:
        UsageError: ``via`` is another word, or the client that it names cannot call the provider.
    """
    if via not in ("auto", "lean", "litellm"):
        raise UsageError(f"via cannot be {safe_text(repr(via))}; allowed: one of auto, lean, litellm")
    route = ROUTES.get(provider)
    if via == "litellm":
        if route is not None and not route.prefix:
            raise UsageError(
                f"agentctl cannot enforce limits on what litellm sends to {title_of(provider)}",
                hint="--via auto (or LLM_CLIENT=auto) calls it by the lean client",
            )
        return "litellm"
    must = "" if facts is None else _RESPONSES[facts.responses]
    if facts is not None and must and via == "lean":
        raise UsageError(
            f"{facts.name} {must}, which the lean client does not speak",
            hint="--via auto (or LLM_CLIENT=auto) calls it through litellm",
        )
    if route is not None and route.wire is not None and not must:
        return "lean"
    if via == "lean":
        raise UsageError(
            f"the lean client does not speak the format of {title_of(provider)}",
            hint="--via auto (or LLM_CLIENT=auto) calls it through litellm",
        )
    return "litellm"
