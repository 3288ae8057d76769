"""What every setting is called: in the environment, on the command line, in TOML. Tables, nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

PREFIX = "AGENTCTL_"

#: Providers that want a key, and the variable that holds it.
KEY_NAMES: Mapping[str, str] = MappingProxyType(
    {
        "openai": "OPENAI_API_KEY",
        "anthropic": "ANTHROPIC_API_KEY",
        "gemini": "GEMINI_API_KEY",
        "mistral": "MISTRAL_API_KEY",
        "groq": "GROQ_API_KEY",
        "deepseek": "DEEPSEEK_API_KEY",
        "openrouter": "OPENROUTER_API_KEY",
    }
)

#: The model that each provider gets when none is named; pinned with the release.
DEFAULT_MODELS: Mapping[str, str | None] = MappingProxyType(
    {
        "builtin": None,
        "ollama": "llama3.1:latest",
        "openai": "gpt-4o-mini",
        "anthropic": "claude-haiku-4-5",
        "gemini": "gemini-2.5-flash",
        "mistral": "mistral-small-latest",
        "groq": "llama-3.3-70b-versatile",
        "deepseek": "deepseek-chat",
        "openrouter": "openai/gpt-4o-mini",
    }
)

KNOWN_PROVIDERS: tuple[str, ...] = tuple(DEFAULT_MODELS)

#: Providers whose own model names may begin with another provider's name.
SLASHED_MODELS = frozenset({"ollama", "groq", "openrouter"})

SECRET_FIELDS: Mapping[str, str] = MappingProxyType({name.lower(): provider for provider, name in KEY_NAMES.items()})

_PLAIN: tuple[tuple[str, ...], ...] = (
    ("LLM_PROVIDER",),
    ("LLM_MODEL",),
    ("MAX_COST_PER_TASK",),
    ("MAX_COST_PER_HOUR",),
    ("MAX_TOKENS_PER_TASK",),
    ("MAX_CONTEXT_TOKENS",),
    ("KEEP_LAST_N_USER_MESSAGES",),
    ("KEEP_LAST_N_ASSISTANT_MESSAGES",),
    *((name,) for name in KEY_NAMES.values()),
    ("OPENAI_BASE_URL", "OPENAI_API_BASE"),
    ("ANTHROPIC_BASE_URL",),
    ("OLLAMA_HOST",),
    ("DOCKER_HOST",),
)

_PREFIXED: tuple[str, ...] = (
    "AGENT",
    "MAX_OUTPUT_TOKENS",
    "MAX_TURNS",
    "TIMEOUT",
    "LLM_TIMEOUT",
    "BUDGET_WAIT",
    "WORKDIR",
    "READ_ONLY",
    "TOOLS",
    "DENY",
    "DOUBT",
    "OUTPUT",
    "COLOR",
    "STATE_DIR",
    "CONFIG_DIR",
    "CACHE_DIR",
)

#: Field -> the variables that may hold it, the strongest first.
ENV_NAMES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {names[0].lower(): (*(PREFIX + name for name in names), *names) for names in _PLAIN}
    | {name.lower(): (PREFIX + name,) for name in _PREFIXED}
)

#: The names as the documentation gives them: without the prefix where it is optional.
DOCUMENTED_NAMES: tuple[str, ...] = (
    *(name for names in _PLAIN for name in names),
    *(PREFIX + name for name in _PREFIXED),
)

DIR_FIELDS = ("state_dir", "config_dir", "cache_dir")

#: What a TOML file may hold: no keys (they live in the environment or the user's .env), no folders of our own.
TOML_FIELDS: tuple[str, ...] = tuple(
    field for field in ENV_NAMES if field not in SECRET_FIELDS and field not in DIR_FIELDS
)

_FLAGS = {
    "llm_provider": "--provider",
    "llm_model": "--model",
    "max_cost_per_task": "--max-cost",
    "max_tokens_per_task": "--max-tokens",
}


def flag_name(field: str) -> str:
    """Return the flag that sets ``field``."""
    return _FLAGS.get(field, "--" + field.replace("_", "-"))
