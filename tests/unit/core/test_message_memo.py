"""What is computed once for a message, and sums over a conversation that grows."""

from __future__ import annotations

from agentctl.core.messages import Message, MessageMemo, RunningTotal


def test_value_of_a_message_is_computed_once_and_forgotten_with_it() -> None:
    computed: list[str] = []

    def compute(message: Message) -> int:
        computed.append(message.text)
        return len(message.text)

    memo = MessageMemo(compute)
    message, twin = Message("user", "12345"), Message("user", "12345")
    assert [memo(message), memo(message), memo(twin)] == [5, 5, 5]
    assert computed == ["12345", "12345"]
    assert len(memo._known) == 2
    del message, twin
    assert len(memo._known) == 0


def test_sum_over_a_conversation_that_grows_reads_only_what_is_new() -> None:
    read: list[str] = []

    def size(message: Message) -> int:
        read.append(message.text)
        return len(message.text)

    total, said = RunningTotal(size), tuple(Message("user", text) for text in ("a", "bb", "ccc", "dddd"))
    other = (said[0], Message("user", "notes"))
    assert [total(said[:2]), total(other), total(said[:3]), total(other), total(said)] == [3, 6, 6, 6, 10]
    assert read == ["a", "bb", "a", "notes", "ccc", "dddd"]
    assert total((*said[:1], *said[2:])) == 8  # a cut: nothing of it is taken from the whole
