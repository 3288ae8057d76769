"""Parse and check single values of settings; a ValueError's text says what is allowed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args
from urllib.parse import urlsplit

from pydantic import GetCoreSchemaHandler, SecretStr
from pydantic_core.core_schema import CoreSchema, no_info_before_validator_function

from agentctl.core.text import did_you_mean
from agentctl.core.tool_rules import parse_rule, split_rules
from agentctl.settings.provider_names import KNOWN_PROVIDERS, OTHER_PROVIDERS, nearest_provider

_T = TypeVar("_T")

DOLLARS_ALLOWED = 'dollars, 0 or more, such as 0.50 (at most 9 decimal places), or "none"'
DURATION_ALLOWED = "a duration such as 30s, 5m, 2h or 1h30m, or plain seconds"
TEMPERATURE_ALLOWED = 'a number from 0 to 2, such as 0.2, or "auto" or "none"'
YES_ALLOWED = "true or false"
NAMES_ALLOWED = "comma-separated names, or a TOML list of names"
MODELS_ALLOWED = 'models separated by commas, such as openai/gpt-4o,ollama/llama3.1, or "none" alone (TOML: a list)'
RULES_ALLOWED = "comma-separated rules, or a TOML list of rules, such as docker_restart(name=web)"
LEASE_KEYS_ALLOWED = "public keys as budget keygen prints them, separated by commas (TOML: a list)"
URL_ALLOWED = "an address such as https://host:8080/v1"

MOST_COUNT = 10**12
_LONGEST = 366 * 24 * 3600.0
_NANO = Decimal("1e-9")
_NUMBER = r"[0-9]{1,20}(\.[0-9]{0,20})?|\.[0-9]{1,20}"  # compiled on first use: most runs never need it


def _is_none(value: object) -> bool:
    return value is None or (isinstance(value, str) and value.strip().lower() == "none")


def maybe(read: Callable[[object], _T]) -> Callable[[object], _T | None]:
    """Return a reader like ``read`` that also accepts None."""
    return lambda value: None if value is None else read(value)


def dollars(value: object) -> Decimal | None:
    """Return an exact amount, or None for "none"."""
    if _is_none(value):
        return None
    if isinstance(value, str) and re.fullmatch(_NUMBER, value.strip()):
        amount = Decimal(value.strip())
    elif isinstance(value, Decimal):
        amount = value
    elif isinstance(value, int | float) and not isinstance(value, bool):
        amount = Decimal(str(value))
    else:
        raise ValueError(DOLLARS_ALLOWED)
    if not amount.is_finite() or amount < 0:
        raise ValueError(DOLLARS_ALLOWED)
    if amount == 0:
        return Decimal(0)
    if amount.adjusted() > 5:
        raise ValueError("less than 1000000 dollars")
    exact = amount.quantize(_NANO)
    if exact != amount:
        raise ValueError(DOLLARS_ALLOWED)
    return amount if -9 <= int(amount.as_tuple().exponent) <= 0 else exact


def count(least: int, *, most: int = MOST_COUNT, liftable: bool = False) -> Callable[[object], int | None]:
    """Return a reader of whole numbers from ``least`` to ``most``; "none" means None where it is ``liftable``."""
    bounds = f" from {least} to {most}" if most < MOST_COUNT else f", {least} or more"
    allowed = f"a whole number{bounds}" + (', or "none"' if liftable else "")

    def read(value: object) -> int | None:
        if liftable and _is_none(value):
            return None
        if isinstance(value, str) and re.fullmatch(r"\s*[0-9]{1,20}\s*", value):
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise ValueError(allowed)
        if value > most:
            raise ValueError(allowed if most < MOST_COUNT else f"at most {MOST_COUNT}")
        return value

    return read


def temperature(value: object) -> Decimal | Literal["auto", "none"]:
    """Return a temperature from 0 to 2, "auto" or "none"."""
    word = value.strip().lower() if isinstance(value, str) else value
    if word == "auto" or word == "none":
        return word
    is_number = isinstance(word, int | float | Decimal) and not isinstance(word, bool)
    is_number = is_number or (isinstance(word, str) and re.fullmatch(_NUMBER, word) is not None)
    number = Decimal(str(word)) if is_number else Decimal("NaN")
    if not number.is_finite() or not 0 <= number <= 2:
        raise ValueError(TEMPERATURE_ALLOWED)
    return abs(number)


def duration(*, zero: bool) -> Callable[[object], float]:
    """Return a reader of durations in seconds; ``zero`` allows 0."""
    allowed = DURATION_ALLOWED + ("" if zero else ", more than 0")

    def read(value: object) -> float:
        seconds = _seconds(value)
        if seconds is None or not 0 <= seconds <= _LONGEST or (seconds == 0 and not zero):
            raise ValueError(allowed)
        return seconds

    return read


def _seconds(value: object) -> float | None:
    if isinstance(value, int | float | Decimal) and not isinstance(value, bool):
        exact = Decimal(str(value)) if isinstance(value, float) else Decimal(value)
        return float(exact) if exact.is_finite() and exact.adjusted() < 12 else None
    if not isinstance(value, str):
        return None
    text = value.strip().lower()
    if re.fullmatch(_NUMBER, text):
        return float(text)
    parts = re.fullmatch(r"(?:([0-9.]{1,12})d)?(?:([0-9.]{1,12})h)?(?:([0-9.]{1,12})m)?(?:([0-9.]{1,12})s)?", text)
    if parts is None or not any(parts.groups()):
        return None
    total = 0.0
    for part, unit in zip(parts.groups(), (86_400, 3600, 60, 1), strict=True):
        if part is not None:
            if not re.fullmatch(_NUMBER, part):
                return None
            total += float(part) * unit
    return total


def boolean(value: object) -> bool:
    """Return a truth value."""
    if isinstance(value, bool):
        return value
    word = value.strip().lower() if isinstance(value, str) else ""
    if word in ("1", "true", "yes", "on"):
        return True
    if word in ("0", "false", "no", "off"):
        return False
    raise ValueError(YES_ALLOWED)


def one_of(*choices: str) -> Callable[[object], str]:
    """Return a reader of one word out of ``choices``."""

    def read(value: object) -> str:
        word = value.strip().lower() if isinstance(value, str) else ""
        if word in choices:
            return word
        near = did_you_mean(word, choices)
        raise ValueError("one of " + ", ".join(choices) + (f"; {near}" if near else ""))

    return read


class OneOf:
    """In ``Annotated``: one word of the Literal beside it."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:  # noqa: ANN401
        return no_info_before_validator_function(one_of(*get_args(source)), handler(source))


def provider(value: object, own: Sequence[str] = ()) -> str:
    """Return a provider's name: one of ours, one of the user's ``own``, or another that litellm supports."""
    word = value.strip().lower() if isinstance(value, str) else ""
    if word in KNOWN_PROVIDERS or word in OTHER_PROVIDERS or word in own:
        return word
    near = nearest_provider(word, own=own)
    known = f"one of {', '.join((*own, *KNOWN_PROVIDERS))}, or another that litellm supports, such as xai"
    raise ValueError(known + (f"; {near}" if near else ""))


def word(value: object) -> str:
    """Return a name without blanks or control characters."""
    if not isinstance(value, str) or not value.strip() or len(value) > 200:
        raise ValueError("a name of at most 200 characters")
    if not value.strip().isprintable() or " " in value.strip():
        raise ValueError("a name without blanks or control characters")
    return value.strip()


def names(value: object) -> tuple[str, ...]:
    """Return names in the order given, each once; strings are split at commas."""
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, Iterable) or isinstance(value, dict | bytes):
        raise ValueError(NAMES_ALLOWED)
    found: dict[str, None] = {}
    for item in value:
        if not isinstance(item, str):
            raise ValueError(NAMES_ALLOWED)
        for name in filter(None, (part.strip() for part in item.split(","))):
            if not re.fullmatch(r"[A-Za-z0-9_.-]{1,100}", name):
                raise ValueError(NAMES_ALLOWED + "; a name has letters, digits and _ . -")
            found[name] = None
    return tuple(found)


def model_names(value: object) -> tuple[str, ...]:
    """Return models as provider/model, or providers, in the order given, each once; "none" is an empty list."""
    if _is_none(value):
        return ()
    items = [value] if isinstance(value, str) else value
    if not isinstance(items, list | tuple) or not all(isinstance(item, str) for item in items):
        raise ValueError(MODELS_ALLOWED)
    found = [part.strip() for item in items for part in item.split(",") if part.strip()]
    if found and all(_is_none(name) for name in found):
        return ()
    if any(len(name) > 200 or not name.isprintable() or " " in name or _is_none(name) for name in found):
        raise ValueError(MODELS_ALLOWED)
    return tuple(dict.fromkeys(found))


def rules(value: object) -> tuple[str, ...]:
    """Return rules about tool calls as the user wrote them, each once; strings are split at commas outside brackets."""
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, Iterable) or isinstance(value, dict | bytes):
        raise ValueError(RULES_ALLOWED)
    found: dict[str, None] = {}
    for item in value:
        if not isinstance(item, str):
            raise ValueError(RULES_ALLOWED)
        for text in split_rules(item):
            parse_rule(text)
            found[text] = None
    return tuple(found)


def sources(value: object) -> tuple[str, ...]:
    """Return places to read from, each a path, ``-`` or JSON, as they are: a comma is part of one."""
    items = (value,) if isinstance(value, str) else value
    if not isinstance(items, list | tuple) or not all(isinstance(item, str) and item.strip() for item in items):
        raise ValueError("a file, or JSON")
    return tuple(item if item.lstrip().startswith("{") else item.strip() for item in items)


def secret(value: object) -> SecretStr:
    """Return a key that is valid in an HTTP header."""
    text = value.get_secret_value() if isinstance(value, SecretStr) else value
    if not isinstance(text, str) or not text.strip():
        raise ValueError("a key")
    text = text.strip()
    if not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError("a key of visible ASCII characters without blanks (was it copied in full?)")
    return SecretStr(text)


def lease(value: object) -> str:
    """Return a lease as it was given: its text, a file or ``env:NAME``; reading it comes later."""
    text = value.strip() if isinstance(value, str) else ""
    if not text or not text.isprintable() or len(text) > 4096:
        raise ValueError("the text of a lease, a file that holds it, or env:NAME")
    return text


def lease_keys(value: object) -> tuple[str, ...]:
    """Return public keys of leases, each once; strings are split at commas and blanks."""
    items = [value] if isinstance(value, str) else value
    if not isinstance(items, list | tuple) or not all(isinstance(item, str) for item in items):
        raise ValueError(LEASE_KEYS_ALLOWED)
    found = [part for item in items for part in item.replace(",", " ").split()]
    if not all(re.fullmatch(r"agentctl-lease-public-1:[A-Za-z0-9_-]{43}", part) for part in found):
        raise ValueError(LEASE_KEYS_ALLOWED)
    return tuple(dict.fromkeys(found))


def ledger_url(value: object) -> SecretStr:
    """Return the address of a ledger on PostgreSQL, which may hold a password."""
    from agentctl.core.ledger_address import checked  # noqa: PLC0415 - most ledgers are files

    return SecretStr(checked(value.get_secret_value() if isinstance(value, SecretStr) else value))


def folder(value: object) -> Path:
    """Return an absolute path; relative ones are resolved before they come here."""
    path = Path(value).expanduser() if isinstance(value, str | Path) and str(value).strip() else None
    if path is None or not path.is_absolute() or "\0" in str(path):
        raise ValueError("a folder")
    return path


def address(value: object) -> str:
    """Return an http(s) address without a slash at the end."""
    text = _visible_text(value, URL_ALLOWED)
    try:
        parts = urlsplit(text)
        right = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        right = right and not (parts.query or parts.fragment or text.endswith(("?", "#")))
    except ValueError:
        right = False
    if not right:
        raise ValueError(URL_ALLOWED)
    return text.rstrip("/")


def ollama_address(value: object) -> str:
    """Return Ollama's address as a URL, from every form that Ollama's own client takes.

    Quotes around it, a host or a port alone, an IPv6 address without brackets and a path are fine; a port that cannot
    be one is the usual one. "Any address" means this host.
    """
    allowed = "a host, host:port or address such as http://127.0.0.1:11434"
    text = _visible_text(value.strip().strip("\"'") if isinstance(value, str) else value, allowed)
    scheme, mark, rest = text.partition("://")
    if not mark:
        scheme, rest = ("https", "ollama.com:443") if text == "ollama.com" else ("http", text)
    scheme = scheme.lower()
    usual = {"http": 80 if mark else 11434, "https": 443}.get(scheme)
    place, _, path = rest.partition("/")
    user, at, place = place.rpartition("@")
    host, bracket, port = place.rpartition("]") if place.startswith("[") else ("", "", "")
    if bracket:
        host, port = host[1:], port.removeprefix(":")
    elif place.count(":") > 1:
        host, port = place, ""
    else:
        host, _, port = place.partition(":")
    is_port = port.isascii() and port.isdecimal() and int(port) < 65536
    number = int(port) if is_port else usual
    if not usual or not number or any(mark in host + path for mark in "?#%\\"):
        raise ValueError(allowed)
    host = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - read, not bound
    shown = f"[{host}]" if ":" in host else host
    found = f"{scheme}://{user}{at}{shown}:{number}/{path}".rstrip("/")
    try:
        parts = urlsplit(found)
        if parts.hostname is None or parts.port is None:
            raise ValueError(allowed)
    except ValueError:
        raise ValueError(allowed) from None
    return found


def engine_address(value: object) -> str:
    """Return the engine's address unchanged; the engine's client checks it once a tool needs it."""
    return _visible_text(value, "an address such as unix:///var/run/docker.sock", blanks=True)


def _visible_text(value: object, allowed: str, *, blanks: bool = False) -> str:
    text = value.strip() if isinstance(value, str) else ""
    if not text or len(text) > 2000 or not text.isprintable() or (" " in text and not blanks):
        raise ValueError(allowed)
    return text
