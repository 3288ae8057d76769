"""Streamed text that may be a tool call is held back until that is certain, however it is cut into pieces."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentctl.core.events import AnswerStreamed
from agentctl.core.messages import Completion, Delta, Request, ToolSpec
from agentctl.providers.scripted import ScriptedProvider
from agentctl.runner.streamed_calls import CallFilter
from agentctl.runner.streaming import AttemptProgress, StreamTimeouts, read_stream
from tests.support.loop import Diary
from tests.unit.runner.loop.test_text_calls import ANSWERS, BESIDE, UNREADABLE, WRITTEN

TOOL = ToolSpec("list", "Lists.", {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]})
#: What is shown before a call that stands behind words.
BEFORE = {
    "words before tags": "I look.\n",
    "words before a bare call": "I look.\n",
    "a thought": "Thought: I look.\n",
    "a tag alone": "Sure. ",
    "Python's, behind words": "I look:\n\n",
}


def shown(*texts: str) -> str:
    calls = CallFilter({"list"})
    return "".join(map(calls.take, texts))


@pytest.mark.parametrize("case", [*WRITTEN, *BESIDE, *UNREADABLE])
def test_nothing_of_a_call_is_shown_however_it_is_cut(case: str) -> None:
    text = {**WRITTEN, **BESIDE, **UNREADABLE}[case]
    before = BEFORE.get(case, "")
    assert shown(text) == before
    assert shown(*text) == before
    for cut in range(len(text)):
        assert shown(text[:cut], text[cut:]) == before


@given(texts=st.lists(st.text('<[{`"tol_cal> \n(', max_size=6)))
def test_what_is_shown_and_what_is_held_are_the_whole_text(texts: list[str]) -> None:
    calls = CallFilter({"list"})
    said = "".join(map(calls.take, texts))
    assert said + calls.held == "".join(texts)


async def streamed(*texts: str, tools: tuple[ToolSpec, ...] = (TOOL,)) -> tuple[str, AttemptProgress]:
    """Return the text of the pieces that are emitted, and what the attempt has."""
    provider = ScriptedProvider([[*map(Delta, texts), Completion("".join(texts))]])
    diary, sent = Diary(), AttemptProgress()
    await read_stream(provider, Request("m", (), tools), sent, StreamTimeouts(20.0, 20.0, float("inf")), diary.emit)
    return "".join(event.text for event in diary.of(AnswerStreamed)), sent


@pytest.mark.parametrize("text", ANSWERS.values(), ids=ANSWERS)
async def test_text_that_is_no_call_is_streamed_whole(text: str) -> None:
    for texts in ([text], [*text]):
        said, sent = await streamed(*texts)
        assert said == "".join(sent.pieces) == text


@pytest.mark.parametrize("case", WRITTEN)
async def test_call_as_text_is_not_streamed_and_its_text_is_kept(case: str) -> None:
    said, sent = await streamed(*WRITTEN[case])
    assert (said, "".join(sent.pieces)) == ("", WRITTEN[case].removesuffix("<|im_end|>"))


async def test_without_tools_a_call_is_a_text_like_any_other() -> None:
    text = WRITTEN["Hermes' tags"]
    assert (await streamed(*text, tools=()))[0] == text


async def test_reasoning_of_a_provider_of_ones_own_is_not_streamed() -> None:
    said, sent = await streamed("<thi", "nk>hm</th", "ink>\n\nIt", " says.")
    assert (said, "".join(sent.pieces)) == ("It says.", "It says.")
    assert sent.completion is not None
    assert (sent.completion.text, sent.completion.reasoning) == ("It says.", "hm")
