"""Hooks: the TOML tables ``[[hook]]``, each a command that agentctl runs at one moment of a run, and their checks.

Loaded only where a file has one.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from agentctl.core.text import did_you_mean
from agentctl.core.tool_rules import parse_rule, split_rules
from agentctl.settings import parsers
from agentctl.settings.merge import Validated, validate
from agentctl.settings.names import TOML_FIELDS
from agentctl.settings.prices import Wrong, WrongLines
from agentctl.settings.sources import Layer, Source

HOOKS_ALLOWED = 'tables such as [[hook]] with on = "run_finished" and command = ["/usr/local/bin/notify"]'
COMMAND_ALLOWED = "a list: the absolute path of a program, then its arguments"
_EXAMPLE = 'command = ["/usr/local/bin/check"]'

#: When a hook can run: before a tool call that may run, and at the end of a run.
MOMENTS = ("pre_tool", "run_finished")
PARTS = ("on", "match", "command", "timeout")
DEFAULT_TIMEOUT_S = 10.0
MOST_TIMEOUT_S = 600.0
_MOST_HOOKS = 50
_MOST_WORDS, _MOST_LENGTH = 100, 4000

_MOMENT_MEANINGS: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(("pretooluse", "pre_tool_use", "before_tool", "tool_started", "pre-tool", "tool"), "pre_tool"),
        **dict.fromkeys(("stop", "end", "finished", "sessionend", "run-finished", "after_run", "done"), "run_finished"),
    }
)
_PART_MEANINGS: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(("event", "when", "type", "moment"), "on"),
        **dict.fromkeys(("matcher", "rule", "tool", "tools", "if"), "match"),
        **dict.fromkeys(("run", "exec", "program", "cmd", "script", "argv"), "command"),
        **dict.fromkeys(("time", "timeout_s", "max_time", "time_limit"), "timeout"),
    }
)


class Hook(NamedTuple):
    """A command that runs ``on`` a moment: before a call that the rule ``match`` matches, or at the end of a run.

    ``match`` "": every run. ``timeout_s`` is in seconds; then the command is ended.
    """

    on: str
    command: tuple[str, ...]
    match: str = ""
    timeout_s: float = DEFAULT_TIMEOUT_S

    def __str__(self) -> str:
        when = " ".join(filter(None, (self.on, self.match)))
        return f"{when}: {shlex.join(self.command)} ({self.timeout_s:g} s)"


def hooks(value: object) -> tuple[Hook, ...]:
    """Return the hooks of a list of tables, in its order.

    Raises:
        ValueError: this is no list of tables, or some of them are wrong (``WrongLines``).
    """
    if not isinstance(value, list | tuple) or len(value) > _MOST_HOOKS:
        raise ValueError(HOOKS_ALLOWED if not isinstance(value, list | tuple) else f"at most {_MOST_HOOKS} hooks")
    right: list[Hook] = []
    wrong: list[Wrong] = []
    for number, table in enumerate(value, 1):
        found = table if isinstance(table, Hook) else _Table(number, table).read()
        if isinstance(found, Hook):
            right.append(found)
        else:
            wrong += found
    if wrong:
        raise WrongLines(HOOKS_ALLOWED, tuple(wrong))
    return tuple(right)


def hooks_of_layers(layers: Sequence[Layer], strongest: Validated) -> tuple[Validated, Source]:
    """Return ``strongest`` with the hooks of every file, the user's first: a project's file adds to them.

    The source names every file that has hooks.
    """
    entries = [layer.entries["hook"] for layer in layers if "hook" in layer.entries]
    found, problems = strongest.values.get("hook", ()), strongest.problems
    for entry in entries[1:]:
        weaker = validate({"hook": entry})
        found, problems = (*weaker.values.get("hook", ()), *found), (*problems, *weaker.problems)
    last = entries[-1].source
    others = [str(entry.source) for entry in reversed(entries[:-1])]
    source = Source(last.kind, ", ".join((last.detail, *others)))
    return Validated({**strongest.values, "hook": found}, problems), source


class _Table:
    """The reader of one table."""

    def __init__(self, number: int, table: object) -> None:
        self._line, self._whole, self._table = f"hook#{number}", f"hook {number}", table
        self._wrong: list[Wrong] = []

    def read(self) -> Hook | list[Wrong]:
        """Return the hook, or what is wrong with its table."""
        if not isinstance(self._table, Mapping):
            return [Wrong(self._line, "", f"{self._whole} is not a table", f"; allowed: {HOOKS_ALLOWED}")]
        for part in self._table:
            if part not in PARTS:
                self._refuse_unknown(str(part))
        on = self._part("on", _moment)
        command = self._part("command", _command, hint=_command_hint)
        match = self._part("match", _rule, hint=_rule_hint)
        timeout = self._part("timeout", _timeout)
        for part, example in (("on", 'on = "pre_tool"'), ("command", _EXAMPLE)):
            if part not in self._table:
                self._wrong.append(Wrong(self._line, "", f"{self._whole} has no {part}", "; it is needed", example))
        if on == "pre_tool" and "match" not in self._table:
            said = f"{self._whole} has no match, which says before which calls it runs"
            self._wrong.append(Wrong(self._line, "", said, "; it is needed", 'match = "*"   is every call'))
        if self._wrong:
            return self._wrong
        return Hook(on, command, match or "", DEFAULT_TIMEOUT_S if timeout is None else timeout)

    def _part(self, part: str, read: Callable[[object], Any], *, hint: Callable[[object], str] = lambda _: "") -> Any:  # noqa: ANN401 - what the reader returns
        """Return a part of the table, None if it is missing or wrong."""
        if not isinstance(self._table, Mapping) or part not in self._table:
            return None
        value = self._table[part]
        try:
            return read(value)
        except ValueError as wrong:
            said = f'{self._whole}: {part} cannot be "{_shown(value)}"'
            self._wrong.append(Wrong(self._line, part, said, f"; allowed: {wrong}", hint(value)))
            return None

    def _refuse_unknown(self, part: str) -> None:
        hint = did_you_mean(part[:60], PARTS, _PART_MEANINGS)
        if part in TOML_FIELDS:
            hint = f"move {part} above the first line [[hook]]"
        self._wrong.append(Wrong(self._line, part, f"unknown setting {part[:60]} of {self._whole}", hint=hint))


def _shown(value: object) -> str:
    return (value if isinstance(value, str) else json.dumps(value, default=str))[:80]


def _moment(value: object) -> str:
    word = value.strip() if isinstance(value, str) else ""
    if word in MOMENTS:
        return word
    near = did_you_mean(word.lower(), MOMENTS, _MOMENT_MEANINGS)
    raise ValueError(f"one of {', '.join(MOMENTS)}" + (f"; {near}" if near else ""))


def _rule(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("one rule, such as run_shell(git push*)")
    parse_rule(value)
    return value.strip()


def _rule_hint(value: object) -> str:
    rules = value if isinstance(value, list) else split_rules(value) if isinstance(value, str) else ()
    return "write one [[hook]] for each rule" if len(rules) > 1 else ""


def _timeout(value: object) -> float:
    seconds = parsers.duration(zero=False)(value)
    if seconds > MOST_TIMEOUT_S:
        raise ValueError(f"a duration of at most {MOST_TIMEOUT_S / 60:g}m, such as 10s")
    return seconds


def _command(value: object) -> tuple[str, ...]:
    words = value if isinstance(value, list | tuple) else ()
    if not words or not all(isinstance(word, str) for word in words) or not words[0].strip():
        raise ValueError(COMMAND_ALLOWED)
    if len(words) > _MOST_WORDS or any("\0" in word or len(word) > _MOST_LENGTH for word in words):
        raise ValueError(f"{COMMAND_ALLOWED}; at most {_MOST_WORDS} words of at most {_MOST_LENGTH} characters")
    program = os.path.expanduser(words[0]) if words[0].startswith("~/") else words[0]  # noqa: PTH111 - Path may raise
    if not program.startswith("/"):
        raise ValueError(COMMAND_ALLOWED)
    return (program, *words[1:])


def _command_hint(value: object) -> str:
    """Return the line that the user may have meant: a text as words, a program by its absolute path."""
    words = value if isinstance(value, list) else []
    if isinstance(value, str):
        try:
            words = shlex.split(value)
        except ValueError:
            words = []
    if not words or not all(isinstance(word, str) for word in words) or not words[0].strip():
        return _EXAMPLE
    first = words[0]
    found = first if first.startswith(("/", "~/")) else "" if "/" in first else shutil.which(first)
    if not found:
        return _EXAMPLE
    return f"command = {json.dumps([found, *words[1:]], ensure_ascii=False)}"
