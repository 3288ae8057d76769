"""Fixtures: both runtimes, a real ledger, and a loop with scripted parts."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Literal

import pytest

from agentctl.core.limits import CostLimit
from agentctl.core.pricing import FREE, ModelFacts
from agentctl.core.tool_rules import parse_rule
from agentctl.ledger import SqliteLedger
from agentctl.permissions.admission import Admission
from agentctl.permissions.decision import Permissions
from agentctl.permissions.guards import LoopLimits
from agentctl.protocols import Approver
from agentctl.providers.scripted import ScriptedProvider, Step
from agentctl.runner.conversation import Conversation
from agentctl.runner.loop import Loop
from agentctl.runner.model_calls import ModelCalls
from agentctl.runner.plan import Plan
from agentctl.runner.tool_calls import ToolDispatcher
from tests.support.loop import Box, Deed, Diary

UNMETERED = ModelFacts("builtin", None, price=FREE, metered=False)


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Run every async test of this folder on both runtimes."""
    return str(request.param)


@pytest.fixture
def diary() -> Diary:
    return Diary()


Stage = Callable[..., tuple[Loop, ScriptedProvider]]


@pytest.fixture
async def stage(ledger: SqliteLedger, diary: Diary) -> Stage:
    """Build a loop: a script, tools, and what else a test wants."""
    await ledger.open_run("run", CostLimit(), task="t", agent="a", labels={})

    def build(
        script: Iterable[Step],
        *deeds: Deed,
        metered: bool = True,
        max_tokens: int = 8000,
        denied: tuple[str, ...] = (),
        permissions: Permissions | None = None,
        approve: Literal["ask", "deny", "all"] = "ask",
        approver: Approver | None = None,
        **limits: int,
    ) -> tuple[Loop, ScriptedProvider]:
        provider = ScriptedProvider(script, facts=None if metered else UNMETERED)

        fit = partial(Plan(max_context_tokens=max_tokens).fit, provider.facts)
        loop = Loop(
            calls=ModelCalls(
                provider=provider, ledger=ledger, run_id="run", limits=CostLimit(), emit=diary.emit, retries=0
            ),
            dispatch=ToolDispatcher(
                toolbox=Box(*deeds),
                admission=Admission(
                    permissions=permissions or Permissions(deny=tuple(map(parse_rule, denied))),
                    emit=diary.emit,
                    approve=approve,
                    approver=approver,
                ),
                emit=diary.emit,
                limits=LoopLimits(**limits),
            ),
            conversation=Conversation(prune=fit, emit=diary.emit),
            emit=diary.emit,
            limits=LoopLimits(**limits),
            metered=metered,
        )
        return loop, provider

    return build
