"""Two runs of one agent on the wire: their requests begin with the same bytes, up to the task.

Caches of prompts read a request from its first byte: the tools and the system message, then the conversation.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import pytest

from agentctl.core.limits import CostLimit
from agentctl.ledger import SqliteLedger
from agentctl.permissions.decision import Permissions
from agentctl.runner.agent_spec import load_agents
from agentctl.runner.orchestrator import Orchestrator
from agentctl.runner.plan import Plan
from agentctl.runner.toolset import toolset_for
from agentctl.settings import load_settings
from tests.support.economy import marks_in, written
from tests.support.formats import FORMATS, open_provider
from tests.support.loop import Diary
from tests.support.wire.plugin import OpenWire
from tests.support.wire.server import Answer

EARLY, LATE = datetime(2026, 1, 2, 3, 4, tzinfo=UTC), datetime(2027, 12, 31, 23, 59, tzinfo=UTC)
NO_LIMITS = CostLimit(max_cost_per_task=None, max_cost_per_hour=None, max_tokens_per_task=None)
#: Two tasks of one kind each.
PAIRS = [
    ("Why does web keep restarting?", "Why does api keep restarting?"),
    ("Show the logs of web", "Show the logs of worker since 10 minutes"),
    ("Which process uses the most memory?", "Which process uses the most memory of all?"),
    ("Count the lines of app.log", "Count the lines of logs/db.log here"),
    ("How much disk is free?", "How much disk is used?"),
]


class Sent(NamedTuple):
    """The first request of a run: its bytes, and the prompt that they make in a cache's order."""

    raw: bytes
    tools: str
    system: str
    user: str

    @property
    def prompt(self) -> str:
        return self.tools + self.system + self.user


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    short, long = tmp_path / "a", tmp_path / "another place" / "b"
    short.mkdir()
    long.mkdir(parents=True)
    return short, long


def common(one: str, other: str) -> str:
    """Return what both texts begin with."""
    end = next((at for at, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]), None)
    return min(one, other, key=len) if end is None else one[:end]


async def first_request(wire: OpenWire, format: str, workspace: Path, task: str, at: datetime) -> Sent:
    """Run ``task`` with the real tools in ``workspace`` at a time of its own; return what the server got."""
    server = wire(Answer("Done."))
    state = workspace / ".state"
    folders = {f"AGENTCTL_{kind}_DIR": str(state / kind) for kind in ("STATE", "CONFIG", "CACHE")}
    environ = {"AGENTCTL_SANDBOX": "none", **folders}
    loaded = load_settings(flags={"workdir": workspace}, environ=environ, cwd=workspace, remember=False)
    ledger = SqliteLedger(state / "ledger.db")
    async with open_provider(server, format) as provider:
        orchestrator = Orchestrator(
            plan=Plan(limits=NO_LIMITS, workdir=str(workspace), retries=0),
            agents=load_agents(),
            provider=provider,
            ledger=ledger,
            make_tools=toolset_for(loaded, Permissions(), require_sandbox=False),
            observers=(Diary(),),
            now=lambda: at,
            new_id=lambda: "7f3a",
            closing=(ledger.aclose,),
        )
        result = await orchestrator.run(task)
    assert (result.status, result.task, result.error) == ("done", task, None), "the task stays the user's words"
    raw = server.books.chat_requests[0].raw
    messages = json.loads(raw)["messages"]
    user = messages[-1]["content"]
    text = user if isinstance(user, str) else user[0]["text"]
    system = written(raw, "system") if format == "anthropic" else json.dumps(messages[0])
    return Sent(raw, written(raw, "tools"), system, text)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize(("one", "other"), PAIRS)
async def test_requests_of_two_runs_begin_with_the_same_bytes_up_to_the_task(
    wire: OpenWire, folders: tuple[Path, Path], format: str, one: str, other: str
) -> None:
    first = await first_request(wire, format, folders[0], one, EARLY)
    second = await first_request(wire, format, folders[1], other, LATE)
    same = common(one, other)
    assert common(first.prompt, second.prompt) == first.tools + first.system + same
    assert first.user.startswith(one)
    assert second.user.startswith(other)
    assert ("It is 2026-01-02 03:04 UTC." in first.user, "2027-12-31 23:59" in second.user) == (True, True)
    assert str(folders[0]) not in first.tools + first.system
    assert marks_in(first.raw) == marks_in(second.raw) == (2 if format == "anthropic" else 0)


@pytest.mark.parametrize("format", FORMATS)
async def test_same_task_in_another_folder_at_another_time_is_the_same_to_its_end(
    wire: OpenWire, folders: tuple[Path, Path], format: str
) -> None:
    task = "Summarise notes.txt in this folder"
    first = await first_request(wire, format, folders[0], task, EARLY)
    second = await first_request(wire, format, folders[1], task, LATE)
    assert common(first.prompt, second.prompt).startswith(first.tools + first.system + task)
    assert f'The workspace is "{folders[1]}"' in second.user


async def test_mark_of_the_cache_stands_on_a_system_message_that_all_runs_share(
    wire: OpenWire, folders: tuple[Path, Path]
) -> None:
    sent = [
        json.loads((await first_request(wire, "anthropic", folder, "List all containers", at)).raw)
        for folder, at in zip(folders, (EARLY, LATE), strict=True)
    ]
    assert sent[0]["system"] == sent[1]["system"]
    assert sent[0]["system"][-1]["cache_control"] == {"type": "ephemeral"}
    assert sent[0]["tools"] == sent[1]["tools"]
