"""Write a provider's key into the user's .env: mode 0600, one line changed, atomically."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pydantic import SecretStr

from agentctl.core.errors import StateError, UsageError
from agentctl.core.files import file_lock, write_atomically
from agentctl.core.text import safe_text
from agentctl.settings.declaration import PREFIX
from agentctl.settings.merge import absolute
from agentctl.settings.model import default_folder
from agentctl.settings.names import ENV_NAMES, KEY_NAMES
from agentctl.settings.own_files import is_there, read_exact, read_own_file
from agentctl.settings.show import MASK
from agentctl.settings.sources import Problem, from_dotenv, from_environment

if TYPE_CHECKING:
    from dotenv.parser import Binding

_PLAIN = r"[A-Za-z0-9_./:+=@%,~^-]+"  # characters that need no quotes, here or in a shell
_INLINE_COMMENT = r"""(?xs) [^=]* = [^\S\r\n]*
    (?: '(?:\\.|[^'\\])*' | "(?:\\.|[^"\\])*" | [^\r\n]*? ) ( [^\S\r\n]+ \# [^\r\n]* )? \s* \Z"""


class EnvironmentKey(NamedTuple):
    """The key in the environment: a variable that is set and overrides the file, or one that is set but empty."""

    wins: str = ""
    empty: str = ""


def mask_key(key: str) -> str:
    """Return a key masked for display: the ends of a long key, nothing of a short one."""
    return f"{key[:3]}…{key[-4:]}" if len(key) >= 12 else MASK


def own_env_file(environ: Mapping[str, str] | None = None) -> Path:
    """Return the path of the user's .env, even if the settings are wrong.

    Raises:
        UsageError: the working directory no longer exists.
    """
    entry = from_environment(os.environ if environ is None else environ).entries.get("config_dir")
    if entry is None:
        return default_folder("config_dir") / ".env"
    try:
        return absolute(entry.value, Path.cwd()) / ".env"
    except OSError as error:
        raise UsageError("the working directory no longer exists", hint="change to another directory") from error


def environment_key(
    provider: str, key: str | None, environ: Mapping[str, str] | None = None, *, variable: str = ""
) -> EnvironmentKey:
    """Return the variable of the environment that holds another key of the provider than ``key``; it overrides the
    file. ``variable`` holds the key of a provider of the user's own.
    """
    if variable:
        held = {at: text.strip() for at, text in _own_variables(variable, os.environ if environ is None else environ)}
        wins = next((at for at, text in held.items() if text and text != key), "")
        return EnvironmentKey(wins, "" if any(held.values()) else next(iter(held), ""))
    layer = from_environment(os.environ if environ is None else environ)
    field = KEY_NAMES[provider].lower()
    entry = layer.entries.get(field)
    empty = next((name for name in layer.empty_keys if name in ENV_NAMES[field]), "")
    return EnvironmentKey(
        entry.name if entry is not None and entry.value != key else "", empty if entry is None else ""
    )


def _own_variables(variable: str, environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    from agentctl.settings.named_providers import key_variables  # noqa: PLC0415 - most users have none

    yield from ((at, environ[at]) for at in key_variables(variable) if at in environ)


def save_key(path: Path, provider: str, key: SecretStr | None, *, variable: str = "") -> bool:
    """Write the key of ``provider`` into the .env at ``path``, or remove it (None); return whether the file changed.

    ``variable`` is the name of the line for a provider of the user's own.

    Afterwards exactly one line holds the key. All other lines stay, also those that other processes write meanwhile. A
    new folder is for the user only; an existing one is left as it is.

    Raises:
        UsageError: others can read or write the file, or it is not text.
        StateError: the file cannot be written; it stays as it was.
    """
    if key is None and not is_there(path):
        return False
    with file_lock(path, "user .env"):
        before = read_exact(path, "user .env", private=True)
        name = variable or KEY_NAMES[provider]
        after = with_key(before, name, key)
        if after != before:
            write_atomically(path, after, check=lambda fresh: _reads_back(fresh, name, key, path=path))
        return after != before or key is not None


def with_key(text: str, name: str, key: SecretStr | None) -> str:
    """Return ``text`` with one line for the key variable ``name``, or without it. The line replaces the first old one,
    or else goes to the end.

    Raises:
        StateError: the file has an unterminated quote that would swallow the line.
    """
    secret = None if key is None else key.get_secret_value()
    names = ENV_NAMES.get(name.lower(), (PREFIX + name, name))
    body = text.removeprefix("\ufeff")
    bindings = _bindings(body)
    others = _values(bindings, but=names)
    wanted = [] if secret is None else [(name, secret)]
    for candidate in _candidates(bindings, names, name, secret):
        found = _bindings(candidate)
        mine = [(binding.key, binding.value) for binding in found if binding.key in names]
        if mine == wanted and _values(found, but=names) == others:
            return text[: len(text) - len(body)] + candidate
    line = next((f" in line {binding.original.line}" for binding in bindings if binding.error), "")
    raise StateError(f"the user's .env has an unterminated quote{line}", hint="close the quote, then try again")


def _candidates(bindings: list[Binding], names: tuple[str, ...], name: str, secret: str | None) -> Iterator[str]:
    """Yield the text with the line in each possible place: at the old line, at the end, at the top."""
    whole = "".join(binding.original.string for binding in bindings)
    first = next((at for at, binding in enumerate(bindings) if binding.key in names), None)
    eol = "\r\n" if "\r\n" in whole else "\n"
    if secret is None:
        yield _rest(bindings, names)
    elif first is not None:
        old = bindings[first].original.string
        blank, comment, end = _blank_lines(old), _comment(old), old[len(old.rstrip("\r\n")) :]
        head, tail = _rest(bindings[:first], names), _rest(bindings[first + 1 :], names)
        for said in dict.fromkeys((comment, "")):
            yield from (f"{head}{blank}{name}={form}{said}{end}{tail}" for form in _forms(secret))
    if secret is not None:
        rest = _rest(bindings, names)
        gap = "" if not rest or rest.endswith(("\n", "\r")) else eol
        yield from (f"{rest}{gap}{name}={form}{eol}" for form in _forms(secret))
        yield from (f"{name}={form}{eol}{rest}" for form in _forms(secret))  # before an unterminated quote


def _forms(secret: str) -> Iterator[str]:
    """Yield the ways to write a value; first the one that shells read the same way."""
    if re.fullmatch(_PLAIN, secret):
        yield secret
    for quote in ("'", '"'):
        yield quote + secret.replace("\\", "\\\\").replace(quote, "\\" + quote) + quote
    yield secret


def _rest(bindings: list[Binding], names: tuple[str, ...]) -> str:
    """Return the text without the lines of ``names``; keep the blank lines before them."""
    return "".join(
        _blank_lines(binding.original.string) if binding.key in names else binding.original.string
        for binding in bindings
    )


def _blank_lines(original: str) -> str:
    blank = original[: len(original) - len(original.lstrip())]
    return blank[: max(blank.rfind("\n"), blank.rfind("\r")) + 1]


def _comment(original: str) -> str:
    found = re.match(_INLINE_COMMENT, original)
    return (found[1] or "") if found else ""


def _bindings(text: str) -> list[Binding]:
    from dotenv.parser import parse_stream  # noqa: PLC0415 - needed only to set a key

    return list(parse_stream(io.StringIO(text, newline="")))


def _values(bindings: list[Binding], *, but: tuple[str, ...]) -> list[tuple[str | None, str | None]]:
    return [
        (binding.key, binding.original.string.strip() if binding.error else binding.value)
        for binding in bindings
        if binding.key not in but and (binding.key is not None or binding.error)
    ]


def _reads_back(fresh: Path, name: str, key: SecretStr | None, *, path: Path) -> None:
    back = read_own_file(fresh, "user .env", private=True)
    found = None if isinstance(back, Problem) else from_dotenv(back, kind="user .env", path=path)
    names = ENV_NAMES.get(name.lower(), (PREFIX + name, name))
    read = None if found is None else next((found.variables[at] for at in names if at in found.variables), None)
    if found is None or read != (key and key.get_secret_value()):
        raise StateError(safe_text(f"user .env {path} would not read back as it was written"))
