"""Change one line of the table ``prices`` in the user's config.toml, and read it back: ``prices."openai/x".input``."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from agentctl.core.errors import StateError, UsageError
from agentctl.core.text import did_you_mean, safe_text
from agentctl.settings.prices import PARTS, PriceLine, above_tokens
from agentctl.settings.project_files import problems_of
from agentctl.settings.sources import from_toml

if TYPE_CHECKING:
    from tomlkit.items import Item

_NEEDED = ("input", "output")
_NAMES = (*PARTS, "certain")
_BARE = re.compile(rf"(?P<model>.+?)(?P<tail>(\.above_\d+k?)?\.({'|'.join(_NAMES)})|\.above_\d+k?)?")


class PricePath(NamedTuple):
    """What ``config set`` is to change: the line of a model, or one part of it ("input", or "above_200k", "input")."""

    model: str
    parts: tuple[str, ...] = ()

    def __str__(self) -> str:
        return ".".join((f'prices."{self.model}"', *self.parts))

    @property
    def quoted(self) -> str:
        """The path as a shell takes it."""
        return shlex.quote(str(self))

    @property
    def example(self) -> str:
        """A value that it could have."""
        return "0.15"


def parse_price_path(word: str) -> PricePath | None:
    """Return the line or part of ``prices`` that ``word`` names, None if it names another setting.

    The quotes around a model's name may be left out.

    Raises:
        UsageError: it names no model, or an unknown part.
    """
    if not word.startswith("prices."):
        return None
    rest = re.sub(r"=[\s\d.$]*\Z", "", word.removeprefix("prices."))  # NAME=VALUE: the value is not part of the name
    quoted = re.match(r'"((?:[^"\\]|\\.)*)"|\'([^\']*)\'', rest)
    found = None if quoted else _BARE.fullmatch(rest)
    if quoted:
        model, tail = (quoted[1] if quoted[1] is not None else quoted[2]), rest[quoted.end() :]
    else:
        model, tail = (found["model"], found["tail"] or "") if found else ("", "")
    parts = tuple(tail.removeprefix(".").split(".")) if tail else ()
    if not model.strip() or '"' in model or "\\" in model or (tail and not tail.startswith(".")):
        hint = "agentctl config set 'prices.\"openai/my-model\".input' 0.15"
        raise UsageError(safe_text(f"{word[:80]} does not name the price of a model"), hint=hint)
    if found and not parts and (near := did_you_mean(model.rpartition(".")[2], _NAMES)):
        raise UsageError(safe_text(f"{PricePath(model)} has no price at its end"), hint=near)
    first, *more = parts or ("input",)
    is_tier = above_tokens(first) is not None
    if (first not in _NAMES and not is_tier) or len(more) > 1 or (more and (not is_tier or more[0] not in PARTS)):
        unknown = parts[-1][:60]
        raise UsageError(safe_text(f"{PricePath(model)} has no {unknown}"), hint=did_you_mean(unknown, _NAMES))
    return PricePath(model, parts)


def price_value(prices: Mapping[str, PriceLine], path: PricePath) -> str:
    """Return a price, or a whole line, as text; "" if it is not set."""
    found: object = prices.get(path.model)
    for part in path.parts:
        if found is None:
            break
        above = above_tokens(part)
        found = getattr(found, part, None) if above is None else dict(getattr(found, "tiers", ())).get(above)
    return "" if found is None else str(found).lower() if isinstance(found, bool) else str(found)


def missing_parts(prices: Mapping[str, object], model: str) -> tuple[PricePath, ...]:
    """Return the prices that a model's line needs and does not have yet."""
    line = prices.get(model)
    if not isinstance(line, Mapping):
        return ()
    return tuple(PricePath(model, (part,)) for part in _NEEDED if part not in line)


def with_price(text: str, path: PricePath, words: Sequence[str], *, file: Path) -> str:
    """Return ``text`` with a price, or without it (no ``words``); a line is ``input=0.15 output=0.60`` or a TOML table.

    Raises:
        UsageError: the text is not TOML, or the change would make it wrong.
        StateError: no place was found for the line.
    """
    import tomlkit  # noqa: PLC0415 - needed only to change the file

    mark = "\ufeff" if text.startswith("\ufeff") else ""
    body = text.removeprefix(mark)
    document, names = tomlkit.parse(body), (path.model, *path.parts)
    wanted = document.unwrap()
    wanted_prices = wanted.setdefault("prices", {}) if words else wanted.get("prices", {})
    if not isinstance(wanted_prices, dict) or not isinstance(document.get("prices", {}), dict):
        raise UsageError(safe_text(f"prices in {file} is not a table; nothing was changed"))
    if words:
        _change(wanted_prices, path, literal_of(path, words))
        if "prices" not in document:
            document["prices"] = tomlkit.table()
        _change(document["prices"], path, literal_of(path, words))
    elif not (remove_part(wanted_prices, names) and remove_part(document["prices"], names)):
        return text
    ends = "\r\n" if "\r\n" in body and not re.search(r"(?<!\r)\n", body) else "\n"
    after = re.sub(r"\r?\n", "\r\n", document.as_string()) if ends == "\r\n" else document.as_string()
    if content_of(tomlkit.parse(after).unwrap(), "prices") != content_of(wanted, "prices"):
        hint = f"{'add' if words else 'remove'} the line by hand"
        raise StateError(safe_text(f"no place for {path} was found in {file}"), hint=hint)
    _refuse_wrong(body, after, path, file, is_set=bool(words))
    return mark + after


def literal_of(path: PricePath, words: Sequence[str]) -> Item:
    """Return a value as an item of TOML: a number, or a whole line."""
    import tomlkit  # noqa: PLC0415 - needed only to change the file

    if path.parts and above_tokens(path.parts[-1]) is None:
        if len(words) > 1:
            raise UsageError(f"{path} takes one value", hint=f"agentctl config set {path.quoted} 0.15")
        return tomlkit.value(_literal(words[0]))
    whole = " ".join(words).strip()
    if not whole.startswith("{"):
        pairs = [word.partition("=") for word in re.split(r"[\s,]+", whole) if word]
        if not all(name and mark and value for name, mark, value in pairs):
            hint = f"agentctl config set {path.quoted} input=0.15 output=0.60"
            raise UsageError(safe_text(f"{path} is a line of several prices"), hint=hint)
        whole = f"{{ {', '.join(f'{tomlkit.key(name).as_string()} = {_literal(value)}' for name, _, value in pairs)} }}"
    try:
        return tomlkit.value(whole)
    except tomlkit.exceptions.TOMLKitError as error:
        raise UsageError(safe_text(f"{path}: this is not a TOML table ({error})")) from None


def _literal(word: str) -> str:
    """Return a number or a truth value as TOML writes it; anything else as a string, which no price can be."""
    import tomlkit  # noqa: PLC0415 - needed only to change the file

    text = word.strip()
    if re.fullmatch(r"(?a:\d{1,12}(\.\d{1,20})?)|true|false", text):
        return text if text in ("true", "false") else re.sub(r"^0+(?=\d)", "", text)
    return f"0{text}" if re.fullmatch(r"(?a:\.\d{1,20})", text) else tomlkit.item(text).as_string()


def _change(prices: dict[str, object], path: PricePath, value: Item) -> None:
    import tomlkit  # noqa: PLC0415 - needed only to change the file

    place, names = prices, (path.model, *path.parts)
    for name in names[:-1]:
        if name not in place:
            place[name] = tomlkit.inline_table()
        inner = place[name]
        if not isinstance(inner, dict):
            raise UsageError(safe_text(f"{PricePath(path.model)} is not a table; nothing was changed"))
        place = inner
    place[names[-1]] = value


def remove_part(place: dict[str, object], names: Sequence[str]) -> bool:
    """Remove the last of ``names`` from the tables that the others lead to; return whether it was there."""
    for name in names[:-1]:
        inner = place.get(name)
        if not isinstance(inner, dict):
            return False
        place = inner
    if names[-1] not in place:
        return False
    del place[names[-1]]
    return True


def content_of(document: Mapping[str, object], table: str) -> object:
    """Return a parsed file without the library's types, and without an empty ``table``: dotted lines leave none."""
    return _plain({name: value for name, value in document.items() if name != table or value})


def _plain(value: object) -> object:
    """Return a parsed value without the library's types."""
    unwrap = getattr(value, "unwrap", None)
    if unwrap is not None:
        return _plain(unwrap())
    return {name: _plain(inner) for name, inner in value.items()} if isinstance(value, dict) else value


def _refuse_wrong(before: str, after: str, path: PricePath, file: Path, *, is_set: bool) -> None:
    """Refuse a change that adds a problem; a line whose other price is still to come is none."""
    old, new = (problems_of(from_toml(text, kind="user config", path=file)) for text in (before, after))
    known = {re.sub(r" line \d+", "", problem.text) for problem in old}
    awaited = {f"{PricePath(path.model)} has no {part}" for part in _NEEDED}
    for problem in new:
        is_awaited = is_set and any(problem.text.startswith(text) for text in map(safe_text, awaited))
        if not is_awaited and re.sub(r" line \d+", "", problem.text) not in known:
            hint = problem.hint if is_set else f"agentctl config set {PricePath(path.model).quoted} --unset"
            raise UsageError(f"{problem.text}; nothing was changed", hint=hint)
