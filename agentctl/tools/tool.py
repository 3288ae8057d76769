"""Make a tool from a function: a pydantic model checks its arguments, and its docstring is the description for the
model.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from functools import cache
from inspect import cleandoc
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Generic, NamedTuple, TypeVar

import anyio.to_thread
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from agentctl.core.errors import ToolError
from agentctl.core.impact import Impact
from agentctl.core.messages import ToolSpec
from agentctl.core.results import Reply
from agentctl.core.targets import Kind, Subject, Target
from agentctl.core.text import did_you_mean, safe_text
from agentctl.tools.toolbox import MOST_BYTES

if TYPE_CHECKING:
    from agentctl.core.autorun_files import AutorunFile
    from agentctl.protocols import Effect
    from agentctl.tools.toolbox import ToolContext


class Arguments(BaseModel):
    """The arguments of a tool; unknown names are refused. An empty text is one only for the names in ``literal``.

    ``offered`` says what a model reads of an argument: a shorter description, or another schema. None: it is rarely
    needed, and is accepted without being offered.
    """

    literal: ClassVar[frozenset[str]] = frozenset()
    offered: ClassVar[Mapping[str, str | Mapping[str, object] | None]] = MappingProxyType({})
    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True, hide_input_in_errors=True)


class NoArguments(Arguments):
    """No arguments."""


def offer_as(**said: str | Mapping[str, object] | None) -> Mapping[str, str | Mapping[str, object] | None]:
    """Return what a model reads of arguments, by name, for ``Arguments.offered``."""
    return MappingProxyType(said)


A = TypeVar("A", bound=Arguments)


class TargetLookup(NamedTuple):
    """The argument that names the target of a tool's calls, and the function that looks up all names of the target."""

    argument: str
    kind: Kind
    look: Callable[[ToolContext, Any], Awaitable[Target]]


class TypedTool(NamedTuple, Generic[A]):
    """A tool as defined; ``at`` binds it to a context.

    ``effect`` may depend on the context. ``contained`` tells whether its changes stay inside the workspace or a
    sandbox. ``resolve`` returns the checked arguments in their final form: a container's id as its name, a path without
    dots. ``find_autorun`` returns the program that obeys the file that a call writes. ``target`` gives rules all names
    of the call's target. ``impact`` says what a call would change.
    """

    name: str
    description: str
    arguments: type[A]
    act: Callable[[ToolContext, A], Awaitable[str]]
    effect: Effect | Callable[[ToolContext], Effect]
    contained: bool | Callable[[ToolContext], bool] = False
    resolve: Callable[[ToolContext, A], Awaitable[A]] | None = None
    find_autorun: Callable[[ToolContext, A], Awaitable[AutorunFile | None]] | None = None
    target: TargetLookup | None = None
    impact: Callable[[ToolContext, A], Awaitable[Impact]] | None = None

    def at(self, context: ToolContext) -> BoundTool[A]:
        """Return the tool bound to ``context``."""
        return BoundTool(self, context)


class BoundTool(NamedTuple, Generic[A]):
    """A tool bound to its context: the ``Tool`` of the protocols."""

    tool: TypedTool[A]
    context: ToolContext

    @property
    def spec(self) -> ToolSpec:
        """The whole specification, with every argument, bound and default."""
        return ToolSpec(self.tool.name, self.tool.description, schema_of(self.tool.arguments))

    @property
    def offer(self) -> ToolSpec:
        """The specification that a model reads: each request pays for it, so it has only what a call needs."""
        return ToolSpec(self.tool.name, self.tool.description, offered_schema(self.tool.arguments))

    @property
    def effect(self) -> Effect:
        """The kind of effect that a call has."""
        effect = self.tool.effect
        return effect(self.context) if callable(effect) else effect

    @property
    def contained(self) -> bool:
        """Whether its changes stay inside the workspace or a sandbox."""
        contained = self.tool.contained
        return contained(self.context) if callable(contained) else contained

    async def prepare(self, arguments: Mapping[str, object]) -> Mapping[str, object]:
        """Return the arguments in their final form, without those that were not given.

        Raises:
            ToolError: the arguments are wrong, or nothing has that name; the text is safe.
        """
        async with self._in_safe_words():
            checked = check(self.tool.name, self.tool.arguments, arguments)
            if self.tool.resolve is not None:
                checked = await self.tool.resolve(self.context, checked)
            return checked.model_dump(mode="json", exclude_unset=True) if checked.model_fields_set else {}

    async def find_autorun(self, arguments: Mapping[str, object]) -> AutorunFile | None:
        """Return the program that obeys the file that a prepared call writes, or None.

        Raises:
            ToolError: that cannot be found out; the text is safe.
        """
        if self.tool.find_autorun is None:
            return None
        async with self._in_safe_words():
            return await self.tool.find_autorun(self.context, check(self.tool.name, self.tool.arguments, arguments))

    async def look_up_impact(self, arguments: Mapping[str, object]) -> Impact:
        """Return what a prepared call would change.

        Raises:
            ToolError: the call cannot work; the text is safe.
        """
        if self.tool.impact is None:
            return Impact()
        async with self._in_safe_words():
            return await self.tool.impact(self.context, check(self.tool.name, self.tool.arguments, arguments))

    def subject(self, arguments: Mapping[str, object]) -> Subject:
        """Return the subject for rules: ``arguments`` with the defaults filled in, and the target by its given name.

        Wrong arguments stay unchanged, since the call fails anyway.
        """
        try:
            checked = check(self.tool.name, self.tool.arguments, arguments)
        except ToolError:
            return Subject(arguments)
        found = {name: value for name, value in checked.model_dump(mode="json").items() if value is not None}
        target = self.tool.target
        if target is None or not isinstance(given := found.get(target.argument), str):
            return Subject(found)
        roots = (str(self.context.workspace),) if target.kind == "path" else ()
        return Subject(found, {target.argument: Target(target.kind, (given,), roots=roots)})

    async def look_up(self, subject: Subject) -> Subject:
        """Return the ``subject`` of a prepared call with all names of its target.

        Raises:
            ToolError: the target cannot be looked up; the text is safe.
        """
        target = self.tool.target
        if target is None or target.argument not in subject.targets:
            return subject
        async with self._in_safe_words():
            checked = check(self.tool.name, self.tool.arguments, subject.arguments)
            found = await target.look(self.context, checked)
        known = subject.targets[target.argument]
        return subject._replace(targets={target.argument: found._replace(names=(*known.names, *found.names))})

    async def __call__(self, arguments: Mapping[str, object]) -> str:
        """Check the arguments, run the tool, and return safe text of at most ``context.most_bytes`` bytes.

        Raises:
            ToolError: the arguments are wrong, or the tool failed; the text is safe.
        """
        async with self._in_safe_words():
            checked = check(self.tool.name, self.tool.arguments, arguments)
            said = await self.tool.act(self.context, checked)
            notices = said.notices if isinstance(said, Reply) else ()
            if len(said) > MOST_BYTES:
                text = await anyio.to_thread.run_sync(safe_text, said)
            else:
                text = safe_text(said)
            text = cut_middle(text, self.context.most_bytes)
            if notices:
                return Reply.of(text, notices)  # even if the text was cut
            return said if text == said else text  # an excerpt stays one if it was not changed

    @asynccontextmanager
    async def _in_safe_words(self) -> AsyncIterator[None]:
        try:
            yield
        except ToolError as error:
            error.message, error.hint = safe_text(error.message), safe_text(error.hint)
            error.args = (error.message,)
            raise
        except OSError as error:
            raise ToolError(f"{self.tool.name}: {safe_text((error.strerror or str(error)).lower())}") from error


def define_tool(
    arguments: type[A],
    *,
    effect: Effect | Callable[[ToolContext], Effect] = "read",
    contained: bool | Callable[[ToolContext], bool] = False,
    resolve: Callable[[ToolContext, A], Awaitable[A]] | None = None,
    find_autorun: Callable[[ToolContext, A], Awaitable[AutorunFile | None]] | None = None,
    target: TargetLookup | None = None,
    impact: Callable[[ToolContext, A], Awaitable[Impact]] | None = None,
) -> Callable[[Callable[[ToolContext, A], Awaitable[str]]], TypedTool[A]]:
    """Make a tool from a coroutine function: its name, its docstring, and ``arguments`` to check."""

    def make(act: Callable[[ToolContext, A], Awaitable[str]]) -> TypedTool[A]:
        said = cleandoc(act.__doc__ or "")
        return TypedTool(act.__name__, said, arguments, act, effect, contained, resolve, find_autorun, target, impact)

    return make


def check(tool: str, model: type[A], arguments: Mapping[str, object]) -> A:
    """Return the checked arguments; None counts as not given, and so does an empty text for an optional argument.

    Raises:
        ToolError: an argument is wrong; the message names it and the allowed values.
    """
    given = {name: value for name, value in arguments.items() if not _is_left_out(model, name, value)}
    if not given and not any(field.is_required() for field in model.model_fields.values()):
        return model.model_construct()  # defaults need no check, and building the validator takes 15 ms
    for name, field in model.model_fields.items():
        if field.is_required() and name not in model.literal and _is_blank(given.get(name)):
            raise ToolError(f'{tool}: "{name}" is empty', hint=_usage(tool, model))
    try:
        return model.model_validate(given)
    except ValidationError as error:
        wrong = error.errors(include_url=False, include_input=False)
        sentences = [_describe_error(tool, model, dict(entry), arguments) for entry in wrong[:3]]
        raise ToolError("; ".join(sentences), hint=_usage(tool, model)) from error


def _usage(tool: str, model: type[Arguments]) -> str:
    takes = (f"{name} ({_allowed_values(entry)})" for name, entry in schema_of(model)["properties"].items())
    return f"{tool} takes: {', '.join(takes) or 'no arguments'}"


def _is_left_out(model: type[Arguments], name: str, value: object) -> bool:
    """Return whether a value says that its argument was not given; a required one with an empty text is refused."""
    field = model.model_fields.get(name)
    if value is None or field is None:
        return value is None
    return not field.is_required() and _is_blank(value) and name not in model.literal


def _is_blank(value: object) -> bool:
    return not value.strip() if isinstance(value, str) else isinstance(value, (list, dict)) and not value


#: How a command is offered that no shell reads: as the list that Docker's API takes, so that no word needs quotes.
WORDS: Mapping[str, object] = MappingProxyType(
    {"type": "array", "items": {"type": "string"}, "description": 'words, like ["sh", "-c", "ls"]'}
)


def join_words(value: object) -> object:
    """Return a command given as a list of words, as Docker's API takes it, as the text that has these words.

    The list may itself be JSON text. Numbers are words, too; anything else is returned unchanged.
    """
    found = value
    if isinstance(value, str) and value.lstrip().startswith("["):
        with suppress(ValueError, RecursionError):
            found = json.loads(value)
    if not isinstance(found, (list, tuple)):
        return value
    words = [str(word) if type(word) in (int, float) else word for word in found]
    return shlex.join(words) if all(isinstance(word, str) for word in words) else value


Command = Annotated[str, BeforeValidator(join_words)]
"""A command as text, or as the list of its words; rules, questions and journals see the text."""


def _describe_error(tool: str, model: type[Arguments], wrong: dict[str, Any], given: Mapping[str, object]) -> str:
    name = str(wrong["loc"][0]) if wrong["loc"] else ""
    if wrong["type"] == "extra_forbidden":
        near = did_you_mean(name, model.model_fields)
        return f'{tool} has no argument "{name[:60]}"' + (f", {near}" if near else "")
    if wrong["type"] == "missing":
        return f'{tool} needs "{name}"'
    if not name:
        return f"{tool}: {wrong['msg'].removeprefix('Value error, ')}"
    if _is_blank(given.get(name)) and model.model_fields[name].is_required():
        return f'{tool}: "{name}" is empty'
    allowed = _allowed_values(schema_of(model)["properties"].get(name, {}))
    return f'{tool}: "{name}" must be {allowed}, not {str(given.get(name))[:60]!r}'


_NOT_OFFERED = frozenset(("default", "minimum", "maximum", "minLength", "description"))
_WORDS = {"string": "text", "integer": "a whole number", "number": "a number", "boolean": "true or false"}


def _allowed_values(entry: Mapping[str, Any]) -> str:
    if "enum" in entry:
        return " or ".join(f'"{choice}"' for choice in entry["enum"])
    words = _WORDS.get(entry.get("type", ""), "a value")
    low, high = entry.get("minimum"), entry.get("maximum")
    if low is not None:
        words += f" from {low}" + (f" to {high}" if high is not None else "")
    return words


@cache
def schema_of(model: type[Arguments]) -> dict[str, Any]:
    """Return the model's JSON schema, shortened: without titles, and without "or null", as None is never needed."""
    full = model.model_json_schema()
    properties = {name: _shorten(entry) for name, entry in full.get("properties", {}).items()}
    required = {"required": full["required"]} if full.get("required") else {}
    return {"type": "object", "properties": properties, **required, **_defs(full), "additionalProperties": False}


@cache
def offered_schema(model: type[Arguments]) -> dict[str, Any]:
    """Return the schema that a model is offered: without bounds and defaults, and as ``Arguments.offered`` says.

    The error of a call with a wrong argument names the bounds and all arguments.
    """
    full = schema_of(model)
    offered = {
        name: said for kind in reversed(model.__mro__) for name, said in kind.__dict__.get("offered", {}).items()
    }
    properties: dict[str, Mapping[str, object]] = {}
    for name, entry in full["properties"].items():
        said = offered.get(name, entry.get("description", ""))
        if isinstance(said, str):
            short = {key: value for key, value in entry.items() if key not in _NOT_OFFERED}
            properties[name] = {**short, "description": said} if said else short
        elif said is not None:
            properties[name] = dict(said)
    required = {"required": full["required"]} if "required" in full else {}
    return {"type": "object", "properties": properties, **required, **_defs(full)}


def _defs(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schemas that others refer to; none of our own tools has any."""
    return {"$defs": schema["$defs"]} if "$defs" in schema else {}


def _shorten(entry: Mapping[str, Any]) -> dict[str, Any]:
    entry = {key: value for key, value in entry.items() if key != "title" and (key, value) != ("default", None)}
    choices = [choice for choice in entry.pop("anyOf", []) if choice.get("type") != "null"]
    return {**choices[0], **entry} if len(choices) == 1 else entry


def cut_middle(text: str, most: int = MOST_BYTES) -> str:
    """Return ``text``, its middle cut if it is longer than ``most`` bytes, with a line that says so."""
    data = text.encode(errors="backslashreplace")
    if len(data) <= most:
        return text
    head, tail = data[: most // 2], data[-(most // 2) :]
    head = head[: head.rfind(b"\n") + 1] or head
    tail = tail[tail.find(b"\n") + 1 :] or tail
    left = len(data) - len(head) - len(tail)
    mark = f"… {left:,} bytes in the middle left out (the most is {most:,}) …"
    return f"{head.decode(errors='ignore').rstrip()}\n{mark}\n{tail.decode(errors='ignore')}"
