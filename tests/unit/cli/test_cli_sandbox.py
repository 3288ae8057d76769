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


@pytest.mark.usefixtures("_model")
def test_result_names_the_stronger_sandbox_that_is_missing_and_why(
    here: Here, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    ended = here("run", "--agent", "system", "Say hello.", "--json")
    failure = ended.document["sandbox_failures"][0]
    assert (failure["tier"], failure["reason"]) == ("bwrap", "bubblewrap (bwrap) is not installed")
    assert failure["hint"]
    assert ended.document["sandbox"] in ("landlock", None)
    assert any(failure["reason"] in line for line in ended.document["warnings"])


def test_doctor_shows_the_promises_of_the_sandbox_and_why_it_is_no_stronger_one(
    here: Here, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AGENTCTL_SANDBOX", "none")
    assert f"\n{' ' * 24}no      changes only the workspace and [sandbox] write\n" in here("doctor", "--offline").out
    monkeypatch.setenv("AGENTCTL_SANDBOX", "external")
    assert "this machine is the sandbox" in here("doctor", "--offline").out
    monkeypatch.setenv("AGENTCTL_SANDBOX", "auto")
    monkeypatch.setenv("PATH", str(tmp_path))
    (found,) = (one for one in here("doctor", "--offline", "--json").document["checks"] if one["about"] == "sandbox")
    assert found["state"] in ("warning", "lack")
    assert "bubblewrap (bwrap) is not installed" in found["said"]
    assert bool(found["details"]) is (found["state"] == "warning")
