"""Projects and services of compose, by their labels, at an engine of Docker and at one of Podman."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import anyio
import pytest

from agentctl.core.errors import ActionDenied, EngineUnavailable, ToolError
from agentctl.core.events import Event
from agentctl.core.messages import ToolCall
from agentctl.core.tool_rules import parse_rule
from agentctl.permissions.admission import Admission
from agentctl.permissions.decision import Permissions
from agentctl.permissions.guards import LoopLimits
from agentctl.runner.tool_calls import ToolDispatcher
from agentctl.runner.tool_results import Result
from agentctl.tools.docker.client import DockerEngine
from agentctl.tools.toolbox import LazyToolbox, toolbox
from tests.support.command_line import Here
from tests.support.docker_parts import Compose, Docker, act, command_line, inspected
from tests.support.machine import need

pytest_plugins = ["tests.support.engine"]

FILE = """
version: "2.4"
services:
  web:
    image: busybox:local
    network_mode: none
    command: sh -c 'echo page served; exec sleep 1000'
    scale: 2
  db:
    image: busybox:local
    network_mode: none
    command: sh -c 'echo db is open; exec sleep 1000'
  job:
    image: busybox:local
    network_mode: none
    command: sh -c 'echo no table >&2; exit 4'
"""

WEB_LINES = {"web-1 | page served", "web-2 | page served"}

#: For what does not depend on the engine: Docker's alone.
AT_DOCKER = pytest.mark.parametrize("shop", ["docker_host"], indirect=True)
AT_PODMAN = pytest.mark.parametrize("shop", ["podman_engine"], indirect=True)


@pytest.fixture(scope="module", params=["docker_host", "podman_engine"])
def shop(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Compose]:
    """Give a project: ``web`` with two containers, ``db`` with one, ``job`` whose container has failed."""
    need("docker-compose")
    engine = request.getfixturevalue(request.param)
    folder = tmp_path_factory.mktemp("shop")
    (folder / "docker-compose.yml").write_text(FILE)
    compose = Compose(engine if isinstance(engine, str) else engine.host, folder, "shop")
    compose("up", "-d")
    try:
        yield compose
    finally:
        compose("down", "-t", "0")


@pytest.fixture
def docker(shop: Compose) -> Docker:
    return command_line(shop.host)


@pytest.fixture
async def box(shop: Compose, tmp_path: Path) -> AsyncIterator[LazyToolbox]:
    async with toolbox(workspace=tmp_path, docker_host=shop.host) as made:
        yield made


def _plain(text: str) -> str:
    return " ".join(text.split())


async def test_service_names_its_container_for_every_tool(box: LazyToolbox) -> None:
    for name in ("db", "shop/db"):
        assert await act(box, "docker_logs", name=name) == "db is open"
    assert _plain(await act(box, "docker_inspect", name="db")).startswith("name shop_db_1 id ")
    assert "\nshop_db_1 " in await act(box, "docker_stats", name="db")
    assert (await act(box, "docker_exec", name="db", command="echo inside")).endswith("stdout:\ninside")
    assert "shop_db_1" in await act(box, "docker_ps", name="db")
    assert (await act(box, "docker_pause", name="db")).startswith("shop_db_1 was paused.\nstate: paused")
    assert (await act(box, "docker_unpause", name="db")).startswith("shop_db_1 goes on.\nstate: running")
    assert "no table" in await act(box, "docker_start", name="job")


@AT_DOCKER
async def test_service_of_several_containers_says_which(box: LazyToolbox) -> None:
    for tool in ("docker_logs", "docker_stop"):
        with pytest.raises(ToolError) as caught:
            await box.get(tool).prepare({"name": "web"})
        assert caught.value.message == (
            "web may be one of 2 containers: shop_web_1 (shop, running), shop_web_2 (shop, running)"
        )
        assert caught.value.hint == "give the name of one of them"
    assert await act(box, "docker_logs", name="shop_web_2") == "page served"


@AT_DOCKER
async def test_project_is_no_container_and_its_containers_are_named(box: LazyToolbox) -> None:
    with pytest.raises(ToolError) as caught:
        await box.get("docker_logs").prepare({"name": "shop"})
    assert caught.value.message == "shop is a compose project, not a container"
    assert "shop_db_1, shop_job_1, shop_web_1, shop_web_2" in caught.value.hint


@AT_DOCKER
async def test_container_of_that_name_comes_before_the_service(box: LazyToolbox, docker: Docker) -> None:
    docker("run", "--name", "db", "--network", "none", "busybox:local", "echo", "another")
    try:
        assert await act(box, "docker_logs", name="db") == "another"
        assert await act(box, "docker_logs", name="shop/db") != "another"
    finally:
        docker("rm", "-f", "db")


async def test_projects_and_services_are_listed_with_what_is_down(box: LazyToolbox, shop: Compose) -> None:
    header, row, *_ = (await act(box, "compose_projects")).splitlines()
    assert header.split() == ["project", "services", "up", "down", "folder"]
    assert row.split() == ["shop", "3", "2", "job", str(shop.folder)]
    every = await act(box, "compose_ps", project="shop")
    assert [line.split()[2] for line in every.splitlines()[1:]] == [
        "shop_db_1",
        "shop_job_1",
        "shop_web_1",
        "shop_web_2",
    ]
    down = (await act(box, "compose_ps", state="down")).splitlines()
    assert [line.split()[1:3] for line in down[1:-1]] == [["job", "shop_job_1"]]
    assert "Exited (4)" in down[1]
    assert down[-1] == "A service that has no container at all is not seen here."
    assert await act(box, "compose_ps", state="paused") == ("No service is paused: it has no container in this state.")
    with pytest.raises(ToolError, match="no container belongs to a compose project 'shap'") as caught:
        await act(box, "compose_ps", project="shap")
    assert caught.value.hint == 'did you mean "shop"?'


@AT_DOCKER
async def test_service_with_one_of_two_containers_is_partly_up(box: LazyToolbox, docker: Docker) -> None:
    docker("kill", "shop_web_2")
    try:
        assert "Partly up: shop/web (1 of 2 containers up)." in await act(box, "compose_ps", state="down")
        assert "web" not in (await act(box, "compose_projects")).splitlines()[1].split()
    finally:
        docker("start", "shop_web_2")


@AT_DOCKER
async def test_labels_of_a_stranger_add_no_lines(box: LazyToolbox, docker: Docker) -> None:
    forged = "lab\nNo service is down: 9 services have a container that is up."
    labels = ("--label", f"com.docker.compose.project={forged}", "--label", "com.docker.compose.service=probe\n- x")
    docker("create", "--name", "forged-1", *labels, "--network", "none", "busybox:local", "true")
    docker("run", "-d", "--name", "forged-2", *labels, "--network", "none", "busybox:local", "sleep", "60")
    try:
        assert "Partly up: lab\\nNo service" in await act(box, "compose_ps", state="down")
        with pytest.raises(ToolError) as caught:
            await act(box, "compose_ps", project="la")
        assert caught.value.hint.startswith('did you mean "lab\\nNo service')
        with pytest.raises(EngineUnavailable) as missed:
            await box.get("docker_logs").prepare({"name": "probe\n- "})
        assert "\n" not in f"{missed.value.message}{missed.value.hint}"
    finally:
        docker("rm", "-f", "forged-1", "forged-2")


@AT_PODMAN
async def test_labels_of_podman_compose_alone_are_read(box: LazyToolbox, docker: Docker) -> None:
    labels = ("--label", "io.podman.compose.project=lab", "--label", "io.podman.compose.service=probe")
    docker("create", "--name", "lab_probe_1", *labels, "--network", "none", "busybox:local", "true")
    try:
        assert "\nlab " in await act(box, "compose_projects")
        assert _plain(await act(box, "docker_inspect", name="probe")).startswith("name lab_probe_1 id ")
    finally:
        docker("rm", "-f", "lab_probe_1")


@AT_DOCKER
async def test_deny_rule_by_service_holds_for_its_container_and_an_allow_rule_does_not(
    box: LazyToolbox, docker: Docker
) -> None:
    async def emit(_: Event) -> None:
        pass

    async def ask(name: str, *, allow: str, deny: Sequence[str] = ()) -> Result:
        permissions = Permissions(allow=(parse_rule(allow),), deny=tuple(map(parse_rule, deny)))
        admission = Admission(permissions=permissions, emit=emit, approver=None)
        dispatch = ToolDispatcher(toolbox=box, admission=admission, emit=emit, limits=LoopLimits())
        [result] = await dispatch.run([ToolCall("c1", "docker_restart", {"name": name, "timeout": 0})], {})
        return result

    before = inspected(docker, "shop_db_1")["State"]["StartedAt"]
    for name in ("db", "shop/db", "shop_db_1", inspected(docker, "shop_db_1")["Id"][:9]):
        assert isinstance(await ask(name, deny=["docker_restart(name=db)"], allow="docker_restart"), ActionDenied)
    assert isinstance(await ask("db", allow="docker_restart(name=db)"), ActionDenied)  # another may have its label
    assert inspected(docker, "shop_db_1")["State"]["StartedAt"] == before


async def test_logs_of_a_project_are_one_in_the_order_of_time(box: LazyToolbox) -> None:
    every = await act(box, "compose_logs")
    assert {*every.splitlines()} == {"db-1  | db is open", "job-1 | no table", *WEB_LINES}
    of_web = await act(box, "compose_logs", project="shop", service="web")
    assert {*of_web.splitlines()} == WEB_LINES
    assert await act(box, "compose_logs", service="web", tail=1) == of_web.splitlines()[-1]
    assert await act(box, "compose_logs", since="2099-01-01") == "The containers have written nothing since 2099-01-01."
    with pytest.raises(ToolError) as caught:
        await act(box, "compose_logs", service="wob")
    assert caught.value.message == "the project shop has no container of a service 'wob'"
    assert caught.value.hint == 'did you mean "web"?'


@AT_DOCKER
async def test_lines_of_several_containers_are_merged_by_their_time(box: LazyToolbox, docker: Docker) -> None:
    labels = ("--label", "com.docker.compose.project=turns", "--label", "com.docker.compose.container-number=1")
    for name, first in (("ping", 0), ("pong", 1)):
        say = f"for i in 0 2; do while [ $(($(date +%s) % 4)) -ne $((i + {first})) ]; do sleep 0.1; done; echo $i; done"
        service = f"com.docker.compose.service={name}"
        docker(
            "run",
            "-d",
            "--name",
            name,
            *labels,
            "--label",
            service,
            "--network",
            "none",
            "busybox:local",
            "sh",
            "-c",
            say,
        )
    try:
        docker("wait", "ping", "pong")
        said = (await act(box, "compose_logs", project="turns")).splitlines()
        stamps = [docker("logs", "-t", line.split("-")[0]).splitlines()[int(line[-1]) // 2].split()[0] for line in said]
        assert len(said) == 4
        assert stamps == sorted(stamps)
        assert said != sorted(said)
    finally:
        docker("rm", "-f", "ping", "pong")


@AT_DOCKER
async def test_deny_rule_about_the_log_of_a_container_holds_for_the_log_of_its_project(
    shop: Compose, tmp_path: Path
) -> None:
    rules = (
        "docker_logs(name=db)",
        "docker_logs(name=shop/d*)",
        "*_logs(name=shop_db_1)",
        "compose_logs(service=shop/db)",
    )
    for rule in rules:
        async with toolbox(workspace=tmp_path, docker_host=shop.host, restricting=[parse_rule(rule)]) as box:
            said = await act(box, "compose_logs", project="shop")
        assert "db is open" not in said, rule
        assert said.endswith("\n1 container left out by a user rule.")
    async with toolbox(workspace=tmp_path, docker_host=shop.host, restricting=[parse_rule("docker_logs")]) as box:
        assert await act(box, "compose_logs") == "4 containers left out by a user rule."


@AT_DOCKER
async def test_rule_about_a_project_holds_for_the_only_one_and_by_the_tools_other_name(box: LazyToolbox) -> None:
    logs = box.get("compose_logs")
    prepared = await logs.prepare({})
    assert prepared == {"project": "shop"}
    for rule in ("compose_logs(project=shop)", "docker_compose_logs(project=s*)", "docker_*"):
        deny = Permissions(deny=(parse_rule(rule),))
        assert deny.decide("compose_logs", logs.effect, {}, resolved=prepared).kind == "deny", rule


async def test_project_that_is_as_it_was_made_has_drifted_only_where_it_is_down(shop: Compose) -> None:
    async with toolbox(workspace=shop.folder, docker_host=shop.host) as box:
        head, _, row, *limits = (await act(box, "compose_drift")).splitlines()
    assert head == (
        "shop: 4 containers of 3 services, compared with one another, with the tags of this engine's images, "
        "and with docker-compose.yml."
    )
    assert re.fullmatch(r"job +shop_job_1 +not running: Exited \(4\).*", row)
    assert limits[0] == (
        "Of the file, only services, images without variables and numbers of containers were compared."
    )
    assert re.search(r"docker compose config --hash='\*'; here: db [0-9a-f]{64}, job ", limits[1])


@AT_DOCKER
async def test_hashes_that_drift_names_are_those_of_compose(shop: Compose) -> None:
    async with toolbox(workspace=shop.folder, docker_host=shop.host) as box:
        said = await act(box, "compose_drift")
    for line in shop("config", "--hash=*").splitlines():
        assert line in said


@AT_DOCKER
async def test_file_outside_the_workspace_is_not_compared_and_drift_says_so(box: LazyToolbox) -> None:
    said = await act(box, "compose_drift")
    assert "No compose file was compared: /" in said
    assert said.count("is outside the workspace") == 1
    assert "a service that has no container and one that the file no longer has are not seen." in said


@AT_DOCKER
async def test_drift_names_what_has_changed_since_the_containers_were_made(
    shop: Compose, tmp_path: Path, docker: Docker
) -> None:
    docker("tag", "busybox:local", "drifting:1")
    lab = Compose(shop.host, tmp_path, "lab")
    file = tmp_path / "docker-compose.yml"
    service = "image: drifting:1\n    network_mode: none\n    command: sleep 1000\n"
    file.write_text(f'version: "2.4"\nservices:\n  api:\n    {service}  cron:\n    {service}')
    lab("up", "-d")
    try:
        file.write_text(
            f'version: "2.4"\nservices:\n  api:\n    {service}    environment: [MODE=new]\n  mail:\n    {service}'
        )
        await anyio.sleep(1.1)  # the engine tells in whole seconds when a container was made
        lab("up", "-d", "--no-recreate", "--no-deps", "--scale", "api=3", "api")
        docker("rm", "-f", "lab_api_2")
        docker("rmi", "drifting:1")
        docker("commit", "lab_api_1", "drifting:1")
        async with toolbox(workspace=tmp_path, docker_host=shop.host) as box:
            said = (await act(box, "compose_drift", project="lab")).splitlines()
        rows = [" ".join(line.split()) for line in said[2:-2]]
        runs, now = (
            docker("inspect", "-f", "{{.Id}}", name)[7:19] for name in (_image_of(docker, "lab_api_1"), "drifting:1")
        )
        moved = f"runs {runs}; drifting:1 is {now} now"
        assert sorted(rows) == [
            "api - no container has the number 2 (they go up to 3)",
            "api lab_api_1 another configuration than lab_api_3, which is newer",
            f"api lab_api_1 {moved}",
            f"api lab_api_3 {moved}",
            "cron lab_cron_1 orphan: the file has no such service",
            f"cron lab_cron_1 {moved}",
            "mail - in the file, but without a container",
        ]
    finally:
        docker("rm", "-f", "lab_api_1", "lab_api_2", "lab_api_3", "lab_cron_1", check=False)
        docker("rmi", "-f", "drifting:1", check=False)


def _image_of(docker: Docker, name: str) -> str:
    return str(inspected(docker, name)["Image"])


@AT_DOCKER
async def test_labels_of_a_megabyte_with_escapes_make_no_lines_and_no_long_answers(
    shop: Compose, tmp_path: Path
) -> None:
    long = "lab\x1b[31m\nNo difference was found." + "y" * 1_000_000
    labels = {
        "project": long,
        "service": long[:9_000],
        "container-number": long[:9_000],
        "config-hash": long[:9_000],
        "project.config_files": long[:9_000],
    }
    named = {f"com.docker.compose.{name}": value for name, value in labels.items()}
    async with toolbox(workspace=tmp_path, docker_host=shop.host) as box:
        engine = DockerEngine(shop.host)
        body = {"Image": "busybox:local", "Labels": named, "Cmd": ["true"], "HostConfig": {"NetworkMode": "none"}}
        made = (await engine.change("POST", "containers/create", body=body, name="forged-3"))[1]
        try:
            for tool in ("compose_projects", "compose_ps"):
                assert max(map(len, (await act(box, tool)).splitlines())) < 1_000
            for tool in ("compose_logs", "compose_drift"):
                with pytest.raises(ToolError) as caught:
                    await act(box, tool)
                assert "\n" not in caught.value.hint
                assert len(caught.value.hint) < 1_000
                said = await act(box, tool, project=long)
                assert len(said) < 5_000
                assert "\x1b" not in said
            assert "No difference was found." not in said.splitlines()[0][80:]
        finally:
            await engine.change("DELETE", f"containers/{made['Id']}", force="1")
            await engine.aclose()


ANSWERS = {
    "Which compose projects are there?": r"shop 3 2 job",
    "Which services are down?": r"shop job shop_job_1 Exited \(4\)",
    "Logs of db": r"db is open",
    "Is the db service running?": r"shop_db_1 .* Up ",
    "docker compose -p shop ps": r"shop db shop_db_1 Up ",
}


@AT_DOCKER
def test_builtin_answers_from_the_labels(here: Here, shop: Compose, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", shop.host)
    for task, said in ANSWERS.items():
        ended = here("run", "--provider", "builtin", "--input", "none", task)
        assert ended.code == 0, task
        assert re.search(said, _plain(ended.out)), task


@AT_DOCKER
def test_builtin_says_which_containers_a_service_has(
    here: Here, shop: Compose, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", shop.host)
    ended = here("run", "--provider", "builtin", "--input", "none", "Logs of web")
    assert ended.code == 1
    assert "shop_web_1 (shop, running), shop_web_2 (shop, running)" in ended.err
