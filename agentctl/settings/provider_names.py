"""Tables of the providers and their default models."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

#: The default model of each provider, used when none is named; pinned with the release.
DEFAULT_MODELS: Mapping[str, str | None] = MappingProxyType(
    {
        "builtin": None,
        "ollama": "llama3.1:latest",
        "openai": "gpt-4o-mini",
        "anthropic": "claude-haiku-4-5",
        "gemini": "gemini-3.5-flash-lite",
        "mistral": "mistral-small-latest",
        "groq": "openai/gpt-oss-120b",
        "deepseek": "deepseek-flash",
        "openrouter": "openai/gpt-4o-mini",
    }
)

KNOWN_PROVIDERS: tuple[str, ...] = tuple(DEFAULT_MODELS)

#: Further providers that litellm supports, once a model is named: its chat providers, except those with an interactive
#: login, an older format, a server in our own process, or a choice among others. Their keys have litellm's own names.
OTHER_PROVIDERS: tuple[str, ...] = (
    *("ai21", "ai21_chat", "aiml", "amazon_nova", "apertis", "azure", "azure_ai", "baseten", "bedrock"),
    *("bedrock_mantle", "bytez", "cerebras", "chutes", "clarifai", "cloudflare", "codestral", "cognition", "cohere"),
    *("cohere_chat", "cometapi", "compactifai", "cortecs", "darkbloom", "dashscope", "databricks", "datarobot"),
    *("deepinfra", "docker_model_runner", "edenai", "empower", "featherless_ai", "fireworks_ai", "friendliai"),
    *("galadriel", "gigachat", "github", "gradient_ai", "helicone", "heroku", "hosted_vllm", "huggingface"),
    *("hyperbolic", "inception", "lambda_ai", "lemonade", "libertai", "litellm_proxy", "llamafile", "lm_studio"),
    *("maritalk", "meta", "meta_llama", "minimax", "moonshot", "morph", "nebius", "neosantara", "nlp_cloud"),
    *("novita", "nscale", "nvidia_nim", "oci", "ovhcloud", "perplexity", "pinstripes", "poe", "predibase", "prism"),
    *("publicai", "qwen_ai_platform", "qwencloud", "ragflow", "replicate", "sagemaker", "sagemaker_chat", "sail"),
    *("sambanova", "sap", "scaleway", "scx-ai", "snowflake", "synthetic", "tencent", "tensormesh", "together_ai"),
    *("triton", "v0", "vercel_ai_gateway", "vertex_ai", "volcengine", "wandb", "watsonx", "xai", "xiaomi_mimo"),
    "zai",
)

#: Providers whose own model names may begin with another provider's name.
SLASHED_MODELS = frozenset({"ollama", "groq", "openrouter", *OTHER_PROVIDERS})
