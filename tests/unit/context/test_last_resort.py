"""The user's messages after the task lose their middles if nothing else helps; an overflow names what is large."""

from __future__ import annotations

import pytest

from agentctl.context.manager import ContextManager
from agentctl.context.pruning import count_shortened, prune
from agentctl.context.tokens import PLAIN
from agentctl.core.errors import ContextOverflow
from agentctl.core.messages import Message
from tests.support.context.parts import SYSTEM, TASK, bare, fit, turn

OBSERVED = "OBSERVATION:\n" + "line of output\n" * 400 + "exit 1"


def text_protocol(turns: int = 6, observed: str = OBSERVED) -> tuple[Message, ...]:
    """Return what an agent sends whose tools answer in role user."""
    told = (Message("assistant", "I read it.\n```bash\ncat f\n```"), Message("user", observed))
    return (SYSTEM, TASK, *told * turns)


@pytest.mark.parametrize("limit", [8_000, 4_000, 2_000, 1_000, 600])
def test_an_agent_whose_tools_answer_as_the_user_fits(limit: int) -> None:
    messages = text_protocol()
    kept = fit(messages, limit, keep=3)
    assert PLAIN.conversation(kept) <= limit
    assert bare(kept)[:2] == (SYSTEM, TASK)
    last = [message.text for message in kept[-6:]]
    assert last[::2] == [messages[2].text] * 3, "what the assistant said is whole"
    if limit <= 4_000:
        assert all(text.startswith("OBSERVATION:") and text.endswith("exit 1") for text in last[1::2])
        assert all("6,019 characters: the middle is cut here" in text for text in last[1::2])
        assert count_shortened(messages, kept) == 3


def test_the_users_messages_are_whole_as_long_as_anything_else_helps() -> None:
    words = Message("user", "and restart it " * 40)
    for other in (turn(1, "x" * 40_000), (Message("assistant", "x" * 40_000),)):
        kept = fit((SYSTEM, TASK, words, *other, words), 1_500, keep=3)
        assert [message for message in kept if message.role == "user"][1:] == [words, words]
        assert PLAIN.conversation(kept) <= 1_500


def test_a_large_message_of_the_user_at_the_end_loses_its_middle() -> None:
    talk = [{"role": "user", "content": "why?"}, {"role": "assistant", "content": "Show me the log."}]
    pasted = {"role": "user", "content": "HEAD" + "x" * 40_000 + "TAIL"}
    kept = ContextManager(2_000, measure=PLAIN, warn=lambda _: None).prune([*talk, pasted])
    assert kept[:2] == talk
    assert kept[2]["content"].startswith("HEAD")
    assert kept[2]["content"].endswith("TAIL")
    assert "40,008 characters: the middle is cut here" in kept[2]["content"]
    with pytest.raises(ContextOverflow, match="the task: 10,006 tokens"):
        ContextManager(2_000, measure=PLAIN, warn=lambda _: None).prune([pasted])


def test_a_shortened_message_of_the_user_stays_as_it_is_until_the_next_cut() -> None:
    messages: tuple[Message, ...] = text_protocol(3)
    for _ in range(12):
        before = messages = fit(messages, 4_000, keep=3)
        assert fit(messages, 4_000, keep=3) is before
        messages = (*messages, *text_protocol(1)[2:])
    assert max(message.text.count("cut here") for message in bare(messages)) == 1, "one mark a message"


def system_tools() -> tuple[Message, ...]:
    return (Message("user", "hi"), *(Message("assistant", "run ls"), Message("system", "out " * 500)) * 6)


LARGE = {
    "system messages": (system_tools(), 0, "system messages: 3,024 tokens", "shorten the system messages"),
    "the task": ((SYSTEM, Message("user", "x" * 40_000)), 0, "the task: 10,004 tokens", "shorten the task"),
    "schemas": ((SYSTEM, TASK), 5_000, "schemas of tools: 5,000 tokens", "offer fewer tools"),
    "two kinds": (
        (Message("system", "x" * 8_000), Message("user", "x" * 12_000)),
        0,
        "the task: 3,004 tokens, system messages: 2,004 tokens",
        "shorten the task",
    ),
    "many small results": (
        (SYSTEM, TASK, *turn(1, "x" * 400, calls=90)),
        0,
        "tool results: 3,",
        "shorten the last tool results",
    ),
}


@pytest.mark.parametrize(("messages", "tools", "large", "less"), LARGE.values(), ids=LARGE)
def test_an_overflow_names_what_is_large(messages: tuple[Message, ...], tools: int, large: str, less: str) -> None:
    with pytest.raises(ContextOverflow) as caught:
        prune(messages, max_tokens=2_000, keep_user=1, keep_assistant=1, tools_tokens=tools)
    assert f"max_context_tokens is 2,000 ({large}" in caught.value.message
    assert caught.value.hint.endswith(f", or {less}")
    if not tools:
        with pytest.raises(ContextOverflow) as caught:
            ContextManager(2_000, 1, 1, measure=PLAIN).prune(messages)
        assert f"max_tokens is 2,000 ({large}" in caught.value.message
        assert caught.value.hint.endswith(f", or {less}")


def test_an_overflow_names_the_schema_of_the_answer() -> None:
    with pytest.raises(ContextOverflow) as caught:
        prune((SYSTEM, TASK), max_tokens=2_000, keep_user=1, keep_assistant=1, tools_tokens=5_000, answer_tokens=4_000)
    assert "(the schema of the answer: 4,000 tokens, schemas of tools: 1,000 tokens)" in caught.value.message
    assert caught.value.hint.endswith(", or shorten the schema")


def test_an_overflow_by_images_counts_them_where_they_are() -> None:
    image = {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}
    with pytest.raises(ContextOverflow) as caught:
        ContextManager(3_000).prune([{"role": "user", "content": [image, image, {"type": "text", "text": "?"}]}])
    assert "(the task: 4,0" in caught.value.message
