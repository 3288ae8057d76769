"""How each wire asks for an answer by a schema, judged by the SDKs' own types."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from agentctl import create_llm_provider
from agentctl.budget.input_bound import plain_bound
from agentctl.core.answer_schema import read_answer_schema
from agentctl.core.messages import Message, Request
from agentctl.providers.format_calls import without_calls
from agentctl.providers.wires import anthropic_messages, ollama_chat, openai_chat, openai_responses
from agentctl.providers.wires.exchange import BodyFacts
from agentctl.runner.structured_answer import format_by
from tests.unit.providers.wires.bodies import (
    PS,
    SAID,
    asked,
    assert_of_anthropic,
    assert_of_openai,
    assert_of_responses,
)

SCHEMA = read_answer_schema("used:int,note:string")
FACTS = BodyFacts("m", 100)
ASKED: Request = replace(asked(*SAID, tools=(PS,)), answer_format=format_by(SCHEMA))


def test_openai_is_asked_strictly_beside_the_tools() -> None:
    body = openai_chat.body(ASKED, FACTS).content
    assert body["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "answer", "strict": True, "schema": SCHEMA.document},
    }
    assert body["tools"]
    assert_of_openai(body)


def test_responses_has_it_as_a_text_format() -> None:
    body = openai_responses.fields(ASKED, FACTS, reasons=False)
    assert body["text"] == {
        "format": {"type": "json_schema", "name": "answer", "strict": True, "schema": SCHEMA.document}
    }
    assert_of_responses({"model": "m", **body})


def test_anthropic_has_it_in_its_output_config() -> None:
    body = anthropic_messages.body(ASKED, FACTS).content
    assert body["output_config"] == {"format": {"type": "json_schema", "schema": SCHEMA.document}}
    assert_of_anthropic(body)


def test_anthropic_gets_a_tool_that_is_none_in_the_turn_without_tools() -> None:
    body: Any = anthropic_messages.body(replace(ASKED, tools=()), FACTS).content
    assert [tool["name"] for tool in body["tools"]] == ["no_tool"]
    assert_of_anthropic(body)


def test_ollama_has_the_schema_as_its_format() -> None:
    assert ollama_chat.body(replace(ASKED, tools=()), FACTS).content["format"] == SCHEMA.document


def test_no_wire_has_a_field_for_it_without_a_schema() -> None:
    plain = asked(*SAID, tools=(PS,))
    bodies = [module.body(plain, FACTS).content for module in (openai_chat, anthropic_messages, ollama_chat)]
    names = {*bodies[0], *bodies[1], *bodies[2], *openai_responses.fields(plain, FACTS, reasons=False)}
    assert names.isdisjoint({"response_format", "output_config", "format", "text"})


def test_every_body_is_within_the_bound() -> None:
    long = read_answer_schema({"type": "object", "description": "ü" * 3000, "properties": {}})
    request = replace(ASKED, answer_format=format_by(long))
    for module in (openai_chat, anthropic_messages, ollama_chat):
        added = len(module.body(request, FACTS).data) - len(
            module.body(replace(request, answer_format=None), FACTS).data
        )
        assert plain_bound(request) - plain_bound(replace(request, answer_format=None)) >= added


def test_model_without_tools_is_asked_with_its_calls_as_text() -> None:
    request = without_calls(replace(ASKED, tools=()))
    assert {message.role for message in request.messages} == {"system", "user", "assistant"}
    assert Message("user", "Result of docker_ps:\nweb") in request.messages
    assert json.dumps({"tool": "docker_ps", "arguments": {"all": True}}, separators=(",", ":")) in str(request.messages)


HERE, ELSEWHERE = "http://127.0.0.1:8000/v1", "https://gateway.example/v1"


@pytest.mark.parametrize(
    ("provider", "model", "base_url", "native"),
    [
        ("openai", "gpt-4o", "", "openai"),
        ("openai", "gpt-4o", HERE, "openai"),
        ("openai", "gpt-4o", ELSEWHERE, None),
        ("openai", "gpt-4-turbo", "", None),
        ("azure", "gpt-4o", "https://resource.openai.azure.com", None),
        ("anthropic", "claude-opus-4-5", "", "anthropic"),
        ("anthropic", "claude-opus-4-1", "", None),
        ("ollama", "llama3.1", "", "ollama"),
        ("ollama", "llama3.1", ELSEWHERE, None),
        ("openrouter", "openai/gpt-4o", "", None),
        ("gemini", "gemini-2.5-pro", "", None),
    ],
)
def test_schema_is_sent_natively_as_docs_json_says(
    provider: str, model: str, base_url: str, native: str | None
) -> None:
    facts = create_llm_provider(provider, model=model, base_url=base_url or None, api_key="sk-example").facts
    assert (facts.native_format and facts.native_format.subset) == native
