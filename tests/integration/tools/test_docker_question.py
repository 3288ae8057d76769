"""Questions about containers at a real engine: what the call changes, and what the container may do to its machine."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from agentctl.core.errors import ActionDenied
from agentctl.core.events import ApprovalAsked, Event, ToolDenied
from agentctl.core.messages import ToolCall
from agentctl.permissions.admission import Admission
from agentctl.permissions.decision import Permissions
from agentctl.protocols import Approval, Question
from agentctl.tools.toolbox import LazyToolbox, toolbox
from tests.support.docker_parts import Docker, Make, inspected

pytest_plugins = ["tests.support.engine", "tests.support.docker_plugin"]


@dataclass
class Refuser:
    """Says no, and remembers the questions."""

    asked: list[Question] = field(default_factory=list)

    async def approve(self, question: Question) -> Approval:
        self.asked.append(question)
        return Approval(granted=False)


async def question(box: LazyToolbox, tool: str, **arguments: object) -> Question:
    person, events = Refuser(), list[Event]()

    async def emit(event: Event) -> None:
        events.append(event)

    admission = Admission(permissions=Permissions(), emit=emit, approver=person)
    refused = await admission.admit(ToolCall("c1", tool, arguments), box.get(tool))
    assert isinstance(refused, ActionDenied)
    [asked] = person.asked
    assert events == [ApprovalAsked(*asked)]
    assert refused.impact == asked.impact
    return asked


#: A machine that is a container itself may not run such containers; the engine says the same of one that never ran.
CREATED = ("create",)
DANGERS: dict[str, tuple[tuple[str, ...], str]] = {
    "privileged": (("--privileged",), "privileged: its root has all rights on the machine"),
    "root": (("-v", "/:/host"), "mounts / of the machine at /host, writable: with the engine's socket it controls the"),
    "folder": (("-v", "/etc:/host:ro"), "mounts /etc of the machine at /host, read-only"),
    "pid": (("--pid", "host"), "sees and can end the machine's processes (pid namespace host)"),
    "capability": (("--cap-add", "SYS_ADMIN"), "has added capabilities: "),
    "device": (("--device", "/dev/null:/dev/x"), "has devices of the machine: /dev/null"),
    "seccomp": (("--security-opt", "seccomp=unconfined"), "has no filter of system calls (seccomp unconfined)"),
}


@pytest.mark.parametrize(("flags", "said"), DANGERS.values(), ids=DANGERS)
async def test_exec_into_a_powerful_container_says_so(
    box: LazyToolbox, make: Make, flags: tuple[str, ...], said: str
) -> None:
    asked = await question(box, "docker_exec", name=make(*flags, verb=CREATED), command="id")
    assert any(danger.startswith(said) for danger in asked.impact.dangers), asked.impact


async def test_exec_into_a_container_that_mounts_the_engine_s_socket_says_so(
    box: LazyToolbox, make: Make, docker: Docker
) -> None:
    socket = docker.host.removeprefix("unix://")
    asked = await question(box, "docker_exec", name=make("-v", f"{socket}:/s.sock"), command="id")
    assert asked.impact.dangers[0].endswith("with the engine's socket it controls the machine")


async def test_exec_into_a_volume_that_is_a_folder_of_the_machine_says_so(
    box: LazyToolbox, make: Make, docker: Docker
) -> None:
    volume = docker(
        *("volume", "create", "-d", "local", "-o", "type=none", "-o", "o=bind", "-o", "device=/srv", "--label", "t=1")
    )
    try:
        asked = await question(box, "docker_exec", name=make("-v", f"{volume}:/data"), command="id")
        assert asked.impact.dangers == ("mounts /srv of the machine at /data, writable",)
    finally:
        docker("volume", "rm", "-f", volume, check=False)


async def test_exec_into_a_plain_container_has_no_danger_and_names_what_runs_as_whom(
    box: LazyToolbox, make: Make, docker: Docker
) -> None:
    name = make("-v", "/data")
    found = inspected(docker, name)
    asked = await question(box, "docker_exec", name=found["Id"][:12], command="id -u", user="1000", workdir="/etc")
    image = found["Image"].removeprefix("sha256:")[:12]
    assert re.fullmatch(
        re.escape(f"runs id in the container {name} (id {found['Id'][:12]}, image busybox:local {image}, running for ")
        + r"\d+ s\)",
        asked.impact.does,
    )
    assert asked.impact.details == ("runs as 1000 in /etc, for at most 60 s",)
    assert (asked.impact.dangers, asked.asked_as) == ((), found["Id"][:12])


@pytest.mark.parametrize(
    ("tool", "verb", "is_told"),
    [
        ("docker_restart", "restarts", True),
        ("docker_stop", "stops", False),
        ("docker_pause", "pauses", False),
        ("docker_rm", "removes for good, with all files that it wrote,", False),
    ],
)
async def test_powers_are_told_where_the_call_lets_them_run(
    box: LazyToolbox, make: Make, tool: str, verb: str, is_told: bool
) -> None:
    name = make("--privileged", verb=CREATED)
    asked = await question(box, tool, name=name)
    assert asked.impact.does.startswith(f"{verb} the container {name} (id ")
    assert bool(asked.impact.dangers) == is_told


async def test_removal_names_the_volumes_that_go_and_stay(box: LazyToolbox, make: Make, docker: Docker) -> None:
    name = make("-v", "/anonymous", "-v", f"kept-{Path(__file__).stem}:/named")
    try:
        asked = await question(box, "docker_rm", name=name, force=True, volumes=True)
        kills, gone, stay = asked.impact.details
        assert kills == "kills it first: it is running"
        assert re.fullmatch(r"deletes its anonymous volumes: [0-9a-f]{12}", gone)
        assert stay == "its volumes stay: kept-test_docker_question"
    finally:
        docker("rm", "-f", "-v", name, check=False)
        docker("volume", "rm", "-f", "kept-test_docker_question", check=False)


async def test_new_container_is_described_by_its_image_and_its_limits(box: LazyToolbox) -> None:
    asked = await question(box, "docker_run", image="busybox:local", command="ls /", timeout=5)
    assert asked.impact.does.startswith("runs ls in a new container of the image busybox:local (id ")
    assert asked.impact.details == (
        "confined: no capabilities, a read-only root, without network; removes it at its end, after 5 s at most",
    )


async def test_denial_without_a_terminal_says_what_it_would_have_done(box: LazyToolbox, make: Make) -> None:
    events = list[Event]()

    async def emit(event: Event) -> None:
        events.append(event)

    name = make("--privileged", verb=CREATED)
    admission = Admission(permissions=Permissions(), emit=emit)
    denied = await admission.admit(
        ToolCall("c1", "docker_exec", {"name": name, "command": "id"}), box.get("docker_exec")
    )
    assert isinstance(denied, ActionDenied)
    assert re.search(
        rf"there is no terminal to ask on\. It runs id in the container {name} \(.*\)\. .*"
        r"Danger: privileged: its root has all rights on the machine\.",
        denied.message,
    )
    assert not any(isinstance(event, ToolDenied) for event in events)  # the dispatcher reports it


async def test_engine_that_does_not_answer_leaves_a_danger_not_a_silence(
    box: LazyToolbox, make: Make, tmp_path: Path
) -> None:
    name = make()
    prepared = await box.get("docker_exec").prepare({"name": name, "command": "id"})
    async with toolbox(workspace=tmp_path, docker_host=f"unix://{tmp_path}/none.sock") as gone:
        tool = gone.get("docker_exec")
        impact = await tool.look_up_impact(prepared)  # type: ignore[attr-defined]
    assert impact.does == f"runs id in the container {name} (id {prepared['id']})"
    [danger] = impact.dangers
    assert danger.startswith("not checked whether the container is privileged or mounts the machine: ")
