"""Reasoning that a server leaves in the text, between tags: apart from the answer, however it is cut into pieces."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentctl.core.messages import Thought
from agentctl.providers.chat_format import CompletionBuilder
from agentctl.providers.reasoning_text import ReasoningSifter, split_reasoning
from agentctl.providers.wires.exchange import Piece, ThoughtPiece

SAYS = "It says alpha beta."
DIVIDED: dict[str, tuple[str, tuple[str, str]]] = {
    "a thought and text": (f"<think>\nhm\n</think>\n\n{SAYS}", (SAYS, "\nhm\n")),
    "white space first": (f"\n <think>hm</think>{SAYS}", (SAYS, "hm")),
    "an empty thought": (f"<think>\n\n</think>\n\n{SAYS}", (SAYS, "\n\n")),
    "two thoughts": (f"<think>a</think>\n<think>b</think>{SAYS}", (SAYS, "ab")),
    "a thought between two lines": ("One.\n<think>hm</think>\nTwo.", ("One.\n\nTwo.", "hm")),
    "a thought in a line": (f"Sure. <think>hm</think> {SAYS}", (f"Sure.  {SAYS}", "hm")),
    "a thought inside a thought": (f"<think>a <think>b</think>c</think>{SAYS}", (SAYS, "a <think>bc")),
    "the closing tag alone": (f"hm\n</think>\n\n{SAYS}", (SAYS, "hm\n")),
    "the closing tag alone, in a line": (f"hm.</think>{SAYS}", (SAYS, "hm.")),
    "the closing tag first": (f"</think>\n{SAYS}", (SAYS, "")),
    "the closing tag alone, behind a block of code": (f"```\nx\n```\nhm</think>{SAYS}", (SAYS, "```\nx\n```\nhm")),
    "the closing tag again": (f"<think>a</think>b</think>{SAYS}", (SAYS, "ab")),
    "nothing behind the thought": ("<think>hm</think>", ("", "hm")),
    "nothing behind the closing tag alone": ("hm\n</think>\n", ("", "hm\n")),
    "a thought that does not end": ("<think>hm", ("", "hm")),
    "capital letters": (f"<THINK>hm</Think>{SAYS}", (SAYS, "hm")),
    "other names": (f"<thinking>a</thinking><thought>b</thought>{SAYS}", (SAYS, "ab")),
    "Mistral's": (f"[THINK]hm[/THINK]{SAYS}", (SAYS, "hm")),
    "Seed's": (f"<seed:think>hm</seed:think>{SAYS}", (SAYS, "hm")),
    "Kimi's": (f"◁think▷hm◁/think▷{SAYS}", (SAYS, "hm")),
    "Cohere's": (f"<|START_THINKING|>hm<|END_THINKING|>{SAYS}", (SAYS, "hm")),
    "OpenAI's open models'": (
        f"<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>{SAYS}<|return|>",
        (SAYS, "hm"),
    ),
    "Gemma's": (f"<|channel>thought\nhm<channel|>{SAYS}", (SAYS, "\nhm")),
    "an empty one of Gemma's": (f"<|channel>thought\n<channel|>{SAYS}", (SAYS, "\n")),
    "MiniMax's": (f"<mm:think>hm</mm:think>{SAYS}", (SAYS, "hm")),
    "LongCat's": (f"<longcat_think>hm</longcat_think>{SAYS}", (SAYS, "hm")),
    "between bars": (f"<|think|>hm<|/think|>{SAYS}", (SAYS, "hm")),
    "a thought and a solution": (
        f"<|begin_of_thought|>hm<|end_of_thought|><|begin_of_solution|>{SAYS}<|end_of_solution|>",
        (SAYS, "hm"),
    ),
    "Cohere's, with a response": (
        f"<|START_THINKING|>hm<|END_THINKING|><|START_RESPONSE|>{SAYS}<|END_RESPONSE|>",
        (SAYS, "hm"),
    ),
    "an answer between tags": (f"<think>hm</think><answer>{SAYS}</answer>", (SAYS, "hm")),
    "reasoning by its name": (f"<reasoning>hm</reasoning>{SAYS}", (SAYS, "hm")),
    "a tag that was asked for": ("Use <reasoning>x</reasoning>", ("Use <reasoning>x</reasoning>", "")),
    "an answer's tags that were asked for": ("<answer>1</answer>", ("<answer>1</answer>", "")),
    "a mark of the end": (f"{SAYS}<|im_end|>", (SAYS, "")),
    "two marks of the end": (f"{SAYS}<|eot_id|></s>", (SAYS, "")),
    "a mark of the end in a sentence": ("The mark <|im_end|> ends it.", ("The mark <|im_end|> ends it.", "")),
    "a mark of the end in code": ("It is `<|im_end|>`", ("It is `<|im_end|>`", "")),
    "a text that is struck out": ("It was <s>alpha</s>", ("It was <s>alpha</s>", "")),
    "a thought with an angle": (f"<think>a </b </think>{SAYS}", (SAYS, "a </b ")),
    "no tags": (f"{SAYS} 1 < 2 [ok] <b>", (f"{SAYS} 1 < 2 [ok] <b>", "")),
    "half a tag": ("<thi", ("<thi", "")),
    "a tag in code": ("Use `<think>` and `</think>`.", ("Use `<think>` and `</think>`.", "")),
    "a closing tag in code": ("It ends with `</think>`.", ("It ends with `</think>`.", "")),
    "a closing tag in a sentence": ("The last word is </think>.", ("The last word is </think>.", "")),
    "tags in quotation marks": ('It says "<think>" and "</think>".', ('It says "<think>" and "</think>".', "")),
    "tags in a block of code": (
        "The file:\n```\n<think>\nhm\n</think>\n```\nThat is all.",
        ("The file:\n```\n<think>\nhm\n</think>\n```\nThat is all.", ""),
    ),
    "a tag in the middle without an end": (f"{SAYS}\n<think>\nhm", (f"{SAYS}\n<think>\nhm", "")),
    "nothing": ("", ("", "")),
}


def built(*texts: str, stop: str = "stop") -> tuple[str, str, str]:
    """Return the text and the reasoning of an answer in pieces, and what a screen shows at its end."""
    answer, shown = CompletionBuilder(), ""
    for text in texts:
        piece = answer.add(Piece(text))
        shown = ("" if answer.said.restarts else shown) + (piece or "")
    last = answer.add(Piece(stop=stop))
    shown = ("" if answer.said.restarts else shown) + (last or "")
    whole = answer.build(usage=None, model=None)
    return whole.text, whole.reasoning, shown.lstrip()


@pytest.mark.parametrize("case", DIVIDED)
def test_reasoning_between_tags_is_none_of_the_text_however_it_is_cut(case: str) -> None:
    text, found = DIVIDED[case]
    assert split_reasoning(text) == found
    for texts in ([text], [*text], *((text[:cut], text[cut:]) for cut in range(len(text)))):
        assert built(*texts) == (*found, found[0])


def test_reasoning_that_the_limit_cut_in_the_middle_is_no_text() -> None:
    text = f"{SAYS}\n<think>\nhm"
    assert built(text, stop="length") == (f"{SAYS}\n", "\nhm", f"{SAYS}\n")
    assert built(*text, stop="max_tokens")[:2] == (f"{SAYS}\n", "\nhm")


@given(texts=st.lists(st.text("<think>/[`\n ab", max_size=8)))
def test_no_character_is_lost_without_a_whole_tag(texts: list[str]) -> None:
    text = "".join(texts)
    whole, reasoning, shown = built(*texts)
    assert (whole, reasoning, shown) == (text, "", text.lstrip()) or "think>" in text


@given(texts=st.lists(st.sampled_from(["<think>", "</think>", "a", "\n", "`", " ", "<thi", "nk>", "[THINK]"])))
def test_pieces_and_the_whole_text_are_divided_alike(texts: list[str]) -> None:
    (said, thought, _), (whole, reasoning, _) = built(*texts), built("".join(texts))
    assert (said, "".join(thought.split())) == (whole, "".join(reasoning.split()))


def test_beginnings_of_tags_without_end_are_looked_at_in_time() -> None:
    for text in ("x <think" * 20_000, "</think>." * 20_000, "<" * 100_000, "`<think>`" * 20_000):
        assert split_reasoning(text)[1] == ""


def test_sifter_takes_up_behind_what_was_said() -> None:
    assert ReasoningSifter("Sure.\n").sift("<think>hm", last=True).text == "<think>hm"
    assert ReasoningSifter("\n").sift("<think>hm", last=True).thought == "hm"
    assert ReasoningSifter("```\n").sift("</think>ok", last=True).withdraws is False


def test_thoughts_of_a_field_and_between_tags_are_one_reasoning() -> None:
    answer = CompletionBuilder()
    answer.add(Piece(thought="a, "))
    answer.add(Piece(thought="aGlkZGVu", thoughts=(ThoughtPiece(0, Thought(data="aGlkZGVu")),), is_hidden=True))
    answer.add(Piece("<think>b</think>c"))
    whole = answer.build(usage=None, model=None)
    assert (whole.text, whole.reasoning) == ("c", "a, b")


def test_answer_of_a_server_that_begins_inside_reasoning_waits_for_its_end() -> None:
    answer = CompletionBuilder(waits=True)
    assert [answer.add(Piece(text)) for text in ("hm", "\n</think>", "\n\nIt", " says.")] == ["", "", "It", " says."]
    assert not answer.said.restarts
    plain = CompletionBuilder(waits=True)
    assert [plain.add(Piece("It")), plain.add(Piece(" says.")), plain.add(Piece(stop="stop"))] == ["", "", "It says."]
    assert plain.build(usage=None, model=None).text == "It says."
