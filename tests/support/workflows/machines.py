"""A runner's machine with agentctl on it, and a model server beside it: what the tests of workflows run on."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.support import fork_server
from tests.support.wire.server import WireServer
from tests.support.workflows.github import Machine

ROOT = Path(__file__).parents[3]
KEY = "sk-workflow-0123456789abcdef"
MODEL = "gpt-4o-mini"


def model_environ(server: WireServer) -> dict[str, str]:
    """Return the environment of a machine from which OpenAI's address leads to ``server``; no key is in it."""
    return {"OPENAI_BASE_URL": server.openai_url, "LLM_MODEL": MODEL}


def installed(folder: Path) -> Path:
    """Return a folder that the action could have installed agentctl in: its Python is the one that runs the tests."""
    (folder / "venv" / "bin").mkdir(parents=True)
    (folder / "venv" / "bin" / "python").symlink_to(_launcher(folder))
    return folder


def _launcher(folder: Path) -> Path:
    script = folder / "launcher"
    script.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    script.chmod(0o755)
    return script


def put_command(folder: Path, name: str, text: str) -> None:
    """Put a program that is a shell script into a folder for the PATH."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{text}\n")
    (folder / name).chmod(0o755)


def put_agentctl(folder: Path) -> None:
    """Put agentctl of this checkout into a folder for the PATH."""
    put_command(folder, "agentctl", f'exec {fork_server.command(loads="litellm")} "$@"')


def repository(folder: Path) -> tuple[Path, str]:
    """Return a repository with a commit and a change after it, and the first commit's id."""
    folder.mkdir()
    words: Any = {"cwd": folder, "check": True, "capture_output": True, "text": True}

    def git(*line: str) -> str:
        who = ("-c", "user.name=T", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false")
        return str(subprocess.run(["git", *who, *line], **words).stdout.strip())

    git("init", "-q", "-b", "main")
    (folder / "app.py").write_text("print('one')\n")
    git("add", "."), git("commit", "-q", "-m", "one")
    base = git("rev-parse", "HEAD")
    (folder / "app.py").write_text("print('two')\n" * 4000)
    git("commit", "-q", "-a", "-m", "two")
    return folder, base


def machine(folder: Path, server: WireServer, **more: Any) -> Machine:  # noqa: ANN401 - what a Machine takes
    """Return a machine whose agentctl asks ``server``."""
    environ: Mapping[str, str] = more.pop("environ", {})
    path = {"PATH": f"{folder / 'bin'}:{os.environ['PATH']}"}
    return Machine(folder, environ={**path, **model_environ(server), **environ}, **more)
