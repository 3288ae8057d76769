"""The bound of a request after a cut: the part left of a reported request costs no more than it did there."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from agentctl.budget.input_bound import JOINT, PER_PART, SettledRequest, bound, json_bytes, message_bytes, plain_bound
from agentctl.core.messages import Completion, Message, Request, ToolCall, ToolSpec, Usage
from agentctl.providers.tokenizers import load_vocabulary

TOOLS = (ToolSpec("look", "Looks.", {"type": "object", "properties": {"at": {"type": "string"}}}),)
NOTES = "\n\n[Cut here to save room: 4 earlier messages. Notes on them, no instructions:\n- look(at=a) -> b\n]"
MARK = "\n[... 4,000 characters: the middle is cut here; ask for less ...]\n"


@dataclass(frozen=True, slots=True)
class Template:
    """A server's chat template: what it puts around messages, and how it renders a conversation.

    ``rate`` bytes make a token, ``frame`` tokens stand around each message. ``seam``: by how many tokens two messages
    that meet may come out otherwise. ``default_system`` tokens are put in where no system message begins. ``merges``:
    two messages of one role are one. ``strips``: thoughts before the last question are left out.
    """

    rate: int
    frame: int
    seam: int
    default_system: int
    merges: bool
    strips: bool

    def count(self, request: Request) -> int:
        sent = request.messages
        total = 300 if request.tools else 0
        total += 0 if sent and sent[0].role == "system" else self.default_system
        question = max((at for at, message in enumerate(sent) if message.role == "user"), default=-1)
        for at, message in enumerate(sent):
            text = message.text
            if self.strips and at < question and message.role == "assistant":
                text = text.partition("</think>")[2] or text
            calls = "".join(call.name + json.dumps(dict(call.arguments)) for call in message.tool_calls)
            total += -(-len((text + calls).encode("utf-8", "surrogatepass")) // self.rate)
            joins = self.merges and at > 0 and sent[at - 1].role == message.role
            total += 0 if joins else self.frame
            total += self._seam(sent[at - 1].text if at else "", text)
        return total

    def _seam(self, left: str, right: str) -> int:
        return (7 * len(left) + 13 * len(right)) % (self.seam + 1)


templates = st.builds(
    Template,
    rate=st.integers(1, 5),
    frame=st.integers(0, 12),
    seam=st.integers(0, 32),
    default_system=st.integers(0, 600),
    merges=st.booleans(),
    strips=st.booleans(),
)
texts = st.text(max_size=60) | st.sampled_from(["a" * 300, "<think>" + "why " * 400 + "</think>so", "日本" * 80, ""])


@st.composite
def conversations(draw: st.DrawFn) -> tuple[Message, ...]:
    """A system message or none, and questions, answers and results in any order that a run may have."""
    said = [Message("system", draw(texts))] if draw(st.booleans()) else []
    said.append(Message("user", draw(texts)))
    for number in range(draw(st.integers(0, 8))):
        kind = draw(st.sampled_from(["user", "assistant", "look", "look"]))
        if kind == "look":
            call = ToolCall(f"c{number}", "look", {"at": draw(texts)})
            said += [Message("assistant", draw(texts), (call,)), Message("tool", draw(texts), tool_call_id=call.id)]
        else:
            said.append(Message(kind, draw(texts)))  # type: ignore[arg-type]
    return tuple(said)


@st.composite
def cuts(draw: st.DrawFn) -> tuple[Request, Completion, Request]:
    """A request, its answer, and any request that begins with a part of both, some of it changed, and goes on."""
    before = draw(conversations())
    answer = Completion(draw(texts), (ToolCall("now", "look", {"at": "x"}),) if draw(st.booleans()) else ())
    left = [message for message in (*before, answer.as_message()) if draw(st.integers(0, 3))]
    for at, message in enumerate(left):
        change = draw(st.sampled_from(["none", "none", "none", "notes", "short"]))
        if change == "notes" and message.role == "user":
            left[at] = replace(message, text=message.text + NOTES)
        elif change == "short":
            left[at] = replace(message, text=message.text[: len(message.text) // 3] + MARK + message.text[-20:])
    new = draw(st.lists(st.builds(Message, st.sampled_from(["user", "tool"]), texts), max_size=3))
    return Request("m", before, TOOLS), answer, Request("m", (*left, *new), TOOLS)


@settings(max_examples=600, suppress_health_check=[HealthCheck.too_slow])
@given(templates, cuts(), st.integers(0, 2_000))
def test_request_after_a_cut_is_never_above_its_bound(
    template: Template, cut: tuple[Request, Completion, Request], thoughts: int
) -> None:
    earlier, answer, request = cut
    said = -(-len(answer.text.encode("utf-8", "surrogatepass")) // template.rate)
    known = SettledRequest(earlier, answer.as_message(), Usage(template.count(earlier), said + thoughts + 40))
    assert template.count(request) <= bound(request, known)


words = st.text(max_size=80) | st.sampled_from(
    [
        "a" * 400,
        "0123456789" * 20,
        "日本語" * 40,
        " " * 200,
        "internationalization",
        "'ll'll're",
        "\n\n\r\n",
        "e\u0301" * 50,
    ]
)
VOCABULARIES = ("cl100k_base", "o200k_base", "older Claude")


@pytest.mark.parametrize("name", VOCABULARIES)
@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(words, min_size=1, max_size=8),
    st.lists(st.booleans(), min_size=8, max_size=8),
    st.integers(0, 100),
    words,
    st.sampled_from(["", "\n", "\n\nuser: "]),
)
@example(["a" * 399, "b", "a" * 401], [True, False, True] * 3, 50, "a", "")
def test_real_tokenizers_find_no_more_in_what_is_left(
    name: str, said: list[str], left: list[bool], at: int, notes: str, marker: str
) -> None:
    """One text without markers between messages is the worst case of a template."""
    count = load_vocabulary(name)
    assert count is not None
    system = Message("system", "be brief")
    before = Request("m", (system, *(Message("assistant", text) for text in said)))
    kept = [message for message, stays in zip(before.messages[1:], left, strict=False) if stays]
    task = Message("user", said[0][: len(said[0]) * at // 100] + notes)
    earlier = replace(before, messages=(system, Message("user", said[0]), *before.messages[2:]))
    request = Request("m", (system, task, *(message for message in kept if message in earlier.messages)))

    def tokens(asked: Request) -> int:
        return count(marker.join(message.text for message in asked.messages))

    known = SettledRequest(earlier, Message("assistant", "ok"), Usage(tokens(earlier), 1))
    assert tokens(request) <= bound(request, known)


LOG = "2026-11-24T10:00:07Z web[12]: GET /health 200 in 3 ms, upstream db answered after a retry\n"


def run_of(turns: int) -> tuple[SettledRequest, tuple[Message, ...]]:
    """Return a conversation as it was reported, at four bytes a token, and what came after it."""
    said = [Message("system", "be brief " * 50), Message("user", f"Why?\n{LOG * 20}")]
    for number in range(turns):
        call = ToolCall(f"c{number}", "look", {"at": str(number)})
        said += [Message("assistant", "I look.", (call,)), Message("tool", LOG * 10, tool_call_id=call.id)]
    call = ToolCall("new", "look", {"at": "new"})
    answer = Completion("I look.", (call,))
    request = Request("m", tuple(said), TOOLS)
    known = SettledRequest(request, answer.as_message(), Usage(sum(map(message_bytes, said)) // 4, 30))
    return known, (answer.as_message(), Message("tool", LOG * 5, tool_call_id="new"))


def test_a_request_that_was_cut_is_bound_by_the_report_before_it_and_what_is_new() -> None:
    known, new = run_of(12)
    system, task, *rest = known.request.messages
    left = (system, replace(task, text=task.text + NOTES), *rest[8:14], *rest[18:], *new)
    seams = JOINT * 4  # the notes, and three runs: system and task, two parts of the rest
    beyond = json_bytes(NOTES) + seams + sum(map(message_bytes, new)) + PER_PART * 3
    request = Request("m", left, TOOLS)
    assert bound(request, known) == known.usage.input_tokens + beyond < plain_bound(request) // 2


def test_a_request_that_is_sent_again_is_bound_by_its_own_report() -> None:
    known, _ = run_of(3)
    assert bound(known.request, known) == known.usage.input_tokens + JOINT


def test_a_result_that_was_cut_shorter_counts_from_where_it_differs() -> None:
    known, new = run_of(2)
    *rest, result = known.request.messages
    short = replace(result, text=result.text[:200] + MARK + result.text[-50:])
    request = Request("m", (*rest, short, *new), TOOLS)
    whole = Request("m", (*known.request.messages, *new), TOOLS)
    assert bound(request, known) == bound(whole, known) + json_bytes(MARK + result.text[-50:]) + JOINT


def without_system(known: SettledRequest) -> tuple[Message, ...]:
    return known.request.messages[1:]


def another_order(known: SettledRequest) -> tuple[Message, ...]:
    system, task, *rest = known.request.messages
    return system, task, *reversed(rest)


def without_the_last_question(known: SettledRequest) -> tuple[Message, ...]:
    return tuple(message for message in known.request.messages if message.text != "And now?")


@pytest.mark.parametrize("left", [without_system, without_the_last_question])
def test_text_that_a_template_may_rewrite_is_bound_by_its_bytes(left: object) -> None:
    known, new = run_of(4)
    asked = replace(known.request, messages=(*known.request.messages, Message("user", "And now?")))
    known = known._replace(request=asked)
    request = Request("m", (*left(known), *new), TOOLS)  # type: ignore[operator]
    assert bound(request, known) == plain_bound(request)


def test_repeated_message_is_covered_by_a_report_only_once() -> None:
    known, _ = run_of(2)
    system, task, call, result, *_ = known.request.messages
    once = Request("m", (system, task, call, result), TOOLS)
    twice = Request("m", (system, task, call, result, call, result), TOOLS)
    assert bound(twice, known) >= bound(once, known) + message_bytes(call) + message_bytes(result)


def test_possible_silent_truncation_is_not_built_on() -> None:
    known, new = run_of(12)
    system, task, *rest = known.request.messages
    request = Request("m", (system, task, *rest[8:], *new), TOOLS)
    assert bound(request, known, may_cut=True) == plain_bound(request) > bound(request, known)
    goes_on = Request("m", (*known.request.messages, *new), TOOLS)
    assert bound(goes_on, known, may_cut=True) == bound(goes_on, known) < plain_bound(goes_on)
