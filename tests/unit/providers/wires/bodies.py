"""Conversations for the wires' tests, and the official SDKs' types as judges of a body."""

from __future__ import annotations

from functools import cache
from typing import Any

from hypothesis import strategies as st
from pydantic import TypeAdapter

from agentctl.core.messages import Message, Request, ToolCall, ToolSpec

PS = ToolSpec("docker_ps", "List containers.", {"type": "object", "properties": {"all": {"type": "boolean"}}})
IMAGES = ToolSpec("docker_images", "List images.", {"type": "object", "properties": {}})
CALLS = (ToolCall("call_1", "docker_ps", {"all": True}), ToolCall("call_2", "docker_images", {}))
SAID = (
    Message("system", "You help."),
    Message("user", "List"),
    Message("assistant", "", CALLS),
    Message("tool", "web", tool_call_id="call_1"),
    Message("tool", "nginx", tool_call_id="call_2"),
    Message("user", "And?"),
)

TEXT = st.text(max_size=12)
ARGUMENTS = st.dictionaries(
    TEXT, st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT, max_size=3
)
CALL = st.builds(ToolCall, TEXT, TEXT, ARGUMENTS)
MESSAGE = st.one_of(
    st.builds(Message, st.sampled_from(["system", "user"]), TEXT),
    st.builds(Message, st.just("assistant"), TEXT, st.lists(CALL, max_size=3).map(tuple)),
    st.builds(lambda text, id: Message("tool", text, tool_call_id=id), TEXT, TEXT),
)
CONVERSATION = st.lists(MESSAGE, min_size=1, max_size=6).map(tuple)


def asked(*said: Message, tools: tuple[ToolSpec, ...] = (), followed: bool = True) -> Request:
    return Request("m", said, tools, followed=followed)


@cache
def _openai() -> TypeAdapter[Any]:
    from openai.types.chat.completion_create_params import CompletionCreateParamsStreaming

    return TypeAdapter(CompletionCreateParamsStreaming)


@cache
def _anthropic() -> TypeAdapter[Any]:
    from anthropic.types.message_create_params import MessageCreateParamsStreaming

    return TypeAdapter(MessageCreateParamsStreaming)


@cache
def _responses() -> TypeAdapter[Any]:
    from openai.types.responses.response_create_params import ResponseCreateParamsStreaming

    return TypeAdapter(ResponseCreateParamsStreaming)


def assert_of_openai(content: object) -> None:
    """Assert that OpenAI's own types know every field of a body, with its type."""
    assert _plain(_openai().validate_python(content)) == content


def assert_of_responses(content: object) -> None:
    """Assert that OpenAI's own types know every field of a request in the Responses format, with its type."""
    assert _plain(_responses().validate_python(content)) == content


def assert_of_anthropic(content: object) -> None:
    """Assert that Anthropic's own types know every field of a body, with its type."""
    assert _plain(_anthropic().validate_python(content)) == content


def _plain(value: Any) -> Any:  # noqa: ANN401 - anything of JSON; the types read lists lazily
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    return value if isinstance(value, str | int | float | None) else [_plain(inner) for inner in value]
