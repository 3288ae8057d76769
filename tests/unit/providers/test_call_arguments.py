"""The arguments of a call, as models really write them."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentctl.providers.call_pieces import parse_arguments
from agentctl.providers.chat_format import CompletionBuilder
from tests.unit.providers.test_chat_format import end, part, piece

OBJECTS = st.dictionaries(st.text(max_size=8), st.none() | st.booleans() | st.integers() | st.text(max_size=20))


@pytest.mark.parametrize(
    "written",
    [
        "",
        "  ",
        "null",
        '"null"',
        '""',
        '"\\"\\""',
        "{}",
        '"{}"',
        "[]",
        "None",
        "undefined",
        "null<|im_end|>",
        "```\n```",
    ],
)
def test_nothing_in_any_spelling_is_no_arguments(written: str) -> None:
    assert parse_arguments(written) == {}


@pytest.mark.parametrize(
    "written",
    [
        '{"name": "web"}',
        json.dumps('{"name": "web"}'),
        json.dumps(json.dumps('{"name": "web"}')),
        '{"name": "web"}<|call|>',
        '{"name": "web"} <|im_end|><|endoftext|>\n',
        '```json\n{"name": "web"}\n```',
        '{}{"name": "web"}',
        '{"name": "web"}}',
        '{"name": "web"}]}',
        '[{"name": "web"}]',
        '\ufeff{"name": "web"}\0',
        "{'name': 'web'}",
        '{"name": "web",}',
    ],
)
def test_object_is_read_out_of_its_wrapping(written: str) -> None:
    assert parse_arguments(written) == {"name": "web"}


def test_what_python_and_patterns_have_is_read_as_it_was_meant() -> None:
    assert parse_arguments("{'a': None, 'b': True, 'c': 'it\\'s'}") == {"a": None, "b": True, "c": "it's"}
    assert parse_arguments('{"pattern": "\\d+\\.txt", "text": "a\\nb"}') == {"pattern": "\\d+\\.txt", "text": "a\nb"}
    for written in ("{'a': {1, 2}}", "{1: 2}", "{'a': 1j}", "{'a': f()}", "{'a': 1e999}"):
        assert parse_arguments(written) == {"no_json_object": written}


def test_newlines_and_tabs_in_strings_are_read_as_they_are() -> None:
    assert parse_arguments('{"text": "one\n\ttwo"}') == {"text": "one\n\ttwo"}
    assert parse_arguments(json.dumps('{"text": "one\n\ttwo"}')) == {"text": "one\n\ttwo"}


@pytest.mark.parametrize("written", ["not json", "[1]", "7", "true", '{"a": 1', '"text"', "{'a': b}", "[" * 5000])
def test_everything_else_is_reported_to_the_tool(written: str) -> None:
    assert parse_arguments(written) == {"no_json_object": written[:1000]}


@given(OBJECTS, st.integers(0, 2))
def test_object_survives_being_encoded_again(arguments: dict[str, object], times: int) -> None:
    written = json.dumps(arguments)
    for _ in range(times):
        written = json.dumps(written)
    assert parse_arguments(written) == arguments


@given(st.text(max_size=40))
def test_any_text_gives_an_object(written: str) -> None:
    assert isinstance(parse_arguments(written), dict)


def test_call_with_a_json_null_reaches_a_tool_without_parameters() -> None:
    answer = CompletionBuilder()
    answer.add(piece(tool_calls=[part(0, "a", "system_memory", "nu")]))
    answer.add(piece(tool_calls=[part(0, None, None, "ll")]))
    answer.add(end("tool_calls"))
    assert [dict(call.arguments) for call in answer.build(usage=None, model=None).tool_calls] == [{}]
