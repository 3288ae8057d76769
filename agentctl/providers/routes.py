"""How each provider is reached: its name at litellm, the reader of its answers, and options of its own."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from agentctl.providers.stream_readers import (
    AnthropicReader,
    GeminiReader,
    OllamaReader,
    OpenAIReader,
    OpenRouterReader,
    UsageReader,
)


class Route(NamedTuple):
    """How litellm reaches a provider: its ``prefix``, the reader of its answers, and options for each request."""

    prefix: str
    reader: type[UsageReader] = OpenAIReader
    asks_for_usage: bool = True
    extra: Mapping[str, object] = MappingProxyType({})


_SPECIAL_ROUTES = {
    "openai": Route("openai", extra=MappingProxyType({"service_tier": "default"})),
    "anthropic": Route(
        "anthropic",
        AnthropicReader,
        asks_for_usage=False,
        extra=MappingProxyType({"service_tier": "standard_only", "allowed_openai_params": ["service_tier"]}),
    ),
    "ollama": Route("ollama_chat", OllamaReader, asks_for_usage=False),
    "gemini": Route("gemini", GeminiReader, asks_for_usage=False),
    "openrouter": Route("openrouter", OpenRouterReader),
    "mistral": Route("mistral", asks_for_usage=False),  # reports it unasked
}

_IN_THE_CHAT_FORMAT = (
    "ai21", "baseten", "cerebras", "codestral", "cometapi", "compactifai", "custom_openai", "dashscope",
    "databricks", "deepinfra", "deepseek", "docker_model_runner", "edenai", "empower", "fireworks_ai", "friendliai",
    "galadriel", "github", "groq", "heroku", "hosted_vllm", "huggingface", "hyperbolic", "inception", "lambda_ai",
    "lemonade", "litellm_proxy", "llamafile", "lm_studio", "meta_llama", "minimax", "modelscope", "moonshot", "nebius",
    "novita", "nvidia_nim", "ovhcloud", "sail", "tencent", "together_ai", "vercel_ai_gateway",
    "volcengine", "wandb", "xai", "zai",
)  # fmt: skip

#: The providers whose every request passes our gate: a test sends each of them against a closed one.
ROUTES: Mapping[str, Route] = MappingProxyType(
    {**{name: Route(name) for name in _IN_THE_CHAT_FORMAT}, **_SPECIAL_ROUTES}
)
