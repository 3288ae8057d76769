"""Answers on their way in, to the same question: texts, calls, stop reasons, thoughts, and what was used."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from agentctl.core.messages import ToolSpec
from tests.support.formats import IMAGES, PS
from tests.support.parity.cases import SCRIPTS, SSE, Case, called, raw, said
from tests.support.parity.streams import Event, calling, chunk, spoken
from tests.support.wire.server import Answer, Call


def answers() -> Iterator[Case]:
    """Yield answers to the same question."""
    tools = (PS, IMAGES)
    yield Case("a text", does=Answer("There are three, naïve 日本."))
    yield Case("a long text in many pieces", does=Answer("All is well. " * 2000, output_tokens=300))
    yield Case("nothing at all", does=Answer(""))
    yield Case("any script", does=raw(said("Grüße, ", "日本", "語, ", "עברית", " 👩‍👩‍👧", "e\u0301")))
    yield Case(
        "any script, escaped", does=raw(said("Grüße, ", "日本", "語, ", "עברית", " 👩‍👩‍👧", "\x00\x1b"), escaped=True)
    )
    yield Case(
        "every end of a line inside a text",
        does=raw(said("one\u2028two", "\u2029", "three\x85", "\x0b\x0c\x1c four")),
    )
    yield Case("a pair cut into halves", does=raw(said("at \ud83d", "\ude00 and \ud83d", " left"), escaped=True))
    yield Case("the end mark inside a text", does=raw(said("data: [DONE]", "\n\ndata: [DONE]\n\n", "[DONE]", " more")))
    yield Case("a text of one character a piece", does=raw(said(*"One character a piece.")))
    yield Case("an empty piece between", does=raw(said("One, ", "", "two.")))
    yield Case("one call", tools=tools, does=Answer(calls=(Call("docker_ps", {"all": True}),)))
    yield Case("a text and a call", tools=tools, does=Answer("I look.", (Call("docker_ps", {"all": True}),)))
    yield Case(
        "three parallel calls",
        tools=tools,
        does=Answer("", (Call("docker_ps", {"all": True}), Call("docker_images"), Call("docker_ps", {"name": "wéb"}))),
    )
    yield Case("a call without arguments", tools=tools, does=Answer(calls=(Call("docker_images", {}),)))
    large = Call("docker_ps", {"name": "x" * 200_000})
    yield Case("200 kB of arguments", tools=tools, does=Answer(calls=(large,), output_tokens=3000), clamp=4000)
    yield Case(
        "any script in arguments",
        tools=tools,
        does=Answer(calls=(Call("docker_ps", {"name": SCRIPTS, "ключ": [1, 2.5, None]}),)),
    )
    yield Case(
        "arguments one character a piece",
        tools=tools,
        does=raw(called(("docker_ps", [*'{"all": true, "name": "w"}']), text="I look.")),
    )
    yield Case("arguments in no piece", tools=tools, does=raw(called(("docker_images", []))), formats=SSE)
    yield Case("arguments in the start of a call", tools=tools, does=raw(_input_at_start), formats=("anthropic",))
    for name, text in _ODD_ARGUMENTS.items():
        yield Case(f"arguments: {name}", tools=tools, does=raw(called(("docker_ps", [text]))), formats=SSE)
    yield Case("a call of an unknown tool", tools=tools, does=Answer(calls=(Call("functions.docker-ps<|call|>", {}),)))
    yield Case("a call where no tool was offered", does=Answer(calls=(Call("docker_ps", {}),)))
    for format, words in _STOPS.items():
        for word in words:
            yield Case(f"stop reason {word}", does=Answer("Fine.", stop=word), formats=(format,))
        yield Case(
            f"stop reason {words[0]} with a call",
            tools=tools,
            does=Answer("", (Call("docker_ps"),), stop=words[0]),
            formats=(format,),
        )
    yield Case("the clamp cuts a text", does=Answer("long " * 400, output_tokens=5000), clamp=77)
    yield Case(
        "the clamp cuts a call",
        tools=tools,
        does=Answer("", (Call("docker_ps", {"name": "long " * 400}),), output_tokens=5000),
        clamp=77,
        formats=SSE,
    )
    yield Case("thoughts", does=raw(partial(_thinking, thoughts=("I think, ", "so I am."))))
    yield Case("thoughts alone", does=raw(lambda format: spoken(format, thoughts=("I think.",))))
    yield Case("more than the clamp", does=Answer("long " * 90, obeys=False, output_tokens=500))
    yield Case(
        "a refusal by the model",
        does=raw(
            lambda _: [
                chunk({"role": "assistant", "content": None, "refusal": "I can't."}),
                chunk({}, "stop"),
                *spoken("openai")[-1:],
            ]
        ),
        formats=("openai",),
    )
    yield Case(
        "a second choice",
        does=raw(
            lambda _: [
                chunk({"content": "One."}),
                {**chunk(), "choices": [{"index": 1, "delta": {"content": "Two."}, "finish_reason": None}]},
                *spoken("openai")[1:],
            ]
        ),
        formats=("openai",),
    )
    yield from _odd_calls(tools)


_ODD_ARGUMENTS = {
    "an empty text": "",
    "null": "null",
    "a list": "[]",
    "text": "all of them",
    "cut short": '{"all": tr',
    "encoded twice": '"{\\"all\\": true}"',
    "twice": '{}{"all": true}',
    "a raw line end": '{"name": "a\nb"}',
    "blanks": "  {}  ",
    "a half of a pair": '{"name": "\\ud83d"}',
    "a number": "1e999",
    "a deep nest": '{"a":' * 90 + "1" + "}" * 90,
    "numbers that JSON has not": '{"a": NaN}',
}
_CLAUDES_STOPS = ("end_turn", "max_tokens", "stop_sequence", "tool_use", "refusal", "pause_turn", "a_new_word")
_STOPS = {
    "openai": ("stop", "length", "tool_calls", "function_call", "content_filter", "a_new_word", "STOP", "eos", "error"),
    "anthropic": (*_CLAUDES_STOPS, "model_context_window_exceeded"),
    "ollama": ("stop", "length", "load", "unload", "a_new_word"),
}


def _input_at_start(format: str) -> list[Event]:
    events = calling(format, ("docker_ps", []), ("docker_images", []), text="I look.")
    for event in events:
        if event["type"] == "content_block_start" and event["content_block"]["type"] == "tool_use":
            event["content_block"]["input"] = {"all": True}
    return events


def _thinking(format: str, thoughts: tuple[str, ...]) -> list[Event]:
    return spoken(format, "There are ", "three.", thoughts=thoughts)


def _odd_calls(tools: tuple[ToolSpec, ...]) -> Iterator[Case]:
    """Yield calls as servers other than OpenAI's send them in its format."""

    def call(index: object, id: object, name: object, arguments: object) -> Event:
        return {"index": index, "id": id, "type": "function", "function": {"name": name, "arguments": arguments}}

    def events(*deltas: Event, finish: str = "tool_calls") -> Callable[[str], list[Event]]:
        return lambda _: [*map(chunk, deltas), chunk({}, finish), *spoken("openai")[-1:]]

    def opened(call: Event) -> Event:
        return {"id": call["id"], "type": "function", "function": {"name": call["function"]["name"], "arguments": ""}}

    def filled(call: Event) -> Event:
        return {"id": call["id"], "type": "function", "function": {"arguments": call["function"]["arguments"]}}

    one, two = call(0, "call_a", "docker_ps", '{"all": true}'), call(0, "call_b", "docker_images", "{}")
    no_index = {key: value for key, value in one.items() if key != "index"}
    for name, does in {
        "a whole call in one piece": events({"tool_calls": [one]}),
        "two calls in one piece": events({"tool_calls": [one, {**two, "index": 1}]}),
        "every call with the number 0": events({"tool_calls": [one]}, {"tool_calls": [two]}),
        "a call without a number": events({"tool_calls": [no_index]}),
        "a call without an id": events({"tool_calls": [{**one, "id": None}]}),
        "a call with an empty id": events({"tool_calls": [{**one, "id": ""}]}),
        "a call that repeats its name in each piece": events(
            {"tool_calls": [one]}, {"tool_calls": [{**one, "function": {"name": "docker_ps", "arguments": " "}}]}
        ),
        "two calls without numbers, joined by id": events(
            {"tool_calls": [opened(one), opened(two)]},
            {"tool_calls": [filled(one)]},
            {"tool_calls": [filled(two)]},
        ),
        "a call that comes again whole": events(
            {"tool_calls": [{**one, "function": {"name": "docker_ps", "arguments": ""}}]},
            {"tool_calls": [{"index": 0, "function": {"arguments": '{"all": true}'}}]},
            {"tool_calls": [one]},
        ),
        "a call with an empty object first": events(
            {"tool_calls": [{**one, "function": {"name": "docker_ps", "arguments": "{}"}}]},
            {"tool_calls": [{"index": 0, "function": {"arguments": '{"all": true}'}}]},
        ),
        "a call whose piece says null": events(
            {"tool_calls": [one]},
            {"tool_calls": [{"index": 0, "id": None, "function": {"name": None, "arguments": None}}]},
        ),
        "a call that ends with stop": events({"tool_calls": [one]}, finish="stop"),
        "a call and a finish reason in one piece": lambda _: [
            chunk({"tool_calls": [one]}, "tool_calls"),
            *spoken("openai")[-1:],
        ],
        "a text and a finish reason in one piece": lambda _: [
            chunk({"content": "Fine."}, "stop"),
            *spoken("openai")[-1:],
        ],
        "usage in the last piece of the choice": lambda _: [
            chunk({"content": "Fine."}),
            {**chunk({}, "stop"), "usage": {"prompt_tokens": 90, "completion_tokens": 20, "total_tokens": 110}},
        ],
        "usage in every piece": lambda _: (
            [{**chunk({"content": "Fine."}), "usage": {"prompt_tokens": 90, "completion_tokens": n}} for n in (1, 2)]
            + [{**chunk({}, "stop"), "usage": {"prompt_tokens": 90, "completion_tokens": 20}}]
        ),
        "thoughts called reasoning": lambda _: [
            chunk({"reasoning": "I think."}),
            chunk({"content": "Fine."}),
            chunk({}, "stop"),
            *spoken("openai")[-1:],
        ],
        "a piece whose content is null": events({"content": None}, {"content": "Fine."}, finish="stop"),
        "an event with no choices first": lambda _: [
            {**chunk(), "choices": [], "prompt_filter_results": []},
            chunk({"content": "Fine."}),
            chunk({}, "stop"),
            *spoken("openai")[-1:],
        ],
        "fields that nobody knows": lambda _: [
            {**chunk({"content": "Fine.", "new_thing": {"a": 1}}), "x_new": [1]},
            chunk({}, "stop"),
            *spoken("openai")[-1:],
        ],
    }.items():
        yield Case(name, tools=tools, does=raw(does), formats=("openai",))


def usages() -> Iterator[Case]:
    """Yield reports of usage."""
    yield Case("cached input", does=Answer("Fine.", input_tokens=100, output_tokens=20, cached=40))
    yield Case(
        "cache writes", does=Answer("Fine.", input_tokens=100, output_tokens=20, cached=40, cache_write=30), formats=SSE
    )
    yield Case(
        "cache writes for an hour",
        does=Answer("Fine.", input_tokens=100, output_tokens=20, cache_write=30, cache_hour=20),
        formats=("anthropic",),
    )
    yield Case(
        "reasoning tokens", does=Answer("Fine.", input_tokens=100, output_tokens=20, reasoning=7), formats=("openai",)
    )
    for usage in ("omit", "zero", "twice", "falls", "early", "garbage", "negative", "absurd"):
        yield Case(f"usage: {usage}", does=Answer("Fine.", usage=usage, input_tokens=90, output_tokens=20))
    yield Case("more input than was sent", does=Answer("Fine.", input_tokens=90_000, output_tokens=20))
    yield Case("another model answers", does=Answer("Fine.", model="somebody-else", input_tokens=90, output_tokens=20))
    yield Case("searches that nobody asked for", does=Answer("Fine.", searches=2), formats=("anthropic",))
    for tier in ("default", "auto", "priority", "flex", "scale", "a_new_tier"):
        yield Case(
            f"service tier {tier}",
            does=raw(partial(_served, tier)),
            formats=("openai",),
        )
        yield Case(
            f"service tier {tier}",
            does=raw(partial(_counted, tier)),
            formats=("anthropic",),
        )


def _served(tier: str, format: str) -> list[Event]:
    return [{**event, "service_tier": tier} for event in spoken(format, "Fine.")]


def _counted(tier: str, format: str) -> list[Event]:
    return spoken(format, "Fine.", service_tier=tier)
