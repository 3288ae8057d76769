"""Guards: limits on the calls of a turn, and the handling of a turn that asks for too much."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentctl.core.messages import ToolCall
from agentctl.permissions.guards import LoopLimits, RepeatGuard, limit_tool_calls
from tests.support.loop import call


def test_sane_calls_are_left_as_they_are() -> None:
    calls = (call("ps", "1", all=True), call("ps", "2", all=False))
    assert limit_tool_calls(calls, LoopLimits(), turn=1) == (calls, {})


def test_one_call_above_the_limit_carries_the_refusal_of_the_rest() -> None:
    calls = [call("ps", f"c{n}", n=n) for n in range(10_000)]
    kept, refused = limit_tool_calls(calls, LoopLimits(calls_a_turn=16), turn=1)
    assert kept[:16] == tuple(calls[:16])
    assert refused == {"c16": "not run, nor the others of 9984: at most 16 calls in one turn"}
    assert kept[16:] == (call("ps", "c16"),)


def deep(levels: int) -> dict[str, object]:
    """An object of that many levels."""
    return {"a": deep(levels - 1)} if levels else {}


@pytest.mark.parametrize(
    "arguments",
    [{"path": "x" * 1_001}, deep(100), {"n": float("nan")}, {"o": object()}, {"a": json.loads("[" * 21 + "]" * 21)}],
    ids=["long", "deep", "nan", "object", "nested"],
)  # fmt: skip
def test_arguments_that_are_not_a_json_object_are_emptied_and_refused(arguments: dict[str, object]) -> None:
    (kept,), refused = limit_tool_calls([ToolCall("1", "ps", arguments)], LoopLimits(argument_characters=1_000), turn=1)
    assert kept == ToolCall("1", "ps", {})
    assert "not run: the arguments are not a JSON object" in refused["1"]


def test_a_strange_name_becomes_a_plain_one() -> None:
    names = ["rm -rf /", "\x1b[31mps", "ps\u202e", "", "x" * 1_000, "docker_ps"]
    kept, _ = limit_tool_calls([ToolCall(str(n), name, {}) for n, name in enumerate(names)], LoopLimits(), turn=1)
    assert [c.name for c in kept] == ["rm_-rf__", "__31mps", "ps_", "unnamed", "x" * 64, "docker_ps"]


ANY_JSON = st.recursive(
    st.none() | st.integers() | st.floats() | st.text(), lambda s: st.lists(s) | st.dictionaries(st.text(), s)
)


@pytest.mark.slow
@settings(max_examples=60)
@given(st.lists(st.builds(ToolCall, st.sampled_from(["", "a", "call_1_3", "b" * 200]) | st.text(), st.text(),
                          st.dictionaries(st.text(), ANY_JSON, max_size=3)), max_size=30))  # fmt: skip
def test_kept_calls_can_be_sent_back_whatever_was_asked(calls: list[ToolCall]) -> None:
    kept, refused = limit_tool_calls(calls, LoopLimits(), turn=1)
    assert len(kept) == min(len(calls), 17)
    assert len({c.id for c in kept}) == len(kept)
    assert set(refused) <= {c.id for c in kept}
    for one in kept:
        assert one.id.isascii()
        assert one.id.isprintable()
        assert one.name.replace("_", "").replace("-", "").isalnum() or set(one.name) <= {"_", "-"}
        json.dumps(dict(one.arguments), allow_nan=False)


def test_call_between_two_identical_ones_restarts_the_count() -> None:
    repeats = RepeatGuard(3)
    same, other = call("ps"), call("df")
    assert repeats.check_repeats([same, same, other, same, same]) == {}
    assert list(repeats.check_repeats([same]) or ()) == ["ps"]
    assert repeats.check_repeats([other]) == {}
    assert repeats.check_repeats([same, same]) == {}
    assert list(repeats.check_repeats([same]) or ()) == ["ps"]
    assert repeats.check_repeats([same]) is None
