"""Conversations on their way out: the answer is always the same."""

from __future__ import annotations

from collections.abc import Iterator

from agentctl.core.messages import Message, ToolCall, ToolSpec
from tests.support.formats import IMAGES, PS
from tests.support.parity.cases import HELLO, SCRIPTS, Case

_LOOKED = Message("assistant", "I look.", (ToolCall("call_1", "docker_ps", {"all": True}),))
_LOOKS_TWICE = Message(
    "assistant", "", (ToolCall("call_1", "docker_ps", {"all": True}), ToolCall("call_2", "docker_images", {}))
)
_USER = Message("user", "List all containers")

_EIGHT = tuple(
    ToolSpec(
        f"tool_{number}",
        f"Do number {number}; “quoted”, and {SCRIPTS[:20]}.",
        {
            "type": "object",
            "properties": {
                "name": {"type": "string", "description": "A name.", "minLength": 1},
                "how": {"enum": ["a", "b", None], "default": "a"},
                "many": {"type": "array", "items": {"type": "integer", "minimum": number}},
                "either": {"anyOf": [{"type": "string"}, {"type": "null"}]},
            },
            "required": ["name"],
            "additionalProperties": False,
        },
    )
    for number in range(8)
)
_BARE = ToolSpec("bare", "", {})
_LINKED = ToolSpec(
    "linked",
    "Follow a reference.",
    {
        "type": "object",
        "$defs": {"Place": {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]}},
        "properties": {"place": {"$ref": "#/$defs/Place"}, "deep": {"type": "object", "properties": {}}},
    },
)


def requests() -> Iterator[Case]:
    """Yield conversations; the answer is always the same."""
    yield Case("a question alone", (_USER,))
    yield Case("a system message and a question")
    yield Case("one tool", tools=(PS,))
    yield Case("eight tools", tools=_EIGHT)
    yield Case("a tool without a description or parameters", tools=(_BARE, PS))
    yield Case("a schema with references", tools=(_LINKED,))
    yield Case("the smallest clamp", clamp=1)
    yield Case("a large clamp", clamp=8000)
    yield Case("a call and its result", (*HELLO, _LOOKED, Message("tool", "web", tool_call_id="call_1")), (PS,))
    two = (Message("tool", "web", tool_call_id="call_1"), Message("tool", "nginx", tool_call_id="call_2"))
    yield Case("parallel calls and their results", (*HELLO, _LOOKS_TWICE, *two), (PS, IMAGES))
    yield Case("results in another order than their calls", (*HELLO, _LOOKS_TWICE, *reversed(two)), (PS, IMAGES))
    yield Case(
        "results and then a word of the user", (*HELLO, _LOOKS_TWICE, *two, Message("user", "And?")), (PS, IMAGES)
    )
    rounds = [
        message for n in range(6) for message in (*_round(n), Message("tool", f"it is {n}", tool_call_id=f"call_{n}"))
    ]
    yield Case("six turns with calls", (*HELLO, *rounds), (PS,))
    yield Case("an empty result", (*HELLO, _LOOKED, Message("tool", "", tool_call_id="call_1")), (PS,))
    yield Case("calls in a conversation whose request has no tools", (*HELLO, _LOOKS_TWICE, *two))
    yield Case("an assistant without a word", (*HELLO, Message("assistant", ""), Message("user", "Go on.")))
    yield Case("an assistant with the last word", (*HELLO, Message("assistant", "The containers are")))
    yield Case("an assistant with the last word and a space", (*HELLO, Message("assistant", "The containers are \n")))
    yield Case("two words of the user in a row", (*HELLO, Message("user", "And the images?")))
    yield Case(
        "two words of the assistant in a row",
        (*HELLO, Message("assistant", "I look."), Message("assistant", "I found two."), Message("user", "Go on.")),
    )
    yield Case("a conversation that begins with the assistant", (HELLO[0], Message("assistant", "Hello."), _USER))
    yield Case(
        "a second system message later", (*HELLO, Message("assistant", "Yes."), Message("system", "Be brief."), _USER)
    )
    yield Case("two system messages first", (HELLO[0], Message("system", "Be brief."), _USER))
    yield Case("an empty system message", (Message("system", ""), _USER))
    yield Case("an empty question", (HELLO[0], Message("user", "")))
    yield Case("blanks around every text", tuple(Message(one.role, f"  \n{one.text}\n  ") for one in HELLO))
    yield Case("any script in a question", (Message("system", SCRIPTS), Message("user", SCRIPTS)))
    nested = ToolCall(
        "call_1", "docker_ps", {"deep": {"list": [1, 2.5, None, True, {"ä": "\u2028"}]}, "empty": {}, "": ""}
    )
    odd = (Message("assistant", SCRIPTS, (nested,)), Message("tool", SCRIPTS, tool_call_id="call_1"))
    yield Case("any script in calls and results", (*HELLO, *odd), (PS,))
    halves = ToolCall("call_1", "docker_ps", {"name": "half \ud83d of a pair"})
    yield Case(
        "half of a pair in a call's arguments",
        (*HELLO, Message("assistant", "", (halves,)), Message("tool", "web", tool_call_id="call_1")),
        (PS,),
    )
    large = ToolCall("call_1", "docker_ps", {"name": "é" * 100_000})
    yield Case(
        "200 kB of arguments given back",
        (*HELLO, Message("assistant", "", (large,)), Message("tool", "web", tool_call_id="call_1")),
        (PS,),
    )
    yield Case(
        "a result of 200 kB", (*HELLO, _LOOKED, Message("tool", "line\n" * 40_000, tool_call_id="call_1")), (PS,)
    )
    strange = ToolCall("no id\nthat / a provider + would give", "docker_ps", {})
    yield Case(
        "an id that no provider gives",
        (*HELLO, Message("assistant", "", (strange,)), Message("tool", "web", tool_call_id=strange.id)),
        (PS,),
    )
    yield Case(
        "the last request of a run",
        (*HELLO, _LOOKED, Message("tool", "web", tool_call_id="call_1"), _USER),
        (PS,),
        followed=False,
    )
    yield Case(
        "a request that may not write the cache",
        (*HELLO, _LOOKED, Message("tool", "web", tool_call_id="call_1")),
        (PS,),
        writes=False,
    )
    for model in (
        "gpt-4-turbo",
        "o3-mini",
        "o4-mini",
        "gpt-5",
        "gpt-5-mini",
        "gpt-5.1",
        "gpt-4.1",
        "gpt-4o-2024-08-06",
        "ft:gpt-4o-mini-2024-07-18:me::abc",
    ):
        yield Case(f"model {model}", tools=(PS,), model=model, formats=("openai",))
    for model in ("claude-opus-4-5", "claude-sonnet-4-5", "claude-3-haiku-20240307", "claude-opus-4-1"):
        yield Case(f"model {model}", tools=(PS,), model=model, formats=("anthropic",))
    for model in ("qwen3:4b", "gpt-oss:20b"):
        yield Case(f"model {model}", tools=(PS,), model=model, formats=("ollama",))
    yield Case("a model that nobody knows", model="mine", tools=(PS,))


def _round(number: int) -> tuple[Message, ...]:
    return (
        Message("assistant", f"Look {number}.", (ToolCall(f"call_{number}", "docker_ps", {"all": number % 2 == 0}),)),
    )
