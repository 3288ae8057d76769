"""The settings of one process with their defaults, and what loading returns with them. Frozen values."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator, SecretStr

from agentctl.core.limits import Parent
from agentctl.core.redaction import Redactor
from agentctl.settings.parsers import (
    address,
    boolean,
    count,
    dollars,
    duration,
    engine_address,
    folder,
    maybe,
    names,
    ollama_address,
    one_of,
    provider,
    rules,
    secret,
    word,
)
from agentctl.settings.prices import PriceLine, price_lines
from agentctl.settings.sources import Source
from agentctl.settings.untrusted_files import IgnoredLine, TrustPrompt


def _own_folder(kind: Literal["state", "config", "cache"]) -> Path:
    import platformdirs  # noqa: PLC0415 - not needed where the folders are named

    found = {
        "state": platformdirs.user_state_path,
        "config": platformdirs.user_config_path,
        "cache": platformdirs.user_cache_path,
    }[kind]
    return found("agentctl", appauthor=False)


def default_folder(field: str) -> Path:
    """Return where the platform keeps ``state_dir``, ``config_dir`` or ``cache_dir``."""
    match field:
        case "state_dir":
            return _own_folder("state")
        case "config_dir":
            return _own_folder("config")
        case _:
            return _own_folder("cache")


Dollars = Annotated[Decimal | None, BeforeValidator(dollars)]
Seconds = Annotated[float, BeforeValidator(duration(zero=False))]
AtLeastOne = Annotated[int, BeforeValidator(count(1))]
NoneOrMore = Annotated[int, BeforeValidator(count(0))]
Word = Annotated[str | None, BeforeValidator(maybe(word))]
Rules = Annotated[tuple[str, ...], BeforeValidator(rules)]
Key = Annotated[SecretStr | None, BeforeValidator(maybe(secret))]
Address = Annotated[str | None, BeforeValidator(maybe(address))]
Folder = Annotated[Path, BeforeValidator(folder)]
Prices = Annotated[Mapping[str, PriceLine], PlainValidator(price_lines)]


class Settings(BaseModel):
    """The settings of one process. Money is in US dollars, times are in seconds, None lifts a limit."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, defer_build=True)

    llm_provider: Annotated[str | None, BeforeValidator(maybe(provider))] = None
    llm_model: Word = None

    max_cost_per_task: Dollars = Decimal("0.50")
    max_cost_per_hour: Dollars = Decimal("10.0")
    max_tokens_per_task: Annotated[int | None, BeforeValidator(count(0, liftable=True))] = 100_000
    max_cost_per_minute: Dollars = None
    max_cost_per_day: Dollars = None
    max_cost_per_month: Dollars = None
    max_calls_per_minute: Annotated[int | None, BeforeValidator(count(0, liftable=True))] = None
    max_identical_calls: AtLeastOne = 3
    max_context_tokens: AtLeastOne = 8000
    keep_last_n_user_messages: NoneOrMore = 3
    keep_last_n_assistant_messages: NoneOrMore = 3
    max_result_tokens: Annotated[int | None, BeforeValidator(count(256, liftable=True))] = None
    context_cut_percent: Annotated[int, BeforeValidator(count(10, most=90))] = 50
    context_warn_percent: Annotated[int, BeforeValidator(count(1, most=100))] = 80
    summaries: Annotated[Literal["auto", "always", "never"], BeforeValidator(one_of("auto", "always", "never"))] = (
        "auto"
    )
    summary_tokens: Annotated[int, BeforeValidator(count(100, most=4000))] = 500

    openai_api_key: Key = None
    anthropic_api_key: Key = None
    gemini_api_key: Key = None
    mistral_api_key: Key = None
    groq_api_key: Key = None
    deepseek_api_key: Key = None
    openrouter_api_key: Key = None
    openai_base_url: Address = Field(default=None, repr=False)
    anthropic_base_url: Address = Field(default=None, repr=False)
    ollama_host: Annotated[str, BeforeValidator(ollama_address)] = Field(default="http://127.0.0.1:11434", repr=False)
    docker_host: Annotated[str | None, BeforeValidator(maybe(engine_address))] = Field(default=None, repr=False)

    cost_history_file: Annotated[Path | None, BeforeValidator(maybe(folder))] = Field(default=None)

    agent: Word = None
    max_output_tokens: Annotated[int | None, BeforeValidator(count(1, liftable=True))] = None
    max_turns: AtLeastOne = 30
    timeout: Seconds = 1800.0
    llm_timeout: Seconds = 60.0
    budget_wait: Annotated[float, BeforeValidator(duration(zero=True))] = 60.0
    workdir: Annotated[Path | None, BeforeValidator(maybe(folder))] = None
    read_only: Annotated[bool, BeforeValidator(boolean)] = False
    tools: Annotated[tuple[str, ...] | None, BeforeValidator(maybe(names))] = None
    sandbox: Annotated[Literal["auto", "bwrap", "none"], BeforeValidator(one_of("auto", "bwrap", "none"))] = "auto"
    network: Annotated[bool, BeforeValidator(boolean)] = False
    approve: Annotated[Literal["ask", "deny", "all"], BeforeValidator(one_of("ask", "deny", "all"))] = "ask"
    allow: Rules = ()
    ask: Rules = ()
    deny: Rules = ()
    auto_labels: Annotated[bool, BeforeValidator(boolean)] = True
    doubt: Annotated[Literal["normal", "strict"], BeforeValidator(one_of("normal", "strict"))] = "normal"
    output: Annotated[Literal["text", "json", "jsonl"], BeforeValidator(one_of("text", "json", "jsonl"))] = "text"
    color: Annotated[Literal["auto", "always", "never"], BeforeValidator(one_of("auto", "always", "never"))] = "auto"

    state_dir: Folder = Field(default_factory=lambda: default_folder("state_dir"))
    config_dir: Folder = Field(default_factory=lambda: default_folder("config_dir"))
    cache_dir: Folder = Field(default_factory=lambda: default_folder("cache_dir"))

    # Excluded from dumps: nobody wants it there, and a serializer of its own would cost every start a millisecond.
    prices: Prices = Field(default_factory=lambda: MappingProxyType({}), exclude=True)

    def key_of(self, provider: str) -> SecretStr | None:
        """Return the provider's key, or None (also for providers without keys)."""
        found: SecretStr | None = getattr(self, f"{provider}_api_key", None)
        return found

    @property
    def ledger_path(self) -> Path:
        """Where the user's ledger lies."""
        return self.state_dir / "ledger.db"

    @property
    def runs_dir(self) -> Path:
        """Where the journals lie, one folder or file a run."""
        return self.state_dir / "runs"


@dataclass(frozen=True, slots=True)
class Loaded:
    """The settings, where each came from, and what there is to say about it.

    ``notes`` are whole sentences for stderr. ``secrets`` are to be redacted wherever text leaves. ``empty_keys``
    are key variables that are set but empty. ``tightened`` names the untrusted file that lowered a limit,
    ``ignored`` the lines of such files that did nothing, ``offers`` those files of which a person can be asked.
    ``ci`` is whether CI is set, ``job`` what a CI system says of its job (repo, ref, job), ``term`` is TERM.
    ``parent`` is the run that started this process, with "" for what is missing of it; ``capability`` is what a run
    hands to its own children, "" until ``for_a_run``. ``redactor`` takes secrets out of what a run sends, None until
    then.
    """

    settings: Settings
    sources: Mapping[str, Source]
    notes: tuple[str, ...] = ()
    secrets: tuple[str, ...] = field(default=(), repr=False)
    empty_keys: tuple[str, ...] = ()
    tightened: Mapping[str, Path] = field(default_factory=dict)
    ignored: tuple[IgnoredLine, ...] = ()
    offers: tuple[TrustPrompt, ...] = ()
    ci: bool = False
    job: Mapping[str, str] = field(default_factory=dict)
    term: str = ""
    config_file: Path = Path()
    names: Mapping[str, str] = field(default_factory=dict)
    parent: Parent | None = None
    capability: str = field(default="", repr=False)
    redactor: Redactor | None = field(default=None, repr=False, compare=False)

    def for_a_run(self) -> Loaded:
        """Return the same with a capability for the children of one run, a new secret of 256 bits, and a redactor."""
        capability = os.urandom(32).hex()
        secrets = (*self.secrets, capability)
        return replace(self, capability=capability, secrets=secrets, redactor=Redactor(secrets))

    def cause(self, *fields: str) -> str:
        """Return why ``fields`` may be missing: they stand in an untrusted file. Empty if they do not."""
        lines = [line for line in self.ignored if line.field in fields]
        if not lines:
            return ""
        same = [line for line in lines if line.place == lines[0].place]
        names = ", ".join(line.name for line in same)
        return f"{same[0].place} has {names}, but is not trusted: {same[0].remedy}"
