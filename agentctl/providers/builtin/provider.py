"""``BuiltinProvider``: turn a task into one read-only tool call, or an error that says what it can do."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime
from itertools import takewhile

from agentctl.core.errors import ActionDenied, AgentctlError, TaskFailed
from agentctl.core.messages import Completion, Delta, Message, Request, ToolCall
from agentctl.core.pricing import FREE, ModelFacts
from agentctl.core.text import safe_text
from agentctl.providers.builtin.change_requests import find_change, manual_command, misspelt_change, needs_thought
from agentctl.providers.builtin.lookup import Lookup, for_engine
from agentctl.providers.builtin.match import LOOKUPS, Match, as_unit, find_lookup, match_command, range_of
from agentctl.providers.builtin.parse import Word, normalize
from agentctl.providers.builtin.since import resolve_since
from agentctl.providers.llm_provider import LLMProvider

MOST_CHARACTERS = 600  # a longer task is not a question
ALL_QUESTIONS = "all that builtin answers: agentctl help builtin"
HINT = "to use a model: agentctl help setup"
NEEDS_A_MODEL = "A lookup gives the facts; explaining them needs a model: agentctl help setup"

_NAMED = (r"\bcontainer ([\w.-]*\w)", r"([\w.-]*\w) container\b")  # other names are guesses
_NOT_UP = re.compile(
    r"\b(services?(?: that| which)?)(?: (is|are)n't| (is|are) not| not) (?:running|up)\b", re.IGNORECASE
)
_FIRST_QUESTIONS = ("system_disks", "docker_ps", "system_memory")


class BuiltinProvider(LLMProvider):
    """Matches the task to a declared table of lookups, for free and without a language model.

    >>> from agentctl import BuiltinProvider
    >>> answer = BuiltinProvider().invoke("How much disk is free?")
    >>> answer.tool_calls[0].name
    'system_disks'
    """

    def __init__(
        self,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        engine_program: str = "docker",
        is_unit: Callable[[str], bool] = lambda _: False,
    ) -> None:
        self._now, self._engine_program, self._is_unit = now, engine_program, is_unit

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
            results = takewhile(lambda message: message.role == "tool", reversed(request.messages))
            yield Completion(text="\n\n".join([message.text for message in results][::-1]))
            return
        task = next((message.text for message in reversed(request.messages) if message.role == "user"), "")
        match = choose_lookup(task, self._now(), engine_program=self._engine_program, is_unit=self._is_unit)
        offered = {tool.name for tool in request.tools}
        calls = match.calls
        missing = [tool for tool, _ in calls if offered and tool not in offered]
        if missing:
            lookup = describe(match, self._engine_program)
            raise TaskFailed(
                f"The lookup for this is {lookup}, and {missing[0]} is not among the tools of this run.",
                hint="leave out --tools, or choose another --agent",
            )
        asked = tuple(ToolCall(f"builtin-{number}", *call) for number, call in enumerate(calls, 1))
        yield Completion(text=announce(match, self._engine_program), tool_calls=asked, stop="tool_calls")


def choose_lookup(
    task: str,
    now: datetime | None = None,
    *,
    engine_program: str = "docker",
    is_unit: Callable[[str], bool] = lambda _: False,
) -> Match:
    """Return the lookup that ``task`` asks for; only its words decide, and ``now`` what a word like yesterday means.

    A name that the words leave open is that of a unit of systemd where ``is_unit`` knows one, else of a container.
    Commands in an error are those of ``engine_program``: docker, or podman.

    Raises:
        ActionDenied: the task asks for a change.
        TaskFailed: no lookup is certain, or the tool does not take a number that the task names.
    """
    words = _without_not(normalize(task))
    change = None if match_command(words) else find_change(words[: 4 * MOST_CHARACTERS])  # a line of the table reads
    if len(words) > MOST_CHARACTERS:
        raise _denied(None) if change and change.is_asked and not change.is_quoted else _unsure(words, ())
    result = find_lookup(words)
    misspelt = misspelt_change(result.words)
    if change is None and misspelt is not None:
        raise _denied(None)
    if change is not None and not (change.is_quoted and result.match and result.match.lookup.tool == "search_files"):
        if change.is_asked and not change.is_quoted:
            command = manual_command(words, change, result.words)
            raise _denied(None if command is None else for_engine(command, engine_program))
        raise _unsure(words, result.nearest, result.words, engine_program)
    if result.match is None or needs_thought(words):
        raise _unsure(words, result.nearest, result.words, engine_program)
    match = result.match
    if match.lookup.of_unit and result.words and is_unit(str(match.arguments.get("name"))):
        match = as_unit(match, (word.text for word in result.words)) or match
    return _checked(match, now or datetime.now(UTC))


def _without_not(task: str) -> str:
    """Return a normalized task with the services that are "not running" as those that are down."""
    if task.lower().startswith("why "):  # it has that word in its own questions
        return task
    return _NOT_UP.sub(lambda found: f"{found[1]} {found[2] or found[3] or 'that are'} down", task)


def _checked(match: Match, now: datetime) -> Match:
    """Return a match whose arguments the tool takes: the time of a day's name, and numbers within their range.

    A log since some time is shown from there on, as far as the tool can, unless the task names a number of lines.
    """
    for name, value in match.arguments.items():
        least, most = range_of(match.lookup.tool, name)
        if isinstance(value, int) and not isinstance(value, bool) and not least <= value <= most:
            what = "a port" if name == "port" else "a number that this lookup takes"
            raise TaskFailed(f"{value} is not {what}", hint=f"name a number from {least} to {most}")
    since = match.arguments.get("since")
    if not isinstance(since, str):
        return match
    arguments = {**match.arguments, "since": resolve_since(since, now)}
    if arguments.get("tail") == match.lookup.fixed.get("tail"):
        arguments["tail"] = range_of(match.lookup.tool, "tail")[1]
    return match._replace(arguments=arguments)


def announce(match: Match, engine_program: str = "docker") -> str:
    """Return the sentence that says how the task was understood."""
    sentence = f"builtin matched your words to a read-only lookup: {describe(match, engine_program)}."
    sentence += f"\n{match.note}" if match.note else ""
    return f"{sentence}\n{NEEDS_A_MODEL}" if match.is_cause else sentence


def describe(match: Match, engine_program: str = "docker") -> str:
    """Return a match as its tool calls and as the command line that shows the same."""
    calls = " and ".join(f"{tool}({_format_arguments(arguments)})" for tool, arguments in match.calls)
    return f'{calls}, same as "{safe_text(for_engine(match.command, engine_program))}"'


def questions() -> tuple[Lookup, ...]:
    """Return the table of lookups, for the help."""
    return LOOKUPS


def _format_arguments(arguments: Mapping[str, object]) -> str:
    return ", ".join(f"{name}={_format_value(value)}" for name, value in arguments.items())


def _format_value(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return '"' + safe_text(value).replace('"', '\\"') + '"' if isinstance(value, str) else str(value)


def _denied(command: str | None) -> AgentctlError:
    if command is None:
        return ActionDenied("builtin only reads; it cannot change anything.", hint=HINT)
    return ActionDenied(f"builtin only reads. To do it yourself: {safe_text(command)}", hint=HINT)


def _unsure(
    task: str, nearest: tuple[Lookup, ...], words: Sequence[Word] = (), engine_program: str = "docker"
) -> AgentctlError:
    said = safe_text(task if len(task) <= 80 else task[:79] + "…") or "an empty task"
    lookups = nearest or tuple(lookup for name in _FIRST_QUESTIONS for lookup in LOOKUPS if lookup.tool == name)[:3]
    named = frozenset(name for pattern in _NAMED for name in re.findall(pattern, task.lower()))
    can = "; ".join(_as_hint(lookup, words, named, engine_program) for lookup in lookups)
    return TaskFailed(f"no lookup clearly fits: {said}", hint=f"the nearest lookups: {can}; {ALL_QUESTIONS}; {HINT}")


def _as_hint(lookup: Lookup, words: Sequence[Word], named: Collection[str], engine_program: str) -> str:
    """Return what a lookup shows, and its command line if the task surely has every argument that it needs."""
    found: dict[str, object] = {}
    for word in words:
        name = lookup.slots.get(word.kind)
        if name in lookup.needs and (word.kind != "name" or word.value.lower() in named):
            found[str(name)] = int(word.value) if word.kind == "number" else word.value
    if not all(name in found for name in lookup.needs):
        return f"{lookup.about} (say which)"
    command = for_engine(lookup.command({**lookup.fixed, **found}), engine_program)
    return f"{lookup.about} ({safe_text(command)})"
