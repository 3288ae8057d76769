"""The program of a server: where it is found, and what of its installation the sandbox shows."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from agentctl.core.errors import ToolError
from agentctl.sandbox.select import open_sandbox
from agentctl.sandbox.server_process import start_server


@pytest.fixture
def workspace(config: Path) -> Path:
    """A folder below /tmp, which the sandbox hides but for this one."""
    (config / "work").mkdir()
    return config / "work"


def script(place: Path, text: str) -> Path:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(text)
    place.chmod(0o755)
    return place


async def ran(
    tier: str, workspace: Path, argv: Sequence[str], env: Mapping[str, str] | None = None, hidden: Sequence[Path] = ()
) -> tuple[str, tuple[str, ...]]:
    """Return what a server writes or why it ended, and its notes."""
    sandbox = await open_sandbox(tier, workspace=workspace, network=False, read_only=False, hidden=hidden)  # type: ignore[arg-type]
    said = b""
    async with start_server(argv, env=env or {}, workspace=workspace, sandbox=sandbox) as server:
        while piece := await server.receive():
            said += piece
    sandbox.close()
    return said.decode() or server.why_ended, server.notes


@pytest.fixture
def environment(config: Path) -> Path:
    """A virtual environment with one program, which names its module."""
    folder = config / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    packages = next(folder.glob("lib/python*/site-packages"))
    (packages / "served.py").write_text("import sys; print(sys.prefix)")
    script(folder / "bin/served", f"#!{folder}/bin/python\nimport served\n")
    return folder


@pytest.mark.parametrize("named", ["by its path", "on the user's PATH", "by a link", "its Python"])
async def test_a_program_of_a_hidden_virtual_environment_runs(
    wanted: str, named: str, workspace: Path, environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (environment / "beside").touch()
    argv = [str(environment / "bin/served")]
    if named == "on the user's PATH":
        monkeypatch.setenv("PATH", f"relative:{environment}/bin:{os.environ['PATH']}")
        argv = ["served"]
    elif named == "by a link":
        local = environment.parent / ".local"
        (local / "bin").mkdir(parents=True)
        (local / "lib/node_modules").mkdir(parents=True)
        (local / "bin/tool").symlink_to("../../environment/bin/served")
        argv = [str(local / "bin/tool")]
    elif named == "its Python":
        argv = [str(environment / "bin/python"), "-m", "served"]
    assert await ran(wanted, workspace, argv) == (f"{environment}\n", ())


async def test_a_program_finds_others_of_its_folder_and_sees_nothing_else(
    wanted: str, workspace: Path, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script(
        config / "node/bin/node",
        "#!/bin/sh\necho node; cat ../secret ../node/lib/node_modules/other ../node/share/state",
    )
    script(config / "node/lib/node_modules/npm/npx", "#!/usr/bin/env node\n")
    (config / "node/lib/node_modules/other").write_text("shown\n")
    (config / "node/share").mkdir()
    for place in ("node/share/state", "secret"):
        (config / place).write_text("not for servers\n")
    (config / "node/bin/npx").symlink_to("../lib/node_modules/npm/npx")
    monkeypatch.setenv("PATH", f"{config}/node/bin:/usr/bin:/bin")
    assert await ran(wanted, workspace, ["npx"]) == ("node\nshown\n", ())
    script(config / "alone/tool", "#!/bin/sh\ncat ../alone/beside; echo alone\n")
    (config / "alone/beside").write_text("not for servers\n")
    assert await ran(wanted, workspace, [f"{config}/alone/tool"]) == ("alone\n", ())


@pytest.mark.parametrize("named", ["by its path", "by a link", "on the user's PATH"])
async def test_a_program_of_a_hidden_node_modules_runs_with_the_node_of_the_user(
    wanted: str, named: str, workspace: Path, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script(
        config / "node/bin/node",
        '#!/bin/sh\necho node; cd "$(dirname "$(readlink -f "$1")")" && cat ../../other/it ../../../secret',
    )
    (config / "node/lib/node_modules").mkdir(parents=True)
    monkeypatch.setenv("PATH", f"{config}/node/bin:/usr/bin:/bin")
    modules = config / "servers/node_modules"
    program = script(modules / "@them/tool/dist/index.js", "#!/usr/bin/env node\n")
    for place, text in ((modules / "@them/other/it", "shown\n"), (config / "servers/secret", "not for servers\n")):
        place.parent.mkdir(exist_ok=True)
        place.write_text(text)
    (modules / ".bin").mkdir()
    (modules / ".bin/tool").symlink_to("../@them/tool/dist/index.js")
    argv = [str(program)]
    if named == "by a link":
        (config / "link").symlink_to("servers/node_modules/.bin/tool")
        argv = [f"{config}/link"]
    elif named == "on the user's PATH":
        monkeypatch.setenv("PATH", f"{config}/node/bin:{modules}/.bin:/usr/bin:/bin")
        argv = ["tool"]
    said, notes = await ran(wanted, workspace, argv)
    assert (said, notes) == ("node\nshown\n", ())


async def test_what_belongs_to_agentctl_stays_hidden_and_hidden_arguments_are_named(
    wanted: str, workspace: Path, config: Path
) -> None:
    own = script(config / "state/bin/tool", "#!/bin/sh\necho own\n")
    said, notes = await ran(wanted, workspace, [str(own), str(config), str(workspace), "/etc"], hidden=[own.parents[1]])
    assert ("own" not in said, notes) == (True, (f"{config} is hidden from it: name it in read of [sandbox]",))


@pytest.mark.parametrize("words", [["bin/tool"], ["sh", "bin/tool"], ["sh", "--file={}/bin/tool"], ["sh", "{}/link"]])
async def test_no_server_without_a_sandbox_is_started_from_what_a_model_can_change(
    words: list[str], workspace: Path, config: Path
) -> None:
    script(workspace / "bin/tool", "#!/bin/sh\necho here\n")
    (workspace / "link").symlink_to("/bin/true")
    argv = [word.format(workspace) for word in words]
    for sandbox in (None, await open_sandbox("bwrap", workspace=workspace, network=False, read_only=False)):
        with pytest.raises(ToolError, match="a model's commands can change it"):
            async with start_server(argv, env={}, workspace=workspace, sandbox=sandbox, tier="none"):
                pass
    unsandboxed = await open_sandbox("none", workspace=workspace, network=False, read_only=False)
    async with start_server(argv, env={}, workspace=workspace, sandbox=unsandboxed):
        pass


async def test_no_python_server_without_a_sandbox_imports_from_the_workspace(workspace: Path) -> None:
    (workspace / "json.py").write_text("print('of the model')")
    argv = [sys.executable, "-m", "json.tool", "--help"]
    async with start_server(argv, env={}, workspace=workspace, sandbox=None, tier="none") as server:
        assert b"of the model" not in await server.receive()


async def test_a_program_in_the_workspace_runs_by_its_path_only(
    workspace: Path, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The environment beside it was written by whoever wrote it, and could name any folder as its Python's."""
    script(workspace / "bin/tool", "#!/bin/sh\necho here; cat ../python/lib/python3.11/os.py\n")
    script(config / "python/bin/python3", "")
    script(config / "python/lib/python3.11/os.py", "not for servers\n")
    (workspace / "pyvenv.cfg").write_text(f"home = {config}/python/bin\n")
    monkeypatch.setenv("PATH", f"{workspace}/bin:/usr/bin:/bin")
    said, _ = await ran("bwrap", workspace, ["tool"])
    assert "not found" in said
    assert await ran("bwrap", workspace, ["bin/tool"]) == ("here\n", ())
