"""Tables of the providers and their default models."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from agentctl.core.errors import UsageError
from agentctl.core.text import did_you_mean, safe_text

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

#: The endings of variables that hold any provider's key; their values are redacted in all output.
SECRET_ENDINGS = ("_API_KEY", "_APIKEY", "_TOKEN", "_BEARER_TOKEN_BEDROCK", "_SECRET", "_SECRET_KEY", "_ACCESS_KEY")

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

#: Names that no provider of the user's own may have: those above, and names with a meaning of their own.
BUILT_IN_NAMES = frozenset(
    {*KNOWN_PROVIDERS, *OTHER_PROVIDERS, "custom_openai", "local", "modelscope", "none", "scripted"}
)

#: Providers whose own model names may begin with another provider's name.
SLASHED_MODELS = frozenset({"ollama", "groq", "openrouter", *OTHER_PROVIDERS})

#: Providers of their own models, and the beginnings of their models' names, up to the first ``-``.
MAKERS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "openai": ("gpt", "chatgpt", "o1", "o3", "o4"),
        "anthropic": ("claude", "sonnet", "opus", "haiku"),
        "gemini": ("gemini",),
        "mistral": ("mistral", "ministral", "magistral", "codestral", "devstral", "pixtral", "voxtral"),
        "deepseek": ("deepseek",),
        "xai": ("grok",),
        "zai": ("glm",),
        "moonshot": ("kimi", "moonshot"),
        "minimax": ("minimax",),
    }
)

#: Those of them whose models have no public weights: another host that lists such a name is the exception.
CLOSED_MAKERS = frozenset({"openai", "anthropic", "gemini", "xai"})

#: The names of providers with which hosts of other makers' models begin the names of models.
NAMESPACES = frozenset({*MAKERS, "ai21", "cohere", "inception", "morph", "perplexity"})

#: Providers that offer the models of other makers, over a network.
HOSTS = SLASHED_MODELS - NAMESPACES - {"ollama"}

#: Beginnings that are also a name by themselves, as users of other tools write it.
_WHOLE_NAMES = frozenset({"claude", "sonnet", "opus", "haiku", "gemini", "grok"})

#: How messages call a provider, where that is not its name.
_TITLES: Mapping[str, str] = MappingProxyType(
    {
        **{"openai": "OpenAI", "anthropic": "Anthropic", "gemini": "Google", "mistral": "Mistral", "groq": "Groq"},
        **{"deepseek": "DeepSeek", "openrouter": "OpenRouter", "xai": "xAI", "zai": "Z.ai", "moonshot": "Moonshot"},
        **{"minimax": "MiniMax", "azure": "Azure OpenAI"},
    }
)

#: The variables of keys of other providers that are not called like the provider.
_OTHER_KEY_NAMES: Mapping[str, str] = MappingProxyType(
    {
        **{"together_ai": "TOGETHERAI_API_KEY", "lambda_ai": "LAMBDA_API_KEY", "meta_llama": "LLAMA_API_KEY"},
        **{"volcengine": "VOLCENGINE_API_KEY", "friendliai": "FRIENDLIAI_API_KEY"},
    }
)


#: Further names of these variables, by which the provider's own tools read them.
_FURTHER_KEY_NAMES: Mapping[str, tuple[str, ...]] = MappingProxyType({"azure": ("AZURE_OPENAI_API_KEY",)})
_FURTHER_URL_NAMES: Mapping[str, tuple[str, ...]] = MappingProxyType({"azure": ("AZURE_OPENAI_ENDPOINT",)})


def own_names(table: object) -> tuple[str, ...]:
    """Return the valid names in a table of the user's own providers, whatever its lines say."""
    if not isinstance(table, Mapping):
        return ()
    return tuple(name for name in table if isinstance(name, str) and is_own_name(name) and name not in BUILT_IN_NAMES)


def is_own_name(name: str) -> bool:
    """Return whether ``name`` has the form of a named provider: lower-case letters, digits and hyphens."""
    plain = name.replace("-", "")
    is_word = plain.isascii() and plain.isalnum() and plain == plain.lower()
    return is_word and len(name) <= 40 and name[0].isalpha() and not name.endswith("-")


def title_of(provider: str) -> str:
    """Return how messages call a provider: ``OpenAI``, or its own name."""
    return _TITLES.get(provider, provider)


def other_key_name(provider: str) -> str:
    """Return litellm's variable for the key of a provider whose key agentctl does not store."""
    return _OTHER_KEY_NAMES.get(provider, f"{provider.upper().replace('-', '_')}_API_KEY")


def other_key_names(provider: str) -> tuple[str, ...]:
    """Return the variables for the key of a provider whose key agentctl does not store."""
    return (other_key_name(provider), *_FURTHER_KEY_NAMES.get(provider, ()))


def other_url_names(provider: str) -> tuple[str, ...]:
    """Return the variables for the address of a provider whose address is no setting."""
    return (other_url_name(provider), *_FURTHER_URL_NAMES.get(provider, ()))


def other_url_name(provider: str) -> str:
    """Return litellm's variable for the address of a provider whose address is no setting."""
    return f"{provider.upper().replace('-', '_')}_API_BASE"


def other_keys(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the providers of ``OTHER_PROVIDERS`` whose key is in ``environ``, with its variable."""
    names = {provider: other_key_name(provider) for provider in OTHER_PROVIDERS}
    return {provider: name for provider, name in names.items() if environ.get(name, "").strip()}


def maker_of(model: str) -> str | None:
    """Return the maker whose models' names begin like ``model``; None for a name with a tag or another beginning.

    ``ft:gpt-4o:…``, a model fine-tuned at OpenAI, has the beginning of what it was made from. ``gpt-oss`` is offered by
    all but its maker.
    """
    name = model.lower()
    name = name.removeprefix("ft:").partition(":")[0] if name.startswith("ft:") else name
    head, dash, rest = name.partition("-")
    if ":" in name or "/" in name or not (dash or head in _WHOLE_NAMES) or (head, rest[:3]) == ("gpt", "oss"):
        return None
    return next((maker for maker, beginnings in MAKERS.items() if head in beginnings), None)


def foreign_model_error(provider: str, model: str, owners: tuple[str, ...]) -> UsageError | None:
    """Return the error for a model of another maker than ``provider``; None if it may be the provider's."""
    if provider not in MAKERS or provider in owners:
        return None
    owner = next((owner for owner in owners if owner in MAKERS), None)
    if owner is None:
        return None
    return UsageError(
        safe_text(f"{model} is {title_of(owner)}'s, not {title_of(provider)}'s"),
        hint=safe_text(f"use --provider {owner} --model {model}"),
    )


_MEANINGS: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(("gpt", "chatgpt", "open-ai", "codex"), "openai"),
        **dict.fromkeys(("claude", "claude-code"), "anthropic"),
        **dict.fromkeys(("google", "google_ai", "google-gemini", "vertex-gemini", "palm"), "gemini"),
        **dict.fromkeys(("llama", "ollama_chat", "ollama-cloud"), "ollama"),
        **dict.fromkeys(("mistralai", "mistral-ai"), "mistral"),
        **dict.fromkeys(("none", "off", "offline"), "builtin"),
        **dict.fromkeys(("aws", "amazon"), "bedrock"),
        **{"grok": "xai", "x-ai": "xai", "vertex": "vertex_ai", "together": "together_ai", "kimi": "moonshot"},
        **{"lmstudio": "lm_studio", "vllm": "hosted_vllm", "azure-openai": "azure", "glm": "zai", "qwen": "dashscope"},
    }
)


def nearest_provider(word: str, known: Iterable[str] | None = None, own: Iterable[str] = ()) -> str:
    """Return ``did you mean "x"?`` for the provider that ``word`` means, or an empty string.

    ``known`` None: any, and those of the user's ``own``.
    """
    return did_you_mean(word, (*own, *KNOWN_PROVIDERS, *OTHER_PROVIDERS) if known is None else known, _MEANINGS)
