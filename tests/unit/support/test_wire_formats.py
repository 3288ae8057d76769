"""The three formats as they stand on the wire."""

from __future__ import annotations

import json

import pytest

from tests.support.wire.client import FORMATS, PATHS, TOOLS, ask, body_for, connect, headers_for, send
from tests.support.wire.plugin import OpenWire
from tests.support.wire.script import Format, Json
from tests.support.wire.server import Answer, Call, parallel
from tests.support.wire.stories import names_in

TABLE = "name   id   image   status\nweb-1  abc  nginx   Up 2 hours\ndb     def  pg      Exited (1)\n\n2 containers."
ANSWER = Answer("Grüße, there are three ☃", input_tokens=100, output_tokens=20, cached=30, cache_write=10, reasoning=5)


def text_of(form: Format, event: Json) -> str:
    if form == "openai":
        return str((event["choices"] or [{"delta": {}}])[0]["delta"].get("content") or "")
    if form == "anthropic":
        return str(event.get("delta", {}).get("text", ""))
    return str(event["message"]["content"])


@pytest.mark.parametrize("form", FORMATS)
def test_a_text_comes_in_pieces_that_make_it_up(wire: OpenWire, form: Format) -> None:
    got = ask(wire(ANSWER), form, stream=True)
    parts = [part for event in got.events if (part := text_of(form, event))]
    assert ("".join(parts), len(parts) > 2, got.complete) == (ANSWER.text, True, True)


def test_an_openai_stream_opens_with_the_role_and_ends_with_usage_and_done(wire: OpenWire) -> None:
    got = ask(wire(ANSWER), "openai", stream=True)
    first, *_, finish, usage = got.events
    assert got.headers["content-type"].startswith("text/event-stream")
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": "", "refusal": None}
    assert {event["object"] for event in got.events} == {"chat.completion.chunk"}
    assert (finish["choices"][0]["finish_reason"], finish["choices"][0]["delta"]) == ("stop", {})
    assert usage["choices"] == []
    assert [event["usage"] for event in got.events[:-1]] == [None] * (len(got.events) - 1)
    counts = usage["usage"]
    assert (counts["prompt_tokens"], counts["completion_tokens"], counts["total_tokens"]) == (100, 20, 120)
    assert (
        counts["prompt_tokens_details"]["cached_tokens"],
        counts["prompt_tokens_details"]["cache_write_tokens"],
    ) == (
        30,
        10,
    )
    assert counts["completion_tokens_details"]["reasoning_tokens"] == 5
    assert got.raw.endswith(b"\n\ndata: [DONE]\n\n")


def test_openai_streams_usage_only_when_asked_to(wire: OpenWire) -> None:
    line = connect(wire(ANSWER))
    body = {**body_for("openai", stream=True), "stream_options": {"include_usage": False}}
    got = send(line, "POST", "/chat/completions", body)
    line.close()
    assert all("usage" not in event for event in got.events)
    assert got.events[-1]["choices"][0]["finish_reason"] == "stop"


def test_an_anthropic_stream_has_its_events_in_their_order(wire: OpenWire) -> None:
    got = ask(
        wire(Answer("abc", (Call("f", {"a": 1}),), input_tokens=100, output_tokens=20, cached=30)),
        "anthropic",
        stream=True,
    )
    kinds = [event["type"] for event in got.events]
    named = [line.removeprefix("event: ") for line in got.raw.decode().splitlines() if line.startswith("event: ")]
    block = ["content_block_start", "content_block_delta", "content_block_stop"]
    assert kinds == named
    assert list(dict.fromkeys(kinds)) == [
        "message_start",
        block[0],
        "ping",
        *block[1:],
        "message_delta",
        "message_stop",
    ]
    assert got.events[0]["message"]["usage"] == {
        "input_tokens": 70,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 30,
        "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
        "output_tokens": 1,
        "service_tier": "standard",
    }
    assert got.events[-2]["delta"] == {"stop_reason": "tool_use", "stop_sequence": None}
    assert got.events[-2]["usage"]["output_tokens"] == 20
    assert [event["index"] for event in got.events if event["type"] == "content_block_start"] == [0, 1]


def test_an_ollama_stream_is_lines_of_which_the_last_counts(wire: OpenWire) -> None:
    got = ask(wire(ANSWER), "ollama", stream=True)
    assert got.headers["content-type"] == "application/x-ndjson"
    *before, last = got.events
    assert [event["done"] for event in before] == [False] * len(before)
    assert (last["done"], last["done_reason"], last["prompt_eval_count"], last["eval_count"]) == (True, "stop", 100, 20)
    assert {"total_duration", "load_duration", "prompt_eval_duration", "eval_duration"} <= last.keys()
    assert "eval_count" not in before[0]


def test_ollama_streams_unless_told_not_to(wire: OpenWire) -> None:
    line = connect(wire(ANSWER))
    body = {name: value for name, value in body_for("ollama").items() if name != "stream"}
    got = send(line, "POST", "/api/chat", body)
    line.close()
    assert len(got.events) > 2


@pytest.mark.parametrize("form", FORMATS)
def test_the_same_answer_comes_as_one_document(wire: OpenWire, form: Format) -> None:
    got = ask(wire(Answer("Hello", (Call("f", {"a": [1]}),), input_tokens=9, output_tokens=7)), form)
    assert (got.headers["content-length"], got.headers["content-type"].split(";")[0]) == (
        str(len(got.raw)),
        "application/json",
    )
    document = got.json
    if form == "openai":
        message = document["choices"][0]["message"]
        call = message["tool_calls"][0]["function"]
        seen = (
            message["content"],
            call["name"],
            json.loads(call["arguments"]),
            document["choices"][0]["finish_reason"],
        )
        counts = (document["usage"]["prompt_tokens"], document["usage"]["completion_tokens"])
    elif form == "anthropic":
        text, call = document["content"]
        seen = (text["text"], call["name"], call["input"], document["stop_reason"].replace("tool_use", "tool_calls"))
        counts = (document["usage"]["input_tokens"], document["usage"]["output_tokens"])
    else:
        call = document["message"]["tool_calls"][0]["function"]
        assert document["done_reason"] == "stop"
        seen = (document["message"]["content"], call["name"], call["arguments"], "tool_calls")
        counts = (document["prompt_eval_count"], document["eval_count"])
    assert (seen, counts) == (("Hello", "f", {"a": [1]}, "tool_calls"), (9, 7))


def streamed_calls(form: Format, events: list[Json]) -> list[tuple[str, str, object, int]]:
    """Return each call's id, name, arguments and the number of pieces these came in."""
    calls: dict[int, list[str]] = {}
    if form == "ollama":
        found = [call for event in events for call in event["message"].get("tool_calls", [])]
        return [(call["id"], call["function"]["name"], call["function"]["arguments"], 3) for call in found]
    for event in events:
        if form == "openai":
            for delta in (event["choices"] or [{"delta": {}}])[0]["delta"].get("tool_calls", []):
                named = [delta["id"], delta["function"]["name"]] if "id" in delta else []
                calls.setdefault(delta["index"], []).extend([*named, delta["function"]["arguments"]])
        elif event.get("content_block", {}).get("type") == "tool_use":
            calls[event["index"]] = [event["content_block"]["id"], event["content_block"]["name"]]
        elif event.get("delta", {}).get("type") == "input_json_delta":
            calls[event["index"]].append(event["delta"]["partial_json"])
    return [(one[0], one[1], json.loads("".join(one[2:])), len(one) - 2) for one in calls.values()]


@pytest.mark.parametrize("form", FORMATS)
def test_parallel_calls_stream_with_ids_and_names_first_and_arguments_in_pieces(wire: OpenWire, form: Format) -> None:
    long: dict[str, object] = {"all": True, "name": "a long name, in pieces"}
    got = ask(wire(Answer(calls=(Call("docker_ps", long), Call("docker_images", {})))), form, stream=True)
    first, second = streamed_calls(form, got.events)
    assert (first[1:3], second[1:3]) == (("docker_ps", long), ("docker_images", {}))
    assert first[0] != second[0]
    assert first[3] >= 3


def results_for(form: Format, calls: list[tuple[str, str, object, int]]) -> list[Json]:
    """Return the messages with which a client of this format sends the tools' results."""
    texts = {"docker_ps": TABLE, "docker_images": '[{"name": "nginx:latest"}]'}
    if form == "anthropic":
        uses = [{"type": "tool_use", "id": name, "name": tool, "input": given} for name, tool, given, _ in calls]
        told = [{"type": "tool_result", "tool_use_id": name, "content": texts[tool]} for name, tool, _, _ in calls]
        return [{"role": "assistant", "content": uses}, {"role": "user", "content": told}]
    asked = [
        {"id": name, "type": "function", "function": {"name": tool, "arguments": given}}
        for name, tool, given, _ in calls
    ]
    told = [{"role": "tool", "tool_call_id": name, "content": texts[tool]} for name, tool, _, _ in calls]
    return [{"role": "assistant", "content": "", "tool_calls": asked}, *told]


@pytest.mark.parametrize("form", FORMATS)
def test_the_story_asks_the_tools_and_names_what_they_named(wire: OpenWire, form: Format) -> None:
    server = wire(parallel)
    line = connect(server)
    body = body_for(form, stream=True, tools=TOOLS)
    first = send(line, "POST", PATHS[form], body, headers_for(form))
    calls = streamed_calls(form, first.events)
    body["messages"] += results_for(form, calls)
    second = send(line, "POST", PATHS[form], body, headers_for(form))
    line.close()
    assert [call[1:3] for call in calls] == [("docker_ps", {"all": True}), ("docker_images", {})]
    assert (
        "".join(text_of(form, event) for event in second.events) == "There are 2: web-1, db. There are 1: nginx:latest."
    )
    asked = server.books.chat_requests[1].asked
    assert asked is not None
    assert [said.role for said in asked.messages] == ["user", "assistant", "tool", "tool"]
    assert [said.answers for said in asked.since_user if said.role == "tool"] == [call[0] for call in calls]
    assert [one.id for one in asked.messages[1].calls] == [call[0] for call in calls]
    assert asked.tools == TOOLS


def test_a_tool_that_is_not_offered_is_not_called(wire: OpenWire) -> None:
    got = ask(wire(parallel), "openai", tools=("docker_images",))
    (call,) = got.json["choices"][0]["message"]["tool_calls"]
    assert call["function"]["name"] == "docker_images"
    assert "no tool" in ask(wire(parallel), "openai").json["choices"][0]["message"]["content"]


@pytest.mark.parametrize(
    ("result", "names"),
    [
        (TABLE, ("web-1", "db")),
        ('[{"Names": ["/web-1"]}, {"name": "db"}]', ("web-1", "db")),
        ("NAMES | IMAGE\n------|-----\nweb-1 | nginx", ("web-1",)),
        ("No containers.", ()),
    ],
)
def test_names_are_read_from_a_table_or_from_json(result: str, names: tuple[str, ...]) -> None:
    assert names_in(result) == names
