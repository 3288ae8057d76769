"""Make a tool from a function of the user's: its types and its docstring are the schema that a model reads.

A call is checked, permitted, journalled and cut like one of our own tools. The function runs in this process, outside
of any sandbox: one that changes something asks first, or needs a rule.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Callable, Mapping
from functools import partial, update_wrapper
from typing import TYPE_CHECKING, Annotated, Any, Generic, ParamSpec, TypeVar, get_args, get_origin, get_type_hints

import anyio.to_thread
from pydantic import BaseModel, Field, create_model
from pydantic.errors import PydanticUserError
from pydantic_core import PydanticSerializationError, to_json

from agentctl.core.errors import AgentctlError, ToolError, UsageError
from agentctl.core.text import safe_text
from agentctl.tools.tool import Arguments, TypedTool, schema_of
from agentctl.tools.toolbox import CALL_TOOL, FIND_TOOLS, TOOLS, ToolContext

if TYPE_CHECKING:
    from agentctl.protocols import Effect

P = ParamSpec("P")
R = TypeVar("R")
_EFFECTS = ("read", "write", "destructive", "network")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")
_SECTION = re.compile(r"(Args|Arguments|Parameters|Returns|Raises|Yields|Examples?|Notes?):\s*")
_ENTRY = re.compile(r"(\*{0,2}\w+)\s*(?:\([^)]*\))?:\s*(.*)")
_SPHINX = re.compile(r":param\s+(?:[\w.\[\]| ]+\s)?(\w+):\s*(.*)")
_EXAMPLE = '@tool(effect="read")'


class FunctionTool(Generic[P, R]):
    """A function that an agent can call; calling it from Python is calling the function itself."""

    def __init__(self, function: Callable[P, R], effect: Effect, name: str) -> None:
        update_wrapper(self, function)
        self.name, self.effect, self._function = name, effect, function
        self.typed = _typed(function, effect, name)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function, without a check, a rule or a record."""
        return self._function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<tool {self.name} ({self.effect})>"


def tool(
    function: object = None, /, *, effect: Effect | None = None, name: str | None = None
) -> Callable[[Callable[P, R]], FunctionTool[P, R]]:
    """Make a function a tool of an ``Agent``: ``@tool(effect="read")``; one that is a coroutine is awaited.

    Its docstring is what the model reads; the texts below ``Args:`` describe the arguments, whose annotations are the
    schema (``Annotated[int, Field(ge=1)]`` for bounds). ``effect`` says what a call does: "read" runs unasked, "write",
    "destructive" and "network" ask first, or need a rule: ``allow=["deploy(env=staging)"]``. A text that is returned is
    read as it is, another value as JSON. An exception is told to the model; ``AgentctlError`` with its hint.

    Raises:
        UsageError: the effect is missing, or the function cannot be a tool.

    >>> from agentctl import tool
    >>> @tool(effect="read")
    ... def stock(item: str) -> int:
    ...     '''Return how many of an item are left.'''
    ...     return {"bolt": 3}.get(item, 0)
    >>> stock, stock("bolt")
    (<tool stock (read)>, 3)
    """
    if function is not None or effect is None:
        named = getattr(function, "__name__", "the function")
        raise UsageError(
            f"@tool says nothing of what {named} does", hint=f"write {_EXAMPLE}, or: {', '.join(_EFFECTS)}"
        )
    if effect not in _EFFECTS:
        raise UsageError(f"effect cannot be {effect!r}", hint=f"one of {', '.join(_EFFECTS)}")
    known = effect

    def make(function: Callable[P, R]) -> FunctionTool[P, R]:
        return FunctionTool(function, known, name or str(getattr(function, "__name__", "")))

    return make


def _typed(function: Callable[..., Any], effect: Effect, name: str) -> TypedTool[Any]:
    """Return a function as a tool.

    Raises:
        UsageError: its name, an argument or its docstring cannot be a tool's.
    """
    if not inspect.isroutine(function):
        raise UsageError(f"{function!r} is no function", hint=f"put {_EXAMPLE} before a def")
    if not _NAME.fullmatch(name) or "__" in name:  # two underscores part a server and its tool
        raise UsageError(f"{name!r} is no name for a tool", hint=f'{_EXAMPLE[:-1]}, name="look_up")')
    if name in TOOLS or name in (FIND_TOOLS, CALL_TOOL):
        raise UsageError(f"{name} is a tool of agentctl", hint=f'give yours a name: {_EXAMPLE[:-1]}, name="my_{name}")')
    said, about = _docstring(inspect.getdoc(function) or "")
    if not said:
        raise UsageError(f"{name} has no docstring", hint="say in one what the tool does: the model reads it")
    arguments = _arguments(function, name, about)
    is_coroutine = inspect.iscoroutinefunction(function)

    async def act(_: ToolContext, given: Arguments) -> str:
        values = {field: getattr(given, field) for field in type(given).model_fields}
        call = partial(function, **values)
        try:
            if is_coroutine:
                return _as_text(name, await call())
            # a thread cannot be stopped: a run that is over does not wait for it
            return _as_text(name, await anyio.to_thread.run_sync(call, abandon_on_cancel=True))
        except AgentctlError as error:
            if isinstance(error, ToolError):
                raise
            raise ToolError(f"{name}: {error.message}", hint=error.hint) from error
        except Exception as error:
            detail = safe_text(str(error)).strip()
            raise ToolError(f"{name} failed: {type(error).__name__}{f': {detail}' if detail else ''}") from error

    return TypedTool(name, said, arguments, act, effect)


def _arguments(function: Callable[..., Any], name: str, about: Mapping[str, str]) -> type[Arguments]:
    """Return the model of a function's arguments.

    Raises:
        UsageError: one has no annotation, or one that has no JSON Schema.
    """
    try:
        hints = get_type_hints(function, include_extras=True)
        parameters = inspect.signature(function).parameters
    except (NameError, TypeError, ValueError) as error:
        raise UsageError(
            f"the annotations of {name} cannot be read: {error}", hint="import the types that it names"
        ) from error
    fields: dict[str, Any] = {}
    for parameter in parameters.values():
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise UsageError(
                f"{name}: {parameter} cannot be given by its name", hint="a tool takes named arguments only"
            )
        if parameter.name not in hints:
            raise UsageError(f"{name}: {parameter.name} has no type", hint=f"write {parameter.name}: str")
        if parameter.name.startswith(("_", "model_")) or hasattr(Arguments, parameter.name):
            raise UsageError(f"{name}: an argument cannot be called {parameter.name}", hint="give it another name")
        hint = hints[parameter.name]
        if (text := about.get(parameter.name)) and not _has_description(hint):
            hint = Annotated[hint, Field(description=text)]
        fields[parameter.name] = (hint, ... if parameter.default is parameter.empty else parameter.default)
    try:
        model = create_model(name, __base__=Arguments, **fields)
        schema_of(model)
    except (PydanticUserError, TypeError, ValueError) as error:
        said = str(error).partition("\n")[0]
        raise UsageError(
            f"{name}: an argument's type has no JSON Schema: {said}", hint="use str, int, list, …"
        ) from error
    return model


def _has_description(hint: object) -> bool:
    return get_origin(hint) is Annotated and any(getattr(one, "description", None) for one in get_args(hint)[1:])


def _docstring(text: str) -> tuple[str, dict[str, str]]:
    """Return what a docstring says before its sections, and what it says of each argument."""
    said: list[str] = []
    about: dict[str, str] = {}
    section, entry = "", ""
    for line in text.splitlines():
        if (match := _SPHINX.match(line.strip())) is not None:
            section, entry = "Args", match[1]
            about[entry] = match[2].strip()
        elif not line[:1].isspace() and (match := _SECTION.fullmatch(line.strip())) is not None:
            section, entry = match[1], ""
        elif not section:
            said.append(line)
        elif section in ("Args", "Arguments", "Parameters"):
            if (match := _ENTRY.match(line.strip())) is not None and not entry.startswith("\0"):
                entry = match[1].lstrip("*")
                about[entry] = match[2].strip()
            elif entry and line.strip():
                about[entry] = f"{about[entry]} {line.strip()}".strip()
    return "\n".join(said).strip(), about


def _as_text(name: str, value: object) -> str:
    """Return what a model reads of a value: a text as it is, nothing as "done", anything else as JSON.

    Raises:
        ToolError: it has no JSON.
    """
    if isinstance(value, str):
        return value
    if value is None:
        return "done"
    if isinstance(value, BaseModel) or dataclasses.is_dataclass(value) or not isinstance(value, (bytes, bytearray)):
        try:
            return to_json(value).decode()
        except (PydanticSerializationError, ValueError, RecursionError):
            pass
    raise ToolError(f"{name} returned a {type(value).__name__}, which is neither text nor JSON")
