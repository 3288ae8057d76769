"""Runs in a step of a CI system: of this process, with a script for a model."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agentctl.cli.app import main
from agentctl.providers.scripted import ScriptedProvider
from agentctl.runner.assemble import assemble
from agentctl.runner.orchestrator import Orchestrator
from tests.support.command_line import Ended
from tests.support.github_runner import RunnerCommand, commands_of, read_file_command
from tests.support.scripted_cli import PRICED


class Step:
    """Runs of this process in a step of GitHub's, whose model is a script."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self.output, self.summary = folder / "output", folder / "summary"
        for file in (self.output, self.summary):
            file.touch()

    def __call__(self, script: list[Any], *words: str) -> Ended:
        provider = ScriptedProvider(script, facts=PRICED)

        def parts(*given: Any, **named: Any) -> Orchestrator:  # noqa: ANN401
            return assemble(*given, provider=provider, **named)

        code = main(("run", "--provider", "builtin", *words), assemble=parts)
        captured = self._capsys.readouterr()
        return Ended(code, captured.out, captured.err)

    @property
    def outputs(self) -> dict[str, str]:
        return read_file_command(self.output.read_text())


@pytest.fixture
def step(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Step]:
    monkeypatch.chdir(tmp_path)
    found = Step(tmp_path, capsys)
    for name, value in (
        ("AGENTCTL_SANDBOX", "none"),
        ("GITHUB_ACTIONS", "true"),
        ("GITHUB_OUTPUT", str(found.output)),
        ("GITHUB_STEP_SUMMARY", str(found.summary)),
    ):
        monkeypatch.setenv(name, value)
    yield found
    gc.enable()
    gc.unfreeze()


def annotated(ended: Ended) -> list[RunnerCommand]:
    """Return the annotations that the runner makes of a step's output."""
    found = (*commands_of(ended.out), *commands_of(ended.err))
    return [one for one in found if one.name in ("notice", "warning", "error")]
