"""Tools made from functions: their schema, their calls, and what cannot be one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import anyio
import anyio.lowlevel
import pytest
from pydantic import BaseModel, Field

from agentctl import AgentctlError, tool
from agentctl.core.errors import ToolError, UsageError
from agentctl.tools.docker.client import DockerEngine
from agentctl.tools.function_tool import FunctionTool
from agentctl.tools.toolbox import ToolContext


class Size(BaseModel):
    width: int
    height: int = 1


@dataclass
class Point:
    x: int


@tool(effect="write")
def order(
    item: str,
    count: Annotated[int, Field(ge=1, le=9)] = 1,
    kind: Literal["new", "used"] = "new",
    size: Size | None = None,
) -> dict[str, object]:
    """Order an item.

    The second paragraph is read, too.

    Args:
        item: what to order, by its name
            in the list.
        count (int): how many

    Returns:
        what was ordered
    """
    return {"item": item, "count": count, "kind": kind, "size": size}


def call(found: FunctionTool[Any, Any], **arguments: object) -> str:
    context = ToolContext(Path.cwd(), DockerEngine(None), lambda: datetime.now(UTC))
    return anyio.run(found.typed.at(context).__call__, arguments)


def test_types_and_docstring_are_the_schema() -> None:
    typed = order.typed.at(ToolContext(Path.cwd(), DockerEngine(None), lambda: datetime.now(UTC)))
    assert (typed.spec.name, typed.effect, typed.contained) == ("order", "write", False)
    assert typed.spec.description == "Order an item.\n\nThe second paragraph is read, too."
    assert typed.spec.parameters == {
        "type": "object",
        "properties": {
            "item": {"type": "string", "description": "what to order, by its name in the list."},
            "count": {"type": "integer", "minimum": 1, "maximum": 9, "default": 1, "description": "how many"},
            "kind": {"type": "string", "enum": ["new", "used"], "default": "new"},
            "size": {"$ref": "#/$defs/Size"},
        },
        "required": ["item"],
        "$defs": {
            "Size": {
                "type": "object",
                "title": "Size",
                "required": ["width"],
                "properties": {
                    "width": {"type": "integer", "title": "Width"},
                    "height": {"type": "integer", "title": "Height", "default": 1},
                },
            }
        },
        "additionalProperties": False,
    }
    assert "$defs" in typed.offer.parameters


def test_a_call_is_checked_and_its_values_have_their_types() -> None:
    assert call(order, item="bolt", count="3", size={"width": 2}) == (
        '{"item":"bolt","count":3,"kind":"new","size":{"width":2,"height":1}}'
    )
    for wrong, says in (
        ({}, 'needs "item"'),
        ({"item": "a", "count": 0}, '"count" must be'),
        ({"itm": 1}, "no argument"),
    ):
        with pytest.raises(ToolError, match=says) as caught:
            call(order, **wrong)
        assert "order takes: item (text)" in caught.value.hint
    assert order("bolt", 200)["count"] == 200, "Python's own call is not checked"


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("as it is", "as it is"),
        (None, "done"),
        (3, "3"),
        ([Point(1), Size(width=2)], '[{"x":1},{"width":2,"height":1}]'),
        ({"at": date(2026, 11, 30)}, '{"at":"2026-11-30"}'),
        ("\x1b[2Jx", "\\x1b[2Jx"),
    ],
)
def test_a_value_is_text_or_json(value: object, said: str) -> None:
    @tool(effect="read")
    def give() -> object:
        """Give it."""
        return value

    @tool(effect="read")
    async def give_later() -> object:
        """Give it later."""
        await anyio.lowlevel.checkpoint()
        return value

    assert (call(give), call(give_later)) == (said, said)


@pytest.mark.parametrize(
    ("failure", "message", "hint"),
    [
        (ValueError("no \x1b such item"), "fail failed: ValueError: no \\x1b such item", ""),
        (KeyError(), "fail failed: KeyError", ""),
        (ToolError("it is closed", hint="ask tomorrow"), "it is closed", "ask tomorrow"),
        (AgentctlError("it is wrong", hint="say it right"), "fail: it is wrong", "say it right"),
    ],
)
def test_an_exception_is_an_answer_for_the_model(failure: Exception, message: str, hint: str) -> None:
    @tool(effect="read")
    def fail() -> str:
        """Fail."""
        raise failure

    with pytest.raises(ToolError) as caught:
        call(fail)
    assert (caught.value.message, caught.value.hint) == (message, hint)


@pytest.mark.parametrize("value", [b"\xff", object(), {1, 2} | {object()}])
def test_a_value_that_is_no_json_is_an_error(value: object) -> None:
    @tool(effect="read")
    def give() -> object:
        """Give it."""
        return value

    with pytest.raises(ToolError, match="which is neither text nor JSON"):
        call(give)


def no_docstring(item: str) -> str:
    return item


def no_type(item) -> str:  # type: ignore[no-untyped-def]  # noqa: ANN001 - what is tested
    """Do."""
    return str(item)


def many(*items: str) -> str:
    """Do."""
    return items[0]


def whole(first: str, /) -> str:
    """Do."""
    return first


def socket(item: Callable[[], None]) -> str:
    """Do."""
    return str(item)


def unknown(item: Missing) -> str:  # type: ignore[name-defined]  # noqa: F821 - what is tested
    """Do."""
    return str(item)


def reserved(copy: str) -> str:
    """Do."""
    return copy


def run_shell(command: str) -> str:
    """Do."""
    return command


def server__look() -> str:
    """Do."""
    return ""


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (no_docstring, "has no docstring"),
        (no_type, "item has no type"),
        (many, "cannot be given by its name"),
        (whole, "cannot be given by its name"),
        (socket, "has no JSON Schema"),
        (unknown, "annotations of unknown cannot be read"),
        (reserved, "cannot be called copy"),
        (run_shell, "run_shell is a tool of agentctl"),
        (server__look, "no name for a tool"),
        (lambda: "x", "no name for a tool"),
        (Size, "is no function"),
    ],
)
def test_what_cannot_be_a_tool_is_refused_where_it_is_defined(function: Callable[..., str], says: str) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        tool(effect="read")(function)
    assert caught.value.hint


def test_an_effect_is_required_and_is_one_of_four() -> None:
    with pytest.raises(UsageError, match="says nothing of what no_docstring does"):
        tool(no_docstring)
    with pytest.raises(UsageError, match="says nothing of what"):
        tool()
    with pytest.raises(UsageError, match="effect cannot be 'none'"):
        tool(effect="none")  # type: ignore[arg-type]
