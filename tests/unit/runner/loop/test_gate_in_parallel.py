"""Calls made beside each other, and values that move late, lead to the closing form or to a warning first."""

from __future__ import annotations

import pytest

from agentctl.core.messages import ToolCall
from tests.support.loop import Deed, asks, call, says
from tests.unit.runner.loop.conftest import Stage

DONE = says("web is up.")
LIST = "web  up"


@pytest.mark.parametrize("width", [2, 3])
async def test_same_read_beside_itself_in_each_turn_ends_with_an_answer(stage: Stage, width: int) -> None:
    deed = Deed("ps", lambda _: LIST)
    turn = asks(*(ToolCall(str(number), "ps", {}) for number in range(width)))
    loop, provider = stage([turn, turn, turn, DONE], deed)
    outcome = await loop.run("s", "t")
    assert (outcome.status, outcome.answer, len(deed.given)) == ("done", "web is up.", 2)
    assert [bool(request.tools) for request in provider.heard] == [True, True, True, False]


async def test_read_beside_a_tool_that_is_not_there_ends_with_an_answer(stage: Stage) -> None:
    deed = Deed("ps", lambda _: LIST)
    turn = asks(call("ps"), call("nothing"))
    loop, provider = stage([turn, turn, turn, DONE], deed)
    outcome = await loop.run("s", "t")
    assert (outcome.status, outcome.answer, len(provider.heard)) == ("done", "web is up.", 4)
    assert f"ps() returned:\n{LIST}" in provider.heard[-1].messages[1].text


async def test_denied_call_beside_a_repeated_read_stays_denied(stage: Stage) -> None:
    turn = asks(call("ps"), call("stop"))
    loop, provider = stage(
        [turn, turn, turn, DONE], Deed("ps", lambda _: LIST), Deed("stop", lambda _: ""), denied=("stop",)
    )
    outcome = await loop.run("s", "t")
    assert (outcome.status, outcome.answer, len(provider.heard)) == ("denied", "web is up.", 4)


async def test_poll_whose_value_moves_late_is_warned_before_it_fails(stage: Stage) -> None:
    values = iter(("wait", "wait", "started", "listening"))
    deed = Deed("docker_logs", lambda _: next(values))
    loop, provider = stage([asks(call("docker_logs"))] * 4 + [says("It listens.")], deed)
    outcome = await loop.run("s", "t")
    assert (outcome.status, outcome.answer) == ("done", "It listens.")
    assert provider.heard[-1].messages[-1].text.startswith("error: not run: docker_logs was called")
