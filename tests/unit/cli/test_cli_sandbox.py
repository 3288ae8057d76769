"""``--sandbox``: what a run says of its sandbox, in text and in its result."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.command_line import KEY, Here
from tests.support.wire.plugin import OpenWire
from tests.support.wire.script import Answer, Call

TASK = ("run", "--agent", "system", "--tools", "run_shell", "--sandbox", "external", "Make it.")


@pytest.fixture
def _model(wire: OpenWire, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that runs one command, then answers."""
    command = "echo x >made; echo $EDITOR-$OPENAI_API_KEY >given"
    found = wire((Answer(calls=(Call("run_shell", {"command": command}),)), Answer("Done.")))
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_BASE_URL", found.openai_url)
    monkeypatch.setenv("EDITOR", "vi")
    monkeypatch.setenv("AGENTCTL_SANDBOX_ENV", "EDITOR")


@pytest.mark.usefixtures("_model")
@pytest.mark.parametrize("form", ["text", "json"])
def test_external_sandbox_runs_commands_unasked_and_is_said_once(here: Here, form: str) -> None:
    ended = here(*TASK, "-o", form)
    assert ended.code == 0, ended.err
    assert ended.err.count("sandbox external: commands run unasked") == 1
    if form == "json":
        assert ended.document["sandbox"] == "external"
        assert [line for line in ended.document["warnings"] if line.startswith("sandbox external: ")] != []
    assert Path("made").read_text() == "x\n"
    assert Path("given").read_text() == "vi-\n"
