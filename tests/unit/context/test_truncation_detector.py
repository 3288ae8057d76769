"""The detector of silent truncation, fed with the reports of one run."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agentctl.context.window_check import TruncationDetector
from agentctl.core.errors import ContextOverflow
from agentctl.core.messages import Completion, Message, ToolCall, ToolSpec, Usage
from agentctl.core.pricing import FREE, ModelFacts

OLLAMA = ModelFacts("ollama", "llama3.1", FREE, context_window=12_288, may_cut=True)
TOOLS = (ToolSpec("ls", "Lists files. " * 40, {"type": "object"}),)
SYSTEM, TASK = Message("system", "You help."), Message("user", "They tell of what happened then. " * 400)
FIRST = (SYSTEM, TASK)


def said(tokens: int, *, cached: int = 0) -> Completion:
    return Completion("ok", usage=Usage(tokens, 3, cached_input_tokens=cached))


def after(messages: tuple[Message, ...], result: str) -> tuple[Message, ...]:
    call = ToolCall("1", "ls", {"path": "."})
    return (*messages, Message("assistant", "", (call,)), Message("tool", result, tool_call_id="1"))


def test_report_of_a_provider_at_its_own_address_is_trusted() -> None:
    assert TruncationDetector(replace(OLLAMA, may_cut=False)).check(FIRST, TOOLS, said(2_050)) == ""
    with pytest.raises(ContextOverflow) as caught:
        TruncationDetector(OLLAMA).check(FIRST, TOOLS, said(2_050))
    assert caught.value.message == ("ollama silently cut the prompt: it read 2,050 tokens of about 3,450 sent")
    assert caught.value.hint == (
        "give the model a larger window (OLLAMA_CONTEXT_LENGTH=12288 where Ollama is started, or PARAMETER num_ctx "
        "12288 in its Modelfile), choose a model that was trained on a longer one, or send less: "
        "MAX_CONTEXT_TOKENS=1500"
    )


def test_missing_report_is_not_checked() -> None:
    watch = TruncationDetector(OLLAMA)
    assert watch.check(FIRST, TOOLS, Completion("ok")) == ""
    assert watch.check(FIRST, TOOLS, said(0)) == ""
    assert watch.check(after(FIRST, "x" * 400), TOOLS, said(3_600)) == ""


def test_a_doubtful_report_is_warned_of_once() -> None:
    watch = TruncationDetector(OLLAMA)
    assert watch.check(FIRST, TOOLS, said(700)).startswith("ollama reports 700 input tokens, and about 3,450 were")
    longer = after(FIRST, "And so it went. " * 60)
    assert watch.check(longer, TOOLS, said(250)) == ""
    assert watch.check(after(longer, "And so it went. " * 60), TOOLS, said(250)) == ""


def test_provider_that_reports_cached_tokens_counts_the_whole_prompt() -> None:
    watch = TruncationDetector(OLLAMA)
    with pytest.raises(ContextOverflow):
        watch.check(FIRST, TOOLS, said(1_700, cached=300))


def test_texts_of_few_tokens_are_not_taken_for_a_cut() -> None:
    """Rules, blanks and empty lines: a tokenizer makes one token of a run."""
    table = "\n".join(f"{'-' * 200}\n{' ' * 180}{line}" for line in range(60))
    assert TruncationDetector(OLLAMA).check((SYSTEM, Message("user", table)), (), said(700)) == ""


@pytest.mark.parametrize("text", ["\ud800" * 9_000, "日本語" * 9_000, "नमस्ते " * 9_000, "\x00" * 9_000, ""])
def test_a_text_in_any_script_can_be_looked_at(text: str) -> None:
    watch = TruncationDetector(OLLAMA)
    messages = (SYSTEM, Message("user", text))
    assert watch.check(messages, TOOLS, said(40_000)) == ""
    assert watch.check(after(messages, text), TOOLS, said(90_000)) == ""
