"""Change one line of a table ``[providers.NAME]`` in the user's config.toml, and read it back."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from agentctl.core.errors import StateError, UsageError
from agentctl.core.text import did_you_mean, safe_text
from agentctl.settings.named_providers import KEY_WORDS, PART_MEANINGS, PARTS, NamedProvider, hide_password
from agentctl.settings.price_lines import PricePath, content_of, literal_of, remove_part
from agentctl.settings.prices import PARTS as PRICE_PARTS
from agentctl.settings.prices import PriceLine
from agentctl.settings.project_files import problems_of
from agentctl.settings.sources import from_toml

if TYPE_CHECKING:
    from tomlkit.items import Item

_EXAMPLE = "agentctl config set providers.lab.base_url http://127.0.0.1:8080/v1"
_NUMBERS = ("context_window", "output_ceiling")


class ProviderPath(NamedTuple):
    """What ``config set`` is to change: a provider's table, or one part of it ("base_url", or "price", "input")."""

    name: str
    parts: tuple[str, ...] = ()

    def __str__(self) -> str:
        return ".".join(("providers", self.name, *self.parts))

    @property
    def quoted(self) -> str:
        """The path as a shell takes it."""
        return shlex.quote(str(self))

    @property
    def example(self) -> str:
        """A value that it could have."""
        if self.parts[:1] == ("price",):
            return "0" if len(self.parts) == 1 else "0.15"
        return "8192" if self.parts and self.parts[0] in _NUMBERS else "VALUE"


def parse_provider_path(word: str) -> ProviderPath | None:
    """Return the part of ``providers`` that ``word`` names, None if it names another setting.

    Raises:
        UsageError: it names no provider, or an unknown part; a part that is a key is not repeated.
    """
    if not word.startswith("providers."):
        return None
    name, *parts = word.removeprefix("providers.").partition("=")[0].split(".")
    name = name.strip("\"'")
    if not name:
        raise UsageError(safe_text(f"{word[:80]} does not name a provider"), hint=_EXAMPLE)
    path, first = ProviderPath(name, tuple(parts)), parts[0] if parts else ""
    if first.lower() in KEY_WORDS:
        raise UsageError("keys do not belong in config.toml", hint=f"agentctl providers set-key {name}")
    if first and first not in PARTS:
        hint = did_you_mean(first[:60], PARTS, PART_MEANINGS)
        raise UsageError(safe_text(f"{ProviderPath(name)} has no {first[:60]}"), hint=hint)
    if len(parts) > 2 or (len(parts) == 2 and (first != "price" or parts[1] not in PRICE_PARTS)):
        raise UsageError(safe_text(f"{path} is not a setting"), hint=did_you_mean(parts[1][:60], PRICE_PARTS))
    return path


def provider_value(providers: Mapping[str, NamedProvider], path: ProviderPath) -> str:
    """Return a part of a provider, or all of it, as text; "" if it is not set. A password is masked."""
    own = providers.get(path.name)
    if own is None or not path.parts:
        return "" if own is None else str(own)
    first, *more = path.parts
    found: object = own.key_name if first == "api_key_env" else getattr(own, first)
    for part in more:
        found = getattr(found, part, None)
    if isinstance(found, float):
        return f"{found:g}"
    if isinstance(found, PriceLine) and not (found.input or found.output):
        return "0"
    return "" if found is None else hide_password(str(found))


def missing_parts(providers: Mapping[str, object], name: str) -> tuple[ProviderPath, ...]:
    """Return the parts that a provider needs and does not have yet."""
    table = providers.get(name)
    if not isinstance(table, Mapping) or "base_url" in table:
        return ()
    return (ProviderPath(name, ("base_url",)),)


def with_provider(text: str, path: ProviderPath, words: Sequence[str], *, file: Path) -> str:
    """Return ``text`` with a part of a provider, or without it (no ``words``); without any part, the table is removed.

    Raises:
        UsageError: the text is not TOML, or the change would make it wrong.
        StateError: no place was found for the line.
    """
    import tomlkit  # noqa: PLC0415 - needed only to change the file

    if words and not path.parts:
        raise UsageError(f"{path} is a table: set its parts one by one", hint=_EXAMPLE.replace("lab", path.name))
    mark = "\ufeff" if text.startswith("\ufeff") else ""
    body = text.removeprefix(mark)
    document = tomlkit.parse(body)
    wanted = document.unwrap()
    if not isinstance(wanted.get("providers", {}), dict):
        raise UsageError(safe_text(f"providers in {file} is not a table; nothing was changed"))
    names = ("providers", path.name, *path.parts)
    if words:
        _put(wanted, names, _literal(path, words), path)
        _put(document, names, _literal(path, words), path)
    elif not (remove_part(wanted, names) and remove_part(document, names)):
        return text
    ends = "\r\n" if "\r\n" in body and not re.search(r"(?<!\r)\n", body) else "\n"
    after = re.sub(r"\r?\n", "\r\n", document.as_string()) if ends == "\r\n" else document.as_string()
    if content_of(tomlkit.parse(after).unwrap(), "providers") != content_of(wanted, "providers"):
        hint = f"{'add' if words else 'remove'} the line by hand"
        raise StateError(safe_text(f"no place for {path} was found in {file}"), hint=hint)
    _refuse_wrong(body, after, path, file, is_set=bool(words))
    return mark + after


def _literal(path: ProviderPath, words: Sequence[str]) -> Item:
    import tomlkit  # noqa: PLC0415 - needed only to change the file

    if path.parts == ("price",) and (len(words) > 1 or not re.fullmatch(r"(?a:[\d.]+)", words[0].strip())):
        return literal_of(PricePath(path.name), words)
    if path.parts[0] == "price":
        return literal_of(PricePath(path.name, ("input",)), words)
    if len(words) > 1:
        raise UsageError(f"{path} takes one value", hint=f"agentctl config set {path.quoted} {path.example}")
    text = words[0].strip()
    is_number = path.parts[0] in _NUMBERS and re.fullmatch(r"(?a:[1-9]\d{0,11})", text)
    return tomlkit.item(int(text) if is_number else text)


def _put(document: dict[str, object], names: tuple[str, ...], value: Item, path: ProviderPath) -> None:
    import tomlkit  # noqa: PLC0415 - needed only to change the file

    place = document
    for depth, name in enumerate(names[:-1]):
        if name not in place:
            place[name] = tomlkit.table(is_super_table=depth == 0) if depth < 2 else tomlkit.inline_table()
        inner = place[name]
        if not isinstance(inner, dict):
            raise UsageError(safe_text(f"{path} is not in a table; nothing was changed"))
        place = inner
    place[names[-1]] = value


def _refuse_wrong(before: str, after: str, path: ProviderPath, file: Path, *, is_set: bool) -> None:
    """Refuse a change that adds a problem; a provider whose address is still to come is none."""
    old, new = (problems_of(from_toml(text, kind="user config", path=file)) for text in (before, after))
    known = {re.sub(r" line \d+", "", problem.text) for problem in old}
    for problem in new:
        is_awaited = is_set and problem.text.startswith(f"{ProviderPath(path.name)} has no base_url")
        if not is_awaited and re.sub(r" line \d+", "", problem.text) not in known:
            raise UsageError(f"{problem.text}; nothing was changed", hint=problem.hint)
