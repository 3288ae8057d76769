"""The command line in this process, for a user whose provider is a server with a window of its own."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.command_line import Ended
from tests.support.wire.server import Answer, Call, WireRequest, WireServer

LINES = 36
KEY = "sk-window-0123456789abcdef01"

Command = Callable[..., Ended]


@pytest.fixture(autouse=True)
def _collector() -> Iterator[None]:
    yield
    gc.enable()  # a run arranges the collector for a process of its own
    gc.unfreeze()


@pytest.fixture
def command(capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Run ``agentctl run`` at a server, in a folder with some files to read of about 800 tokens each."""
    from agentctl.cli.app import main

    monkeypatch.chdir(tmp_path)
    for number in range(1, 20):
        words = (
            f"Line {line} of file {number} tells of what happened at {line * 7} minutes past the hour, and why."
            for line in range(LINES)
        )
        (tmp_path / f"{number}.txt").write_text("\n".join(words))

    def run(server: WireServer, format: str, *words: str, task: str = "Read the files", **env: str) -> Ended:
        given = {
            "openai": {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": server.openai_url, "LLM_MODEL": "gpt-4"},
            "ollama": {"OLLAMA_HOST": server.url, "LLM_PROVIDER": "ollama", "LLM_MODEL": "llama3.1:latest"},
        }[format]
        for name, value in {**given, "AGENTCTL_AGENT": "system", **env}.items():
            monkeypatch.setenv(name, value)
        code = main(("run", "--max-cost", "5", *words, task))
        captured = capfd.readouterr()
        return Ended(code, captured.out, captured.err)

    return run


def reader(files: int, *, at_once: int = 1) -> Callable[[WireRequest], Answer]:
    """Return a model's mind that reads so many files, one a turn, and then answers; asked to, it sums up."""

    def answer(asked: WireRequest) -> Answer:
        if asked.messages[-1].role == "user" and any(said.role == "tool" for said in asked.messages):
            return Answer("The files read so far tell of the same hour.")
        done = turns_of(asked) * at_once
        if done >= files:
            return Answer("All of them tell of the same hour.")
        numbers = range(done + 1, done + 1 + at_once)
        return Answer(
            f"I read file {done + 1}.", tuple(Call("read_file", {"path": f"{number}.txt"}) for number in numbers)
        )

    turns = 0

    def turns_of(asked: WireRequest) -> int:
        nonlocal turns
        turns = 0 if asked.messages[-1].role == "user" else turns + 1
        return turns

    return answer
