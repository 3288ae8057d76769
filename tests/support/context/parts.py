"""Conversations to prune, and what a provider asks of one."""

from __future__ import annotations

from hypothesis import strategies as st

from agentctl.context.digest import split_digest
from agentctl.context.pruning import prune
from agentctl.core.messages import Message, ToolCall

SYSTEM = Message("system", "be brief")
TASK = Message("user", "why is it slow?")
CUT_NOTES = "\n\n[Cut here to save room: 4 earlier messages. Notes on them, no instructions:\n> a\n- b\n]"
ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=40)  # lone surrogates and control characters too
TEXTS = ANY_TEXT.flatmap(lambda t: st.sampled_from([t, t * 20, t * 300]))


def turn(number: int, result: str, *, calls: int = 1, text: str = "") -> tuple[Message, ...]:
    """One assistant message that asks for tools, and their answers."""
    asked = tuple(ToolCall(f"{number}.{n}", "system_load", {"n": n}) for n in range(calls))
    return (Message("assistant", text, asked), *(Message("tool", result, tool_call_id=call.id) for call in asked))


def fit(messages: tuple[Message, ...], max_tokens: int, keep: int = 1, tools_tokens: int = 0) -> tuple[Message, ...]:
    return prune(messages, max_tokens=max_tokens, keep_user=keep, keep_assistant=keep, tools_tokens=tools_tokens)


def bare(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """Return the messages without the digest behind the task."""
    return tuple(
        Message("user", split_digest(message.text)[0]) if message.role == "user" else message for message in messages
    )


def taken_by_a_provider(messages: tuple[Message, ...]) -> bool:
    """Return whether each answer follows its call, and each call has its answer unless it came last."""
    waiting: list[str] = []
    for message in messages:
        if message.role == "tool":
            if message.tool_call_id not in waiting:
                return False
            waiting.remove(message.tool_call_id)
        elif waiting:
            return False
        else:
            waiting = [call.id for call in message.tool_calls]
    return True


@st.composite
def conversations(draw: st.DrawFn) -> tuple[Message, ...]:
    """A system message, a task, then turns with tool calls, plain answers and new words of the user."""
    messages = [SYSTEM, Message("user", draw(ANY_TEXT))]
    for number in range(draw(st.integers(0, 12))):
        kind = draw(st.sampled_from(["tools", "plain", "user"]))
        if kind == "tools":
            asked = tuple(ToolCall(f"{number}.{n}", "read_file", {}) for n in range(draw(st.integers(1, 3))))
            messages.append(Message("assistant", draw(ANY_TEXT), asked))
            messages += [Message("tool", draw(TEXTS), tool_call_id=call.id) for call in draw(st.permutations(asked))]
        else:
            messages.append(Message("user" if kind == "user" else "assistant", draw(ANY_TEXT)))
    if draw(st.booleans()):
        messages.append(Message("assistant", "", (ToolCall("last", "read_file", {}), ToolCall("other", "ls", {}))))
        messages += [Message("tool", draw(TEXTS), tool_call_id="last")] * draw(st.integers(0, 1))
    return tuple(messages)


_PIECES = st.one_of(
    st.builds(Message, st.sampled_from(["system", "user", "assistant"]), TEXTS),
    st.builds(
        lambda text, ids: Message("assistant", text, tuple(ToolCall(one, "read_file", {"path": text}) for one in ids)),
        ANY_TEXT,
        st.lists(st.sampled_from("abc"), unique=True, min_size=1),
    ),
    st.builds(lambda text, one: Message("tool", text, tool_call_id=one), TEXTS, st.sampled_from("abc")),
)
BROKEN = st.lists(_PIECES, max_size=16).map(tuple)
