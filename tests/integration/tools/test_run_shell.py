"""run_shell: the result for the model, and which commands run without a question."""

from __future__ import annotations

from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from agentctl.core.errors import SandboxUnavailable, ToolError
from agentctl.core.results import FileNotice, Reply
from agentctl.permissions.decision import Permissions
from agentctl.protocols import CommandResult, Sandbox, Tool
from agentctl.sandbox.select import SandboxMode, open_sandbox
from agentctl.tools.docker.client import DockerEngine
from agentctl.tools.toolbox import toolbox

pytestmark = pytest.mark.usefixtures("shared_walk")


async def shell(workspace: Path, wanted: SandboxMode = "auto", *, read_only: bool = False) -> Tool:
    sandbox: Sandbox = await open_sandbox(wanted, workspace=workspace, network=False, read_only=read_only)
    return toolbox(workspace=workspace, sandbox=sandbox).get("run_shell")


@pytest.mark.needs("sandbox")
async def test_both_streams_are_separate_with_the_exit_code(tmp_path: Path) -> None:
    tool = await shell(tmp_path)
    told = await tool({"command": "echo out; echo err >&2; exit 3"})
    assert told == "exit code: 3\nstdout:\nout\nstderr:\nerr"
    assert await tool({"command": "true"}) == "exit code: 0\nno output"
    assert (await tool({"command": "kill -9 $$"})).startswith("exit code: 137 (SIGKILL)\n")


@pytest.mark.needs("sandbox")
async def test_timeout_and_flood_are_reported(tmp_path: Path) -> None:
    tool = await shell(tmp_path)
    told = await tool({"command": "echo early; sleep 60", "timeout": 1})
    assert told.startswith("timed out after 1 s: the command and all that it started were ended\nstdout:\nearly")
    told = await tool({"command": "yes | head -c 10000000; echo end >&2"})
    assert "bytes of output left out: send it to a file and look at parts" in told
    assert "stderr:\nend" in told
    assert len(told) < 64 * 1024


HINTS = {
    "python3 -c 'import socket; socket.create_connection((\"192.0.2.1\", 80))'": "no network in here unless the user",
    "echo 'curl: (6) Could not resolve host: x' >&2; false": "no network in here unless the user",
    "touch /etc/x": "only the workspace (not files that other programs obey) and /tmp can be written in here",
    "mount -t tmpfs x /tmp": "commands have no privileges in here",
}


@pytest.mark.needs("sandbox")
@pytest.mark.parametrize(("command", "hint"), HINTS.items(), ids=["network", "names", "read-only", "private"])
async def test_failure_caused_by_the_sandbox_has_a_hint(command: str, hint: str, tmp_path: Path) -> None:
    told = await (await shell(tmp_path))({"command": command})
    assert hint in told.partition("hint: ")[2]
    for mode in ("none", "external"):
        free = await (await shell(tmp_path, mode))(
            {"command": "ls /nowhere/x; echo 'Read-only file system' >&2; false"}
        )
        assert "hint: " not in free


@pytest.mark.needs("sandbox")
async def test_command_permission_without_a_question_depends_on_its_sandbox(tmp_path: Path) -> None:
    kinds = {}
    for name, tool in {
        "bwrap": await shell(tmp_path),
        "read-only": await shell(tmp_path, read_only=True),
        "none": await shell(tmp_path, "none", read_only=True),
        "external": await shell(tmp_path, "external", read_only=True),
        "nothing": toolbox(workspace=tmp_path).get("run_shell"),
    }.items():
        decision = Permissions().decide("run_shell", tool.effect, {"command": "x"}, contained=tool.contained)
        kinds[name] = (
            tool.effect,
            decision.kind,
            Permissions(read_only=True).why_withheld("run_shell", tool.effect) is None,
        )
    assert kinds == {
        "bwrap": ("write", "allow", False),
        "read-only": ("read", "allow", True),
        "none": ("destructive", "ask", False),
        "external": ("write", "allow", False),
        "nothing": ("read", "allow", True),
    }


async def test_command_without_a_sandbox_does_not_run(tmp_path: Path) -> None:
    with pytest.raises(SandboxUnavailable):
        await toolbox(workspace=tmp_path).get("run_shell")({"command": f"touch {tmp_path}/made"})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "arguments", [{}, {"command": ""}, {"command": "  "}, {"command": "a\0b"}, {"command": "x", "timeout": 601}]
)
async def test_wrong_argument_is_reported(arguments: dict[str, object], tmp_path: Path) -> None:
    with pytest.raises(ToolError):
        await (await shell(tmp_path, "none"))(arguments)


class Commanded:
    """A sandbox whose commands have all ended with one result."""

    tier, read_only, network = "bwrap", False, False

    def __init__(self, result: CommandResult) -> None:
        self.result = result
        self.is_closed = False

    def unreported(self) -> tuple[FileNotice, ...]:
        return ()

    def close(self) -> None:
        self.is_closed = True

    async def run(self, command: str, *, timeout: float, more: bool = False) -> CommandResult:  # noqa: ASYNC109
        await anyio.lowlevel.checkpoint()
        return self.result


async def test_sandbox_is_closed_when_the_engine_cannot_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(engine: DockerEngine) -> None:
        raise OSError("it hangs")

    monkeypatch.setattr(DockerEngine, "aclose", fail)
    sandbox = Commanded(CommandResult(0, "", ""))
    with pytest.raises(OSError, match="it hangs"):
        await toolbox(workspace=tmp_path, sandbox=sandbox).aclose()
    assert sandbox.is_closed


async def test_files_that_were_moved_are_named_to_the_model_with_the_tool_that_asks(tmp_path: Path) -> None:
    changed, moved = FileNotice("Makefile", "make"), FileNotice(".env\x1brc", "direnv", "/run/files/1")
    result = CommandResult(0, "done\n", "", notes=("one note",), notices=(changed, moved))
    said = await toolbox(workspace=tmp_path, sandbox=Commanded(result)).get("run_shell")({"command": "x"})
    assert isinstance(said, Reply)
    assert said.notices == (changed, moved)
    assert said == (
        "exit code: 0\n"
        "note: one note\n"
        "note: moved out of the workspace: .env\\x1brc; to write such a file use write_file, which asks the user\n"
        "stdout:\ndone"
    )
    many = tuple(moved._replace(path=f"{n}/.envrc") for n in range(30))
    said = await toolbox(workspace=tmp_path, sandbox=Commanded(CommandResult(0, "", "", notices=many))).get(
        "run_shell"
    )({"command": "x"})
    assert "19/.envrc and 10 more; to write" in said
    assert isinstance(said, Reply)
    assert len(said.notices) == 30
