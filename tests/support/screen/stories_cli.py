"""The real command line with a played model and tools: ``python -m tests.support.screen.stories_cli STORY run TASK``.

``STORY_STDOUT`` names a file for stdout; ``STORY_NOHUP`` goes on when the terminal is gone; ``STORY_NONBLOCKING`` sets
the terminal to O_NONBLOCK, and fills it.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from agentctl.__main__ import main
from agentctl.core.answer_schema import AnswerSchema
from agentctl.journal.writer import Journal
from agentctl.ledger import SqliteLedger
from agentctl.protocols import Approver, Observer, RunTools
from agentctl.providers.scripted import ScriptedProvider
from agentctl.runner.agent_spec import load_agents
from agentctl.runner.assemble import plan_of
from agentctl.runner.orchestrator import Orchestrator
from agentctl.settings import Loaded, ProviderChoice
from tests.support.screen.played import FACTS, STORIES, Box


def playing(story: str) -> Callable[..., Orchestrator]:
    """Return what assembles a run with the real book and journal."""

    def parts(
        loaded: Loaded,
        choice: ProviderChoice,
        *,
        observers: Sequence[Observer],
        labels: Mapping[str, str],
        approver: Approver | None = None,
        warn: Callable[[str], None],
        flags: Mapping[str, object] | None = None,
        schema: AnswerSchema | None = None,
    ) -> Orchestrator:
        plan = plan_of(loaded, choice, labels=labels)._replace(answer_schema=schema)
        run_id = os.urandom(6).hex()
        ledger = SqliteLedger(loaded.settings.ledger_path)
        journal = Journal(loaded.settings.runs_dir, run_id, secrets=loaded.secrets)

        async def equip(names: Sequence[str] | None, most: int, task: str = "") -> RunTools:
            return RunTools(Box(Path(plan.workdir)))

        return Orchestrator(
            plan=plan,
            agents=load_agents(),
            provider=ScriptedProvider(STORIES[story], facts=FACTS),
            ledger=ledger,
            make_tools=equip,
            observers=(journal, *observers),
            now=lambda: datetime.now(UTC),
            new_id=lambda: run_id,
            approver=approver,
            closing=(ledger.aclose, journal.aclose),
            flags=flags or {},
        )

    return parts


if __name__ == "__main__":
    if "STORY_NOHUP" in os.environ:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    if "STORY_NONBLOCKING" in os.environ:  # as a neighbour at the same terminal may do
        os.set_blocking(2, False)
        with suppress(BlockingIOError):
            while True:
                os.write(2, b"#" * 1000)
    if "STORY_STDOUT" in os.environ:
        os.dup2(os.open(os.environ["STORY_STDOUT"], os.O_WRONLY | os.O_CREAT, 0o600), 1)
    main(assemble=playing(sys.argv.pop(1)))
