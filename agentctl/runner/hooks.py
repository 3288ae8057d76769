"""Run the user's hooks: before a tool call that may run, and at the end of a run. Loaded only where there are some.

A hook can only restrict. It gets a copy of the call, so it changes no argument; it runs for a call that rules and
settings let through, so it allows nothing; and a hook before a call that fails in any way denies the call. No hook runs
while a request is on its way: hooks before calls run between two requests, those at the end after the run is closed in
the ledger.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from agentctl.core.errors import ActionDenied
from agentctl.core.events import Record
from agentctl.core.messages import ToolCall
from agentctl.core.redaction import redact
from agentctl.core.targets import Subject
from agentctl.core.text import map_texts, replace_lone_escapes, safe_text
from agentctl.core.version import __version__
from agentctl.journal.writer import encode_record, encode_value
from agentctl.permissions.hook_rules import HookRule
from agentctl.protocols import Tool
from agentctl.sandbox.hook_process import HookEnd, run_hook

DescribeEnd = Callable[[Record], Mapping[str, object]]
"""Returns the last record of a run as ``run -o jsonl`` prints it."""


class HookContext(NamedTuple):
    """What hooks are told about a run, and the environment that they get besides the fixed one."""

    run_id: str
    workdir: str
    now: Callable[[], datetime]
    secrets: Sequence[str] = ()
    environment: Mapping[str, str] = {}
    describe_end: DescribeEnd = encode_record


class Hooks:
    """The hooks of one run, in the order of the files."""

    def __init__(self, rules: Sequence[HookRule], context: HookContext) -> None:
        self._before = tuple(rule for rule in rules if rule.on == "pre_tool")
        self._after = tuple(rule for rule in rules if rule.on == "run_finished")
        self._context = context
        self._due = {place for place, rule in enumerate(self._after) if rule.rule is None}

    def needs_names(self, name: str) -> bool:
        """Return whether all names of the target of a call of ``name`` are needed."""
        return any(rule.needs_names(name) for rule in (*self._before, *self._after))

    async def check(self, asked: ToolCall, resolved: ToolCall, tool: Tool, subject: Subject) -> ActionDenied | None:
        """Run the hooks that match a call, until one denies it; return the denial, or None."""
        due = [rule for rule in self._before if rule.matches(asked.name, asked.arguments, subject)]
        if not due:
            return None
        document = self._encode(
            {
                "schema": "agentctl.pre-tool/1",
                "version": __version__,
                "event": "pre_tool",
                "run_id": self._context.run_id,
                "at": encode_value(self._context.now()),
                "workdir": self._context.workdir,
                "effect": tool.effect,
                "call": encode_value(asked),
                "arguments": encode_value(resolved.arguments),
            }
        )
        for rule in due:
            end = await self._run(rule, document)
            if end.verdict != "passed":
                return _denial(asked.name, rule, end)
        return None

    def record(self, asked: ToolCall, resolved: ToolCall, subject: Subject) -> None:
        """Note that a call runs: hooks at the end may be about such calls."""
        self._due |= {
            place for place, rule in enumerate(self._after) if rule.matches(asked.name, asked.arguments, subject)
        }

    async def finish(self, record: Record) -> tuple[str, ...]:
        """Run the hooks at the end of a run, whose last record will be ``record``; return what went wrong with them."""
        if not self._due:
            return ()
        document, found = self._encode(self._context.describe_end(record)), []
        for place, rule in enumerate(self._after):
            if place in self._due:
                end = await self._run(rule, document)
                if end.verdict == "denied":
                    found.append(f"the hook {_named(rule)} objects to the run, which has ended: {end.why}")
                elif end.verdict == "failed":
                    found.append(f"a hook at the end of the run failed: {end.why}")
        return tuple(found)

    async def _run(self, rule: HookRule, document: bytes) -> HookEnd:
        environment = self._context.environment
        return await run_hook(rule.command, document, timeout=rule.timeout_s, environment=environment)

    def _encode(self, document: Mapping[str, object]) -> bytes:
        """Return a document as one line, with secrets redacted as in the journal."""
        clean = map_texts(document, lambda text: redact(text, self._context.secrets))
        return replace_lone_escapes(json.dumps(clean, separators=(",", ":"), default=str)).encode("ascii") + b"\n"


def _named(rule: HookRule) -> str:
    return safe_text(rule.command[0])


def _denial(name: str, rule: HookRule, end: HookEnd) -> ActionDenied:
    if end.verdict == "denied":
        denied = ActionDenied(f"{name} is denied by the hook {_named(rule)}: {end.why}")
    else:
        said = f"{name} is denied, because the hook before it failed: {end.why}"
        denied = ActionDenied(said, hint="agentctl doctor   checks the hooks")
    denied.hook = _named(rule)
    return denied
