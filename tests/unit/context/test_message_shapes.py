"""Messages as people have them: every shape of the providers' references is read, and nothing in it is free."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest

from agentctl.context.formats import ParseCache
from agentctl.context.manager import ContextManager
from agentctl.context.message_cache import group_turns
from agentctl.context.tokens import PLAIN
from agentctl.core.errors import ContextOverflow, UsageError
from tests.support.context.shapes import (
    ALL,
    FUNCTION_CALL,
    PIXEL,
    REASONING,
    RESPONSES,
    USER,
    Body,
    answer,
    blocks,
    call,
    image,
    output,
    result,
    said,
    text,
    use,
)  # fmt: skip

LONG = "y z " * 1_000  # 4,000 characters, and no address of anything
FRAME = ("role", "type")  # what tells how to read the rest


def quiet(max_tokens: int, **more: Any) -> ContextManager:  # noqa: ANN401 - its settings
    return ContextManager(max_tokens, 1, 1, measure=PLAIN, warn=lambda _: None, **more)


def tokens(body: Body) -> int:
    return quiet(10**9).get_context_stats(body)["tokens"]


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:  # noqa: ANN401 - any JSON
    """Yield the path of each value that is no list and no dict."""
    if isinstance(value, (dict, list)):
        for key, one in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(one, (*path, key))
    else:
        yield path


def with_text(body: Body, path: tuple[Any, ...], words: str) -> Body:
    changed: Any = copy.deepcopy(body)
    inner = changed
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = words
    found: Body = changed
    return found


@pytest.mark.parametrize("body", ALL.values(), ids=ALL)
def test_every_shape_is_read_and_its_calls_have_their_results(body: Body) -> None:
    before = copy.deepcopy(body)
    assert quiet(10**9).prune(body) == before
    messages = [part.message for part in ParseCache().read(body)]
    assert [group for group in group_turns(messages) if not group.sound] == []


@pytest.mark.parametrize("body", ALL.values(), ids=ALL)
def test_nothing_that_is_sent_is_free(body: Body) -> None:
    plain = tokens(body)
    for path in leaves(body):
        if path[-1] in FRAME:
            continue
        refused = ""
        refused = ""
        try:
            found = tokens(with_text(body, path, LONG))
        except UsageError as error:
            refused, found = error.message, plain
        assert found - plain >= 900 or f"[{path[0]}]" in refused, path


@pytest.mark.parametrize("body", ALL.values(), ids=ALL)
def test_a_key_that_nobody_knows_is_counted_wherever_it_stands(body: Body) -> None:
    plain = tokens(body)
    for path in leaves(body):
        for depth in range(1, len(path)):
            changed = copy.deepcopy(body)
            inner: Any = changed
            for key in path[:depth]:
                inner = inner[key]
            if isinstance(inner, dict):
                inner["unheard_of"] = {"text": LONG}
                assert tokens(changed) - plain >= 900, path[:depth]


@pytest.mark.parametrize("body", ALL.values(), ids=ALL)
def test_a_shape_is_cut_into_what_a_provider_accepts(body: Body) -> None:
    filler = [{"role": "assistant" if n % 2 else "user", "content": f"{n} " + "w " * 300} for n in range(1, 21)]
    talk = [*body, *filler]
    limit = max(tokens([*body, *filler[-2:]]), tokens(talk) * 2 // 3)
    try:
        kept = quiet(limit).prune(talk)
    except ContextOverflow:
        pytest.fail("the shape fits, and the rest can go")
    assert quiet(limit).fits(kept)
    changed = [one for one in kept if all(one is not given for given in talk)]
    marks = ("Cut here to save room", "the middle is cut here")
    parts = [part for one in talk if isinstance(one.get("content"), list) for part in one["content"]]
    odd = [one for one in changed if not any(mark in json.dumps(one) for mark in marks)]
    assert all(part in parts for one in odd for part in one["content"]), (
        "the result of a message can go, its words stay"
    )
    messages = [part.message for part in ParseCache().read(kept)]
    assert [group for group in group_turns(messages) if not group.sound] == []


X = "x" * 4_000


@pytest.mark.parametrize(
    "extra",
    [
        {"reasoning_content": X},
        {"reasoning": X},
        {"reasoning_details": [{"type": "reasoning.text", "text": X}]},
        {"thinking_blocks": [{"type": "thinking", "thinking": X, "signature": "s"}]},
        {"function_call": {"name": "f", "arguments": X}},
        {"refusal": X},
        {"thinking": X},
        {"unheard_of": X},
        {X: None},
    ],
    ids=lambda extra: next(iter(extra))[:20],
)
def test_four_thousand_characters_beside_the_content_do_not_fit_500_tokens(extra: dict[str, Any]) -> None:
    assert not quiet(500).fits([{"role": "user", "content": "hi"}, {"role": "assistant", "content": "a", **extra}])


def test_images_files_and_recordings_count_a_stated_number_each() -> None:
    body = [blocks(text("?"), image(), {"type": "input_audio", "input_audio": {"data": PIXEL * 99, "format": "wav"}})]
    for each in (0, 85, 2_000):
        manager = ContextManager(measure=PLAIN._replace(image=each))
        assert manager.get_context_stats(body)["tokens"] == 2 * each + tokens(body) - 2 * PLAIN.image
    assert PLAIN.image == 2_000
    ollama = [{"role": "user", "content": "?", "images": [PIXEL * 99] * 3}]
    assert tokens(ollama) == 3 * PLAIN.image + 5


def test_an_image_is_kept_or_dropped_whole_and_its_result_is_shortened_around_it() -> None:
    screen = result([text("HEAD" + "x" * 40_000 + "TAIL"), image()])
    talk = [USER, blocks(use(), role="assistant"), blocks(screen)]
    kept = quiet(4_000).prune(talk)
    found = kept[2]["content"][0]["content"]
    assert found[1] is screen["content"][1]
    assert found[0]["text"].startswith("HEAD")
    assert "the middle is cut here" in found[0]["text"]
    assert quiet(4_000).fits(kept)
    old = [USER, blocks(use(), role="assistant"), blocks(screen), *[said(content="w " * 900), USER] * 4]
    kept = quiet(4_000).prune(old)
    assert PIXEL not in json.dumps(kept)
    assert quiet(4_000).fits(kept)


def test_notes_behind_a_task_of_blocks_are_a_block_of_its_kind() -> None:
    old = [said(content=[text("w " * 900, "output_text")])] * 8
    for kind in ("text", "input_text"):
        task = blocks(text("Why?", kind), {"type": "input_image", "image_url": "https://example.org/a.png"})
        kept = quiet(5_000).prune([task, *old])
        assert [block["type"] for block in kept[0]["content"]] == [kind, "input_image"] + [kind] * (
            len(kept[0]["content"]) - 2
        )
        assert "Cut here to save room" in json.dumps(kept[0])
    only = blocks({"type": "input_image", "image_url": "https://example.org/a.png"})
    assert [block["type"] for block in quiet(5_000).prune([only, *old])[0]["content"]] == ["input_image", "input_text"]


def items(turns: int, words: str = "status 200 " * 60) -> Body:
    """Return a conversation in the items of Responses: in each turn a thought, a text, two calls and their outputs."""
    found = [USER]
    for n in range(turns):
        ids = f"call_{n}a", f"call_{n}b"
        found += [
            {**REASONING, "id": f"rs_{n}"},
            {"type": "message", "role": "assistant", "content": [text(f"I look at {n}.", "output_text")]},
            *({**FUNCTION_CALL, "id": f"fc_{one}", "call_id": one} for one in ids),
            *({**output(), "call_id": one, "output": words} for one in reversed(ids)),
        ]
    return found


def test_items_of_a_turn_stay_together_and_lose_the_middles_of_their_outputs() -> None:
    talk = items(12)
    kept = quiet(2_500).prune(talk)
    assert quiet(2_500).fits(kept)
    assert "earlier messages" in kept[0]["content"]
    asked = [one["call_id"] for one in kept if one.get("type") == "function_call"]
    told = [one["call_id"] for one in kept if one.get("type") == "function_call_output"]
    assert sorted(asked) == sorted(told)
    assert len(kept) % 6 == 1, "whole turns"
    assert [one["id"] for one in kept if one.get("type") == "reasoning"] == [f"rs_{one[5:-1]}" for one in asked[::2]]
    kept = quiet(1_500).prune(items(1, "HEAD" + "x" * 40_000 + "TAIL"))
    assert len(kept) == 7
    assert all("the middle is cut here" in one["output"] for one in kept[5:])
    assert quiet(1_500).fits(kept)


def test_a_conversation_of_items_is_cut_alike_whatever_is_remembered() -> None:
    manager, talk = quiet(2_500), items(12)
    assert manager.get_context_stats(talk) == quiet(2_500).get_context_stats(talk)
    for turns in (12, 13, 14):
        talk = items(turns)
        assert manager.prune(talk) == quiet(2_500).prune(talk) == manager.prune(talk)
    kept = manager.prune(talk)
    grown = [*kept, *items(30)[-60:]]
    assert manager.prune(grown) == quiet(2_500).prune(grown)


def test_a_long_text_among_items_is_shortened_in_its_own_item() -> None:
    first = {"type": "message", "role": "assistant", "content": [text("I begin.", "output_text")]}
    long = {"type": "message", "role": "assistant", "content": [text("y " * 20_000, "output_text")]}
    talk = [USER, REASONING, first, long, FUNCTION_CALL, output()]
    kept = quiet(2_000).prune(talk)
    assert [kept[place] is talk[place] for place in range(6)] == [True, True, True, False, True, True]
    assert "the middle is cut here" in kept[3]["content"][0]["text"]


def test_an_answer_between_others_keeps_its_block() -> None:
    talk = [
        USER,
        said(content=None, tool_calls=[call()]),
        answer(content=[text("x" * 40_000, cache_control={"a": "b"})]),
    ]
    kept = quiet(1_000).prune(talk)
    assert kept[2]["content"][0]["cache_control"] == {"a": "b"}
    assert "the middle is cut here" in kept[2]["content"][0]["text"]


class Foreign:
    """A message of a class of another package."""

    def model_dump(self) -> dict[str, str]:
        return {}


def of_package(name: str) -> object:
    return type("HumanMessage", (Foreign,), {"__module__": name})()


CONVERTERS = {
    "langchain_core.messages.human": "convert_to_openai_messages(messages)",
    "langchain.schema": "convert_to_openai_messages(messages)",
    "pydantic_ai.messages": "model._map_messages(messages, ModelRequestParameters())",
    "llama_index.core.base.llms.types": "to_openai_message_dicts(messages)",
    "haystack.dataclasses": "to_openai_dict_format()",
    "openai.types.chat": "append .model_dump(exclude_none=True)",
}


@pytest.mark.parametrize(("package", "converter"), CONVERTERS.items())
def test_a_message_of_a_framework_names_its_own_converter(package: str, converter: str) -> None:
    given: Any = [USER, of_package(package)]
    with pytest.raises(UsageError) as caught:
        quiet(100).fits(given)
    assert caught.value.message == "messages[1] must be a message or a dict, not a HumanMessage"
    assert converter in caught.value.hint


@pytest.mark.parametrize(
    ("dumped", "converter"),
    [
        ({"content": "hi", "type": "human", "additional_kwargs": {}}, "convert_to_openai_messages"),
        ({"type": "ai", "data": {"content": "hi"}}, "convert_to_openai_messages"),
        ({"lc": 1, "type": "constructor", "id": [], "kwargs": {"content": "hi"}}, "convert_to_openai_messages"),
        ({"parts": [{"part_kind": "user-prompt", "content": "hi"}], "kind": "request"}, "_map_messages"),
    ],
)
def test_a_dumped_message_of_a_framework_names_the_converter_too(dumped: dict[str, Any], converter: str) -> None:
    with pytest.raises(UsageError) as caught:
        quiet(100).fits([dumped])
    assert caught.value.message == "messages[0] has no role"
    assert converter in caught.value.hint


def test_a_block_object_of_an_sdk_says_how_to_dump_it() -> None:
    with pytest.raises(UsageError) as caught:
        quiet(100).fits([{"role": "assistant", "content": [Foreign()]}])
    assert caught.value.hint == "append .model_dump() to it"


def test_items_without_a_role_are_told_from_messages_without_one() -> None:
    with pytest.raises(UsageError) as caught:
        quiet(100).fits([{"type": "text", "text": "hi"}])
    assert caught.value.message == "messages[0] has no role"
    assert len(RESPONSES) >= 15
