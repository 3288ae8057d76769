"""Malformed conversations: a clear error with its hint, or the right result."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from agentctl.context.manager import ContextManager
from agentctl.context.pruning import prune
from agentctl.context.tokens import PLAIN
from agentctl.core.errors import ContextOverflow, UsageError
from agentctl.core.messages import Message, ToolCall
from tests.support.context.parts import SYSTEM, TASK, bare, fit, taken_by_a_provider, turn

MAKE: Callable[..., ContextManager] = ContextManager  # for what no type allows
Talk = list[dict[str, Any]]


def quiet(max_tokens: int = 1_000, keep: int = 1, **more: Any) -> ContextManager:  # noqa: ANN401 - its settings
    return ContextManager(max_tokens, keep, keep, warn=lambda _: None, **more)


def said(text: str, role: str = "assistant") -> dict[str, Any]:
    return {"role": role, "content": text}


@pytest.mark.parametrize("role", ["user", "assistant"])
def test_limit_too_small_for_the_kept_messages_names_one_that_is_enough(role: str) -> None:
    talk = [said("why?", "user"), *(said("x" * 400, role) for _ in range(40))]
    with pytest.raises(ContextOverflow) as caught:
        quiet(1_000, 10**9).prune(talk)
    enough, _, less = caught.value.hint.removeprefix("raise it: ContextManager(max_tokens=").partition("), or ")
    assert less == "lower keep_last_n_user_messages and keep_last_n_assistant_messages"
    assert quiet(int(enough), 10**9).fits(quiet(int(enough), 10**9).prune(talk))
    assert quiet(1_000, 3).fits(quiet(1_000, 3).prune(talk))
    ours = tuple(Message(one["role"], one["content"]) for one in talk)
    with pytest.raises(ContextOverflow) as caught:
        prune(ours, max_tokens=1_000, keep_user=10**9, keep_assistant=10**9)
    assert caught.value.hint.endswith("or lower KEEP_LAST_N_USER_MESSAGES and KEEP_LAST_N_ASSISTANT_MESSAGES")


@pytest.mark.parametrize("limit", [0, -8_000, True, 8e3, float("inf"), float("nan"), "8000", None, 10.5])
def test_invalid_limit_is_refused_with_a_valid_example(limit: object) -> None:
    with pytest.raises(UsageError) as caught:
        MAKE(max_tokens=limit)
    assert caught.value.hint == "max_tokens=8000"


@pytest.mark.parametrize(("name", "usual"), [("cut_to_percent", 50), ("warn_percent", 80)])
@pytest.mark.parametrize("value", [0, -1, 101, True, 50.0, "50", None])
def test_invalid_percentage_is_refused(name: str, usual: int, value: object) -> None:
    with pytest.raises(UsageError) as caught:
        MAKE(**{name: value})
    assert caught.value.message == f"{name} must be a whole number from 1 to 100, not {value!r}"
    assert caught.value.hint == f"{name}={usual}"


def test_invalid_measure_is_refused() -> None:
    with pytest.raises(UsageError, match="measure must be a Measure, not <built-in function len>"):
        MAKE(measure=len)


def test_huge_limit_is_accepted() -> None:
    manager = quiet(10**30, 10**30)
    talk = [said("x" * 4_000)] * 100
    assert manager.prune(talk) == talk
    assert manager.get_context_stats(talk)["usage_percent"] < 1e-20


def test_a_limit_of_one_token_holds_nothing_and_says_so() -> None:
    assert quiet(1).prune([]) == []
    with pytest.raises(ContextOverflow):
        quiet(1).prune([said("", "user")])


def test_empty_messages_cost_their_frames_and_stay_valid() -> None:
    messages = (SYSTEM, TASK, *(Message("assistant" if n % 2 else "user", "") for n in range(200)))
    kept = fit(messages, 500, keep=2)
    assert PLAIN.conversation(kept) <= 500
    assert bare(kept)[:2] == (SYSTEM, TASK)


@pytest.mark.parametrize("given", [[], (), iter(())])
def test_empty_list_stays_empty(given: Any) -> None:  # noqa: ANN401 - lists and more
    assert list(quiet().prune(given)) == []
    assert prune((), max_tokens=0, keep_user=3, keep_assistant=3) == ()


def test_a_generator_is_read_once_and_comes_back_as_a_list() -> None:
    def talk() -> Iterator[dict[str, Any]]:
        yield said("why?", "user")
        yield from (said(f"{n} " + "x" * 400) for n in range(40))

    kept = quiet().prune(talk())
    assert isinstance(kept, list)
    assert 1 < len(kept) < 41
    assert kept == quiet().prune(list(talk()))
    assert quiet().get_context_stats(talk())["messages"] == 41


@pytest.mark.parametrize(
    "text", ["支付数据库为什么变慢", "ทำไมฐานข้อมูลช้า", "ما سبب بطء القاعدة", "почему", "👩🏽‍🚒🏳️‍🌈", "क्यों धीमा"]
)
def test_text_in_any_script_fits_and_its_cut_is_whole_characters(text: str) -> None:
    messages = (SYSTEM, Message("user", text), *turn(1, f"{text} " * 400), *turn(2, f"{text}\n" * 400))
    kept = fit(messages, 800)
    assert PLAIN.conversation(kept) <= 800
    assert bare(kept)[1].text == text
    assert "\ufffd" not in "".join(message.text for message in kept)


@pytest.mark.parametrize("text", ["\ud800", "\udfff\ud800", "\x00", "\u2028\x85\x0b", "\r", "\x1b[2J", "\ufeff"])
def test_lone_surrogates_and_control_characters_are_counted_and_cut_like_any_text(text: str) -> None:
    messages = (SYSTEM, Message("user", text), *turn(1, f"{text} word " * 900), *turn(2, text * 6_000))
    kept = fit(messages, 800)
    assert PLAIN.conversation(kept) <= 800
    assert bare(kept)[1].text == text
    talk = [said(text, "user"), *(said(f"{text} word " * 40) for _ in range(40))]
    assert quiet().fits(quiet().prune(talk))


def test_self_referencing_dict_is_refused_at_its_place() -> None:
    circle: dict[str, Any] = {"role": "user", "content": "why?"}
    circle["a"] = circle
    with pytest.raises(UsageError, match=r"messages\[0\]\.a cannot be written as JSON"):
        quiet().prune([circle])
    call = {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "ls", "arguments": circle}}]}
    with pytest.raises(UsageError, match=r"messages\[0\]\.tool_calls\[0\] cannot be written as JSON"):
        quiet().prune([call])
    circle["content"] = circle
    with pytest.raises(UsageError, match=r"messages\[0\]\.content must be a string or a list"):
        quiet().prune([circle])


def test_a_dict_that_was_changed_is_read_again() -> None:
    manager, message = quiet(), said("x" * 400, "user")
    arguments: dict[str, Any] = {"n": 1, "path": "x" * 400}
    call = {"id": "a", "function": {"name": "ls", "arguments": arguments}}
    asked: dict[str, Any] = {"role": "assistant", "content": None, "tool_calls": [call]}
    blocks: dict[str, Any] = {"role": "user", "content": [{"type": "text", "text": "x" * 400}]}
    talk = [message, asked, blocks]
    changes: tuple[Callable[[], object], ...] = (
        lambda: message.update(content="x" * 4_000),
        lambda: arguments.update(path="y"),
        lambda: arguments.update(n=True),  # equal, and longer
        lambda: blocks["content"].append({"type": "text", "text": "z" * 400}),
        lambda: blocks.update(role="assistant"),
    )
    for change in changes:
        assert manager.get_context_stats(talk) == quiet().get_context_stats(talk)
        change()
        assert manager.get_context_stats(talk) == quiet().get_context_stats(talk)


def test_calls_without_ids_are_answered_in_their_order() -> None:
    asked = Message("assistant", "", (ToolCall("", "one", {}), ToolCall("", "two", {})))
    answers = (Message("tool", "1" * 800), Message("tool", "2" * 800))
    kept = fit((SYSTEM, TASK, *(asked, *answers) * 6), 1_200)
    assert len(kept) > 2
    assert [message.role for message in kept[2:]] == ["assistant", "tool", "tool"] * ((len(kept) - 2) // 3)


@pytest.mark.parametrize(
    "broken",
    [
        (Message("tool", "early", tool_call_id="1.0"), *turn(1, "x")),
        (*turn(1, "x"), Message("tool", "again", tool_call_id="1.0")),
        (*turn(1, "x", calls=2)[:2], Message("tool", "again", tool_call_id="1.0"), Message("user", "and?")),
        (turn(1, "x")[0], Message("user", "never mind")),
        (turn(1, "x")[0], Message("user", "wait"), turn(1, "late")[1]),
        (Message("tool", "nobody's"), Message("assistant", "hm")),
    ],
    ids=["an answer before its call", "two answers", "one answered twice", "no answer", "a late answer", "an orphan"],
)
def test_message_that_no_provider_accepts_is_removed_at_a_cut(broken: tuple[Message, ...]) -> None:
    messages = (SYSTEM, TASK, *broken, *(m for n in range(2, 12) for m in turn(n, "y" * 400)))
    kept = fit(messages, 900)
    assert taken_by_a_provider(kept)
    assert PLAIN.conversation(kept) <= 900
    assert bare(kept)[1] == TASK


@pytest.mark.parametrize("text", ["x" * 50_000_000, "é\n" * 17_000_000], ids=["one line", "many lines"])
def test_fifty_megabytes_of_a_result_keep_head_and_tail(text: str) -> None:
    asked, answer = {"id": "a", "function": {"name": "ls", "arguments": "{}"}}, {"role": "tool", "tool_call_id": "a"}
    talk: Talk = [said("why?", "user"), {"role": "assistant", "content": None, "tool_calls": [asked]}]
    kept = quiet(8_000).prune([*talk, {**answer, "content": f"HEAD{text}TAIL"}])
    assert kept[:2] == talk
    assert kept[2]["content"].startswith("HEAD")
    assert kept[2]["content"].endswith("TAIL")
    assert quiet(8_000).fits(kept)


def test_ten_thousand_dicts_are_cut_to_what_fits_and_again_when_they_grew() -> None:
    manager, talk = quiet(8_000, 3), [said("why?", "user")]
    for n in range(5_000):
        asked = {"id": f"c{n}", "function": {"name": "logs", "arguments": json.dumps({"n": n})}}
        talk.append({"role": "assistant", "content": None, "tool_calls": [asked]})
        talk.append({"role": "tool", "tool_call_id": f"c{n}", "content": f"line {n} of a log\n" * 5})
    kept = manager.prune(talk)
    assert manager.fits(kept)
    assert f"{len(talk) - len(kept):d} earlier messages" in kept[0]["content"]
    grown = [*kept, *talk[1:2_001]]
    assert manager.prune(grown) == quiet(8_000, 3).prune(grown)
