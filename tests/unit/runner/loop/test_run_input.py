"""What stands beside a task: its wait counts for the run, and data that comes too late stops it or is told."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from agentctl.core.errors import UsageError
from agentctl.core.events import CallHeld, Noted
from agentctl.core.messages import Completion
from agentctl.core.results import InputTaken
from agentctl.ledger import SqliteLedger
from tests.unit.runner.loop.parts import House


@pytest.fixture
def house(ledger: SqliteLedger) -> House:
    return House(ledger)


@dataclass
class Beside:
    """The input of a run, as a test wants it."""

    data: str = ""
    taken: InputTaken | None = None
    warnings: tuple[str, ...] = ()
    waited_s: float = 0.0
    is_refused: bool = False
    late: str = ""

    def refuse_late(self) -> None:
        if self.is_refused:
            raise UsageError("5 bytes came too late")

    def late_warning(self) -> str:
        return self.late


async def test_what_was_taken_and_what_came_late_stand_in_the_result(house: House) -> None:
    beside = Beside(taken=InputTaken("stdin", 340), warnings=("it is no text",), late="5 bytes came too late")
    orchestrator, _ = house.build([Completion("done")])
    result = await orchestrator.run("why?", beside)
    assert (result.status, result.input) == ("done", InputTaken("stdin", 340))
    assert result.warnings == ("it is no text", "5 bytes came too late")
    assert Noted("5 bytes came too late", "warning") in house.diary.events
    assert house.last == result


async def test_late_data_is_refused_before_the_first_hold(house: House) -> None:
    orchestrator, provider = house.build([Completion("done")])
    result = await orchestrator.run("why?", Beside(is_refused=True))
    assert (result.status, provider.heard) == ("usage", [])
    assert not [event for event in house.diary.events if isinstance(event, CallHeld)]


async def test_time_that_went_to_waiting_is_part_of_the_runs_own(house: House) -> None:
    orchestrator, provider = house.build([Completion("done")], timeout_s=5.0)
    result = await orchestrator.run("why?", Beside(waited_s=5.5))
    assert result.error is not None
    assert (result.status, result.error.message, provider.heard) == ("timeout", "the run took longer than 5 s", [])


async def test_data_is_sent_behind_the_task_and_chooses_no_agent(house: House) -> None:
    orchestrator, provider = house.build([Completion("done")])
    result = await orchestrator.run("How much disk is free?", Beside("\n\nData: docker containers, all of them"))
    assert (result.task, result.agent) == ("How much disk is free?", "system")
    sent = "How much disk is free?\n\nData: docker containers, all of them\n\n[It is 2026-11-22 12:00 UTC.]"
    assert provider.heard[0].messages[-1].text == sent


async def test_data_that_does_not_fit_the_context_is_named_by_the_hint(house: House) -> None:
    orchestrator, _ = house.build([Completion("done")])
    result = await orchestrator.run("why?", Beside(data="x" * 40_000))
    assert (result.status, result.cost_nano) == ("context", 0)
    assert result.error is not None
    hint = "pass less data, for example its end: tail -c 10000; or raise it: MAX_CONTEXT_TOKENS="
    assert result.error.hint.startswith(hint)
    assert "shorten the task" not in result.error.hint
