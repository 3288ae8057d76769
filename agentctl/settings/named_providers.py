"""Providers of the user's own: the TOML table ``providers``, one line (``[providers.lab]``) each, and their keys.

Loaded only where the table exists.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from types import MappingProxyType
from typing import Any, NamedTuple

from pydantic import SecretStr

from agentctl.core.text import did_you_mean
from agentctl.settings import parsers
from agentctl.settings.declaration import PREFIX
from agentctl.settings.prices import PriceLine, Wrong, WrongLines, per_million, price_lines
from agentctl.settings.provider_names import (
    BUILT_IN_NAMES,
    KNOWN_PROVIDERS,
    OTHER_PROVIDERS,
    is_own_name,
    other_key_name,
)

PROVIDERS_ALLOWED = 'a table for each provider, such as [providers.lab] with base_url = "http://127.0.0.1:8080/v1"'
NAME_ALLOWED = "lower-case letters, digits and hyphens, beginning with a letter, at most 40"
PRICE_ALLOWED = "0 for free, or { input = 0.15, output = 0.60 } in dollars per million tokens"
VARIABLE_ALLOWED = "the name of an environment variable, such as LAB_API_KEY"

#: The formats that a named provider can speak.
KINDS = ("openai", "anthropic", "ollama")
_KIND_MEANINGS: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(("llama.cpp", "llama-cpp", "llamacpp", "vllm", "lm-studio", "lm_studio", "lmstudio"), "openai"),
        **dict.fromkeys(("sglang", "tgi", "litellm", "chat", "openai-compatible", "openai_compatible"), "openai"),
        "claude": "anthropic",
    }
)
PART_MEANINGS: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(("url", "api_base", "address", "host", "endpoint", "api_url"), "base_url"),
        **dict.fromkeys(("type", "api", "format", "provider", "wire"), "kind"),
        **dict.fromkeys(("env_key", "key_env", "api_key_name", "key_name", "api_key_variable"), "api_key_env"),
        **dict.fromkeys(("default_model", "llm_model", "model_name", "models"), "model"),
        **dict.fromkeys(("prices", "pricing", "cost", "input", "output"), "price"),
        **dict.fromkeys(("window", "n_ctx", "num_ctx", "max_model_len", "context_length"), "context_window"),
        **dict.fromkeys(("max_tokens", "max_output_tokens"), "output_ceiling"),
        **dict.fromkeys(("silence", "request_timeout"), "llm_timeout"),
    }
)
#: Other variables in which litellm looks for the key of a built-in provider.
_OTHER_KEYS: Mapping[str, str] = MappingProxyType(
    {
        **{"GOOGLE_API_KEY": "gemini", "TOGETHER_API_KEY": "together_ai", "CO_API_KEY": "cohere"},
        **{"AZURE_OPENAI_API_KEY": "azure", "WX_API_KEY": "watsonx"},
        **dict.fromkeys(("FIREWORKS_API_KEY", "FIREWORKSAI_API_KEY"), "fireworks_ai"),
    }
)
#: Parts that would be a key.
KEY_WORDS = frozenset({"api_key", "key", "apikey", "token", "api_token", "secret", "password"})
_VARIABLE = re.compile(r"(?a:[A-Za-z_]\w{0,99})")


class NamedProvider(NamedTuple):
    """A provider of the user's own: the format that it speaks (``kind``), its address, and the facts of its models.

    ``price`` applies to all of its models; None: unknown. ``key_name`` is the variable of its key, ``needs_key``
    whether the user named that variable; ``key_variable`` and ``key_source`` say where the key was found, and
    ``key_is_empty`` that the variable is set but empty. Times are in seconds; None: those of every run.
    ``context_window`` and ``output_ceiling`` are in tokens.
    """

    name: str
    kind: str
    base_url: str
    price: PriceLine | None
    key_name: str
    needs_key: bool = False
    model: str | None = None
    timeout: float | None = None
    llm_timeout: float | None = None
    context_window: int | None = None
    output_ceiling: int | None = None
    key: SecretStr | None = None
    key_variable: str = ""
    key_source: str = ""
    key_is_empty: bool = False

    def __str__(self) -> str:
        price = self.price
        free = price is not None and not price.input and not price.output
        unknown = "" if self.kind == "ollama" else "price unknown"  # an Ollama may be free by its address
        said = [f"{self.kind} at {hide_password(self.base_url)}"]
        said += [text for text in (unknown if price is None else "free" if free else str(price),) if text]
        said += [f"model {self.model}"] if self.model else []
        said += [f"key {self.key_name}"] if self.needs_key or self.key is not None else []
        said += [f"timeout {self.timeout:g} s"] if self.timeout is not None else []
        said += [f"llm_timeout {self.llm_timeout:g} s"] if self.llm_timeout is not None else []
        said += [f"context_window {self.context_window}"] if self.context_window is not None else []
        said += [f"output_ceiling {self.output_ceiling}"] if self.output_ceiling is not None else []
        return ", ".join(said)

    @property
    def variables(self) -> tuple[str, ...]:
        """The variables that may hold its key, the strongest first."""
        return key_variables(self.key_name)


def hide_password(url: str) -> str:
    """Return an address without the password in it."""
    return re.sub(r"//\S*@", "//***@", url)


def key_variables(name: str) -> tuple[str, ...]:
    """Return the variables that may hold the key ``name``: with our prefix, and without."""
    return (name,) if name.startswith(PREFIX) else (PREFIX + name, name)


def default_key_name(provider: str) -> str:
    """Return the variable of a named provider's key where its table names none: ``LAB_API_KEY``."""
    return f"{provider.upper().replace('-', '_')}_API_KEY"


def key_owner(variable: str) -> str:
    """Return the built-in provider whose key ``variable`` holds, "" if none."""
    own = {f"{name.upper()}_API_KEY": name for name in KNOWN_PROVIDERS}
    others = {other_key_name(name): name for name in OTHER_PROVIDERS}
    return {**_OTHER_KEYS, **others, **own}.get(variable.removeprefix(PREFIX), "")


def named_providers(value: object) -> Mapping[str, NamedProvider]:
    """Return the providers of the table by their names.

    Raises:
        ValueError: this is not a table, or some of its lines are wrong (``WrongLines``).
    """
    if not isinstance(value, Mapping):
        raise ValueError(PROVIDERS_ALLOWED)
    right: dict[str, NamedProvider] = {}
    wrong: list[Wrong] = []
    for name, line in value.items():
        if isinstance(line, NamedProvider):
            right[name] = line
            continue
        found = _Line(str(name), line).read()
        if isinstance(found, NamedProvider):
            right[name] = found
        else:
            wrong += found
    if wrong:
        raise WrongLines(PROVIDERS_ALLOWED, tuple(wrong), MappingProxyType(right))
    return MappingProxyType(right)


class _Line:
    """The reader of one provider's table."""

    def __init__(self, name: str, line: object) -> None:
        self._name, self._line = name, line
        self._whole = f"providers.{name[:60]}"
        self._wrong: list[Wrong] = []

    def read(self) -> NamedProvider | list[Wrong]:
        """Return the provider, or what is wrong with its table."""
        name, line = self._name, self._line
        if name in BUILT_IN_NAMES:
            hint = f"choose another name, such as [providers.my-{name.replace('_', '-')}]"
            return [Wrong(name, "", f"{self._whole}: {name} is a built-in provider", hint=hint)]
        if not is_own_name(name):
            lower = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
            hint = f'did you mean "{lower}"?' if is_own_name(lower) and lower not in BUILT_IN_NAMES else ""
            return [Wrong(name, "", f"{self._whole} cannot be a provider's name", f"; allowed: {NAME_ALLOWED}", hint)]
        if not isinstance(line, Mapping):
            return [Wrong(name, "", f"{self._whole} is not a table", f"; allowed: {PROVIDERS_ALLOWED}")]
        for part in line:
            if part not in PARTS:
                self._refuse_unknown(str(part))
        kind = str(self._part("kind", _kind) or "openai")
        url = self._part("base_url", parsers.ollama_address if kind == "ollama" else parsers.address)
        if "base_url" not in line and not self._wrong:  # a misspelled one is said once
            command = f"agentctl config set {self._whole}.base_url http://127.0.0.1:8080/v1"
            self._wrong.append(Wrong(name, "", f"{self._whole} has no base_url", "; it is needed", command))
        key_name = self._part("api_key_env", _variable)
        if "api_key_env" not in line and (owner := key_owner(default_key_name(name))):
            said = f"{self._whole} needs api_key_env: {default_key_name(name)} is the key of {owner}"
            self._wrong.append(Wrong(name, "", said, "", f"agentctl config set {self._whole}.api_key_env NAME"))
        model = self._part("model", parsers.word)
        found = NamedProvider(
            name,
            kind,
            _plain_address(kind, str(url or "")),
            self._price(),
            str(key_name or default_key_name(name)),
            needs_key="api_key_env" in line,
            model=None if model is None else str(model).removeprefix(f"{name}/"),
            timeout=self._part("timeout", parsers.duration(zero=False)),
            llm_timeout=self._part("llm_timeout", parsers.duration(zero=False)),
            context_window=self._part("context_window", parsers.count(1)),
            output_ceiling=self._part("output_ceiling", parsers.count(1)),
        )
        return self._wrong or found

    def _part(self, part: str, read: Callable[[object], Any]) -> Any:  # noqa: ANN401 - what the reader returns
        """Return a part of the table, None if it is missing or wrong."""
        line = self._line
        if not isinstance(line, Mapping) or part not in line:
            return None
        try:
            return read(line[part])
        except ValueError as wrong:
            said, after = f"{self._whole}.{part}", f"; allowed: {wrong}"
            if part != "api_key_env":  # a key may have been written there
                said += f' cannot be "{hide_password(str(line[part]))[:80]}"'
            self._wrong.append(Wrong(self._name, part, said, after))
            return None

    def _price(self) -> PriceLine | None:
        line = self._line
        given = line.get("price") if isinstance(line, Mapping) else None
        if given is None or isinstance(given, PriceLine):
            return given
        if isinstance(given, Mapping):
            try:
                return price_lines({self._name: given})[self._name]
            except WrongLines as error:
                old, new = f'prices."{self._name}"', f"{self._whole}.price"
                self._wrong += [
                    one._replace(part="price", before=one.before.replace(old, new), hint=one.hint.replace(old, new))
                    for one in error.wrong
                ]
                return None
        try:
            if per_million(given) == 0:
                return PriceLine(Decimal(0), Decimal(0))
        except ValueError:
            pass
        said = f'{self._whole}.price cannot be "{str(given)[:80]}"'
        hint = f"agentctl config set {self._whole}.price input=USD output=USD"
        self._wrong.append(Wrong(self._name, "price", said, f"; allowed: {PRICE_ALLOWED}", hint))
        return None

    def _refuse_unknown(self, part: str) -> None:
        whole = f"{self._whole}.{part[:60]}"
        if part.lower() in KEY_WORDS:
            hint = f"remove the line, and save the key: agentctl providers set-key {self._name}"
            self._wrong.append(Wrong(self._name, part, whole, ": keys do not belong there", hint))
            return
        meant = PART_MEANINGS.get(part.lower(), "")
        hint = did_you_mean(part[:60], PARTS, {part[:60].lower(): meant} if meant else PART_MEANINGS)
        self._wrong.append(Wrong(self._name, part, f"unknown setting {whole}", hint=hint))


#: The parts of a provider's table.
PARTS = (
    *("kind", "base_url", "price", "api_key_env", "model", "timeout", "llm_timeout"),
    *("context_window", "output_ceiling"),
)


def _plain_address(kind: str, url: str) -> str:
    """Return the address to which the paths of ``kind`` are appended: Anthropic's begin with /v1 themselves."""
    url = url.rstrip("/")
    return url.removesuffix("/v1").rstrip("/") if kind == "anthropic" else url


def _kind(value: object) -> str:
    word = value.strip().lower() if isinstance(value, str) else ""
    if word in KINDS:
        return word
    near = did_you_mean(word, KINDS, _KIND_MEANINGS)
    raise ValueError(f"one of {', '.join(KINDS)}" + (f"; {near}" if near else ""))


def _variable(value: object) -> str:
    if not isinstance(value, str) or not _VARIABLE.fullmatch(value.strip()):
        raise ValueError(VARIABLE_ALLOWED)
    return value.strip()
