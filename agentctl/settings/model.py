"""The settings, each declared once: type and default, variables, flag, line in config.toml, and who needs it.

`python -m tests.support.settings_files` writes the flags of `agentctl run`, config.toml and .env.example from here.
"""

# Annotations are not postponed here: evaluating them as text at every start would cost a millisecond.

from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, PlainValidator, SecretStr
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from agentctl.core.late_modules import late_modules
from agentctl.settings import parsers, sandbox_access
from agentctl.settings.declaration import COMMON, CONTEXT, INPUT, LIMITS, OUTPUT, REACH, Flag, setting
from agentctl.settings.prices import PriceLine, price_lines

if TYPE_CHECKING:
    from agentctl.core.ledger_address import LedgerAddress
    from agentctl.settings.named_providers import NamedProvider

Dollars = Annotated[Decimal | None, BeforeValidator(parsers.dollars)]
Seconds = Annotated[float, BeforeValidator(parsers.duration(zero=False))]
AtLeastOne = Annotated[int, BeforeValidator(parsers.count(1))]
NoneOrMore = Annotated[int, BeforeValidator(parsers.count(0))]
Liftable = Annotated[int | None, BeforeValidator(parsers.count(0, liftable=True))]
Word = Annotated[str | None, BeforeValidator(parsers.maybe(parsers.word))]
Names = Annotated[tuple[str, ...] | None, NoDecode, BeforeValidator(parsers.maybe(parsers.names))]
Rules = Annotated[tuple[str, ...], NoDecode, BeforeValidator(parsers.rules)]
Temperature = Annotated[Decimal | Literal["auto", "none"], PlainValidator(parsers.temperature)]
YesNo = Annotated[bool, BeforeValidator(parsers.boolean)]
Key = Annotated[SecretStr | None, BeforeValidator(parsers.maybe(parsers.secret))]
Address = Annotated[str | None, BeforeValidator(parsers.maybe(parsers.address))]
Folder = Annotated[Path, BeforeValidator(parsers.folder)]
MaybeFolder = Annotated[Path | None, BeforeValidator(parsers.maybe(parsers.folder))]
Prices = Annotated[Mapping[str, PriceLine], PlainValidator(price_lines)]


def _named_providers(value: object) -> object:
    from agentctl.settings.named_providers import named_providers  # noqa: PLC0415 - most users have none

    return named_providers(value)


Providers = Annotated[Mapping[str, Any], PlainValidator(_named_providers)]


def _hooks(value: object) -> object:
    from agentctl.settings.hook_tables import hooks  # noqa: PLC0415 - most users have none

    return hooks(value)


Hooks = Annotated[tuple[Any, ...], PlainValidator(_hooks)]


def _mcp_table(value: object) -> object:
    """Return the table [mcp] as it is: `mcp_servers` reads each entry by itself."""
    servers = value.get("servers", {}) if isinstance(value, Mapping) else None
    if not isinstance(value, Mapping) or not isinstance(servers, Mapping) or value.keys() - {"servers"}:
        raise ValueError('a table for each server, such as [mcp.servers.git] with command = "mcp-server-git"')
    return value


McpTable = Annotated[Mapping[str, Any], PlainValidator(_mcp_table)]
McpSources = Annotated[tuple[str, ...], NoDecode, BeforeValidator(parsers.sources)]

_PERMISSION = ("run", "policy")


def default_folder(field: str) -> Path:
    """Return the platform's place for ``state_dir``, ``config_dir`` or ``cache_dir``."""
    with late_modules({"tempfile": ("gettempdir",)}):
        import platformdirs  # noqa: PLC0415 - not needed where the folders are named

    find = {
        "state_dir": platformdirs.user_state_path,
        "config_dir": platformdirs.user_config_path,
        "cache_dir": platformdirs.user_cache_path,
    }[field]
    return find("agentctl", appauthor=False)


def _key(provider: str) -> SecretStr | None:
    variable, needed_by = f"{provider.upper()}_API_KEY", (f"provider {provider}",)
    found: SecretStr | None = setting(
        None, variable, "keys", f"API key for {provider}", bare=True, needed_by=needed_by, in_toml=False
    )
    return found


class Settings(BaseSettings):
    """The settings of one process. Money is in US dollars, times are in seconds, None disables a limit.

    An instance holds the values that it is given, and reads neither the environment nor a file.
    """

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        validate_by_name=True,
        loc_by_alias=False,
        hide_input_in_errors=True,
        defer_build=True,
        case_sensitive=True,
        env_ignore_empty=True,
        env_file=None,
        dotenv_filtering="only_existing",
    )

    # fmt: off
    llm_provider: Annotated[str | None, BeforeValidator(parsers.maybe(parsers.provider))] = setting(
        None, "LLM_PROVIDER", "answer", "use this provider; unset: the model's, or the one set up",
        Flag(COMMON, "NAME", spellings=("--provider",)), bare=True, example="builtin")
    llm_model: Word = setting(
        None, "LLM_MODEL", "answer",
        "use this model, or provider/model (agentctl models); unset: the provider's default",
        Flag(COMMON, "NAME", spellings=("-m", "--model")), bare=True, needed_by=("model",),
        example="openai/gpt-4o-mini")
    llm_client: Annotated[Literal["auto", "lean", "litellm"], parsers.OneOf] = setting(
        "auto", "LLM_CLIENT", "answer",
        "call models by this client: auto (lean where it can), lean or litellm",
        Flag(CONTEXT, kind="choice", spellings=("--via",)), bare=True, needed_by=("model",))
    fallbacks: Annotated[tuple[str, ...], NoDecode, BeforeValidator(parsers.model_names)] = setting(
        (), "LLM_FALLBACKS", "answer",
        "models that take over from a failed provider, in order",
        Flag(CONTEXT, "A,B", "list", ("--fallbacks",)), bare=True, needed_by=("model",),
        example="anthropic/claude-haiku-4-5,ollama/llama3.1")
    temperature: Temperature = setting(
        "auto", "TEMPERATURE", "answer",
        "send this temperature (0 to 2) or none; auto: 0 to servers on this host",
        Flag(LIMITS, "N"), needed_by=("model",))
    openai_api_key: Key = _key("openai")
    anthropic_api_key: Key = _key("anthropic")
    gemini_api_key: Key = _key("gemini")
    mistral_api_key: Key = _key("mistral")
    groq_api_key: Key = _key("groq")
    deepseek_api_key: Key = _key("deepseek")
    openrouter_api_key: Key = _key("openrouter")
    openai_base_url: Address = setting(
        None, ("OPENAI_BASE_URL", "OPENAI_API_BASE"), "answer", "base URL of an OpenAI-compatible server; unset: https://api.openai.com/v1",
        bare=True, needed_by=("provider openai",), example="https://api.openai.com/v1", repr=False)
    anthropic_base_url: Address = setting(
        None, "ANTHROPIC_BASE_URL", "answer", "base URL of an Anthropic-compatible server; unset: https://api.anthropic.com",
        bare=True, needed_by=("provider anthropic",), example="https://api.anthropic.com", repr=False)
    ollama_host: Annotated[str, BeforeValidator(parsers.ollama_address)] = setting(
        "http://127.0.0.1:11434", "OLLAMA_HOST", "answer", "address of the Ollama server",
        bare=True, needed_by=("provider ollama",), repr=False)
    docker_host: Annotated[str | None, BeforeValidator(parsers.maybe(parsers.engine_address))] = setting(
        None, "DOCKER_HOST", "answer",
        "address of the container engine (unix:// or tcp://); unset: docker's current context",
        bare=True, example="unix:///var/run/docker.sock", repr=False)

    max_cost_per_task: Dollars = setting(
        Decimal("0.50"), "MAX_COST_PER_TASK", "cost", "limit the cost of one run, in USD; 'none' disables it",
        Flag(COMMON, "USD", synonym="--max-cost"), bare=True)
    max_cost_per_hour: Dollars = setting(
        Decimal("10.0"), "MAX_COST_PER_HOUR", "cost",
        "limit the cost of all runs in any 60 minutes, in USD; 'none' disables it", Flag(LIMITS, "USD"), bare=True)
    max_tokens_per_task: Liftable = setting(
        100_000, "MAX_TOKENS_PER_TASK", "cost", "limit the tokens of one run; 'none' disables it",
        Flag(LIMITS, "N", synonym="--max-tokens"), bare=True)
    max_cost_per_minute: Dollars = setting(
        None, "MAX_COST_PER_MINUTE", "cost",
        "limit the cost of all runs in any 60 seconds, in USD; unset: no limit", Flag(LIMITS, "USD"),
        example="1.0")
    max_cost_per_day: Dollars = setting(
        None, "MAX_COST_PER_DAY", "cost",
        "limit the cost of all runs in any 24 hours, in USD; unset: no limit", Flag(LIMITS, "USD"),
        example="25.0")
    max_cost_per_month: Dollars = setting(
        None, "MAX_COST_PER_MONTH", "cost",
        "limit the cost of all runs in any 30 days, in USD; unset: no limit", Flag(LIMITS, "USD"),
        example="200.0")
    max_calls_per_minute: Liftable = setting(
        None, "MAX_CALLS_PER_MINUTE", "cost",
        "limit the requests of one run in any 60 seconds; unset: no limit", Flag(LIMITS, "N"), example="60")
    budget_wait: Annotated[float, BeforeValidator(parsers.duration(zero=True))] = setting(
        60.0, "BUDGET_WAIT", "cost", "wait for money held by other runs", Flag(LIMITS, "TIME"),
        written="60s")
    doubt: Annotated[Literal["normal", "strict"], parsers.OneOf] = setting(
        "normal", "DOUBT", "cost", "strict: count refused calls as in doubt, too")
    lease: Annotated[str | None, BeforeValidator(parsers.maybe(parsers.lease))] = setting(
        None, "LEASE", "cost", "draw on this lease; unset: none",
        Flag(LIMITS, "TEXT|FILE|env:NAME"), in_toml=False, repr=False)
    require_lease: YesNo = setting(
        False, "REQUIRE_LEASE", "cost", "true: start no run without a lease", Flag(LIMITS, kind="switch"))
    lease_keys: Annotated[tuple[str, ...], NoDecode, BeforeValidator(parsers.lease_keys)] = setting(
        (), "LEASE_KEYS", "cost", "public keys whose leases are accepted, comma-separated; unset: none",
        example="agentctl-lease-public-1:X1hvdpLS5lJ5u9e3AvNjR3MhTjEUYp1IFB3vE0yYKzs")
    lease_signing_key: Key = setting(
        None, "LEASE_SIGNING_KEY", "cost", "key that signs leases, for budget split; unset: a file",
        needed_by=("report",), in_toml=False, repr=False)
    ledger: Annotated[SecretStr | None, BeforeValidator(parsers.maybe(parsers.ledger_url))] = setting(
        None, "LEDGER", "cost", "share one ledger on PostgreSQL by its address; unset: a file in the state folder",
        needed_by=("run", "report"), in_toml=False, example="postgresql://agentctl@db.example.com/agentctl?sslmode=verify-full",
        repr=False)
    strict: YesNo = setting(
        False, "STRICT", "cost", "true: refuse a shared ledger whose certificate is not verified",
        needed_by=("run", "report"))
    accept_lost_holds: YesNo = setting(
        False, "ACCEPT_LOST_HOLDS", "cost",
        "true: spend although a fail-over of the shared ledger can lose holds")

    max_context_tokens: AtLeastOne = setting(
        8000, "MAX_CONTEXT_TOKENS", "context",
        "limit the tokens of a request", Flag(CONTEXT, "N"), bare=True)
    keep_last_n_user_messages: NoneOrMore = setting(
        3, "KEEP_LAST_N_USER_MESSAGES", "context", "keep the latest N user messages",
        Flag(CONTEXT, "N"), bare=True)
    keep_last_n_assistant_messages: NoneOrMore = setting(
        3, "KEEP_LAST_N_ASSISTANT_MESSAGES", "context", "keep the latest N model messages",
        Flag(CONTEXT, "N"), bare=True)
    max_result_tokens: Annotated[int | None, BeforeValidator(parsers.count(256, liftable=True))] = setting(
        None, "MAX_RESULT_TOKENS", "context",
        "limit the tokens of a tool result; unset: an eighth of max_context_tokens",
        Flag(CONTEXT, "N"), example="1000")
    context_cut_percent: Annotated[int, BeforeValidator(parsers.count(10, most=90))] = setting(
        50, "CONTEXT_CUT_PERCENT", "context", "cut a full context to N percent",
        Flag(CONTEXT, "N"))
    context_warn_percent: Annotated[int, BeforeValidator(parsers.count(1, most=100))] = setting(
        80, "CONTEXT_WARN_PERCENT", "context", "warn at N percent of the context",
        Flag(CONTEXT, "N"))
    summaries: Annotated[Literal["auto", "always", "never"], parsers.OneOf] = setting(
        "auto", "SUMMARIES", "context",
        "summarize what is cut: auto (if it pays off), always or never",
        Flag(CONTEXT, "HOW", "choice"))
    summary_tokens: Annotated[int, BeforeValidator(parsers.count(100, most=4000))] = setting(
        500, "SUMMARY_TOKENS", "context", "limit the tokens of a summary", Flag(CONTEXT, "N"))
    max_output_tokens: Annotated[int | None, BeforeValidator(parsers.count(1, liftable=True))] = setting(
        None, "MAX_OUTPUT_TOKENS", "context",
        "limit the tokens of one answer; unset: 4096, or 16384 for reasoning, then adapted",
        Flag(LIMITS, "N"),
        example="4096")

    agent: Word = setting(
        None, "AGENT", "work", "use this agent; unset: chosen by the task", Flag(COMMON, "NAME"),
        example="docker")
    max_turns: AtLeastOne = setting(30, "MAX_TURNS", "work", "limit the turns of one run", Flag(LIMITS, "N"))
    max_identical_calls: AtLeastOne = setting(
        3, "MAX_IDENTICAL_CALLS", "work", "limit repeats of the same tool call",
        Flag(LIMITS, "N"))
    schema_retries: NoneOrMore = setting(
        2, "SCHEMA_RETRIES", "work", "send an answer that is not valid by its schema back N times",
        Flag(LIMITS, "N"))
    timeout: Seconds = setting(
        1800.0, "TIMEOUT", "work", "limit the duration of a run", Flag(LIMITS, "TIME"), written="30m")
    llm_timeout: Seconds = setting(
        60.0, "LLM_TIMEOUT", "work", "limit the time a model is silent", Flag(LIMITS, "TIME"),
        written="60s")
    workdir: MaybeFolder = setting(
        None, "WORKDIR", "work", "work in this folder; unset: the current one", Flag(COMMON, "DIR"),
        needed_by=_PERMISSION, example=".")
    auto_labels: YesNo = setting(
        True, "AUTO_LABELS", "work", "true: label each run with its repo, ref, job and workdir")
    cost_history_file: MaybeFolder = setting(
        None, "COST_HISTORY_FILE", "work", "JSON file to mirror the last 1000 charges in; unset: none", bare=True,
        example=".cost_history.json")

    read_only: YesNo = setting(
        False, "READ_ONLY", "reach", "true: allow only reads", Flag(COMMON, kind="switch"), needed_by=_PERMISSION)
    tools: Names = setting(
        None, "TOOLS", "reach", "allow only these tools, comma-separated; unset: all", Flag(REACH, "A,B", "list"),
        needed_by=_PERMISSION, example="docker_ps,docker_logs")
    allow: Rules = setting(
        (), "ALLOW", "reach", "run matching calls without asking, such as 'docker_restart(name=web)'",
        Flag(COMMON, "RULE", "list"), needed_by=_PERMISSION)
    ask: Rules = setting((), "ASK", "reach", "ask before every matching call", needed_by=_PERMISSION)
    deny: Rules = setting(
        (), "DENY", "reach", "never run matching calls: a tool, or 'docker_rm(name=db*)'",
        Flag(REACH, "RULE", "list"), needed_by=_PERMISSION)
    approve: Annotated[Literal["ask", "deny", "all", "defer"], parsers.OneOf] = setting(
        "ask", "APPROVE", "reach", "decide calls that need approval: ask, deny, all or defer (stop, to be resumed)",
        Flag(REACH, kind="choice"), needed_by=_PERMISSION)
    sandbox: Annotated[Literal["auto", "bwrap", "landlock", "none", "external"], parsers.OneOf] = setting(
        "auto", "SANDBOX", "reach",
        "run shell commands in a sandbox: auto, bwrap, landlock, none, or external (the machine is one)",
        Flag(REACH, kind="choice"), needed_by=_PERMISSION)
    sandbox_read: Annotated[tuple[str, ...], NoDecode, BeforeValidator(sandbox_access.readable_paths)] = setting(
        (), "SANDBOX_READ", "reach", "let shell commands read these paths, too; absolute, or from ~/",
        needed_by=_PERMISSION)
    sandbox_write: Annotated[tuple[str, ...], NoDecode, BeforeValidator(sandbox_access.writable_paths)] = setting(
        (), "SANDBOX_WRITE", "reach", "let shell commands change these paths, too; absolute, or from ~/",
        needed_by=_PERMISSION)
    sandbox_env: Annotated[tuple[str, ...], NoDecode, BeforeValidator(sandbox_access.variable_names)] = setting(
        (), "SANDBOX_ENV", "reach", "give shell commands these variables of the environment; no keys",
        needed_by=_PERMISSION)
    network: YesNo = setting(
        False, "NETWORK", "reach", "true: let shell commands use the network", Flag(REACH, kind="yes_no"),
        needed_by=_PERMISSION)

    mcp_config: McpSources = setting(
        (), "MCP_CONFIG", "mcp",
        "use these MCP servers: a file, - or JSON; unset: yours",
        Flag(INPUT, "FILE|-|JSON", "list"), in_toml=False, repr=False)
    mcp_also_user: YesNo = setting(
        False, "MCP_ALSO_USER", "mcp", "true: use your own MCP servers, too",
        Flag(INPUT, kind="switch"), in_toml=False)

    output: Annotated[Literal["text", "json", "jsonl"], parsers.OneOf] = setting(
        "text", "OUTPUT", "look", "print text, json or jsonl",
        Flag(OUTPUT, "FORMAT", "choice", ("-o", "--output")))
    color: Annotated[Literal["auto", "always", "never"], parsers.OneOf] = setting(
        "auto", "COLOR", "look", "use colour: auto, always or never", Flag(OUTPUT, kind="choice"),
        needed_by=())

    state_dir: Folder = setting(
        lambda: default_folder("state_dir"), "STATE_DIR", "folders", "folder of the ledger and the journals",
        needed_by=("run", "report"), in_toml=False)
    config_dir: Folder = setting(
        lambda: default_folder("config_dir"), "CONFIG_DIR", "folders", "folder of config.toml and the user's .env",
        in_toml=False)
    cache_dir: Folder = setting(
        lambda: default_folder("cache_dir"), "CACHE_DIR", "folders", "folder of cached data",
        in_toml=False)

    # Left out of dumps: no caller needs them there.
    hook: Hooks = setting(
        (), (), "hooks", "commands to run before a tool call or at the end of a run; unset: none",
        needed_by=_PERMISSION, exclude=True)
    providers: Providers = setting(
        lambda: MappingProxyType({}), (), "providers", "providers of your own, by name; unset: none",
        needed_by=("model",), exclude=True, repr=False)
    mcp: McpTable = setting(
        lambda: MappingProxyType({}), (), "mcp", "MCP servers, by name; unset: those of mcp.json",
        needed_by=("run",), exclude=True, repr=False)
    prices: Prices = setting(
        lambda: MappingProxyType({}), (), "prices", "prices of models; unset: litellm's",
        needed_by=("model", "prices"), exclude=True)
    # fmt: on

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Return the only source of an instance: its own arguments."""
        return (init_settings,)

    def key_of(self, provider: str) -> SecretStr | None:
        """Return the API key of ``provider``, or None if it is unset or the provider has none."""
        if (own := self.named(provider)) is not None:
            return own.key
        found: SecretStr | None = getattr(self, f"{provider}_api_key", None)
        return found

    def named(self, provider: str | None) -> "NamedProvider | None":
        """Return the provider of the user's own with this name, None if there is none."""
        return self.providers.get(provider or "")

    @property
    def price_lines(self) -> Mapping[str, PriceLine]:
        """The lines of ``prices``, and the prices of the user's own providers for all of their models (``lab/*``)."""
        own = {f"{name}/*": one.price for name, one in self.providers.items() if one.price is not None}
        return {**self.prices, **own} if own else self.prices

    @property
    def requires_sandbox(self) -> bool:
        """Whether a sandbox is named, so that a run fails without it."""
        return self.sandbox in ("bwrap", "landlock")

    @property
    def ledger_path(self) -> Path:
        """The path of the user's own ledger, a file."""
        return self.state_dir / "ledger.db"

    @property
    def ledger_address(self) -> "LedgerAddress":
        """Where runs are recorded: the user's own ledger, or the one on a server that is named."""
        if self.ledger is None:
            return self.ledger_path
        from agentctl.core.ledger_address import PostgresAddress  # noqa: PLC0415 - most ledgers are files

        return PostgresAddress(
            self.ledger.get_secret_value(), self.state_dir, self.accept_lost_holds, budget_wait_s=self.budget_wait
        )

    @property
    def runs_dir(self) -> Path:
        """The folder of the journals, with one folder or file per run."""
        return self.state_dir / "runs"
