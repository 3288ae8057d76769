"""Start, stop, restart, rm and rmi against a real engine: effect, target and result."""

from __future__ import annotations

import re
from pathlib import Path

import anyio
import pytest

from agentctl.core.errors import EngineUnavailable, ToolError
from agentctl.tools.docker.client import DockerEngine
from agentctl.tools.toolbox import LazyToolbox, toolbox
from tests.support.docker_parts import Docker, Make, act, command_line, inspected

pytest_plugins = ["tests.support.engine", "tests.support.docker_plugin"]
ON_CONTAINERS = ["docker_start", "docker_stop", "docker_restart", "docker_rm"]


async def test_container_is_stopped_and_started_and_its_new_state_reported(
    box: LazyToolbox, make: Make, docker: Docker
) -> None:
    name = make()
    assert await act(box, "docker_stop", name=name) == f"{name} was stopped: exit code 0."
    assert inspected(docker, name)["State"]["Running"] is False
    told = await act(box, "docker_start", name=name)
    assert re.fullmatch(rf"{name} was started\.\nstate: running for \d+ s, pid \d+", told)
    assert inspected(docker, name)["State"]["Running"] is True


async def test_state_reached_already_is_reported_and_not_an_error(box: LazyToolbox, make: Make) -> None:
    name = make()
    told = await act(box, "docker_start", name=name)
    assert told.startswith(f"{name} is already running: nothing was changed.\nstate: running for ")
    await act(box, "docker_stop", name=name)
    told = await act(box, "docker_stop", name=name)
    assert told.startswith(f"{name} is not running: nothing was changed.\nstate: exited")
    assert told.endswith("exit code: 0")


async def test_container_that_does_not_stop_is_killed_after_its_grace_time(box: LazyToolbox, make: Make) -> None:
    name = make(command=("sh", "-c", 'trap "" TERM; while :; do sleep 0.1; done'))
    told = await act(box, "docker_stop", name=name, timeout=1)
    assert told == f"{name} was stopped: exit code 137 (killed: it did not end by itself within 1 s)."


async def test_grace_time_beyond_the_read_timeout_is_waited_for(docker_host: str, make: Make) -> None:
    name = make(command=("sh", "-c", 'trap "" TERM; while :; do sleep 0.1; done'))
    async with toolbox(workspace=Path("/"), docker_host=docker_host) as box:
        context = box.get("docker_stop").context  # type: ignore[attr-defined]
        context = context._replace(engine=DockerEngine(docker_host, patience=1))
        told = await box.get("docker_stop").tool.at(context)({"name": name, "timeout": 2})  # type: ignore[attr-defined]
        await context.engine.aclose()
    assert "exit code 137" in told


async def test_restart_reports_ports_and_health(box: LazyToolbox, docker: Docker, make: Make) -> None:
    flags = ["--health-cmd", "true", "--health-interval", "1h", "-p", "127.0.0.1::80"]
    name = make(*flags, network="bridge")
    began = inspected(docker, name)["State"]["StartedAt"]
    told = await act(box, "docker_restart", name=name)
    lines = told.splitlines()
    assert [line.partition(":")[0] for line in lines] == [f"{name} was restarted.", "state", "health", "ports"]
    assert lines[2].startswith("health: starting, ")
    assert re.fullmatch(r"ports: 127\.0\.0\.1:\d+->80/tcp", lines[3])
    assert inspected(docker, name)["State"]["StartedAt"] > began


async def test_container_that_dies_at_once_is_reported_with_exit_code_and_last_lines(
    box: LazyToolbox, make: Make
) -> None:
    command = ("sh", "-c", "(echo booting; echo no config) >&2; exit 3")
    name = make(command=command, verb=("create",))
    expected = "but it ended within a second.\nexit code: 3\nthe last 2 lines that it wrote:\nbooting\nno config"
    assert await act(box, "docker_start", name=name) == f"{name} was started, {expected}"
    for _ in range(2):  # of this start only
        assert await act(box, "docker_start", name=name) == f"{name} was started, {expected}"
        assert await act(box, "docker_restart", name=name) == f"{name} was restarted, {expected}"


async def test_container_that_its_policy_keeps_restarting_is_not_a_success(box: LazyToolbox, make: Make) -> None:
    name = make("--restart", "always", command=("sh", "-c", "exit 5"), verb=("create",))
    told = await act(box, "docker_start", name=name)
    assert told.startswith(f"{name} was started, but it ended within a second.\n")
    assert "it wrote nothing" in told


async def test_container_with_rm_is_gone_after_its_stop(box: LazyToolbox, make: Make) -> None:
    name = make("--rm")
    told = await act(box, "docker_stop", name=name)
    assert "was stopped" in told


async def test_paused_container_is_not_started_and_the_engine_says_why(
    box: LazyToolbox, make: Make, docker: Docker
) -> None:
    name = make()
    docker("pause", name)
    with pytest.raises(EngineUnavailable, match="cannot start a paused container") as caught:
        await act(box, "docker_start", name=name)
    assert caught.value.hint == f"first: docker_unpause(name={name})"
    assert (await act(box, "docker_unpause", name=name)).startswith(f"{name} goes on.\nstate: running for ")


async def test_running_container_is_removed_by_force_only(box: LazyToolbox, make: Make, docker: Docker) -> None:
    name = make()
    with pytest.raises(ToolError) as caught:
        await act(box, "docker_rm", name=name)
    assert caught.value.message == f"{name} is running and was not removed"
    assert "force=true" in caught.value.hint
    assert inspected(docker, name)["State"]["Running"] is True
    assert await act(box, "docker_rm", name=name, force=True) == f"{name} was removed (it was running)."
    assert docker("ps", "-aq", "--filter", f"name={name}") == ""


async def test_removal_takes_anonymous_volumes_when_asked_and_never_named_ones(
    box: LazyToolbox, make: Make, docker: Docker
) -> None:
    name = make("-v", "t-kept:/kept", "-v", "/anonymous", verb=("create",))
    [anonymous] = [mount["Name"] for mount in inspected(docker, name)["Mounts"] if mount["Name"] != "t-kept"]
    try:
        told = await act(box, "docker_rm", name=name, volumes=True)
        assert told == f"{name} was removed (it was created). Volumes that stay: t-kept."
        volumes = docker("volume", "ls", "-q").split()
        assert "t-kept" in volumes
        assert anonymous not in volumes
    finally:
        docker("volume", "rm", "t-kept")


@pytest.mark.parametrize("tool", ON_CONTAINERS)
async def test_any_way_to_name_a_container_is_resolved_to_its_true_name(
    box: LazyToolbox, make: Make, docker: Docker, tool: str
) -> None:
    name = make()
    identity = inspected(docker, name)["Id"]
    for given in (name, f"/{name}", identity, identity[:12], identity[:8]):
        assert await box.get(tool).prepare({"name": given}) == {"name": name, "id": identity[:12]}


@pytest.mark.parametrize("tool", [*ON_CONTAINERS, "docker_exec"])
@pytest.mark.parametrize(
    "name", ["sample-wbe", "--privileged", "/:/host", "a b", "sample-web\n", "x\0y", "../images", "x" * 32768]
)
async def test_unknown_container_name_is_an_error_before_any_question(box: LazyToolbox, tool: str, name: str) -> None:
    arguments = {"name": name} | ({"command": "ls"} if tool == "docker_exec" else {})
    with pytest.raises(EngineUnavailable, match="No such container") as caught:
        await box.get(tool).prepare(arguments)
    assert len(caught.value.message) < 300
    if name == "sample-wbe":
        assert caught.value.message.endswith('Did you mean "sample-web"?')


async def test_container_recreated_under_the_same_name_is_not_the_approved_one(
    box: LazyToolbox, make: Make, docker: Docker
) -> None:
    name = make()
    prepared = await box.get("docker_rm").prepare({"name": name, "force": True})
    docker("rm", "-f", name)
    docker("run", "-d", "--name", name, "--network", "none", "busybox:local", "sleep", "100")
    with pytest.raises(ToolError, match=f"{name} .* is gone: it was removed after this was requested") as caught:
        await box.get("docker_rm")(prepared)
    assert caught.value.hint.startswith("nothing was done")
    assert inspected(docker, name)["State"]["Running"] is True


async def test_a_container_that_was_renamed_meanwhile_is_left_alone(
    box: LazyToolbox, make: Make, docker: Docker
) -> None:
    name = make()
    prepared = await box.get("docker_stop").prepare({"name": name})
    docker("rename", name, f"{name}-prod")
    try:
        with pytest.raises(ToolError, match=f"has a new name: {name}-prod"):
            await box.get("docker_stop")(prepared)
        assert inspected(docker, f"{name}-prod")["State"]["Running"] is True
    finally:
        docker("rename", f"{name}-prod", name)


async def test_an_id_that_contradicts_the_name_is_refused(box: LazyToolbox, make: Make) -> None:
    one, other = make(), make()
    identity = (await box.get("docker_rm").prepare({"name": other}))["id"]
    with pytest.raises(ToolError, match=f"{one} has the id"):
        await box.get("docker_rm").prepare({"name": one, "id": identity})
    with pytest.raises(ToolError, match="is not a container's id"):
        await box.get("docker_rm")({"name": one, "id": "../../images"})
    assert "id" not in box.get("docker_rm").spec.parameters["properties"]  # type: ignore[operator]


async def test_two_changes_of_one_container_at_once_both_end_clearly(box: LazyToolbox, make: Make) -> None:
    name = make()
    told: list[str] = []

    async def remove() -> None:
        try:
            told.append(await act(box, "docker_rm", name=name, force=True))
        except ToolError as error:
            told.append(error.message)

    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(remove)
    assert f"{name} was removed (it was running)." in told
    for text in told:
        assert re.search("was removed|is gone|No such container|already in progress", text)


async def test_an_image_is_removed_by_its_name_and_by_its_id(box: LazyToolbox, docker: Docker) -> None:
    docker("tag", "busybox:local", "t-one:1")
    told = await act(box, "docker_rmi", image="docker.io/library/t-one:1")
    assert told == "The name t-one:1 was removed; the image stays, as another name or a container holds it."
    made = docker("create", "--network", "none", "busybox:local", "true")
    try:
        identity = docker("commit", made, "t-two").removeprefix("sha256:")
    finally:
        docker("rm", made)
    assert await box.get("docker_rmi").prepare({"image": identity[:9]}) == {"image": "t-two", "id": identity[:12]}
    assert re.fullmatch(r"t-two was removed, with \d layers?\.", await act(box, "docker_rmi", image=identity[:9]))
    assert "t-two" not in docker("images")


async def test_an_image_in_use_is_kept_with_the_reason(box: LazyToolbox) -> None:
    with pytest.raises(ToolError, match="busybox:local was not removed: conflict") as caught:
        await act(box, "docker_rmi", image="busybox:local")
    assert caught.value.hint == "remove the containers that use it first: docker_ps(all=true), docker_rm"


async def test_an_id_of_two_names_must_be_called_by_one_of_them(box: LazyToolbox, docker: Docker) -> None:
    docker("tag", "busybox:local", "t-alias")
    try:
        identity = docker("inspect", "-f", "{{.Id}}", "busybox:local").removeprefix("sha256:")[:12]
        with pytest.raises(ToolError, match="is an image with 2 names: busybox:local, t-alias"):
            await box.get("docker_rmi").prepare({"image": identity})
        assert await box.get("docker_rmi").prepare({"image": "t-alias:latest"}) == {"image": "t-alias", "id": identity}
    finally:
        docker("rmi", "t-alias")


async def test_a_name_that_means_another_image_by_now_is_refused(box: LazyToolbox, docker: Docker) -> None:
    made = docker("create", "--network", "none", "busybox:local", "true")
    docker("commit", made, "t-moves")
    prepared = await box.get("docker_rmi").prepare({"image": "t-moves"})
    docker("commit", "-m", "newer", made, "t-moves")
    docker("rm", made)
    try:
        with pytest.raises(ToolError, match="t-moves is another image now"):
            await box.get("docker_rmi")(prepared)
    finally:
        docker("rmi", "t-moves")
        docker("image", "prune", "-f")


async def test_missing_image_is_reported_with_the_nearest_and_how_to_fetch_it(box: LazyToolbox) -> None:
    for tool in ("docker_run", "docker_rmi"):
        with pytest.raises(EngineUnavailable) as caught:
            await box.get(tool).prepare({"image": "busybox"})
        assert caught.value.message == 'No such image here: busybox. Did you mean "busybox:local"?'
        assert caught.value.hint.startswith("to fetch it: docker_pull(image=busybox); there are: ")


async def test_a_tool_can_be_used_without_being_prepared(docker_host: str, make: Make) -> None:
    name = make()
    async with toolbox(workspace=Path("/"), docker_host=docker_host) as box:
        assert "was stopped" in await box.get("docker_stop")({"name": name})
    assert command_line(docker_host)("inspect", "-f", "{{.State.Running}}", name) == "false"
