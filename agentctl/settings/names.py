"""What every setting is called: in the environment, on the command line, in TOML. Tables, nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

PREFIX = "AGENTCTL_"

#: What every command of a run carries, so that nothing of it outlives the run; no setting.
CHILD_MARK = "AGENTCTL_CHILD"
NO_RUN = "-no-run"  # how the mark ends on a command that no run started: run_shell_async by itself

#: What makes a run a child of another one: that run's id, and the secret that opens its budget; no settings.
PARENT_RUN = "AGENTCTL_PARENT_RUN"
PARENT_CAPABILITY = "AGENTCTL_PARENT_CAPABILITY"

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
        "gemini": "gemini-3.5-flash-lite",
        "mistral": "mistral-small-latest",
        "groq": "openai/gpt-oss-120b",
        "deepseek": "deepseek-flash",
        "openrouter": "openai/gpt-4o-mini",
    }
)

KNOWN_PROVIDERS: tuple[str, ...] = tuple(DEFAULT_MODELS)

#: What else litellm can talk to, once a model is named: its chat providers but those that log in by hand, speak an
#: older format, run in our own process or choose among others. Their keys lie under litellm's own names.
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

#: How the variables end that hold a key of any provider; their values are redacted wherever text leaves.
SECRET_ENDINGS = ("_API_KEY", "_APIKEY", "_TOKEN", "_BEARER_TOKEN_BEDROCK", "_SECRET", "_SECRET_KEY", "_ACCESS_KEY")
LEAST_SECRET = 8

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
    ("COST_HISTORY_FILE",),
)

_PREFIXED: tuple[str, ...] = (
    "AGENT",
    "MAX_COST_PER_MINUTE",
    "MAX_COST_PER_DAY",
    "MAX_COST_PER_MONTH",
    "MAX_CALLS_PER_MINUTE",
    "MAX_IDENTICAL_CALLS",
    "MAX_RESULT_TOKENS",
    "CONTEXT_CUT_PERCENT",
    "CONTEXT_WARN_PERCENT",
    "SUMMARIES",
    "SUMMARY_TOKENS",
    "MAX_OUTPUT_TOKENS",
    "MAX_TURNS",
    "TIMEOUT",
    "LLM_TIMEOUT",
    "BUDGET_WAIT",
    "WORKDIR",
    "READ_ONLY",
    "SANDBOX",
    "NETWORK",
    "TOOLS",
    "APPROVE",
    "ALLOW",
    "ASK",
    "DENY",
    "DOUBT",
    "AUTO_LABELS",
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

#: Settings that are tables: only a TOML file can hold them.
TABLE_FIELDS = ("prices",)

#: What a TOML file may hold: no keys (they live in the environment or the user's .env), no folders of our own.
TOML_FIELDS: tuple[str, ...] = (
    *(field for field in ENV_NAMES if field not in SECRET_FIELDS and field not in DIR_FIELDS),
    *TABLE_FIELDS,
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
