"""A run whose results are cut to their shares, kept whole, and read on."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest

from agentctl.context.tokens import PLAIN, Measure
from agentctl.core.limits import CostLimit
from agentctl.journal.artifacts import ArtifactFolder
from agentctl.ledger import SqliteLedger
from agentctl.permissions.admission import Admission
from agentctl.permissions.decision import Permissions
from agentctl.protocols import Tool
from agentctl.providers.scripted import ScriptedProvider, Step
from agentctl.runner.conversation import Conversation
from agentctl.runner.loop import Loop
from agentctl.runner.model_calls import ModelCalls
from agentctl.runner.plan import Plan
from agentctl.runner.tool_calls import ToolDispatcher
from agentctl.runner.troubles import LoopOutcome
from agentctl.tools.toolbox import toolbox
from tests.support.loop import Box, Deed, Diary

NUMBERED_LINES = "".join(f"line {number}\n" for number in range(1, 12_351))
#: The call in the mark that replaces the cut text.
MARKED_CALL = re.compile(r"read_file\(path=\"([^\"]+)\"((?:, \w+=\d+)*)\) reads on \.\.\.\]")


class Equipped(Box):
    """Small tools beside real ones; ``reader`` reads files."""

    def __init__(self, reader: Tool | None, *deeds: Deed | Tool) -> None:
        super().__init__(*(deed for deed in deeds if isinstance(deed, Deed)))
        self._real = {tool.spec.name: tool for tool in (*deeds, reader) if tool and not isinstance(tool, Deed)}

    @property
    def names(self) -> tuple[str, ...]:
        return (*super().names, *self._real)

    def get(self, name: str) -> Tool:
        return self._real.get(name) or super().get(name)


class House:
    """One run at a time, in ``folder``: ``kept`` holds its files, ``diary`` its events."""

    def __init__(self, folder: Path, ledger: SqliteLedger) -> None:
        self.work, self.kept = folder / "work", folder / "runs" / "r1"
        self.work.mkdir()
        self.ledger, self.diary = ledger, Diary()
        self.measure = PLAIN

    async def run(
        self,
        script: Iterable[Step],
        *deeds: Deed | Tool,
        reads: bool = True,
        annex: ArtifactFolder | None = None,
        permissions: Permissions | None = None,
        **plan: object,
    ) -> tuple[LoopOutcome, ScriptedProvider]:
        provider = ScriptedProvider(script)
        settled = Plan(**plan)  # type: ignore[arg-type]
        emit = self.diary.emit
        await self.ledger.open_run("r1", CostLimit(), task="t", agent="a", labels={})
        box = toolbox(workspace=self.work, now=lambda: datetime.now(UTC), run_files=self.kept)
        loop = Loop(
            calls=ModelCalls(
                provider=provider, ledger=self.ledger, run_id="r1", limits=CostLimit(), emit=emit, retries=0
            ),
            dispatch=ToolDispatcher(
                toolbox=Equipped(box.get("read_file") if reads else None, *deeds),
                admission=Admission(permissions=permissions or Permissions(), emit=emit, approve="all"),
                emit=emit,
                limits=settled.loop,
                shares=settled.result_shares(provider.facts),
                measure=self._measured,
                artifact_store=annex or ArtifactFolder(self.kept),
            ),
            conversation=Conversation(prune=partial(settled.fit, provider.facts), emit=emit),
            emit=emit,
            limits=settled.loop,
        )
        return await loop.run("s", "t"), provider

    def _measured(self) -> Measure:
        return self.measure


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    ledger = SqliteLedger(tmp_path / "ledger.db")
    yield House(tmp_path, ledger)
    await ledger.aclose()


def find_marked_call(text: str) -> dict[str, object] | None:
    """Return the arguments of the call that a mark in ``text`` asks for; None where there is no mark."""
    found = MARKED_CALL.search(text)
    if found is None:
        return None
    numbers = (part.split("=") for part in found[2].split(", ")[1:])
    return {"path": found[1], **{name: int(value) for name, value in numbers}}
