"""``BuiltinProvider``: turn a task into one read-only tool call, or an error that says what it can do."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

from agentctl.core.errors import ActionDenied, AgentctlError, TaskFailed
from agentctl.core.messages import Completion, Delta, Message, Request, ToolCall
from agentctl.core.pricing import FREE, ModelFacts
from agentctl.core.text import safe_text
from agentctl.providers.builtin.change_requests import find_change, manual_command, misspelt_change, needs_thought
from agentctl.providers.builtin.lookup import Lookup
from agentctl.providers.builtin.match import LOOKUPS, Match, find_lookup
from agentctl.providers.builtin.parse import normalize
from agentctl.providers.llm_provider import LLMProvider

MOST_CHARACTERS = 600  # a longer task is not a question
HINT = "set up a model: agentctl help setup"
NEEDS_A_MODEL = "These are the facts; explaining them needs a model: agentctl help setup"
ABOUT = "about 40 read-only questions answered without a model"

_FIRST_QUESTIONS = ("system_disks", "docker_ps", "system_memory")


class BuiltinProvider(LLMProvider):
    """Matches the task to a declared table of lookups, for free and without a language model.

    >>> from agentctl import BuiltinProvider
    >>> answer = BuiltinProvider().invoke("How much disk is free?")
    >>> answer.tool_calls[0].name
    'system_disks'
    """

    @property
    def facts(self) -> ModelFacts:
        """The facts of ``builtin``: no tokens, no price, no window."""
        return ModelFacts("builtin", None, price=FREE, metered=False)

    async def stream(self, request: Request) -> AsyncIterator[Delta | Completion]:
        """Yield the call that the task asks for or, after a tool's answer, that answer unchanged.

        Raises:
            ActionDenied: the task asks for a change.
            TaskFailed: no lookup is certain; the hint names the nearest ones.
        """
        last = request.messages[-1] if request.messages else Message("user", "")
        if last.role == "tool":
            yield Completion(text=last.text)
            return
        task = next((message.text for message in reversed(request.messages) if message.role == "user"), "")
        match = choose_lookup(task)
        offered = {tool.name for tool in request.tools}
        if offered and match.lookup.tool not in offered:
            raise TaskFailed(
                f"The lookup for this is {describe(match)}, and {match.lookup.tool} is not among the tools "
                "of this run.",
                hint="leave out --tools, or choose another --agent",
            )
        call = ToolCall("builtin-1", match.lookup.tool, match.arguments)
        yield Completion(text=announce(match), tool_calls=(call,), stop="tool_calls")


def choose_lookup(task: str) -> Match:
    """Return the lookup that ``task`` asks for; only its words decide.

    Raises:
        ActionDenied: the task asks for a change.
        TaskFailed: no lookup is certain.
    """
    words = normalize(task)
    change = find_change(words[: 4 * MOST_CHARACTERS])
    if len(words) > MOST_CHARACTERS:
        raise _denied(None) if change and change.is_asked and not change.is_quoted else _unsure(words, ())
    result = find_lookup(words)
    misspelt = misspelt_change(result.words)
    if change is None and misspelt is not None:
        raise _denied(None)
    if change is not None and not (change.is_quoted and result.match and result.match.lookup.tool == "search_files"):
        if change.is_asked and not change.is_quoted:
            raise _denied(manual_command(words, change, result.words))
        raise _unsure(words, result.nearest)
    if result.match is None or needs_thought(words):
        raise _unsure(words, result.nearest)
    return result.match


def announce(match: Match) -> str:
    """Return the sentence that says how the task was understood."""
    sentence = f"No model is set up. Matched your words to a read-only lookup: {describe(match)}."
    return f"{sentence}\n{NEEDS_A_MODEL}" if match.is_cause else sentence


def describe(match: Match) -> str:
    """Return a match as a tool call and as the command line that shows the same."""
    arguments = ", ".join(f"{name}={_format_value(value)}" for name, value in match.arguments.items())
    return f'{match.lookup.tool}({arguments}), same as "{safe_text(match.lookup.command(match.arguments))}"'


def questions() -> tuple[Lookup, ...]:
    """Return the table of lookups, for the help."""
    return LOOKUPS


def _format_value(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return '"' + safe_text(value).replace('"', '\\"') + '"' if isinstance(value, str) else str(value)


def _denied(command: str | None) -> AgentctlError:
    if command is None:
        return ActionDenied("builtin only reads; it cannot change anything.", hint=HINT)
    return ActionDenied(f"builtin only reads. To do it yourself: {safe_text(command)}", hint=HINT)


def _unsure(task: str, nearest: tuple[Lookup, ...]) -> AgentctlError:
    words = safe_text(task if len(task) <= 80 else task[:79] + "…") or "an empty task"
    lookups = nearest or tuple(lookup for name in _FIRST_QUESTIONS for lookup in LOOKUPS if lookup.tool == name)[:3]
    can = "; ".join(f"{lookup.about} ({_bare(lookup)})" for lookup in lookups)
    return TaskFailed(f"no lookup clearly fits: {words}", hint=f"the nearest lookups: {can}; or {HINT}")


def _bare(lookup: Lookup) -> str:
    sample: Mapping[str, str] = {name: name.upper() for name in lookup.needs}
    return lookup.command({**lookup.fixed, **sample})
