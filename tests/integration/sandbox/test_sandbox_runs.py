"""The whole command line with a scripted model: with a sandbox, without one, and with none asked for."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from agentctl.cli.app import main
from agentctl.ledger import SqliteLedger
from agentctl.protocols import Observer
from agentctl.providers.scripted import ScriptedProvider
from agentctl.runner.assemble import assemble, plan_of
from agentctl.runner.orchestrator import Orchestrator
from agentctl.runner.routing import AgentSpec
from agentctl.runner.toolset import make_run_tools
from agentctl.sandbox.select import open_sandbox
from agentctl.settings import Loaded, ProviderChoice
from agentctl.tools.toolbox import toolbox
from tests.support.scripted_cli import PRICED, answer, call

WITH_A_SHELL = AgentSpec("system", "Does all.", "Do it.", tools=("run_shell", "read_file"))


def staffed(
    agents: tuple[AgentSpec, ...],
    provider: ScriptedProvider,
    loaded: Loaded,
    choice: ProviderChoice,
    *,
    observers: Sequence[Observer],
) -> Orchestrator:
    """Assemble by hand, with other agents: those that ship may not have a shell."""
    plan = plan_of(loaded, choice, labels={})
    workspace = Path(plan.workdir)
    ledger = SqliteLedger(loaded.settings.ledger_path)
    return Orchestrator(
        plan=plan,
        agents=agents,
        provider=provider,
        ledger=ledger,
        make_tools=partial(
            make_run_tools,
            make=partial(toolbox, workspace=workspace),
            permissions=plan.permissions,
            open_sandbox=partial(open_sandbox, "auto", workspace=workspace, network=False, read_only=False),
        ),
        observers=observers,
        now=lambda: datetime.now(UTC),
        new_id=lambda: os.urandom(6).hex(),
        closing=(ledger.aclose,),
    )


class Told:
    """What the last run heard and said."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self.provider = ScriptedProvider([])
        self.code, self.err = 0, ""
        self.document: dict[str, Any] = {}

    def run(self, script: list[Any], *words: str, agents: tuple[AgentSpec, ...] | None = None) -> None:
        self.provider = ScriptedProvider(script, facts=PRICED)

        def parts(*given: Any, **named: Any) -> Orchestrator:  # noqa: ANN401
            if agents is None:
                return assemble(*given, provider=self.provider, **named)
            return staffed(agents, self.provider, *given, observers=named["observers"])

        self.code = main(("run", "--json", *words, "do it"), assemble=parts)
        captured = self._capsys.readouterr()
        self.err = captured.err
        self.document = json.loads(captured.out)

    @property
    def offered(self) -> list[str]:
        return [tool.name for tool in self.provider.heard[0].tools]

    @property
    def last_result(self) -> str:
        return self.provider.heard[-1].messages[-1].text


@pytest.fixture
def told(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Told]:
    import gc

    monkeypatch.chdir(tmp_path)
    yield Told(capsys)
    gc.enable()
    gc.unfreeze()


NO_BWRAP = "/nowhere"
TOOLS = ("--tools", "run_shell,write_file,read_file")


def test_with_a_sandbox_commands_run_unasked_and_the_result_names_it(told: Told, tmp_path: Path) -> None:
    told.run([call("run_shell", command="echo hello > made; cat made; id -u"), answer("done")], *TOOLS)
    assert (told.code, told.document["sandbox"], told.document["left_out"]) == (0, "bwrap", [])
    assert told.last_result == f"exit code: 0\nstdout:\nhello\n{os.geteuid()}"
    assert (tmp_path / "made").read_text() == "hello\n"


def test_the_state_of_agentctl_cannot_be_seen_from_a_command(told: Told) -> None:
    state = os.environ["AGENTCTL_STATE_DIR"]
    told.run([call("run_shell", command=f"ls -R {state}; echo end"), answer("done")], *TOOLS)
    assert Path(state, "ledger.db").exists()
    assert "ledger" not in told.last_result.partition("stdout")[2]


def test_without_a_sandbox_the_tool_is_left_out_and_that_is_told(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", NO_BWRAP)
    told.run([answer("nothing to do")], agents=(WITH_A_SHELL,))
    assert (told.code, told.document["left_out"], told.document["sandbox"]) == (0, ["run_shell"], None)
    assert told.offered == ["read_file"]
    assert "run_shell is left out: bubblewrap (bwrap) is not installed (" in told.err


def test_a_task_that_needs_what_is_left_out_is_exit_6(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", NO_BWRAP)
    told.run([call("run_shell", command="true"), answer("could not")], agents=(WITH_A_SHELL,))
    assert (told.code, told.document["status"]) == (6, "sandbox")
    assert "bubblewrap (bwrap) is not installed" in told.last_result


def test_a_sandbox_asked_for_by_name_or_a_tool_that_needs_it_is_exit_6(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", NO_BWRAP)
    for words in (("--sandbox", "bwrap"), TOOLS):
        told.run([answer("never said")], *words)
        assert (told.code, told.document["status"]) == (6, "sandbox")
        assert "bubblewrap (bwrap) is not installed" in told.document["error"]["message"]
        assert "--sandbox none" in told.document["error"]["hint"]
        assert told.provider.heard == []


def test_without_a_sandbox_that_was_not_asked_for_a_command_asks_and_nobody_is_there(
    told: Told, tmp_path: Path
) -> None:
    told.run([call("run_shell", command="touch made"), answer("could not")], *TOOLS, "--sandbox", "none")
    assert (told.code, told.document["sandbox"], told.document["denied"]) == (5, "none", ["run_shell"])
    assert not (tmp_path / "made").exists()
    told.run([call("run_shell", command="touch made"), answer("did")], *TOOLS, "--sandbox", "none", "--yes")
    assert (told.code, (tmp_path / "made").exists()) == (0, True)


def test_a_read_only_run_has_a_shell_that_changes_nothing(told: Told, tmp_path: Path) -> None:
    script = [call("run_shell", command="touch made; ls"), answer("looked")]
    told.run(script, "--tools", "run_shell,read_file", "--read-only")
    assert told.code == 0
    assert "nothing but /tmp can be written" in told.last_result or "Read-only file system" in told.last_result
    assert not (tmp_path / "made").exists()


def test_a_file_is_written_unasked_but_for_one_that_is_obeyed_later(told: Told, tmp_path: Path) -> None:
    told.run([call("write_file", path="a.txt", text="x"), answer("did")], *TOOLS)
    assert (told.code, (tmp_path / "a.txt").read_text()) == (0, "x")
    (tmp_path / "all").symlink_to(".")
    told.run([call("write_file", path="all/.git/hooks/pre-commit", text="evil"), answer("could not")], *TOOLS)
    assert (told.code, told.document["denied"]) == (5, ["write_file"])
    assert not (tmp_path / ".git").exists()
    assert ".git/hooks/pre-commit is git's own" in told.last_result
    told.run([call("write_file", path="all/.envrc", text="evil"), answer("could not")], *TOOLS)
    assert (told.code, told.document["denied"]) == (5, ["write_file"])
    assert "--allow 'write_file(path=.envrc)'" in told.last_result
